from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path

import pytest
import serial
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from smpclient import SMPClient
from smpclient.generics import success
from smpclient.requests.image_management import ImageStatesRead
from smpclient.requests.os_management import EchoWrite, MCUMgrParametersRead
from smpclient.transport.serial import SMPSerialTransport

from provisioning.errors import SimulatorError
from provisioning.link_messages import InfoReadRequest, InfoReadResponse
from provisioning.simulator.board import BoardMode
from provisioning.simulator.faults import FaultPlan
from provisioning.simulator.line import HOST, SimulatedLine
from provisioning.simulator.uart_server import UartServer
from tests.provisioning.simulator.parts import (
    BoardLink,
    flash_release,
    make_board,
    make_running_board,
    now,
)

# pyserial's RFC 2217 client uses what Python has announced to drop.
pytestmark = pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    folder = tmp_path_factory.mktemp("line")
    with SimulatedLine(folder, board_count=2, seed=5, has_pty=True, now=now) as running:
        for slot in running.slots:
            flash_release(slot.board.flash)
            slot.board.power_cycle()
        yield running


def connect(line, index: int = 0) -> serial.SerialBase:
    return serial.serial_for_url(line.slots[index].port_url, timeout=5)


def test_smpclient_reads_the_board_over_its_pseudo_terminal(line):
    async def talk() -> None:
        address = line.slots[0].pty_path
        assert address is not None
        async with SMPClient(SMPSerialTransport(), address) as client:
            echo = await client.request(EchoWrite(d="hello"))
            assert success(echo)
            assert echo.r == "hello"
            parameters = await client.request(MCUMgrParametersRead())
            assert success(parameters)
            assert parameters.buf_size == 6144
            states = await client.request(ImageStatesRead())
            assert success(states)
            assert states.images[0].version == "1.4.0"
            answer = InfoReadResponse.loads(await _raw(client, InfoReadRequest().BYTES))
            assert answer.mac == line.slots[0].board.mac

    asyncio.run(talk())


async def _raw(client: SMPClient, message: bytes) -> bytes:
    return bytes(await client._transport.send_and_receive(message))


def test_the_application_prints_its_name_and_version_once_a_second(line):
    port = connect(line)
    try:
        started_s = time.monotonic()
        banners = [port.read_until(b"\n") for _ in range(2)]
        assert banners == [b"flare 1.4.0\r\n"] * 2
        assert time.monotonic() - started_s > 0.9
    finally:
        port.close()


def test_a_second_client_waits_until_the_first_one_leaves(line):
    first = connect(line)
    with socket.create_connection((HOST, int(line.slots[0].port_url.rsplit(":", 1)[1]))) as second:
        second.settimeout(0.2)
        with pytest.raises(TimeoutError):
            second.recv(10)
        first.close()
        second.settimeout(5)
        assert second.recv(10).startswith(b"\xff")


def test_a_client_that_leaves_releases_the_reset_line(line):
    board = line.slots[1].board
    port = connect(line, 1)
    port.dtr = False
    port.rts = True
    assert board.mode is BoardMode.HELD
    port.close()
    again = connect(line, 1)
    again.close()
    assert board.mode is BoardMode.APPLICATION


@given(st.lists(st.binary(max_size=300), max_size=8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_on_the_uart_stop_the_application(garbled, chunks):
    for chunk in chunks:
        garbled.board.receive(chunk)
        garbled.board.receive(b"\x06\x09" + chunk + b"\n")
    garbled.board.receive(b"\n")
    assert garbled.ask(InfoReadRequest(), InfoReadResponse).ver == "1.4.0"


@given(st.binary(max_size=60), st.integers(0, 255), st.integers(0, 9), st.integers(0, 70))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_message_is_answered_or_ignored(garbled, body, first, command, group):
    header = bytes([first, 0]) + len(body).to_bytes(2, "big") + group.to_bytes(2, "big")
    garbled.send(header + bytes([7, command]) + body)
    assert garbled.ask(InfoReadRequest(), InfoReadResponse).ver == "1.4.0"


@pytest.fixture
def garbled(tmp_path) -> BoardLink:
    return make_running_board(tmp_path)


def test_a_line_made_again_from_its_folder_goes_on_where_it_was(tmp_path):
    with SimulatedLine(tmp_path, board_count=1, seed=9, now=now) as line:
        flash_release(line.slots[0].board.flash)
        mac = line.slots[0].board.mac
        truth = line.slots[0].board.output.truth
    with SimulatedLine(tmp_path, board_count=1, seed=9, now=now) as line:
        board = line.slots[0].board
        assert board.mode is BoardMode.APPLICATION
        assert (board.mac, board.output.truth) == (mac, truth)


def test_another_seed_or_a_damaged_board_file_is_refused_and_nothing_changes(tmp_path):
    make_board(tmp_path, seed=1).close()
    folder = tmp_path / "board-0"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SimulatorError, match="another board"):
        make_board(tmp_path, seed=2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "board.json").write_text("{")
    with pytest.raises(SimulatorError, match="cannot be read"):
        make_board(tmp_path, seed=1)


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "board-0").write_text("")
    with pytest.raises(SimulatorError, match="cannot be made"):
        make_board(tmp_path)


@pytest.mark.parametrize("count", [0, 257])
def test_a_number_of_boards_that_makes_no_sense_is_refused(tmp_path, count):
    with pytest.raises(SimulatorError, match="number of simulated boards"):
        SimulatedLine(tmp_path, board_count=count, seed=1)


def test_fixed_ports_are_two_apart_and_a_taken_port_is_refused_cleanly(tmp_path):
    with socket.create_server((HOST, 0)) as blocker:
        base_port = blocker.getsockname()[1] - 2
        threads = threading.active_count()
        line = SimulatedLine(tmp_path, board_count=2, seed=1, base_port=base_port)
        with pytest.raises(SimulatorError, match="port cannot be opened"):
            line.__enter__()
        assert threading.active_count() == threads
        with socket.create_server((HOST, base_port)):
            pass


def test_everything_ends_with_the_context(tmp_path):
    threads = threading.active_count()
    descriptors = count_descriptors()
    with SimulatedLine(tmp_path, board_count=2, seed=1, has_pty=True) as line:
        port = connect(line)
        line.serve_until_interrupted(_set_event())
    port.close()
    assert threading.active_count() == threads
    assert count_descriptors() == descriptors


def count_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def test_pacing_takes_the_time_of_the_baud_rate(tmp_path):
    waits: list[float] = []
    board = make_board(tmp_path)
    server = UartServer(board, host=HOST, port=0, monotonic=time.monotonic, wait=waits.append)
    server._spend(11_520)
    server.stop()
    assert waits == [pytest.approx(1.0)]
    board.close()


def test_a_fault_plan_reaches_its_board_only(tmp_path):
    plan = FaultPlan(dead_sectors=frozenset({0}))
    with SimulatedLine(tmp_path, board_count=2, seed=1, faults={1: plan}) as line:
        for slot in line.slots:
            slot.board.flash.write(0, b"\x00")
        assert [slot.board.flash.read(0, 1) for slot in line.slots] == [b"\x00", b"\xff"]
