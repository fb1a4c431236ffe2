from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioning.simulator.board import BoardMode, SimulatedBoard
from provisioning.simulator.faults import FaultPlan
from provisioning.simulator.flash_download import checksum
from provisioning.simulator.loader import Operation
from provisioning.simulator.slip import PacketAssembler, serialize_packet
from tests.provisioning.simulator.parts import enter_download_mode, flash_release, make_board

if TYPE_CHECKING:
    from pathlib import Path

SYNC = b"\x07\x07\x12\x20" + b"\x55" * 32
STUB_CODE = b"\x13\x00\x00\x00" + struct.pack("<I", 0x49415 << 12 | 0x537)
STUB_START = 0x40380000


class Host:
    """The other end of the loader's protocol, written from its description."""

    def __init__(self, board: SimulatedBoard) -> None:
        self.board = board
        self.status_bytes = 4

    def send(self, operation: int, data: bytes = b"", check: int = 0) -> list[bytes]:
        request = struct.pack("<BBHI", 0, operation, len(data), check) + data
        return self.raw(serialize_packet(request))

    def raw(self, content: bytes) -> list[bytes]:
        return PacketAssembler(max_bytes=1 << 20).feed(self.board.receive(content))

    def ask(self, operation: int, data: bytes = b"", check: int = 0) -> tuple[int, bytes, int]:
        """Return value, data and the reason of failure (0 for success)."""
        answer = self.send(operation, data, check)[0]
        direction, answered, size, value = struct.unpack_from("<BBHI", answer)
        assert (direction, answered, size) == (1, operation, len(answer) - 8)
        status = answer[-self.status_bytes :]
        assert status[0] == (status[1] != 0)
        return value, answer[8 : -self.status_bytes], status[1]

    def write_block(self, operation: int, number: int, block: bytes) -> int:
        data = struct.pack("<IIII", len(block), number, 0, 0) + block
        return self.ask(operation, data, checksum(block))[2]

    def upload(self, code: bytes, *, entry: int = STUB_START) -> list[bytes]:
        assert self.ask(Operation.MEM_BEGIN, struct.pack("<IIII", len(code), 1, 6144, STUB_START))
        assert self.write_block(Operation.MEM_DATA, 0, code) == 0
        return self.send(Operation.MEM_END, struct.pack("<II", 0, entry))

    def start_stub(self) -> None:
        packets = self.upload(STUB_CODE)
        assert packets[-1] == b"OHAI"
        self.status_bytes = 2


@pytest.fixture
def rom(tmp_path: Path) -> Host:
    board = make_board(tmp_path)
    assert b"waiting for download" in enter_download_mode(board)
    return Host(board)


@pytest.fixture
def stub(rom: Host) -> Host:
    rom.start_stub()
    return rom


def test_the_reset_lines_choose_download_mode_or_flash(tmp_path):
    board = make_board(tmp_path)
    flash_release(board.flash)
    enter_download_mode(board)
    assert board.mode is BoardMode.ROM
    board.set_rts(is_asserted=True)
    assert board.mode is BoardMode.HELD
    assert b"SPI_FAST_FLASH_BOOT" in board.set_rts(is_asserted=False)
    assert board.mode is BoardMode.APPLICATION


def test_opening_a_port_with_both_lines_asserted_does_not_stop_the_board(tmp_path):
    board = make_board(tmp_path)
    boots = board.boot_count
    board.set_dtr(is_asserted=True)
    board.set_rts(is_asserted=True)
    board.set_rts(is_asserted=False)
    board.set_dtr(is_asserted=False)
    assert board.boot_count == boots


def test_sync_is_answered_eight_times_and_tells_rom_from_stub(rom):
    assert len(rom.send(Operation.SYNC, SYNC)) == 8
    assert rom.ask(Operation.SYNC, SYNC)[0] != 0
    rom.start_stub()
    assert rom.ask(Operation.SYNC, SYNC)[0] == 0
    assert rom.send(Operation.SYNC, b"other") == []


@pytest.mark.parametrize("is_stub", [False, True])
def test_a_compressed_write_lands_and_its_md5_is_right(rom, is_stub):
    if is_stub:
        rom.start_stub()
    content = bytes(range(256)) * 40
    packed = zlib.compress(content)
    begin = struct.pack("<IIIII", len(content), 1, 0x4000, 0x10000, 0)
    assert rom.ask(Operation.FLASH_DEFL_BEGIN, begin)[2] == 0
    assert rom.write_block(Operation.FLASH_DEFL_DATA, 0, packed) == 0
    _, data, reason = rom.ask(
        Operation.SPI_FLASH_MD5, struct.pack("<IIII", 0x10000, len(content), 0, 0)
    )
    digest = hashlib.md5(content)  # noqa: S324 - the protocol's own
    assert (data, reason) == (digest.digest() if is_stub else digest.hexdigest().encode(), 0)
    assert rom.board.flash.read(0x10000, len(content)) == content


def test_a_plain_write_erases_first_in_the_rom(rom):
    rom.board.flash.write(0x20000, b"\x00" * 8192)
    begin = struct.pack("<IIIII", 4096, 4, 0x400, 0x20000, 0)
    assert rom.ask(Operation.FLASH_BEGIN, begin)[2] == 0
    assert rom.board.flash.read(0x20000, 4097) == b"\xff" * 4096 + b"\x00"
    assert rom.write_block(Operation.FLASH_DATA, 0, b"\x5a" * 0x400) == 0
    assert rom.board.flash.read(0x20000, 0x400) == b"\x5a" * 0x400


def test_the_stub_erases_only_what_it_writes(stub):
    stub.board.flash.write(0x20000, b"\x00" * 8192)
    stub.ask(Operation.FLASH_BEGIN, struct.pack("<IIIII", 8192, 2, 0x1000, 0x20000, 0))
    assert stub.write_block(Operation.FLASH_DATA, 0, b"\x11" * 0x1000) == 0
    assert stub.board.flash.read(0x21000, 4) == b"\x00" * 4


def test_blocks_out_of_order_with_a_bad_checksum_or_bad_data_are_refused(stub):
    begin = struct.pack("<IIIII", 4096, 1, 0x4000, 0x10000, 0)
    assert stub.write_block(Operation.FLASH_DEFL_DATA, 0, b"x") == 0x06
    stub.ask(Operation.FLASH_DEFL_BEGIN, begin)
    packed = zlib.compress(b"\x00" * 4096)
    assert stub.write_block(Operation.FLASH_DEFL_DATA, 1, packed) == 0x06
    data = struct.pack("<IIII", len(packed), 0, 0, 0) + packed
    assert stub.ask(Operation.FLASH_DEFL_DATA, data, 0)[2] == 0x07
    assert stub.write_block(Operation.FLASH_DEFL_DATA, 0, b"not zlib") == 0x06
    assert stub.board.flash.read(0x10000, 4096) == b"\xff" * 4096
    stub.ask(Operation.FLASH_DEFL_BEGIN, begin)
    too_long = zlib.compress(b"\x00" * 4097)
    assert stub.write_block(Operation.FLASH_DEFL_DATA, 0, too_long) == 0x06
    short = struct.pack("<IIII", 99, 0, 0, 0) + packed
    assert stub.ask(Operation.FLASH_DEFL_DATA, short, checksum(packed))[2] == 0x05


def test_a_write_or_read_past_the_flash_is_refused(stub):
    size = stub.board.flash.size_bytes
    begin = struct.pack("<IIIII", 8192, 1, 0x4000, size - 4096, 0)
    assert stub.ask(Operation.FLASH_BEGIN, begin)[2] == 0x06
    assert stub.ask(Operation.READ_FLASH, struct.pack("<IIII", size, 1, 4096, 64))[2] == 0x06
    assert stub.ask(Operation.READ_FLASH, struct.pack("<IIII", 0, 1, 0, 64))[2] == 0x06


def test_the_rom_reads_flash_slowly_and_only_64_bytes(rom):
    rom.board.flash.write(100, b"abc")
    _, data, reason = rom.ask(Operation.READ_FLASH_SLOW, struct.pack("<II", 100, 3))
    assert (data, reason) == (b"abc" + b"\x00" * 61, 0)
    assert rom.ask(Operation.READ_FLASH_SLOW, struct.pack("<II", 0, 65))[2] == 0x06


def test_the_stub_streams_flash_as_far_as_it_is_acknowledged(stub):
    content = bytes(range(251)) * 50
    stub.board.flash.write(0, content)
    packets = stub.send(Operation.READ_FLASH, struct.pack("<IIII", 0, 12000, 4096, 2))
    assert [len(packet) for packet in packets[1:]] == [4096, 4096]
    (last,) = stub.raw(serialize_packet(struct.pack("<I", 8192)))
    assert len(last) == 12000 - 8192
    (digest,) = stub.raw(serialize_packet(struct.pack("<I", 12000)))
    assert b"".join([*packets[1:], last]) == content[:12000]
    assert digest == hashlib.md5(content[:12000]).digest()  # noqa: S324 - the protocol's own


def test_a_host_that_gives_up_a_stream_can_go_on(stub):
    stub.send(Operation.READ_FLASH, struct.pack("<IIII", 0, 12000, 4096, 1))
    assert stub.ask(Operation.SYNC, SYNC)[2] == 0


def test_erasing_needs_whole_sectors(stub):
    stub.board.flash.write(0, b"\x00" * 8192)
    assert stub.ask(Operation.ERASE_REGION, struct.pack("<II", 0, 100))[2] == 0x06
    assert stub.ask(Operation.ERASE_REGION, struct.pack("<II", 0, 4096))[2] == 0
    assert stub.board.flash.read(4095, 2) == b"\xff\x00"
    assert stub.ask(Operation.ERASE_FLASH)[2] == 0
    assert stub.board.flash.read(0, 8192) == b"\xff" * 8192


def test_erase_is_unknown_to_the_rom(rom):
    assert rom.ask(Operation.ERASE_FLASH)[2] == 0x05


@pytest.mark.parametrize(
    ("operation", "data"),
    [
        (0x77, b""),
        (Operation.READ_REG, b"\x00"),
        (Operation.WRITE_REG, b"\x00" * 15),
        (Operation.FLASH_BEGIN, b"\x00"),
        (Operation.MEM_END, b""),
    ],
)
def test_a_malformed_request_is_answered_with_invalid_message(rom, operation, data):
    assert rom.ask(operation, data)[2] == 0x05


def test_a_packet_with_a_wrong_length_or_direction_is_answered_or_dropped(rom):
    (answer,) = rom.raw(serialize_packet(struct.pack("<BBHI", 0, 0x0A, 9, 0)))
    assert answer[-4:-2] == b"\x01\x05"
    assert rom.raw(serialize_packet(b"\x00\x0a")) == []


def test_a_program_that_is_not_the_stub_runs_silently(rom):
    assert len(rom.upload(b"\x13\x00\x00\x00" * 4)) == 1
    assert rom.board.mode is BoardMode.SILENT
    assert rom.send(Operation.SYNC, SYNC) == []


def test_an_entry_point_outside_what_was_uploaded_is_refused(rom):
    (answer,) = rom.upload(STUB_CODE, entry=0x1234)
    assert answer[-4:-2] == b"\x01\x06"
    assert rom.board.mode is BoardMode.ROM


def test_memory_blocks_must_come_in_order_and_fit(rom):
    block = struct.pack("<IIII", 4, 0, 0, 0) + b"\x00" * 4
    assert rom.ask(Operation.MEM_DATA, block, checksum(b"\x00" * 4))[2] == 0x06
    huge = struct.pack("<IIII", 1 << 30, 1, 6144, STUB_START)
    assert rom.ask(Operation.MEM_BEGIN, huge)[2] == 0x06
    assert rom.ask(Operation.MEM_END, struct.pack("<II", 1, 0))[2] == 0


def test_uploaded_memory_can_be_read_as_registers(rom):
    rom.start_stub()
    value, _, _ = rom.ask(Operation.READ_REG, struct.pack("<I", STUB_START + 4))
    assert value == 0x49415 << 12 | 0x537


def test_leaving_the_rom_boots_from_flash(rom):
    flash_release(rom.board.flash)
    rom.send(Operation.FLASH_END, struct.pack("<I", 1))
    assert rom.board.mode is BoardMode.APPLICATION


def test_the_stub_stays_restarts_the_rom_or_runs_flash(stub):
    flash_release(stub.board.flash)
    assert stub.ask(Operation.FLASH_END, struct.pack("<I", 1))[2] == 0
    assert stub.board.mode is BoardMode.STUB
    stub.ask(Operation.FLASH_END, struct.pack("<I", 0))
    assert stub.board.mode is BoardMode.ROM
    stub.status_bytes = 4
    stub.start_stub()
    stub.send(Operation.RUN_USER_CODE)
    assert stub.board.mode is BoardMode.APPLICATION


def test_the_watchdog_enabled_with_its_key_and_locked_again_resets_the_chip(rom):
    flash_release(rom.board.flash)

    def write(address: int, value: int) -> None:
        rom.ask(Operation.WRITE_REG, struct.pack("<IIII", address, value, 0xFFFFFFFF, 0))

    write(0x60008090, 1 << 31)
    assert rom.board.mode is BoardMode.ROM
    write(0x600080A8, 0x50D83AA1)
    write(0x60008090, 1 << 31)
    assert rom.board.mode is BoardMode.ROM
    write(0x600080A8, 0)
    assert rom.board.mode is BoardMode.APPLICATION


def test_a_baud_change_takes_effect_after_its_answer(rom):
    assert rom.ask(Operation.CHANGE_BAUDRATE, struct.pack("<II", 921600, 0))[2] == 0
    sync = serialize_packet(struct.pack("<BBHI", 0, Operation.SYNC, 36, 0) + SYNC)
    assert rom.board.receive(sync, line_baud=115200) == b""
    assert rom.board.receive(sync, line_baud=921600) != b""


def test_the_rom_measures_the_baud_rate_it_hears_first(rom):
    sync = serialize_packet(struct.pack("<BBHI", 0, Operation.SYNC, 36, 0) + SYNC)
    assert rom.board.receive(sync, line_baud=57600) != b""


def test_security_info_tells_the_chip_and_its_locks(rom):
    _, data, reason = rom.ask(Operation.GET_SECURITY_INFO)
    assert reason == 0
    assert struct.unpack("<IB7BII", data) == (0, 0, *([0] * 7), 5, 3)


def test_a_power_cut_during_a_write_restarts_the_board(tmp_path):
    board = make_board(tmp_path, faults=FaultPlan(power_cut_after_bytes=5000))
    enter_download_mode(board)
    host = Host(board)
    begin = struct.pack("<IIIII", 8192, 8, 0x400, 0x10000, 0)
    boots = board.boot_count
    assert host.send(Operation.FLASH_BEGIN, begin) == []
    assert board.boot_count == boots + 1
    assert board.mode is BoardMode.SILENT


@given(st.lists(st.binary(max_size=200), max_size=20))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_stop_the_loader(rom, chunks):
    enter_download_mode(rom.board)
    for chunk in chunks:
        rom.board.receive(chunk)
        rom.raw(serialize_packet(chunk))
    enter_download_mode(rom.board)
    rom.status_bytes = 4
    assert len(rom.send(Operation.SYNC, SYNC)) == 8


@given(st.binary(max_size=300), st.integers(1, 50))
def test_slip_gives_back_what_was_sent_in_any_division(packet, step):
    assembler = PacketAssembler(max_bytes=10_000)
    wire = serialize_packet(packet) + serialize_packet(b"end")
    packets = [
        found
        for start in range(0, len(wire), step)
        for found in assembler.feed(wire[start : start + step])
    ]
    assert packets == ([packet] if packet else []) + [b"end"]


def test_an_endless_packet_is_dropped_and_the_next_one_is_read():
    assembler = PacketAssembler(max_bytes=100)
    assert assembler.feed(b"\xc0" + b"x" * 1000) == []
    assert assembler.feed(b"\xc0" + serialize_packet(b"ok")) == [b"ok"]


@given(st.binary(max_size=200))
def test_the_fast_checksum_is_the_plain_one(data):
    plain = 0xEF
    for byte in data:
        plain ^= byte
    assert checksum(data) == plain
