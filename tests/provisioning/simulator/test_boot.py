from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.flash_medium import MemoryFlash
from firmware_images.otadata import OtaState, mark_state, read_otadata, switch_slot
from firmware_images.partitions import PartitionTable, serialize_partition_table
from provisioning.errors import SimulatorError
from provisioning.simulator.board import BoardMode
from provisioning.simulator.boot import BootedImage, boot_flash, try_boot
from provisioning.simulator.faults import FaultPlan
from tests.provisioning.simulator.parts import (
    TABLE,
    flash_release,
    image,
    make_board,
    write_partition,
)

OTADATA = TABLE.find("otadata")


@pytest.fixture
def flash() -> MemoryFlash:
    medium = MemoryFlash(4 * 1024 * 1024)
    flash_release(medium)
    return medium


def test_the_slot_that_otadata_names_boots(flash):
    booted = boot_flash(flash)
    assert (booted.slot, booted.project_name, booted.version) == (0, "flare", "1.4.0")
    assert booted.size_bytes == len(image("1.4.0"))
    assert booted.state is OtaState.VALID


def test_a_new_slot_must_confirm_itself_or_the_old_one_comes_back(flash):
    write_partition(flash, "ota_1", image("1.5.0"))
    switch_slot(flash, OTADATA, 1)
    assert (boot_flash(flash).version, boot_flash(flash).version) == ("1.5.0", "1.4.0")
    states = {entry.state for entry in read_otadata(flash, OTADATA).entries}
    assert OtaState.ABORTED in states


def test_a_confirmed_slot_stays(flash):
    write_partition(flash, "ota_1", image("1.5.0"))
    switch_slot(flash, OTADATA, 1)
    assert boot_flash(flash).state is OtaState.PENDING_VERIFY
    mark_state(flash, OTADATA, OtaState.VALID)
    assert boot_flash(flash).version == "1.5.0"


@pytest.mark.parametrize("offset", [0, 1, 12, 40, 5000, -40, -1])
def test_one_wrong_byte_anywhere_in_the_image_stops_it(flash, offset):
    content = bytearray(image("1.4.0"))
    content[offset] ^= 0x40
    write_partition(flash, "ota_0", bytes(content))
    with pytest.raises(SimulatorError, match="no bootable app"):
        boot_flash(flash)


def test_a_damaged_new_slot_falls_back_to_the_other_one(flash):
    write_partition(flash, "ota_1", image("1.5.0")[:-1])
    switch_slot(flash, OTADATA, 1)
    assert boot_flash(flash).version == "1.4.0"


def test_an_empty_flash_boots_nothing():
    reason = try_boot(MemoryFlash(4 * 1024 * 1024))
    assert not isinstance(reason, BootedImage)


def test_a_table_without_application_slots_boots_nothing(flash):
    rest = tuple(part for part in TABLE.partitions if part.ota_slot is None)
    flash.erase(0x8000, 4096)
    flash.write(0x8000, serialize_partition_table(PartitionTable(partitions=rest)))
    assert not isinstance(try_boot(flash), BootedImage)


@given(st.binary(min_size=24, max_size=200))
@settings(max_examples=80)
def test_arbitrary_bytes_in_a_slot_never_boot_and_never_break_the_bootloader(content):
    flash = MemoryFlash(4 * 1024 * 1024)
    flash_release(flash)
    write_partition(flash, "ota_0", b"\xe9" + content)
    assert not isinstance(try_boot(flash), BootedImage)


def test_another_products_application_boots_to_silence(tmp_path):
    board = make_board(tmp_path)
    flash_release(board.flash)
    foreign = image("1.4.0").replace(b"flare\x00", b"hello\x00", 1)
    write_partition(board.flash, "ota_0", _with_right_digests(foreign))
    board.power_cycle()
    assert board.mode is BoardMode.SILENT
    assert board.running is not None
    assert board.running.project_name == "hello"
    assert board.receive(b"\x06\x09anything\n").count(b"hello 1") == 0


def test_a_power_cut_while_the_bootloader_writes_otadata_still_boots(tmp_path):
    board = make_board(tmp_path)
    flash_release(board.flash)
    write_partition(board.flash, "ota_1", image("1.5.0"))
    switch_slot(board.flash, OTADATA, 1)
    board.close()
    for cut in (0, 5, 4096, 4100):
        again = make_board(tmp_path, faults=FaultPlan(power_cut_after_bytes=cut))
        assert again.mode is BoardMode.APPLICATION
        again.close()


def _with_right_digests(content: bytes) -> bytes:
    """Set the image's checksum byte and appended SHA-256 anew."""
    import hashlib
    import struct

    position, total = 24, 0xEF
    for _ in range(content[1]):
        (size,) = struct.unpack_from("<I", content, position + 4)
        for byte in content[position + 8 : position + 8 + size]:
            total ^= byte
        position += 8 + size
    end = position + 16 - position % 16
    body = content[: end - 1] + bytes([total])
    return body + hashlib.sha256(body).digest()
