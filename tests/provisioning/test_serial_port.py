"""The RFC 2217 port against pyserial's own server half, and against servers that misbehave."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import socket
import threading

import pytest
import serial
from serial.rfc2217 import PortManager

from provisioning.errors import PortError
from provisioning.rfc2217_port import Rfc2217Port
from provisioning.serial_port import LINK_BAUD, open_port, translated_port_errors


class EchoServer:
    """pyserial's PortManager in front of its loop:// port: what is sent comes back."""

    def __init__(self):
        self.serial = serial.serial_for_url("loop://", timeout=0)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connection = None
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def write(self, content):
        self.connection.sendall(content)

    def serve(self):
        with contextlib.suppress(OSError):  # the other side may hang up at any byte
            self.connection, _ = self.listener.accept()
            manager = PortManager(self.serial, self)
            while received := self.connection.recv(4096):
                self.serial.write(b"".join(manager.filter(received)))
                echoed = self.serial.read(self.serial.in_waiting)
                if echoed:
                    self.write(b"".join(manager.escape(echoed)))

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.listener.close()


@pytest.fixture
def server():
    server = EchoServer()
    yield server
    server.close()


@pytest.fixture
def port(server):
    port = open_port(server.url, timeout_s=2.0)
    yield port
    port.close()


def silent_server(answer=b""):
    """A server that accepts, says `answer`, and then nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def serve():
        with contextlib.suppress(OSError):  # the other side may have hung up meanwhile
            connection, _ = listener.accept()
            accepted.append(connection)
            if answer is None:
                connection.close()
            else:
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener, accepted, f"rfc2217://127.0.0.1:{listener.getsockname()[1]}"


def test_every_byte_travels_both_ways(port):
    everything = bytes(range(256)) * 3
    port.write(everything)
    assert port.read(len(everything)) == everything


def test_opening_releases_both_control_lines(server, port):
    assert (server.serial.dtr, server.serial.rts) == (False, False)
    port.rts = True
    assert server.serial.rts is True


def test_a_new_timeout_negotiates_nothing_and_a_new_baud_rate_does(server, port):
    assert port.negotiation_count == 1
    for timeout_s in (0.1, 5.0, None, 3.0):
        port.timeout = timeout_s
    assert port.negotiation_count == 1
    port.baudrate = 921_600
    assert port.negotiation_count == 2
    assert server.serial.baudrate == 921_600


def test_a_read_returns_what_there_is_when_the_time_is_over(port):
    port.write(b"abc")
    port.timeout = 0.05
    assert port.read(10) == b"abc"
    assert port.read(1) == b""


def test_dropped_input_is_gone(port):
    port.write(b"abc")
    assert port.read(1) == b"a"
    port.reset_input_buffer()
    port.reset_output_buffer()
    port.break_condition = True
    port.break_condition = False
    port.timeout = 0.02
    assert port.read(3) == b""


def test_a_closed_port_says_so_and_opens_again(server, port):
    port.close()
    port.close()
    with pytest.raises(serial.SerialException):
        port.read(1)
    with pytest.raises(serial.SerialException):
        port.write(b"x")


def test_opening_twice_is_refused(port):
    with pytest.raises(serial.SerialException, match="open already"):
        port.open()


def test_what_arrived_before_the_connection_broke_is_still_read(server, port):
    port.write(b"last words")
    assert port.read(1) == b"l"
    server.connection.shutdown(socket.SHUT_RDWR)
    assert port.read(100) == b"ast words"
    with pytest.raises(serial.SerialException, match="closed by the server"):
        port.read(1)


@pytest.mark.parametrize(
    ("answer", "telling"),
    [
        (None, "closed by the server|connection lost"),
        (bytes([255, 254, 44]), "does not speak RFC 2217"),
        (b"SSH-2.0-OpenSSH", "does not speak RFC 2217"),
    ],
)
def test_a_peer_that_is_no_serial_port_is_our_error(answer, telling, monkeypatch):
    monkeypatch.setattr("provisioning.rfc2217_port._ANSWER_TIMEOUT_S", 0.05)
    listener, _accepted, url = silent_server(answer)
    with pytest.raises(PortError, match=telling) as refusal:
        open_port(url, timeout_s=1.0)
    assert refusal.value.where == url
    listener.close()


def test_a_server_that_does_not_acknowledge_is_our_error(monkeypatch):
    monkeypatch.setattr("provisioning.rfc2217_port._ANSWER_TIMEOUT_S", 0.05)
    agreed = bytes([255, 253, 44, 255, 253, 0])
    listener, _accepted, url = silent_server(agreed)
    with pytest.raises(PortError, match="no answer to RFC 2217 command 1"):
        open_port(url, timeout_s=1.0)
    listener.close()


def test_a_server_that_sets_another_baud_rate_is_our_error():
    agreed = bytes([255, 253, 44, 255, 253, 0])
    other_baud = bytes([255, 250, 44, 101, 0, 0, 1, 2, 255, 240])
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with (
            contextlib.suppress(OSError),
            listener.accept()[0] as connection,
        ):  # the port hangs up on the wrong answer
            connection.sendall(agreed)
            while connection.recv(4096):
                connection.sendall(other_baud)

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises(PortError, match="asked for 0001c200, got 00000102"):
        open_port(f"rfc2217://127.0.0.1:{listener.getsockname()[1]}", timeout_s=1.0)
    listener.close()


@pytest.mark.parametrize("url", ["rfc2217://127.0.0.1:1", "/dev/no-such-tty"])
def test_a_port_that_is_not_there_is_our_error(url):
    with pytest.raises(PortError, match="cannot be opened") as refusal:
        open_port(url, timeout_s=1.0)
    assert refusal.value.hint is not None
    assert refusal.value.got in {"Connection refused", "No such file or directory"}


def test_a_device_that_another_program_locked_is_told_as_in_use():
    other, name = pty.openpty()
    path = os.ttyname(name)
    with (
        contextlib.closing(serial.Serial(path, exclusive=True)),
        pytest.raises(PortError) as refusal,
    ):
        open_port(path, timeout_s=1.0)
    assert refusal.value.got == "another program uses it"
    os.close(name)
    os.close(other)


def test_an_address_without_a_port_number_is_refused():
    port = Rfc2217Port()
    port.port = "rfc2217://host"
    with pytest.raises(serial.SerialException, match="expected rfc2217://HOST:PORT"):
        port.open()


def test_the_link_rate_is_what_the_specification_says():
    assert LINK_BAUD == 115_200


@pytest.mark.parametrize(
    ("number", "telling"), [(errno.EACCES, "dialout"), (errno.ENOENT, "check the cable")]
)
def test_a_port_that_the_user_may_not_use_says_which_group_to_join(number, telling):
    with pytest.raises(PortError) as refusal, translated_port_errors("/dev/ttyUSB0"):
        raise serial.SerialException(number, "could not open port")
    assert telling in refusal.value.hint
