"""A server that ends or is replaced finishes what it has begun, within a bound."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import socket
import threading
import time
from contextlib import closing

import pytest

from manifests.server import ServerPlan
from tests.manifests.server_process import ServerProcess, running, write_certificate

LARGE_BYTES = 6 << 20
NOBODY = 65534


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "timestamp.json").write_bytes(b"{}")
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "large.bin").write_bytes(os.urandom(LARGE_BYTES))
    return tmp_path


class Downloads:
    """Clients that download without end, and note every failure."""

    def __init__(self, port, content, count, context=None):
        self.failures, self.finished, self.polls = [], 0, 0
        self._port, self._context = port, context
        self._digest = hashlib.sha256(content).digest()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=work) for work in [self._download, self._poll] * count
        ]
        for thread in self._threads:
            thread.start()

    def _connect(self):
        if self._context is None:
            return http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        return http.client.HTTPSConnection(
            "127.0.0.1", self._port, timeout=20, context=self._context
        )

    def _until_stopped(self, one):
        try:
            connection = self._connect()
            while not self._stop.is_set():
                one(connection)
            connection.close()
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self.failures.append(repr(error))

    def _download(self):
        def one(connection):
            connection.request("GET", "/targets/large.bin")
            content = connection.getresponse().read()
            assert hashlib.sha256(content).digest() == self._digest
            self.finished += 1

        self._until_stopped(one)

    def _poll(self):
        def one(connection):
            connection.request("GET", "/metadata/timestamp.json")
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"{}")
            self.polls += 1

        self._until_stopped(one)

    def wait_for_more(self, count=4):
        goal, deadline_s = self.finished + count, time.monotonic() + 120
        while self.finished < goal and not self.failures and time.monotonic() < deadline_s:
            self._stop.wait(0.01)
        assert not self.failures
        assert self.finished >= goal

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.failures


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_no_download_fails_when_a_server_takes_anothers_place(folder, tmp_path, is_encrypted):
    plan = ServerPlan(folder=folder, control=tmp_path / "s", drain_s=20)
    context = None
    if is_encrypted:
        import ssl
        from dataclasses import replace

        certificate, key = write_certificate(tmp_path, "server")
        plan = replace(plan, tls_certificate=certificate, tls_key=key)
        context = ssl.create_default_context(cafile=str(certificate))
    servers = [ServerProcess(plan)]
    port = servers[0].port
    downloads = Downloads(port, (folder / "targets" / "large.bin").read_bytes(), 3, context)
    try:
        for _ in range(3):
            downloads.wait_for_more()
            successor = ServerPlan(
                folder=folder,
                control=plan.control,
                is_successor=True,
                port=port,
                drain_s=20,
                tls_certificate=plan.tls_certificate,
                tls_key=plan.tls_key,
            )
            servers.append(ServerProcess(successor))
            assert servers[-1].url == servers[0].url
            assert servers[-2].end() == 0
        downloads.wait_for_more()
    finally:
        failures = downloads.stop()
        servers[-1].process.terminate()
        servers[-1].end()
    assert not failures
    assert downloads.polls > 20
    assert not plan.control.exists()


def test_nobodys_place_can_be_taken_where_no_server_is_or_another_port_is_asked(folder, tmp_path):
    plan = ServerPlan(folder=folder, control=tmp_path / "s")
    lonely = ServerProcess(ServerPlan(folder=folder, control=tmp_path / "s", is_successor=True))
    assert "no server's place can be taken" in lonely.error
    lonely.end()
    with running(plan) as server:
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        second = ServerProcess(plan)
        assert "is running" in second.error
        second.end()
        other_port = 1 if server.port != 1 else 2
        asked = ServerProcess(
            ServerPlan(folder=folder, control=plan.control, is_successor=True, port=other_port)
        )
        assert "another port" in asked.error
        asked.end()
        # The running server was not disturbed by a successor that did not start.
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as opened:
            opened.request("GET", "/metadata/timestamp.json")
            assert opened.getresponse().status == 200
        server.process.kill()
        server.process.wait()
        # What a killed server left is no obstacle.
        with running(plan) as next_one:
            assert next_one.url
    (tmp_path / "file").write_text("precious")
    wrong = ServerProcess(ServerPlan(folder=folder, control=tmp_path / "file"))
    assert "control socket cannot be made" in wrong.error
    wrong.end()
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_stranger_is_handed_no_socket_whatever_the_mode_of_the_file(folder):
    """Who had it could answer the server's clients in its place."""
    with running(ServerPlan(folder=folder, control=folder / "s")) as server:
        folder.chmod(0o755)
        (folder / "s").chmod(0o666)
        stranger = os.fork()
        if stranger == 0:
            code = 2
            try:
                os.chdir(folder)
                os.setuid(NOBODY)
                with socket.socket(socket.AF_UNIX) as asking:
                    asking.connect("s")
                    said, descriptors, *_ = socket.recv_fds(asking, 100, 1)
                    code = int((said, descriptors) != (b"", []))
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(stranger, 0)[1]) == 0
        # Its owner's successor is not kept out by that.
        successor = ServerProcess(
            ServerPlan(folder=folder, control=folder / "s", is_successor=True, port=server.port)
        )
        assert successor.url == server.url
        assert server.end() == 0
        successor.process.terminate()
        successor.end()


@pytest.mark.parametrize("is_hurried", [False, True])
def test_a_download_that_does_not_end_is_cut_off_after_the_bound_or_by_a_second_signal(
    folder, is_hurried
):
    plan = ServerPlan(folder=folder, drain_s=600 if is_hurried else 1)
    with running(plan) as server, closing(socket.socket()) as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", server.port))
        stuck.sendall(b"GET /targets/large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        stuck.recv(100)
        server.process.terminate()
        if is_hurried:
            # Nobody is taken any more: the first signal has arrived.
            while True:
                with closing(socket.socket()) as probe:
                    if probe.connect_ex(("127.0.0.1", server.port)) != 0:
                        break
            server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0


def test_a_peer_that_does_not_read_makes_the_kernel_hold_little(folder):
    """The bytes that wait in the kernel for a peer whose window is shut."""
    with running(ServerPlan(folder=folder)) as server, closing(socket.socket()) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.port))
        deaf.sendall(b"GET /targets/large.bin HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
        local = deaf.getsockname()[1]
        held_bytes, deadline_s = 0, time.monotonic() + 60
        while time.monotonic() < deadline_s:
            now_held = unsent_bytes(server.port, local)
            if now_held and now_held == held_bytes:
                break
            held_bytes = now_held
            threading.Event().wait(0.1)
        assert 0 < held_bytes < 1 << 20


def unsent_bytes(port, peer_port):
    """Return the length of a socket's send queue, as the kernel tells it."""
    with open("/proc/net/tcp") as table:  # noqa: PTH123 - not a file on a disk
        for line in table:
            _, local, remote, _, queues, *_ = line.split()
            if local.endswith(f":{port:04X}") and remote.endswith(f":{peer_port:04X}"):
                return int(queues.partition(":")[0], 16)
    return 0
