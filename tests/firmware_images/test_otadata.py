from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.errors import OtaDataError
from firmware_images.flash_medium import SECTOR_BYTES, MemoryFlash
from firmware_images.otadata import (
    EMPTY_SEQUENCE,
    OTADATA_SIZE_BYTES,
    BootChoice,
    OtaData,
    OtaEntry,
    OtaState,
    begin_boot,
    boot_order,
    initial_otadata,
    make_entry,
    mark_state,
    parse_otadata,
    read_otadata,
    select_boot,
    sequence_crc,
    serialize_entry,
    spoil_rejected_entry,
    switch_slot,
    write_boot,
)
from firmware_images.partitions import Partition
from tests.firmware_images.power_cut import CUTS, CuttableFlash, PowerCutError

GOLDEN = Path(__file__).parents[1] / "golden" / "otadata"
PARTITION = Partition(
    name="otadata", type=1, subtype=0, offset_bytes=0x2000, size_bytes=OTADATA_SIZE_BYTES
)
EMPTY = OtaEntry(sequence=EMPTY_SEQUENCE, state=OtaState.UNDEFINED, crc=EMPTY_SEQUENCE)
CUT_POINTS = [(cut_at, done) for cut_at, done in CUTS if cut_at < 2]


def flash_with(first: OtaEntry = EMPTY, second: OtaEntry = EMPTY, *, flash=None):
    flash = flash or MemoryFlash(0x8000)
    flash.content[0x2000:0x4000] = b"\xff" * OTADATA_SIZE_BYTES
    for index, entry in enumerate((first, second)):
        at = 0x2000 + index * SECTOR_BYTES
        flash.content[at : at + 32] = serialize_entry(entry)
    return flash


def test_the_crc_is_the_one_that_esp_idf_writes():
    """Both constants appear in otadata dumps of any ESP-IDF product after its first updates."""
    assert sequence_crc(1) == 0x4743989A
    assert sequence_crc(2) == 0x55F63774


@pytest.mark.parametrize("slot", [0, 1])
def test_fresh_otadata_is_the_golden_file(slot):
    assert initial_otadata(slot) == (GOLDEN / f"slot{slot}-valid.bin").read_bytes()


def test_fresh_otadata_boots_its_slot():
    for slot in (0, 1):
        choice = select_boot(parse_otadata(initial_otadata(slot)))
        assert choice == BootChoice(slot=slot, entry_index=0, state=OtaState.VALID)


def test_blank_otadata_falls_back_to_slot_0():
    choice = select_boot(parse_otadata(b"\xff" * OTADATA_SIZE_BYTES))
    assert choice == BootChoice(slot=0, entry_index=None, state=OtaState.UNDEFINED)


@pytest.mark.parametrize(
    ("first", "second", "slot", "index"),
    [
        (make_entry(1, OtaState.VALID), make_entry(2, OtaState.NEW), 1, 1),
        (make_entry(3, OtaState.VALID), make_entry(2, OtaState.VALID), 0, 0),
        (make_entry(1, OtaState.VALID), make_entry(2, OtaState.ABORTED), 0, 0),
        (make_entry(1, OtaState.VALID), make_entry(2, OtaState.INVALID), 0, 0),
        (make_entry(5, OtaState.INVALID), make_entry(4, OtaState.VALID), 1, 1),
        (replace(make_entry(9, OtaState.VALID), crc=0), make_entry(2, OtaState.VALID), 1, 1),
        (make_entry(2, OtaState.UNDEFINED), make_entry(2, OtaState.VALID), 1, 0),
        (make_entry(1, OtaState.VALID), EMPTY, 0, 0),
        (EMPTY, make_entry(4, OtaState.PENDING_VERIFY), 1, 1),
        (make_entry(0, OtaState.VALID), EMPTY, 1, 0),
    ],
)
def test_the_intact_entry_with_the_higher_sequence_that_is_not_rejected_wins(
    first, second, slot, index
):
    choice = select_boot(OtaData(entries=(first, second)))
    assert (choice.slot, choice.entry_index) == (slot, index)


def test_two_rejected_entries_fall_back_to_slot_0():
    rejected = OtaData(entries=(make_entry(3, OtaState.INVALID), make_entry(2, OtaState.ABORTED)))
    assert select_boot(rejected).entry_index is None


def test_an_unknown_state_boots_like_undefined():
    entry = replace(make_entry(2, OtaState.VALID), state=77)
    choice = select_boot(OtaData(entries=(EMPTY, entry)))
    assert (choice.slot, choice.state) == (1, OtaState.UNDEFINED)


def test_the_sequence_maps_to_slots_modulo_their_number():
    slots = [
        select_boot(OtaData(entries=(make_entry(n, OtaState.VALID), EMPTY)), 3).slot
        for n in range(1, 8)
    ]
    assert slots == [0, 1, 2, 0, 1, 2, 0]


def test_after_the_chosen_slot_the_bootloader_goes_down_and_then_up():
    choice = BootChoice(slot=2, entry_index=0, state=OtaState.VALID)
    assert boot_order(choice, 4) == (2, 1, 0, 3)
    assert boot_order(replace(choice, slot=0), 2) == (0, 1)


def test_a_new_entry_becomes_pending_and_an_unconfirmed_one_is_aborted_at_the_next_boot():
    flash = flash_with(make_entry(1, OtaState.VALID), make_entry(2, OtaState.NEW))
    first = write_boot(flash, PARTITION)
    assert (first.slot, first.state) == (1, OtaState.PENDING_VERIFY)
    assert read_otadata(flash, PARTITION).entries[1].state == OtaState.PENDING_VERIFY
    second = write_boot(flash, PARTITION)
    assert (second.slot, second.state) == (0, OtaState.VALID)
    assert read_otadata(flash, PARTITION).entries[1].state == OtaState.ABORTED


def test_a_confirmed_entry_stays():
    flash = flash_with(make_entry(1, OtaState.VALID), make_entry(2, OtaState.NEW))
    write_boot(flash, PARTITION)
    mark_state(flash, PARTITION, OtaState.VALID)
    for _ in range(3):
        choice = write_boot(flash, PARTITION)
        assert (choice.slot, choice.state) == (1, OtaState.VALID)


def test_a_rejected_entry_reverts():
    flash = flash_with(make_entry(1, OtaState.VALID), make_entry(2, OtaState.PENDING_VERIFY))
    mark_state(flash, PARTITION, OtaState.INVALID)
    assert write_boot(flash, PARTITION).slot == 0


@pytest.mark.parametrize("rejected", [OtaState.INVALID, OtaState.ABORTED])
@pytest.mark.parametrize("index", [0, 1])
def test_a_rejected_entry_is_spoiled_and_nothing_that_is_left_of_it_boots(rejected, index):
    """Not even when the write is torn, down to any one bit of it."""
    entries = [make_entry(4, OtaState.VALID), make_entry(5, rejected)]
    flash = flash_with(*(entries if index else reversed(entries)))
    crc_offset = 0x2000 + index * SECTOR_BYTES + 28
    before = bytes(flash.content)
    spoil_rejected_entry(flash, PARTITION)
    assert not read_otadata(flash, PARTITION).entries[index].is_intact
    changed = {at for at, (a, b) in enumerate(zip(before, flash.content, strict=True)) if a != b}
    assert changed <= {*range(crc_offset, crc_offset + 4)}
    crc = int.from_bytes(before[crc_offset : crc_offset + 4], "little")
    for bit in range(32):
        for torn in (crc & ~(1 << bit), crc & (1 << bit)):
            flash.content[crc_offset : crc_offset + 4] = torn.to_bytes(4, "little")
            assert select_boot(read_otadata(flash, PARTITION)).entry_index == 1 - index


def test_only_a_rejected_entry_beside_one_that_boots_is_spoiled():
    for first, second in (
        (make_entry(1, OtaState.VALID), make_entry(2, OtaState.VALID)),
        (make_entry(1, OtaState.VALID), EMPTY),
        (make_entry(3, OtaState.INVALID), make_entry(2, OtaState.ABORTED)),
    ):
        flash = flash_with(first, second)
        before = bytes(flash.content)
        spoil_rejected_entry(flash, PARTITION)
        assert bytes(flash.content) == before


def test_a_flash_that_keeps_a_rejected_entry_is_noticed():
    flash = flash_with(make_entry(1, OtaState.VALID), make_entry(2, OtaState.INVALID))
    flash.write = lambda *_: None
    with pytest.raises(OtaDataError, match="did not give up a rejected"):
        spoil_rejected_entry(flash, PARTITION)


def test_marking_the_same_state_does_not_write():
    flash = flash_with(make_entry(1, OtaState.VALID), flash=CuttableFlash(0x8000, cut_at=0))
    mark_state(flash, PARTITION, OtaState.VALID)
    assert flash.operations == 0


def test_marking_a_named_entry_leaves_the_active_one():
    flash = flash_with(make_entry(3, OtaState.VALID), make_entry(2, OtaState.VALID))
    after = mark_state(flash, PARTITION, OtaState.INVALID, entry_index=1)
    assert [entry.state for entry in after.entries] == [OtaState.VALID, OtaState.INVALID]


def test_nothing_to_mark_is_refused():
    flash = flash_with()
    before = bytes(flash.content)
    with pytest.raises(OtaDataError, match="no entry whose state"):
        mark_state(flash, PARTITION, OtaState.VALID)
    with pytest.raises(OtaDataError, match="no entry whose state"):
        mark_state(flash, PARTITION, OtaState.VALID, entry_index=1)
    assert flash.content == before


def test_a_switch_writes_only_the_other_entry():
    flash = flash_with(make_entry(7, OtaState.VALID), make_entry(6, OtaState.VALID))
    before = bytes(flash.content[0x2000:0x3000])
    after = switch_slot(flash, PARTITION, 1)
    assert flash.content[0x2000:0x3000] == before
    assert after.entries[1] == make_entry(8, OtaState.NEW)
    assert select_boot(after).slot == 1


@given(sequence=st.integers(1, 50), slot_count=st.integers(1, 16), slot=st.integers(0, 15))
def test_a_switch_always_selects_its_slot_with_a_higher_sequence(sequence, slot_count, slot):
    slot %= slot_count
    flash = flash_with(make_entry(sequence, OtaState.VALID))
    after = switch_slot(flash, PARTITION, slot, slot_count=slot_count)
    choice = select_boot(after, slot_count)
    assert (choice.slot, choice.entry_index) == (slot, 1)
    assert sequence < after.entries[1].sequence <= sequence + slot_count


def test_a_switch_on_blank_or_rejected_otadata_writes_a_first_entry():
    assert select_boot(switch_slot(flash_with(), PARTITION, 1)).slot == 1
    rejected = flash_with(make_entry(1, OtaState.ABORTED), EMPTY)
    after = switch_slot(rejected, PARTITION, 1)
    assert after.entries[0] == make_entry(1, OtaState.ABORTED)
    assert select_boot(after).slot == 1


@pytest.mark.parametrize(("cut_at", "done_bytes"), CUT_POINTS)
@pytest.mark.parametrize("active", [0, 1])
def test_a_power_cut_while_switching_boots_the_old_slot_or_the_new_one(cut_at, done_bytes, active):
    old = make_entry(4 + active, OtaState.VALID)
    stale = make_entry(3 + active, OtaState.VALID)
    flash = flash_with(
        *((old, stale) if active == 0 else (stale, old)),
        flash=CuttableFlash(0x8000, cut_at=cut_at, done_bytes=done_bytes),
    )
    old_slot = select_boot(read_otadata(flash, PARTITION)).slot
    with pytest.raises(PowerCutError):
        switch_slot(flash, PARTITION, 1 - old_slot)
    choice = select_boot(read_otadata(flash, PARTITION))
    assert choice.entry_index is not None
    assert choice.slot in {old_slot, 1 - old_slot}
    if done_bytes < 4 or cut_at == 0:
        assert choice.slot == old_slot


@pytest.mark.parametrize(("cut_at", "done_bytes"), CUT_POINTS)
def test_a_power_cut_while_confirming_keeps_a_bootable_entry(cut_at, done_bytes):
    flash = flash_with(
        make_entry(1, OtaState.VALID),
        make_entry(2, OtaState.PENDING_VERIFY),
        flash=CuttableFlash(0x8000, cut_at=cut_at, done_bytes=done_bytes),
    )
    with pytest.raises(PowerCutError):
        mark_state(flash, PARTITION, OtaState.VALID)
    flash.cut_at = None
    assert write_boot(flash, PARTITION).entry_index is not None


@pytest.mark.parametrize("slot", [-1, 2])
def test_a_switch_to_no_slot_is_refused(slot):
    flash = flash_with(make_entry(1, OtaState.VALID))
    before = bytes(flash.content)
    with pytest.raises(OtaDataError, match="no such app slot"):
        switch_slot(flash, PARTITION, slot)
    assert flash.content == before


def test_a_used_up_sequence_is_refused():
    flash = flash_with(make_entry(0xFFFFFFFE, OtaState.VALID))
    before = bytes(flash.content)
    with pytest.raises(OtaDataError, match="no sequence number left"):
        switch_slot(flash, PARTITION, 0)
    assert flash.content == before


def test_a_flash_that_does_not_keep_the_entry_is_named():
    class Worn(MemoryFlash):
        def erase(self, offset_bytes: int, size_bytes: int) -> None:
            """A worn sector keeps its old bits."""

    flash = flash_with(
        make_entry(1, OtaState.VALID), make_entry(0, OtaState.NEW), flash=Worn(0x8000)
    )
    with pytest.raises(OtaDataError, match="did not keep"):
        switch_slot(flash, PARTITION, 1)


@pytest.mark.parametrize("size_bytes", [0, OTADATA_SIZE_BYTES - 1, OTADATA_SIZE_BYTES + 1])
def test_otadata_of_another_size_is_refused(size_bytes):
    with pytest.raises(OtaDataError, match="wrong size"):
        parse_otadata(bytes(size_bytes))


@given(first=st.binary(min_size=32, max_size=32), second=st.binary(min_size=32, max_size=32))
def test_any_content_is_parsed_and_a_boot_always_has_a_choice(first, second):
    content = first.ljust(SECTOR_BYTES, b"\xff") + second.ljust(SECTOR_BYTES, b"\xff")
    otadata = parse_otadata(content)
    assert [serialize_entry(entry) for entry in otadata.entries] == [first, second]
    after, choice = begin_boot(otadata)
    assert choice.slot in {0, 1}
    if choice.entry_index is not None:
        chosen = after.entries[choice.entry_index]
        assert chosen.is_selectable
        assert chosen.state != OtaState.NEW
