"""CSV waveforms: what is read, what is refused, and what ticks do to them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firmware_images.errors import TickError, WaveformError, WaveformSourceError
from firmware_images.waveform_analysis import analyze_train
from firmware_images.waveform_csv import (
    CSV_BYTES_MAX,
    ROW_COUNT_MAX,
    load_csv_waveform,
    parse_csv_waveform,
)

from .waveform_builders import E1, E3, E5, REJECTED, build_train, format_csv, segments

REFUSED = {
    "comments_in_other_units.csv": ("must name its columns", "line 1"),
    "current_in_words.csv": ("not a number", "line 3, column 2 (i_ua)"),
    "current_not_a_number.csv": ("not a number", "line 3, column 2 (i_ua)"),
    "current_out_of_range.csv": ("out of range", "line 3, column 2 (i_ua)"),
    "decimal_commas.csv": ("two columns", "line 2"),
    "empty.csv": ("two rows", "empty.csv"),
    "header_alone.csv": ("two rows", "header_alone.csv"),
    "header_in_milliseconds.csv": ("nor the header", "line 1, column 1 (t_us)"),
    "period_without_time.csv": ("no time", "line 3, column 1 (t_us)"),
    "remark_behind_a_row.csv": ("not a number", "line 3, column 2 (i_ua)"),
    "row_of_three_columns.csv": ("two columns", "line 3"),
    "semicolons.csv": ("two columns", "line 1"),
    "start_after_zero.csv": ("begin at time 0", "line 2, column 1 (t_us)"),
    "time_falling.csv": ("time falls", "line 4, column 1 (t_us)"),
    "time_three_times.csv": ("repeats twice", "line 5, column 1 (t_us)"),
    "underscore_in_a_number.csv": ("not a number", "line 3, column 1 (t_us)"),
}


def parse(text, where="wave.csv"):
    return parse_csv_waveform(text.encode(), where=where)


def test_the_gallery_is_complete():
    assert {path.name for path in REJECTED.glob("*.csv")} == set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_is_refused_by_line_and_column(name):
    telling, place = REFUSED[name]
    with pytest.raises(WaveformSourceError, match=telling) as caught:
        load_csv_waveform(REJECTED / name)
    assert caught.value.where is not None
    assert name in caught.value.where
    assert place in caught.value.where


@pytest.mark.parametrize("parts", [E1, E3, E5], ids=["E1", "E3", "E5"])
def test_rows_mean_the_same_as_segments(parts):
    figures = analyze_train(parse(format_csv(parts)).to_train(), area_cm2=1)
    assert figures == analyze_train(build_train(parts), area_cm2=1)


@given(parts=segments)
@settings(max_examples=50, deadline=None)
def test_any_segments_come_back_from_rows(parts):
    read = parse(format_csv(parts)).to_train()
    figures = analyze_train(read, area_cm2=1).to_json()
    assert figures.pop("period_s") == pytest.approx(sum(d for d, _, _ in parts) / 1e6)
    assert figures["net_charge_uc"] == pytest.approx(
        sum(d * (a + b) / 2 for d, a, b in parts) / 1e6, abs=1e-9
    )


PLAIN = "t_us,i_ua\n0,400\n500,400\n500,-400\n1000,-400\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("\n", "\r\n"),
        "\ufeff" + PLAIN,
        PLAIN.removeprefix("t_us,i_ua\n"),
        PLAIN.replace(",", " ,\t"),
        PLAIN.replace("t_us,i_ua", "T_us, i_uA"),
        PLAIN.replace("t_us,i_ua", '"t_us","i_ua"').replace("500,400", '"500","400"'),
        "# a biphasic pulse\n" + PLAIN.replace("500,-400", "# the reversal\n500,-400"),
        "# t_us,i_ua\n" + PLAIN.removeprefix("t_us,i_ua\n"),
        PLAIN.replace("500,-400", "\n  \n500,-400") + "\n\n",
        PLAIN.removesuffix("\n"),
    ],
)
def test_the_same_rows_however_a_program_writes_them(text):
    """Ends of lines, mark, blanks, quotes, capitals and comments are not what a file says."""
    expected = [(row.t_us, row.i_ua) for row in parse(PLAIN).rows]
    assert [(row.t_us, row.i_ua) for row in parse(text).rows] == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("t_us;i_ua\n0;1\n", "with a comma"),
        ("t_us\ti_ua\n0\t1\n", "with a comma"),
        ("t_us,i_ua\r0,1\r5,1\r", "LF or CRLF"),
        ("SampleRate=1000\n0.5\n", "waveform import --full-scale-ua"),
        ("t_us,i_ua\n0,1,5\n", "decimal point"),
        ("t_ms,i_ma\n0,1\n", "microseconds, currents microamps"),
        ("t_us,i_mA\n0,1\n", "microseconds, currents microamps"),
        ("# pulse\n0,1\n5,1\n", "microseconds, currents microamps"),
    ],
)
def test_another_form_is_refused_with_what_to_do(text, hint):
    with pytest.raises(WaveformSourceError) as caught:
        parse(text)
    assert hint in (caught.value.hint or "")


def test_a_step_is_a_repeated_time_and_a_ramp_is_not():
    step = parse("t_us,i_ua\n0,0\n500,0\n500,100\n1000,100\n")
    ramp = parse("t_us,i_ua\n0,0\n500,0\n600,100\n1000,100\n")
    assert analyze_train(step.to_train(), area_cm2=1).net_charge_uc == pytest.approx(0.05)
    assert analyze_train(ramp.to_train(), area_cm2=1).net_charge_uc == pytest.approx(0.045)


@pytest.mark.parametrize(
    "text",
    [
        "0,0\n10,1\n",
        "\ufefft_us,i_ua\r\n0,0\r\n10,1\r\n",
        "t_us, i_ua\n0 , 0\n 1e1,\t+1.0",
        "t_us,i_ua\n-0,.0\n10.,1.e0\n",
    ],
    ids=["no header", "mark and CRLF", "spaces", "unusual numbers"],
)
def test_other_ways_to_write_the_same(text):
    assert analyze_train(parse(text).to_train(), area_cm2=1).idc_ua == pytest.approx(0.5)


@given(content=st.binary(max_size=200))
@example(content=b"\xff")
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_raise_only_our_errors(content):
    with suppress(WaveformError):
        parse_csv_waveform(content, where="wave.csv").to_train()


@given(text=st.text(alphabet="0123456789,.-+e\n t_usia", max_size=80))
@settings(max_examples=200, deadline=None)
def test_texts_that_are_nearly_right_raise_only_our_errors(text):
    with suppress(WaveformError):
        waveform = parse(text)
        analyze_train(waveform.to_train(), area_cm2=1)
        waveform.quantise(100)


def test_a_file_is_bounded(tmp_path):
    path = tmp_path / "long.csv"
    path.write_bytes(b"0" * (CSV_BYTES_MAX + 1))
    with pytest.raises(WaveformSourceError, match="too long"):
        load_csv_waveform(path)
    with pytest.raises(WaveformSourceError, match="too many rows"):
        parse("0,0\n" * (ROW_COUNT_MAX + 1))
    with pytest.raises(WaveformSourceError, match="cannot be read"):
        load_csv_waveform(tmp_path / "missing.csv")


def test_ticks_change_nothing_unless_asked_for():
    text = "t_us,i_ua\n0,0\n149,100\n251,100\n400,0\n"
    assert parse(text).to_train().pieces[0].duration_us == 149
    quantised = parse(text).quantise(100)
    assert [piece.duration_us for piece in quantised.train.pieces] == [100, 200, 100]
    assert (quantised.moved_rows, quantised.largest_shift_us) == (2, 49)


def test_currents_are_quantised_to_nanoamps_alike_in_both_polarities():
    quantised = parse("0,0\n100,0.0005\n200,-0.0005\n300,0.0004\n").quantise(100)
    assert [piece.end_na for piece in quantised.train.pieces] == [1, -1, 0]
    assert quantised.moved_rows == 0


def test_a_phase_that_would_vanish_on_the_tick_is_refused():
    with pytest.raises(TickError, match="vanish") as caught:
        parse("t_us,i_ua\n0,400\n50,400\n50,0\n1000,0\n").quantise(250)
    assert "line 3, column 1 (t_us)" in (caught.value.where or "")
    assert caught.value.got == "50 µs"


def test_phases_written_alike_are_exactly_as_long():
    """0.3 - 0.2 is not 0.1 in binary; a balanced pulse must not carry that as charge."""
    rows = b"0,7\n0.1,7\n0.1,0\n0.2,0\n0.2,-7\n0.3,-7\n0.3,0\n10,0\n"
    train = parse_csv_waveform(rows, where="w.csv").to_train()
    assert [piece.duration_us for piece in train.pieces] == [0.1, 0.1, 0.1, 9.7]
    assert sum(piece.charge_na_us for piece in train.pieces) == 0
