"""CSV in and out: exact both ways, and honest about what had to move."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.errors import TickError, WaveformError, WaveformSourceError
from firmware_images.waveform import Segment
from firmware_images.waveform_csv import parse_csv_waveform
from firmware_images.waveform_export import build_segments
from firmware_images.waveform_instrument import parse_instrument_csv
from firmware_images.waveform_shape import build_csv_shape, build_level
from firmware_images.waveform_sides import find_level
from firmware_images.waveform_train import build_repeat_period
from firmware_images.waveform_transfer import import_waveform, serialize_csv
from tests.firmware_images.waveform_builders import FLARE, flare_table, levels

INSTRUMENT = "SampleRate=10000\nSetConfig=true\nY1\n1\n1.0\n0\n-1\n-1e0\n0\n"


def segment(ticks, start_na, end_na=None):
    return Segment(
        duration_ticks=ticks, start_na=start_na, end_na=start_na if end_na is None else end_na
    )


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        path = tmp_path / "w.csv"
        path.write_text(text)
        return import_waveform(path, **options)

    return read


@given(st.integers(1, 10**6).flatmap(levels), st.integers(1, 1000))
def test_a_level_goes_out_and_comes_back_tick_for_tick(level, tick_us):
    if level.pulse_ticks * tick_us > 86_400_000_000:
        return
    content = serialize_csv(level.segments, tick_us, where="w")
    waveform = parse_csv_waveform(content, where="w")
    back = build_level(
        build_csv_shape(waveform), peak_ua=waveform.peak_ua, tick_us=tick_us, where="w"
    )
    assert back == level


def test_importing_what_was_exported_changes_no_byte(tmp_path):
    for mode in flare_table().modes:
        for level in mode.levels:
            content = serialize_csv(level.segments, 100, where="w")
            (tmp_path / "w.csv").write_bytes(content)
            for tick_us in (None, 100):
                imported = import_waveform(tmp_path / "w.csv", tick_us=tick_us)
                assert (imported.moved_rows, imported.largest_rounding_na) == (0, 0)
                assert serialize_csv(imported.segments, imported.tick_us, where="w") == content


def test_the_whole_period_goes_out_with_rest_and_reversal():
    tighten = flare_table().modes[1]
    level = tighten.levels[0]
    assert build_segments(tighten, level, with_rest=False, with_reversal=True) == level.segments
    burst = build_segments(tighten, level, with_rest=True, with_reversal=False)
    assert burst[-1] == segment(9990, 0)
    period = build_segments(tighten, level, with_rest=True, with_reversal=True)
    assert len(period) == 2 * len(burst)
    train = build_repeat_period(tighten, level, 100)
    assert [(s.duration_ticks * 100, s.start_na, s.end_na) for s in period] == list(train.pieces)


def test_samples_are_held_and_equal_neighbours_are_one_segment(read):
    imported = read(INSTRUMENT, full_scale_ua=Decimal(400))
    assert imported.segments == (
        segment(200, 400_000),
        segment(100, 0),
        segment(200, -400_000),
        segment(100, 0),
    )
    assert (imported.tick_us, imported.row_count, imported.moved_rows) == (1, 6, 0)
    assert (imported.peak_na, imported.period_us) == (400_000, 600)
    on_ticks = read(INSTRUMENT, full_scale_ua=Decimal(400), tick_us=100)
    assert [s.duration_ticks for s in on_ticks.segments] == [2, 1, 2, 1]


def test_what_moves_and_what_is_rounded_is_stated(read):
    text = "SampleRate=3000\n1\n0.3333333\n0\n"
    with pytest.raises(TickError, match="not a whole number of microseconds"):
        read(text, full_scale_ua=Decimal(1))
    imported = read(text, full_scale_ua=Decimal(1), tick_us=100)
    assert [s.duration_ticks for s in imported.segments] == [3, 4, 3]
    assert imported.moved_rows == 2  # 333⅓ and 666⅔; 0 and 1000 are on a tick
    assert imported.largest_shift_us == pytest.approx(100 / 3)
    assert imported.largest_rounding_na == pytest.approx(0.3333)
    rows = read("0,0.0004\n149,100\n300,0\n", tick_us=100)
    assert (rows.moved_rows, rows.largest_shift_us) == (1, 49)
    assert rows.largest_rounding_na == pytest.approx(0.4)
    assert rows.segments == (segment(1, 0, 100_000), segment(2, 100_000, 0))
    with pytest.raises(TickError, match="not a whole number of microseconds"):
        read("0,0\n1.5,100\n3,0\n")


def test_samples_that_would_vanish_are_refused(read):
    with pytest.raises(TickError, match="vanish"):
        read(INSTRUMENT, full_scale_ua=Decimal(1), tick_us=300)


def test_a_full_scale_belongs_to_samples_alone(read):
    with pytest.raises(WaveformSourceError, match="need a full scale"):
        read(INSTRUMENT)
    with pytest.raises(WaveformSourceError, match="need a full scale"):
        read(INSTRUMENT, full_scale_ua=Decimal(0))
    with pytest.raises(WaveformSourceError, match="no full scale"):
        read("0,0\n10,1\n", full_scale_ua=Decimal(400))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SampleRate=fast\n1\n", "sample rate is out of range"),
        ("SampleRate=0\n1\n", "sample rate is out of range"),
        ("SampleRate=1e9\n1\n", "sample rate is out of range"),
        ("SampleRate=10\nSampleRate=20\n1\n", "given twice"),
        ("CarrierFrequencyIntegral=1000\nSampleRate=10\n1\n", "parameter is not understood"),
        ("SampleRate==10\n1\n", "parameter is not understood"),
        ("SetConfig=true\n1\n", "states no sample rate"),
        ("SampleRate=10\n", "holds no samples"),
        ("SampleRate=10\n1.5\n", "not a normalised sample"),
        ("SampleRate=10\n1\nNaN\n", "not a normalised sample"),
        ("SampleRate=10\n1\n\n0\n", "not a normalised sample"),
        ("SampleRate=10\n1,1\n", "must hold one sample"),
        ("SampleRate=10\n1\n1,0,0\n", "must hold one sample"),
        ("SampleRate=10\nY1,Y2\n1,1\n", "not those of one channel"),
        ("SampleRate=10\n" + "0\n" * 100_000, "too many rows"),
    ],
)
def test_what_is_not_one_channel_of_samples_is_refused(text, message):
    with pytest.raises(WaveformSourceError, match=message) as caught:
        parse_instrument_csv(text.encode(), where="awg.csv")
    assert (caught.value.where or "").startswith("awg.csv")


def test_empty_lines_around_the_samples_are_nothing(read):
    framed = INSTRUMENT.replace("\n", "\n\n", 1) + "\n \n"
    assert framed.count("\n") > INSTRUMENT.count("\n") + 2
    assert read(framed, full_scale_ua=Decimal(1)) == read(INSTRUMENT, full_scale_ua=Decimal(1))


def test_markers_are_left_out_and_said_so():
    text = "SampleRate=10\r\nY1,SampleMarker1,SyncMarker1\r\n0.5,1,0\r\n0,0,0\r\n"
    waveform = parse_instrument_csv(text.encode(), where="w")
    assert [sample.value for sample in waveform.samples] == [Decimal("0.5"), 0]
    assert waveform.has_markers
    assert not parse_instrument_csv(INSTRUMENT.encode(), where="w").has_markers


@given(st.binary(max_size=80).map(lambda tail: b"SampleRate=10\n" + tail) | st.binary(max_size=80))
def test_arbitrary_bytes_raise_only_our_errors(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "arbitrary.csv"
    path.write_bytes(content)
    for full_scale_ua in (None, Decimal(400)):
        try:
            imported = import_waveform(path, full_scale_ua=full_scale_ua, tick_us=10)
        except WaveformError:
            continue
        assert imported.segments


@given(
    st.lists(st.decimals(-1, 1, places=3), min_size=1, max_size=30),
    st.sampled_from([1000, 2500, 10_000, 44_100]),
)
def test_samples_go_out_as_rows_and_come_back(tmp_path_factory, samples, rate_hz):
    path = tmp_path_factory.getbasetemp() / "samples.csv"
    path.write_text(f"SampleRate={rate_hz}\n" + "".join(f"{sample}\n" for sample in samples))
    imported = import_waveform(path, full_scale_ua=Decimal(400), tick_us=10)
    path.write_bytes(serialize_csv(imported.segments, 10, where="w"))
    assert import_waveform(path, tick_us=10).segments == imported.segments
    assert all(a.end_na != b.start_na for a, b in pairwise(imported.segments))


def test_what_no_reader_takes_is_not_written():
    with pytest.raises(WaveformSourceError, match="too many microseconds"):
        serialize_csv([segment(10**6, 1)], 10**6, where="w")
    with pytest.raises(WaveformSourceError, match="too many rows"):
        serialize_csv([segment(1, i % 7) for i in range(300_000)], 1, where="w")


def test_a_level_is_found_by_mode_and_number(tmp_path):
    side, mode, number = find_level(FLARE / "waveforms.toml", mode="TIGHTEN", level=None)
    assert (side.tick_us, mode.levels[0].peak_na, number) == (100, 250_000, 5)
    with pytest.raises(WaveformError, match="not said which mode"):
        find_level(FLARE / "waveforms.toml", mode=None, level=1)
    with pytest.raises(WaveformError, match="no modes and levels"):
        find_level(tmp_path / "w.csv", mode=None, level=1)
