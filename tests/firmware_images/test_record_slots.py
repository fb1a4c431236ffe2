from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.errors import RecordError
from firmware_images.flash_medium import SECTOR_BYTES, MemoryFlash
from firmware_images.record_slots import (
    GENERATION_MAX,
    PAYLOAD_MAX_BYTES,
    Record,
    RecordSlots,
    parse_sector,
    serialize_record,
)
from tests.firmware_images.power_cut import CUTS, CuttableFlash, PowerCutError

GOLDEN = Path(__file__).parents[1] / "golden" / "records"
OFFSET = 0x2000


def new_slots(flash: MemoryFlash | None = None) -> RecordSlots:
    return RecordSlots(flash or MemoryFlash(0x6000), OFFSET, name="test record")


def test_a_record_is_the_golden_bytes():
    assert serialize_record(b"payload", generation=3) == (GOLDEN / "record.bin").read_bytes()


def test_an_erased_flash_has_no_record():
    assert new_slots().load() is None


def test_saves_alternate_between_the_two_sectors_and_the_newest_counts():
    slots = new_slots()
    written = [slots.save(f"payload {number}".encode()) for number in range(3)]
    assert [(record.generation, record.slot) for record in written] == [(1, 0), (2, 1), (3, 0)]
    assert slots.load() == Record(generation=3, payload=b"payload 2", slot=0)


def test_a_save_leaves_the_record_before_it_and_the_neighbours_alone():
    flash = MemoryFlash(0x6000)
    flash.write(0, bytes(OFFSET))
    slots = new_slots(flash)
    slots.save(b"old")
    before = flash.read(OFFSET, SECTOR_BYTES)
    slots.save(b"new")
    assert flash.read(OFFSET, SECTOR_BYTES) == before
    assert flash.read(0, OFFSET) == bytes(OFFSET)
    assert flash.read(OFFSET + 2 * SECTOR_BYTES, 0x2000) == b"\xff" * 0x2000


@pytest.mark.parametrize("saved_before", [0, 1, 2, 3])
@pytest.mark.parametrize(("cut_at", "done_bytes"), CUTS)
def test_a_power_cut_at_any_moment_leaves_the_old_record_or_the_new_one(
    saved_before, cut_at, done_bytes
):
    flash = CuttableFlash(0x6000)
    slots = new_slots(flash)
    for number in range(saved_before):
        slots.save(f"record {number}".encode())
    old = slots.load()
    flash.operations, flash.cut_at, flash.done_bytes = 0, cut_at, done_bytes
    with pytest.raises(PowerCutError):
        slots.save(b"the new record, longer than thirty bytes")
    found = slots.load()
    if found != old:
        assert found is not None
        assert found.payload == b"the new record, longer than thirty bytes"
    flash.cut_at = None
    assert slots.save(b"after the cut").payload == b"after the cut"


def test_a_damaged_newer_copy_falls_back_to_the_older_one():
    flash = MemoryFlash(0x6000)
    slots = new_slots(flash)
    slots.save(b"old")
    slots.save(b"new")
    flash.write(OFFSET + SECTOR_BYTES + 17, b"\x00")
    assert slots.load() == Record(generation=1, payload=b"old", slot=0)


def test_two_damaged_copies_are_an_error_and_nothing_is_written_over_them():
    flash = MemoryFlash(0x6000)
    flash.write(OFFSET, b"foreign")
    flash.write(OFFSET + SECTOR_BYTES, b"foreign")
    before = bytes(flash.content)
    slots = new_slots(flash)
    with pytest.raises(RecordError, match="both copies of the test record are damaged"):
        slots.load()
    with pytest.raises(RecordError, match="both copies"):
        slots.save(b"new")
    assert flash.content == before
    slots.erase()
    assert slots.load() is None


def test_two_copies_of_one_generation_are_an_error():
    flash = MemoryFlash(0x6000)
    flash.write(OFFSET, serialize_record(b"one", generation=5))
    flash.write(OFFSET + SECTOR_BYTES, serialize_record(b"two", generation=5))
    with pytest.raises(RecordError, match="same generation"):
        new_slots(flash).load()


def test_a_record_that_does_not_fit_is_refused_and_changes_nothing():
    flash = MemoryFlash(0x6000)
    slots = new_slots(flash)
    slots.save(b"old")
    before = bytes(flash.content)
    with pytest.raises(RecordError, match="does not fit"):
        slots.save(bytes(PAYLOAD_MAX_BYTES + 1))
    assert flash.content == before
    assert len(slots.save(bytes(PAYLOAD_MAX_BYTES)).payload) == PAYLOAD_MAX_BYTES


def test_a_used_up_generation_is_refused():
    flash = MemoryFlash(0x6000)
    flash.write(OFFSET, serialize_record(b"last", generation=GENERATION_MAX))
    with pytest.raises(RecordError, match="generation is out of range"):
        new_slots(flash).save(b"more")


def test_a_dead_sector_is_noticed_by_reading_back():
    class DeadSector(MemoryFlash):
        def write(self, offset_bytes: int, content: bytes) -> None:
            """Nothing sticks."""

    with pytest.raises(RecordError, match="did not keep the test record"):
        new_slots(DeadSector(0x6000)).save(b"payload")


@given(payload=st.binary(max_size=300), generation=st.integers(1, GENERATION_MAX))
def test_a_record_survives_its_sector(payload, generation):
    sector = serialize_record(payload, generation=generation).ljust(SECTOR_BYTES, b"\xff")
    assert parse_sector(sector, slot=1) == Record(generation=generation, payload=payload, slot=1)


@given(payload=st.binary(max_size=40), data=st.data())
def test_any_flipped_bit_of_a_record_is_noticed(payload, data):
    content = bytearray(serialize_record(payload, generation=7))
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    assert parse_sector(bytes(content), slot=0) is None


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_no_record(content):
    assert parse_sector(content, slot=0) is None
    assert parse_sector(b"AFR1" + content, slot=0) is None
