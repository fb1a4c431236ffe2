"""Reports: self-contained, the same twice, safe with any text, and true to the results."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from provisioning.calibration import calibrate_unit
from provisioning.errors import ReportError
from provisioning.inline_svg import SVG_MAX_CHARACTERS, inline_svg
from provisioning.measurement_choices import DecisionRule
from provisioning.report_figures import build_mode_figures, build_risk_figures, rebuild_budget
from provisioning.report_texts import (
    digits_of_ua,
    format_probability,
    format_ratio_with_u,
    format_ua,
)
from provisioning.reports import (
    ReportedUnit,
    ReportHeader,
    render_line_report,
    render_unit_report,
)
from provisioning.simulator.analog import AnalogTruth
from provisioning.simulator.faults import AnalogFault
from provisioning.uncertainty import Outcome
from provisioning.verification import recompute_verification, verify_unit
from tests.provisioning.metrology_bench import (
    NOON,
    SETTINGS,
    TABLE,
    MetrologyBench,
    SteppingClock,
    ignore_progress,
)

HEADER = ReportHeader(
    product="flare",
    hardware_class="flare-c3",
    release="1.4.0",
    bundle_digest="ab" * 32,
    station="bench-1",
    created_at=NOON,
    note="Simulated hardware.",
)
SVG = '<svg viewBox="0 0 9 9"><g id="a"/><use href="#a" style="fill: url(#a)"/></svg>'
VOID = {"meta", "br"}


class Outline(HTMLParser):
    """Collects ids and checks that every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def measure(bench, serial, *, is_calibrated=True):
    calibration = verification = None
    if is_calibrated:
        calibration = calibrate_unit(
            bench, bench.meter, SETTINGS, progress=ignore_progress, clock=SteppingClock()
        )
        if calibration.is_accepted:
            bench.write_record(calibration)
    if calibration is None or calibration.is_accepted:
        verification = verify_unit(
            bench,
            bench.meter,
            TABLE,
            SETTINGS,
            progress=ignore_progress,
            clock=SteppingClock(),
            calibration=calibration,
        )
    reasons = (
        verification.reasons
        if verification
        else tuple(finding.message for finding in calibration.findings)
    )
    return ReportedUnit(
        serial=serial,
        mac="24:dc:c3:a1:00:01",
        verdict=verification.outcome.value if verification else "FAIL",
        reasons=reasons,
        firmware_before="1.4.0",
        firmware_after="1.5.0",
        calibration=calibration,
        verification=verification,
    )


@pytest.fixture(scope="module")
def good():
    with MetrologyBench(index=7) as bench:
        return measure(bench, "AF1F26K100001C")


@pytest.fixture(scope="module")
def refused():
    with MetrologyBench(None, AnalogFault.OPEN_SENSE, index=7) as bench:
        return measure(bench, "AF1F26K100002C")


@pytest.fixture(scope="module")
def failed():
    with MetrologyBench(AnalogTruth(gain=1.03, noise_rms_na=500)) as bench:
        return measure(bench, "AF1F26K100003C", is_calibrated=False)


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def check_self_contained(html):
    outline = Outline(html)
    assert len(outline.ids) == len(set(outline.ids))
    for name, value in outline.attributes:
        assert name not in {"src", "action", "srcset"}
        assert not name.startswith("on")
        if name.endswith("href"):
            assert value[1:] in outline.ids
    assert not re.search(r"https?:|//[a-z]|@import|<script|<link|url\((?!#)", html)


def test_a_unit_report_says_what_was_measured_and_by_which_rule(good):
    html = render_unit_report(good, HEADER, {"LIFT": SVG, "INFUSE": SVG.encode()})
    check_self_contained(html)
    text = text_of(html)
    fit = good.calibration.fit
    for part in (
        "AF1F26K100001C",
        "24:dc:c3:a1:00:01",
        "1.4.0 → 1.5.0",
        f"{fit.gain_ppm / 1e6:.6f}",
        f"{abs(fit.offset_na) / 1_000:.3f} µA",
        "Ampforge SM-6500, serial SM0007",
        "w = r·U, with r = 1",
        "the greater of 1 % and 1.5 µA",
        "the greater of 10 % and 8.0 µA",
        "Probability of false accept",
        "Simulated hardware.",
        "expanded, U = k·u with k = 2.0",
        "effective degrees of freedom",
        "no certificate on file",
    ):
        assert part in text
    for figures in build_mode_figures(good.verification):
        assert f"{figures.worst.expanded_uncertainty_na / 1_000:.3f}" in text
    assert html.count("<svg") == 3 + 2
    assert (
        len(re.findall(r"<tr><td class=\"l\">(?:LIFT|TIGHTEN|INFUSE)</td>", html))
        == 3 + 3 + 16 + 60
    )


def test_a_line_report_has_one_row_for_each_unit(good, refused, failed):
    html = render_line_report([good, refused, failed], HEADER, {"LIFT": SVG})
    check_self_contained(html)
    text = text_of(html)
    assert "Line report: 3 units" in text
    assert "1 \N{MULTIPLICATION SIGN} PASS" in text
    assert "2 \N{MULTIPLICATION SIGN} FAIL" in text
    assert "sense resistor" in text
    first, last = good.verification.started_at, failed.verification.finished_at
    assert f"measured {first:%Y-%m-%d %H:%M:%S} UTC to {last:%Y-%m-%d %H:%M:%S} UTC" in text
    for unit in (good, refused, failed):
        assert unit.serial in text
    assert "Probability of false accept" in text


def by_rule(unit, **changes):
    settings = unit.verification.settings.model_copy(update=changes)
    judged = unit.verification.model_copy(update={"settings": settings})
    return replace(unit, verification=recompute_verification(judged))


def test_a_line_report_promises_only_what_its_rule_does(good):
    promise = "beyond the limit fewer than 2.5 % are accepted, whatever the process does"
    assert promise in text_of(render_line_report([good], HEADER, {}))
    other = by_rule(good, decision_rule=DecisionRule.ONE_SIDED_95)
    for render in (lambda: render_line_report([other], HEADER, {}),
                   lambda: render_unit_report(other, HEADER, {})):  # fmt: skip
        text = text_of(render())
        assert "2.5 %" not in text
        assert "2.3 %" not in text
        assert "its bar stays inside the limit" not in text


def test_a_line_report_states_every_rule_that_its_units_were_judged_by(good):
    other = by_rule(good, decision_rule=DecisionRule.SIMPLE)
    text = text_of(render_line_report([good, other], HEADER, {}))
    assert "judged in 2 ways" in text
    assert "= 0 (simple acceptance)" in text
    assert "= r·U, with r = 1 (ILAC-G8)" in text
    assert "no certificate on file" in text
    assert "judged in" not in text_of(render_line_report([good, good], HEADER, {}))


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0241, "at most 2.5 %"), (0.02, "at most 2 %"), (0.999, "at most 100 %"),
     (1.01e-4, "at most 0.011 %"), (1.23e-6, "at most 1.3 · 10⁻⁶"), (9.99e-6, "at most 1.0 · 10⁻⁵"),
     (1.0, "at most 100 %"), (1e-10, "below one in 10⁹")],
)  # fmt: skip
def test_a_bound_is_never_rounded_down(value, told):
    assert format_probability(value) == told


@pytest.mark.parametrize(
    ("expanded_na", "digits", "told"),
    [(320.4, 2, "0.32"), (99.6, 2, "0.10"), (34.6, 3, "0.035"), (1_234, 1, "1.2"), (0, 6, None)],
)
def test_an_uncertainty_has_two_significant_digits(expanded_na, digits, told):
    assert digits_of_ua(expanded_na) == digits
    assert told is None or format_ua(expanded_na, digits) == told
    assert format_ratio_with_u(1.0038912, 0.000676) == "1.00389 ± 0.00068"


def test_the_same_results_give_the_same_bytes(good):
    first = render_unit_report(good, HEADER, {"LIFT": SVG})
    assert render_unit_report(good, HEADER, {"LIFT": SVG}) == first
    line = render_line_report([good], HEADER, {})
    assert render_line_report([good], HEADER, {}) == line
    assert "1 unit<" in line


def test_a_unit_that_was_not_fitted_or_not_measured_has_a_report_too(refused):
    html = render_unit_report(refused, HEADER, {})
    check_self_contained(html)
    assert "The unit was not fitted" in text_of(html)
    bare = ReportedUnit(serial="X", mac="00", verdict="FAILED", reasons=("flash: dead sector",))
    for html in (render_unit_report(bare, HEADER, {}), render_line_report([bare], HEADER, {})):
        check_self_contained(html)
        assert "dead sector" in html


def test_a_failed_unit_shows_its_reasons_and_its_points(failed):
    html = render_unit_report(failed, HEADER, {})
    check_self_contained(html)
    assert "Why it did not pass" in html
    assert failed.verification.outcome is Outcome.FAIL
    assert "Probability of being outside a limit" in text_of(html)
    assert "at most 100 %" in text_of(html)


def test_more_units_than_a_legend_holds_are_drawn_without_one(good):
    many = [
        ReportedUnit(
            serial=f"U{index:03d}", mac="00", verdict="PASS", verification=good.verification
        )
        for index in range(70)
    ]
    html = render_line_report(many, HEADER, {})
    check_self_contained(html)
    assert html.count("U069") == 1, "in the table only: the pictures show the worst sixty"
    assert "the 60 units closest to a limit" in text_of(html)


def test_hostile_text_stays_text(good):
    evil = '<script>alert(1)</script>"&'
    unit = ReportedUnit(serial=evil, mac=evil, verdict=evil, reasons=(evil,), firmware_before=evil)
    html = render_unit_report(unit, HEADER, {}) + render_line_report([unit], HEADER, {})
    assert "<script" not in html
    html = render_line_report(
        [ReportedUnit(serial="U", mac="", verdict="PASS", verification=good.verification)],
        HEADER,
        {evil: SVG},
    )
    assert "<script" not in html


def test_a_line_without_units_is_refused():
    with pytest.raises(ReportError, match="needs units"):
        render_line_report([], HEADER, {})


@pytest.mark.parametrize(
    "svg",
    [
        "<svg><script>alert(1)</script></svg>",
        '<svg><image href="#x"/></svg>',
        '<svg><use xlink:href="http://example.org/x.svg#a"/></svg>',
        "<svg><rect style='fill: url(http://example.org/)'/></svg>",
        '<svg onload="x()"></svg>',
        "<svg><style>* { color: red }</style></svg>",
        "<svg><foreignObject/></svg>",
        '<svg><a href="#x">y</a></svg>',
        '<!DOCTYPE svg [<!ENTITY x "y">]><svg></svg>',
        "<svg>",
        "PNG",
        "",
        "<svg>" + " " * SVG_MAX_CHARACTERS + "</svg>",
    ],
)
def test_a_picture_that_could_reach_outside_is_refused(svg):
    with pytest.raises(ReportError):
        inline_svg(svg, prefix="p1", label="picture")


def test_a_picture_that_is_not_text_is_refused(good):
    with pytest.raises(ReportError, match="not UTF-8"):
        render_line_report([good], HEADER, {"LIFT": b"<svg>\xff</svg>"})


def test_an_inlined_picture_has_its_own_ids_and_the_themes_colours():
    svg = inline_svg(
        '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt" '
        'viewBox="0 0 9 9"><g id="a"/><use xlink:href="#a" style="fill: url(#a); stroke: #1f2933"/>'
        "</svg>",
        prefix="p4",
        label='a "b" <c>',
    )
    assert svg == (
        '<svg class="plot" role="img" aria-label="a &quot;b&quot; &lt;c>" viewBox="0 0 9 9">'
        '<g id="p4-a"/><use xlink:href="#p4-a" style="fill: url(#p4-a); stroke: var(--ink)"/></svg>'
    )


def test_the_budget_of_a_stored_point_adds_up_to_its_u(good):
    for point in good.verification.points:
        budget = rebuild_budget(good.verification, point)
        assert budget.expanded_na == pytest.approx(point.expanded_uncertainty_na, abs=0.01)


def test_the_risk_of_the_unit_is_at_least_that_of_its_worst_point(good, failed):
    risk = build_risk_figures(good.verification)
    assert 0 <= risk.worst_point <= risk.unit_bound < 1e-3
    bad = build_risk_figures(failed.verification)
    assert bad.worst_point > 0.9
    assert bad.unit_bound == 1.0


def test_modes_are_reported_in_the_order_of_the_table(good):
    assert [figures.mode for figures in build_mode_figures(good.verification)] == [
        mode.name for mode in TABLE.modes
    ]
