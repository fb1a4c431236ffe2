"""Renders what was measured as HTML: one report for a unit, one for a whole line.

A report is one file without outside references: styles and pictures are inside, colours follow the
reader's theme, and it prints. The same values give the same bytes. Implements
docs/spec/calibration.md §9. This module measures and judges nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from provisioning.capability_plot import plot_charts
from provisioning.control_charts import chart_ewma, chart_individuals, find_baseline
from provisioning.errors import ReportError
from provisioning.inline_svg import inline_svg
from provisioning.measurement_settings import DecisionRule
from provisioning.report_error_plot import (
    plot_certificate_errors,
    plot_line_errors,
    plot_unit_errors,
)
from provisioning.report_figures import (
    RANKED_MAX,
    build_mode_figures,
    build_risk_figures,
    least_capable,
    rebuild_budget,
    worst_point,
)
from provisioning.report_plots import plot_captures, plot_linearity, plot_ranking
from provisioning.uncertainty import Outcome, Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from provisioning.calibration_result import CalibrationResult
    from provisioning.capability_report import LineReport
    from provisioning.line_yield import LineYield
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.uncertainty import BudgetTerm
    from provisioning.unit_certificate import UnitCertificate
    from provisioning.verification_result import PointResult, VerificationResult

_NA_PER_UA: Final = 1_000
_SMALL_PROBABILITY: Final = 1e-9
_PERCENT_FROM: Final = 1e-4
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_INFINITE_OHM: Final = 100_000_000
_RULE_SETTINGS: Final = (
    "decision_rule", "guard_factor", "coverage", "reference_load_ohm", "claim_loads_ohm",
    "claim_end_load_ohm", "calibration_limit_percent", "calibration_limit_na",
    "claim_limit_percent", "claim_limit_na", "idle_limit_na",
)  # fmt: skip
"""What a report says about how results were decided."""
_SOURCE_NAMES: Final = {
    Source.INSTRUMENT: "instrument specification",
    Source.LOAD: "load tolerance",
    Source.LEAKAGE: "fixture leakage",
    Source.REPEATABILITY: "repeatability, s/√n",
    Source.QUANTISATION: "step of the unit's converter",
    Source.LOADING: "burden, leads, contacts",
    Source.LOAD_TEMPERATURE: "temperature of the load",
    Source.GAIN_TEMPERATURE: "temperature, unit's gain",
    Source.OFFSET_TEMPERATURE: "temperature, unit's offset",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportHeader:
    """What all units of a report have in common.

    Attributes:
        product: Name of the product.
        hardware_class: Its hardware class.
        release: Version of the release that was provisioned.
        bundle_digest: SHA-256 of the release bundle, hex.
        station: Name of the station.
        created_at: When the report was made, UTC.
        note: A sentence that stands at the top, such as that the hardware was simulated.
        waivers: A line for each limit that was waived for the release.
    """

    product: str
    hardware_class: str
    release: str
    bundle_digest: str
    station: str
    created_at: datetime
    note: str = ""
    waivers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedUnit:
    """One unit as a report shows it.

    Attributes:
        serial: Serial number.
        mac: Chip MAC as text.
        verdict: State of the unit, such as PASS.
        lot: Lot that its last verdict names, or `None`.
        udi: Its identification as people read it; `None` before the first PASS, or without a GTIN.
        reasons: Why it did not pass; empty for PASS.
        firmware_before: Version before the update, or the one that was flashed.
        firmware_after: Version after the update; `None` when there was none.
        calibration: As far as it came.
        verification: As far as it came.
    """

    serial: str
    mac: str
    verdict: str
    lot: str | None = None
    udi: str | None = None
    reasons: tuple[str, ...] = ()
    firmware_before: str | None = None
    firmware_after: str | None = None
    calibration: CalibrationResult | None = None
    verification: VerificationResult | None = None


@dataclass(slots=True)
class _Page:
    # Ids of inlined pictures must differ on one page.
    count: int = 0

    def add(self, svg: str, label: str) -> str:
        self.count += 1
        return inline_svg(svg, prefix=f"p{self.count}", label=label)


def render_unit_report(
    unit: ReportedUnit, header: ReportHeader, waveform_svgs: Mapping[str, str | bytes]
) -> str:
    """Return the report of one unit as an HTML document.

    Args:
        unit: What was measured about it.
        header: Product, release and station.
        waveform_svgs: One picture for each mode, by name.

    Raises:
        ReportError: A picture cannot be put into a page.
    """
    page = _Page()
    calibration, verification = unit.calibration, unit.verification
    plots = {}
    if verification is not None:
        plots["errors"] = page.add(
            plot_unit_errors(verification), "Error over target with limits and guard bands"
        )
        if any(waveform.pictured_samples_na for waveform in verification.waveforms):
            plots["captures"] = page.add(plot_captures(verification), "Captured waveforms")
    if calibration is not None and calibration.fit is not None:
        plots["linearity"] = page.add(
            plot_linearity(calibration.fit, calibration.settings), "Deviation from the best line"
        )
    return _render(
        "unit_report.html.j2",
        header=header,
        unit=unit,
        row=_build_row(unit),
        calibration=calibration,
        verification=verification,
        settings=(settings := _settings_of(unit)),
        is_guarded_by_u=settings is not None and _is_guarded_by_u(settings),
        points=_sort_points(verification) if verification else [],
        worst=worst_point(verification.points) if verification else None,
        budget=_build_budget_rows(verification) if verification else [],
        risk=build_risk_figures(verification) if verification else None,
        waveforms=_inline_waveforms(page, waveform_svgs),
        plots=plots,
    )


def render_certificate(certificate: UnitCertificate) -> str:
    """Return the certificate of one unit as an HTML document that prints to one page.

    Args:
        certificate: What it states.
    """
    plot = _Page().add(
        plot_certificate_errors(certificate.verification), "Error over target against both limits"
    )
    return _render("certificate.html.j2", certificate=certificate, plot=plot)


def render_line_report(
    units: Sequence[ReportedUnit],
    header: ReportHeader,
    waveform_svgs: Mapping[str, str | bytes],
    *,
    line_yield: LineYield | None = None,
    capability: LineReport | None = None,
    lot: str | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """Return the report of a whole line as an HTML document.

    Args:
        units: In the order of the table, at least one.
        header: Product, release and station.
        waveform_svgs: One picture for each mode, by name.
        line_yield: How well the line does, if that is to be shown.
        capability: Yield with its intervals, retests and capability, if they are to be shown.
        lot: The lot that the units are of, if they are of one.
        links: Where the page of a unit is, relative to this one, by serial number.

    Raises:
        ReportError: There are no units, or a picture cannot be put into a page.
    """
    if not units:
        raise ReportError(
            "a line report needs units",
            expected="at least one",
            got=0,
            hint="provision a board first",
        )
    page = _Page()
    measured = [(unit.serial, unit.verification) for unit in units if unit.verification]
    plots = {}
    if measured:
        plots["errors"] = page.add(
            plot_line_errors(measured), "Error over target of all units, with limits"
        )
        plots["ranking"] = page.add(plot_ranking(measured), "Worst error of each unit")
    rows = [_build_row(unit) for unit in units]
    risks = [build_risk_figures(result) for _, result in measured if result.outcome is Outcome.PASS]
    verdicts = [unit.verdict for unit in units]
    return _render(
        "line_report.html.j2",
        header=header,
        rows=rows,
        modes=list(dict.fromkeys(mode for row in rows for mode in row["modes"])),
        counts={verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
        refused=[unit for unit in units if unit.reasons],
        line_yield=line_yield,
        capability=capability,
        targets=() if capability is None else least_capable(capability.currents),
        charts=() if capability is None else _draw_charts(page, capability),
        lot=lot,
        links=links or {},
        rules=(rules := _rules_of(units)),
        is_guarded_by_u=all(_is_guarded_by_u(settings) for settings in rules),
        instruments=sorted({_name_instrument(result) for _, result in measured}),
        pictured=RANKED_MAX,
        is_crowded=len(measured) > RANKED_MAX,
        risk_worst=max((risk.worst_point for risk in risks), default=None),
        risk_bound=max((risk.unit_bound for risk in risks), default=None),
        waveforms=_inline_waveforms(page, waveform_svgs),
        plots=plots,
    )


def _draw_charts(page: _Page, capability: LineReport) -> list[str]:
    """Return the control chart of each mode's least capable current."""
    pictures = []
    for current in least_capable(capability.currents, by_mode=True):
        if current.capability is None:
            continue
        key = current.key
        name = f"{key.mode} {key.target_na / _NA_PER_UA:+g} µA into {_format_kohm(key.load_ohm)}"
        errors_ua = [error / _NA_PER_UA for error in current.errors_na]
        baseline = find_baseline(errors_ua)
        charts = tuple(
            replace(chart, name=f"{name}: {chart.name}, µA")
            for chart in (
                *chart_individuals(errors_ua, baseline),
                chart_ewma(errors_ua, center=baseline.mean, sd=baseline.sd),
            )
        )
        svg = plot_charts(charts, picture_format="svg", panel_inches=2.1).decode()
        pictures.append(page.add(svg, f"Control chart of {name}"))
    return pictures


def _build_row(unit: ReportedUnit) -> dict[str, Any]:
    figures = build_mode_figures(unit.verification) if unit.verification else ()
    return {
        "unit": unit,
        "fit": unit.calibration.fit if unit.calibration else None,
        "modes": {entry.mode: entry for entry in figures},
    }


def _settings_of(unit: ReportedUnit) -> MetrologySettings | None:
    for result in (unit.verification, unit.calibration):
        if result is not None:
            return result.settings
    return None


def _rules_of(units: Sequence[ReportedUnit]) -> list[MetrologySettings]:
    """Return settings with each decision rule and set of limits that units were judged by."""
    rules: dict[tuple[object, ...], MetrologySettings] = {}
    for unit in units:
        if settings := _settings_of(unit):
            key = tuple(getattr(settings, name) for name in _RULE_SETTINGS)
            rules.setdefault(key, settings)
    return list(rules.values())


def _is_guarded_by_u(settings: MetrologySettings) -> bool:
    """Whether an accepted error has the whole of its U inside the limit."""
    return settings.decision_rule is DecisionRule.ILAC_G8 and settings.guard_factor == 1


def _name_instrument(result: VerificationResult) -> str:
    if result.certificate is None:
        return f"{result.instrument}, no certificate on file"
    return f"{result.instrument}, certificate {result.certificate}"


def _sort_points(result: VerificationResult) -> list[PointResult]:
    order = {mode: index for index, mode in enumerate(w.mode for w in result.waveforms)}
    return sorted(
        result.points,
        key=lambda point: (
            order.get(point.mode, len(order)),
            point.level_index,
            point.load_ohm,
            -point.target_na,
        ),
    )


def _build_budget_rows(result: VerificationResult) -> list[tuple[str, BudgetTerm]]:
    budget = rebuild_budget(result, worst_point(result.points))
    return [(_SOURCE_NAMES[term.source], term) for term in budget.terms]


def _inline_waveforms(page: _Page, waveform_svgs: Mapping[str, str | bytes]) -> list[str]:
    pictures = []
    for mode, svg in waveform_svgs.items():
        try:
            text = svg if isinstance(svg, str) else svg.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ReportError(
                "a picture is not UTF-8 text", got=str(error), where=f"waveform of {mode}"
            ) from error
        pictures.append(page.add(text, f"Waveform of {mode}"))
    return pictures


def _render(template: str, **values: object) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("provisioning", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "ua": _format_ua,
        "signed_ua": _format_signed_ua,
        "kohm": _format_kohm,
        "time": _format_time,
        "probability": _format_probability,
        "short_probability": _format_short_probability,
        "percent": _format_percent,
        # Pictures only: inline_svg has refused everything that is not drawing.
        "picture": Markup,
    }
    return environment.get_template(template).render(**values)


def _format_ua(current_na: float, digits: int = 3) -> str:
    return f"{current_na / _NA_PER_UA:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _format_signed_ua(current_na: float, digits: int = 3) -> str:
    return f"{current_na / _NA_PER_UA:+z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _format_kohm(ohm: float) -> str:
    if ohm >= _INFINITE_OHM:
        return "> 100 MΩ"
    if ohm < 1_000:  # noqa: PLR2004 - Ω in a kΩ
        return f"{ohm:g} Ω"
    return f"{ohm / 1_000:,.4g} kΩ" if ohm < 1e6 else f"{ohm / 1e6:.3g} MΩ"  # noqa: PLR2004 - Ω in a MΩ


def _format_percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


def _format_time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _format_probability(value: float) -> str:
    if value < _SMALL_PROBABILITY:
        return "below one in 10⁹"
    if value >= _PERCENT_FROM:
        percent = _round_up(100 * value)
        return f"at most {min(percent, 100):g} %"
    mantissa, exponent = f"{_round_up(value):.1e}".split("e")
    return f"at most {mantissa} · 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def _round_up(value: float) -> float:
    """Round to two digits, never down: a bound stays one."""
    rounded = float(f"{value:.1e}")
    if rounded >= value:
        return rounded
    return float(f"{rounded + 10.0 ** (math.floor(math.log10(value)) - 1):.1e}")


def _format_short_probability(value: float) -> str:
    if value < _SMALL_PROBABILITY:
        return "< 10⁻⁹"
    if value >= _PERCENT_FROM:
        return f"{100 * value:.2g} %"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
