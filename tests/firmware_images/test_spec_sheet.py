"""The output specification: each figure against arithmetic done by hand, and both forms."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from firmware_images.errors import WaveformError
from firmware_images.spec_sheet import OutputStage, build_spec_sheet
from firmware_images.spec_sheet_text import format_spec_sheet_html, format_spec_sheet_markdown
from firmware_images.waveform import Balance, Regulation
from firmware_images.waveform_words import describe_output, describe_shape
from tests.firmware_images.waveform_builders import (
    E1,
    E3,
    E5,
    build_mode,
    build_table,
    change_policy,
    flare_policy,
    flare_table,
    name_mode,
)

IDEAL = OutputStage(compliance_v=11.4, source_resistance_ohm=1000)
DIGEST = bytes(range(32))


def build_sheet(*modes, stage=IDEAL, area="1.0"):
    policy = change_policy(
        flare_policy(), CONTACT_AREA=area, modes=name_mode("TRIAL", Balance.BALANCED)
    )
    return build_spec_sheet(build_table(policy, *modes), DIGEST, policy, stage)


def test_figures_of_the_worked_trapezoid():
    (mode,) = build_sheet(build_mode(E3)).modes
    assert mode.waveform == "biphasic symmetric trapezoid"
    assert mode.phase_charge_uc == pytest.approx(16)
    assert mode.net_charge_uc == 0
    assert mode.iavg_ua == pytest.approx(256)
    assert mode.jrms_ma_cm2 == pytest.approx(0.30637667447575623)
    assert mode.power_density_w_cm2 == pytest.approx(4.693333333333333e-05)
    assert (mode.pulse_duration_us, mode.phase_duration_us) == (100_000, 50_000)
    assert (mode.pulse_period_us, mode.frequency_hz) == (125_000, 8)


def test_a_gap_between_phases_belongs_to_the_pulse_and_a_rest_does_not():
    (mode,) = build_sheet(build_mode(E1)).modes
    assert (mode.pulse_duration_us, mode.phase_duration_us) == (1100, 500)
    assert mode.frequency_hz == 100


def test_a_current_source_loses_to_its_impedance_and_stops_at_its_compliance():
    stage = replace(IDEAL, output_impedance_ohm=90_000, compliance_v=3.0)
    (mode,) = build_sheet(build_mode(E3), stage=stage).modes
    at_500, at_2k, at_10k = mode.outputs
    assert at_500.current_ua == pytest.approx(400 * 90_000 / 90_500)
    assert at_2k.current_ua == pytest.approx(400 * 90_000 / 92_000)
    assert at_2k.voltage_v == pytest.approx(at_2k.current_ua * 2e-3)
    assert at_10k.current_ua == pytest.approx(300)  # 3 V into 10 kΩ; 360 µA without compliance
    assert at_10k.voltage_v == pytest.approx(3)
    assert mode.phase_charge_uc == pytest.approx(16 * 90_000 / 90_500)


def test_a_voltage_source_holds_its_voltage_behind_its_resistance():
    mode = build_mode(E3, regulation=Regulation.VOLTAGE)
    (column,) = build_sheet(mode, stage=replace(IDEAL, output_impedance_ohm=1)).modes
    # 400 µA into 500 Ω + 1000 Ω: V0 = 0.6 V
    assert [point.current_ua for point in column.outputs] == pytest.approx(
        [400, 0.6e6 / 3000, 0.6e6 / 11_000]
    )
    assert column.phase_charge_uc == pytest.approx(16)
    assert "voltage-regulated" in column.output_modes


def test_bursts_are_stated_both_ways():
    mode = build_mode(E1, pulses_per_burst=100, burst_off_ticks=30_000)
    (column,) = build_sheet(mode).modes
    assert column.iavg_burst_ua == pytest.approx(40)
    assert column.iavg_ua == pytest.approx(10)
    assert column.jrms_burst_ma_cm2 == pytest.approx(0.12649110640673517)
    assert column.jrms_ma_cm2 == pytest.approx(0.12649110640673517 / 2)
    assert column.power_density_burst_w_cm2 == pytest.approx(8e-6)
    text = format_spec_sheet_markdown(build_sheet(mode))
    assert "0.04 mA inside bursts, 0.01 mA over the whole cycle" in text


def test_a_stage_that_saturates_at_500_ohm_is_refused():
    with pytest.raises(WaveformError, match="cannot drive the peak into 500 Ω"):
        build_sheet(build_mode(E3), stage=replace(IDEAL, compliance_v=0.1))


@pytest.mark.parametrize("change", [{"output_impedance_ohm": 0}, {"impedance_monitoring": " "}])
def test_an_output_stage_out_of_range_is_refused(change):
    with pytest.raises(WaveformError):
        replace(IDEAL, **change)


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        (E1, "biphasic symmetric rectangle"),
        (E5, "monophasic trapezoid"),
        (((100, 0, 400), (100, 400, 0)), "monophasic triangle"),
        (((100, 200, 200), (100, 400, 400), (100, 0, 0)), "monophasic staircase"),
        (
            ((100, 400, 400), (100, 0, 0), (100, 300, 300), (100, 0, 0)),
            "monophasic rectangle, 2 phases a pulse",
        ),
        (((100, 400, 400), (200, -200, -200), (100, 0, 0)), "biphasic asymmetric rectangle"),
        (
            ((100, 0, 400), (200, 400, -400), (100, -400, 0)),
            "biphasic piecewise linear in 3 pieces",
        ),
        (
            ((100, 0, 100), (100, 100, 400), (100, 400, 0)),
            "monophasic piecewise linear in 3 pieces",
        ),
        (
            ((100, 400, 400), (100, -400, -400)) * 2 + ((100, 0, 0),),
            "biphasic symmetric rectangle, 4 phases a pulse",
        ),
    ],
)
def test_the_words_for_a_shape(segments, words):
    assert describe_shape(build_mode(segments).levels[0]) == words


def test_the_words_for_a_repetition():
    mode = build_mode(E1, flips_each_burst=True)
    assert describe_output(mode, mode.levels[0], 100) == (
        "continuous, polarity reverses every 0.01 s (1 pulse), current-regulated"
    )


def test_the_sheet_of_flare_has_a_column_per_mode_and_names_table_and_policy():
    sheet = build_spec_sheet(flare_table(), DIGEST, flare_policy(), IDEAL)
    text = format_spec_sheet_markdown(sheet)
    assert "|  | LIFT | TIGHTEN | INFUSE |" in text
    assert "| Net charge per pulse at 500 Ω | 0 µC | 0 µC | 11600 µC |" in text
    assert "| Maximum output voltage at 10,000 Ω | 4 V | 2.5 V | 2 V |" in text
    assert DIGEST.hex() in text
    assert flare_policy().digest.hex() in text
    assert format_spec_sheet_markdown(sheet) == text


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag, attrs):  # noqa: ARG002 - HTMLParser's own signature
        self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        while self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


def test_html_says_what_markdown_says_and_a_makers_words_stay_words():
    stage = replace(IDEAL, impedance_monitoring="<b>stops | above</b> 50 kΩ")
    sheet = build_spec_sheet(flare_table(), DIGEST, flare_policy(), stage)
    html = format_spec_sheet_html(sheet)
    parser = _Cells()
    parser.feed(html)
    rows = [line for line in format_spec_sheet_markdown(sheet).splitlines() if line[:2] == "| "]
    assert len(parser.cells) == 3 * (len(rows) - 2)  # without the head and the rule below it
    assert parser.cells.count(stage.impedance_monitoring) == 3
    assert "\\<b\\>stops \\| above" in format_spec_sheet_markdown(sheet)
    assert "http" not in html
