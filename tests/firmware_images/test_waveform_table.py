"""The waveform table and the waveform slot: golden bytes, round trips, damage."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firmware_images.errors import TickError, WaveformError, WaveformTableError
from firmware_images.limits import load_limits
from firmware_images.waveform import Balance, Level, Mode, Regulation, Segment, WaveformTable
from firmware_images.waveform_slot import (
    APPROVAL_BYTES_MAX,
    SLOT_BYTES,
    parse_waveform_slot,
    serialize_waveform_slot,
)
from firmware_images.waveform_table import (
    TABLE_BYTES_MAX,
    parse_waveform_table,
    serialize_waveform_table,
    table_digest,
)

from .rejected_tables import TABLE, patch, reseal
from .waveform_builders import (
    E1,
    GOLDEN,
    ROOT,
    build_mode,
    build_table,
    flare_policy,
    flare_table,
    tables,
)


def golden_table() -> WaveformTable:
    policy = load_limits(GOLDEN / "policy.toml")
    parts = ((20, 50_000), (5, 0), (20, -50_000), (288, 0))
    level = Level(
        peak_na=50_000,
        segments=tuple(Segment(duration_ticks=d, start_na=i, end_na=i) for d, i in parts),
    )
    mode = Mode(
        name="TIGHTEN",
        balance=Balance.BALANCED,
        regulation=Regulation.CURRENT,
        levels=(level,),
        pulses_per_burst=60,
        burst_off_ticks=9990,
        flips_each_burst=True,
        session_ticks=3_000_000,
        soft_start_pulses=90,
        soft_stop_pulses=30,
    )
    return build_table(policy, mode)


def test_the_golden_table_is_written_and_read():
    assert serialize_waveform_table(golden_table()) == TABLE
    assert parse_waveform_table(TABLE) == golden_table()


def test_the_golden_table_is_what_struct_and_hashlib_make_of_the_specification():
    header = struct.pack(
        "<4sHHIIIIII32s32sH6x",
        b"AFWT",
        1,
        104,
        232,
        100,
        600_000,
        12_000_000,
        50,
        1,
        golden_table().policy_digest,
        b"flare-c3",
        1,
    )
    mode = struct.pack("<16s4BIIIII", b"TIGHTEN", 0, 0, 1, 1, 60, 9990, 3_000_000, 90, 30)
    level = struct.pack("<IHH", 50_000, 4, 0)
    parts = ((20, 50_000), (5, 0), (20, -50_000), (288, 0))
    segments = b"".join(struct.pack("<Iii", d, i, i) for d, i in parts)
    assert reseal(header + mode + level + segments) == TABLE
    assert table_digest(TABLE) == hashlib.sha256(TABLE).digest()


def test_the_example_product_s_table_round_trips():
    assert parse_waveform_table(serialize_waveform_table(flare_table())) == flare_table()


@given(table=tables())
@settings(max_examples=60, deadline=None)
def test_any_table_round_trips(table):
    assert parse_waveform_table(serialize_waveform_table(table)) == table


@given(content=st.binary(max_size=400))
@example(content=b"")
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_raise_only_our_error(content):
    with pytest.raises(WaveformTableError):
        parse_waveform_table(content)
    with pytest.raises(WaveformTableError):
        parse_waveform_slot(content)


@given(offset=st.integers(0, len(TABLE) - 33), replacement=st.binary(min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_resealed_changes_are_refused_or_read_back_exactly(offset, replacement):
    changed = patch(offset, replacement)[: len(TABLE) + 4]
    try:
        table = parse_waveform_table(changed)
    except WaveformTableError:
        return
    assert serialize_waveform_table(table) == changed


@pytest.mark.parametrize("index", range(0, len(TABLE), 7))
def test_a_flipped_bit_is_refused(index):
    damaged = bytearray(TABLE)
    damaged[index] ^= 0x10
    with pytest.raises(WaveformTableError):
        parse_waveform_table(bytes(damaged), where="slot 1")


def test_a_table_that_fits_no_slot_is_not_written():
    level = Level(
        peak_na=1000,
        segments=tuple(Segment(duration_ticks=1, start_na=1000, end_na=0) for _ in range(4096)),
    )
    mode = replace(build_mode(E1), levels=(level,))
    table = build_table(flare_policy(), mode, replace(mode, name="OTHER"))
    with pytest.raises(WaveformTableError, match="does not fit") as caught:
        serialize_waveform_table(table)
    assert str(TABLE_BYTES_MAX) in (caught.value.expected or "")


def test_levels_must_rise_and_pulses_end_at_zero():
    mode = build_mode(E1)
    with pytest.raises(TickError, match="rise strictly"):
        replace(mode, levels=mode.levels * 2)
    with pytest.raises(TickError, match="last sample"):
        build_mode(((100, 400, 400),))


def test_two_modes_of_one_name_and_an_unknown_mode_are_refused():
    mode = build_mode(E1)
    with pytest.raises(WaveformError, match="one name"):
        build_table(flare_policy(), mode, mode)
    with pytest.raises(WaveformError, match="no such mode"):
        flare_table().mode("TINGLE")


def test_a_repeat_period_too_long_to_unroll_is_refused():
    with pytest.raises(WaveformError, match="repeat period"):
        build_mode(E1, pulses_per_burst=20_000)


def test_a_slot_holds_a_table_and_its_approval():
    approval = (GOLDEN / "tighten.approval.cose").read_bytes()
    slot = (GOLDEN / "tighten.slot").read_bytes()
    assert serialize_waveform_slot(TABLE, approval) == slot
    assert parse_waveform_slot(slot) == (TABLE, approval)
    assert parse_waveform_slot(slot.ljust(SLOT_BYTES, b"\xff")) == (TABLE, approval)


@given(table=st.binary(min_size=1, max_size=300), approval=st.binary(min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_a_slot_round_trips(table, approval):
    assert parse_waveform_slot(serialize_waveform_slot(table, approval)) == (table, approval)


@pytest.mark.parametrize(
    ("table", "approval"), [(b"", b"a"), (b"t", b""), (b"t", bytes(APPROVAL_BYTES_MAX + 1))]
)
def test_a_slot_is_not_written_from_parts_that_do_not_fit(table, approval):
    with pytest.raises(WaveformTableError, match="does not fit"):
        serialize_waveform_slot(table, approval)


def test_the_specification_prints_the_golden_table():
    text = (ROOT / "docs" / "spec" / "waveform-table.md").read_text()
    block = text.partition("## 11. ")[2].partition("```\n")[2].partition("```")[0]
    printed = b"".join(bytes.fromhex(line[6:53]) for line in block.splitlines())
    assert printed == TABLE
    assert hashlib.sha256(TABLE).hexdigest() in text
