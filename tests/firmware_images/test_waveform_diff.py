"""What changed between two waveforms, against what was changed on purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from firmware_images.errors import TickError, WaveformError
from firmware_images.waveform import Level, Segment
from firmware_images.waveform_diff import Change, diff_waveforms
from firmware_images.waveform_difference import Difference, find_largest_difference
from firmware_images.waveform_sides import WaveformSide, load_sides, state_table
from firmware_images.waveform_table import serialize_waveform_table
from tests.firmware_images.waveform_builders import (
    E1,
    FLARE,
    build_mode,
    flare_table,
    format_csv,
    levels,
)

SOURCE = (FLARE / "waveforms.toml").read_text()


def compare(one, other):
    return {(c.mode, c.level, c.what): (c.before, c.after) for c in diff_waveforms(one, other)}


def side(*modes, tick_us=100):
    return WaveformSide(tick_us=tick_us, modes=modes)


def level(*segments):
    parts = tuple(Segment(duration_ticks=d, start_na=a, end_na=b) for d, a, b in segments)
    return Level(peak_na=max(max(abs(a), abs(b)) for _, a, b in segments), segments=parts)


@pytest.fixture
def files(tmp_path):
    """The example as written, as compiled, and changed in three places."""
    (tmp_path / "a.toml").write_text(SOURCE)
    (tmp_path / "a.table").write_bytes(serialize_waveform_table(flare_table()))
    changed = SOURCE.replace("{ ms = 30, at = -1 }", "{ ms = 29, at = -1 }")
    changed = changed.replace("200, 250]", "200, 250, 300]").replace("= 240  ", "= 200  ")
    (tmp_path / "b.toml").write_text(changed)
    return tmp_path


def test_a_table_and_its_source_are_the_same(files):
    assert diff_waveforms(*load_sides(files / "a.toml", files / "a.table")) == ()


def test_each_change_is_named_in_numbers(files):
    changes = compare(*load_sides(files / "a.toml", files / "b.toml"))
    assert changes["LIFT", 5, "pulse_net_charge_uc"] == (0, pytest.approx(0.4))
    assert changes["LIFT", 5, "pulse_ms"] == (125, 124)
    assert changes["LIFT", 5, "largest_difference_ua"] == (None, pytest.approx(40))
    assert changes["LIFT", 5, "largest_difference_at_ms"] == (None, 90)
    assert changes["TIGHTEN", 6, "level"] == (None, 300)
    assert changes["TIGHTEN", None, "level_count"] == (5, 6)
    assert changes["INFUSE", None, "session_s"] == (240, 200)
    assert ("LIFT", 5, "peak_ua") not in changes
    assert ("INFUSE", 1, "idc_ua") not in changes


def test_modes_that_come_and_go_are_named():
    one, other = build_mode(E1, name="ONE"), build_mode(E1, name="OTHER")
    assert compare(side(one), side(other)) == {
        ("ONE", None, "mode"): ("1 levels", None),
        ("OTHER", None, "mode"): (None, "1 levels"),
    }


def test_another_order_of_modes_is_named_because_a_device_shows_it():
    one, other = build_mode(E1, name="ONE"), build_mode(E1, name="OTHER")
    assert compare(side(one, other), side(other, one)) == {
        (None, None, "mode_order"): ("ONE, OTHER", "OTHER, ONE")
    }


def test_a_level_that_goes_is_named():
    table = flare_table()
    lift = table.modes[0]
    changes = compare(side(lift), side(replace(lift, levels=lift.levels[:4])))
    assert changes["LIFT", 5, "level"] == (400, None)


def test_a_swapped_polarity_is_named():
    swapped = tuple((d, -a, -b) for d, a, b in E1)
    changes = compare(side(build_mode(E1)), side(build_mode(swapped)))
    assert changes["TRIAL", 1, "first_polarity"] == ("positive", "negative")
    assert changes["TRIAL", 1, "largest_difference_ua"] == (None, -800)


def test_another_tick_alone_changes_nothing():
    assert diff_waveforms(side(build_mode(E1)), side(build_mode(E1, tick_us=50), tick_us=50)) == ()


def test_headers_of_tables_are_compared():
    table = flare_table()
    other = replace(table, clamp_na=500_000, hardware_class="other", policy_version=2)
    changes = compare(state_table(table), state_table(other))
    assert changes == {
        (None, None, "clamp_na"): (600_000, 500_000),
        (None, None, "hardware_class"): ("flare-c3", "other"),
        (None, None, "policy_version"): (1, 2),
    }


def test_a_csv_is_one_pulse_of_a_level_on_either_side(files):
    segments = ((2000, 250, 250), (500, 0, 0), (2000, -240, -240), (28_800, 0, 0))
    (files / "t.csv").write_text(format_csv(segments))
    changes = compare(*load_sides(files / "a.toml", files / "t.csv", mode="TIGHTEN"))
    assert changes["TIGHTEN", 5, "pulse_net_charge_uc"] == (0, pytest.approx(0.02))
    assert changes["TIGHTEN", 5, "largest_difference_ua"] == (None, 10)
    assert all(where[1] == 5 for where in changes)
    changes = compare(*load_sides(files / "t.csv", files / "a.table", mode="TIGHTEN", level=1))
    assert changes["TIGHTEN", 1, "peak_ua"] == (250, 50)
    with pytest.raises(WaveformError, match="not said which mode"):
        load_sides(files / "t.csv", files / "a.toml")
    with pytest.raises(WaveformError, match="no such mode"):
        load_sides(files / "t.csv", files / "a.toml", mode="TINGLE")
    with pytest.raises(WaveformError, match="no such level"):
        load_sides(files / "t.csv", files / "a.toml", mode="TIGHTEN", level=6)
    (files / "off.csv").write_text("0,100\n33,100\n33,0\n100,0\n")
    with pytest.raises(TickError) as caught:
        load_sides(files / "off.csv", files / "a.toml", mode="LIFT")
    assert "waveform import" in (caught.value.hint or "")


def test_a_csv_needs_no_mode_where_the_other_side_has_one(files):
    start = SOURCE.index('[[mode]]\nname = "TIGHTEN"')
    (files / "one.toml").write_text(SOURCE[:start])
    (files / "e1.csv").write_text(format_csv(E1))
    changes = compare(*load_sides(files / "one.toml", files / "e1.csv"))
    assert changes["LIFT", 5, "pulse_ms"] == (125, 10)


def test_two_csv_files_are_compared_by_themselves(files):
    (files / "a.csv").write_text(format_csv(E1))
    (files / "b.csv").write_text(format_csv(E1).replace("-400", "-399.999"))
    assert diff_waveforms(*load_sides(files / "a.csv", files / "a.csv")) == ()
    changes = compare(*load_sides(files / "a.csv", files / "b.csv"))
    assert changes["CSV", 1, "pulse_net_charge_uc"] == (0, pytest.approx(5e-7))


def test_a_change_between_words_has_no_difference():
    assert Change(what="flips", before=True, after=False).difference is None
    assert Change(what="balance", before="a", after="b").difference is None
    assert Change(what="peak_ua", before=1, after=3.5).difference == 2.5


def test_the_largest_difference_is_found_at_either_side_of_a_step():
    one = level((10, 0, 1000), (10, 0, 0))
    other = level((10, 0, 1000), (5, 1000, 0), (5, 0, 0))
    assert find_largest_difference(one, 1, other, 1) == Difference(1000, 10)
    longer = level((10, 0, 1000), (10, 0, 0), (10, 0, -700), (1, 0, 0))
    assert find_largest_difference(one, 1, longer, 1) == Difference(-700, 30)
    assert find_largest_difference(longer, 1, one, 1) == Difference(700, 30)


@given(levels(1000), levels(2000))
def test_the_largest_difference_is_symmetric_and_zero_with_itself(one, other):
    assert find_largest_difference(one, 1, one, 1) == Difference(0, 0)
    there, back = (
        find_largest_difference(one, 1, other, 1),
        find_largest_difference(other, 1, one, 1),
    )
    assert there == (-back.current_na, back.time_us)
    assert 1000 <= abs(there.current_na) <= 3000
