"""Renders what was measured as HTML: one report for a unit, one for a whole line.

A report is one file without outside references: styles and pictures are inside, colours follow the
reader's theme, and it prints. The same values give the same bytes. Implements
docs/spec/calibration.md §9. This module measures and judges nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from provisioning.capability_plot import plot_charts
from provisioning.control_charts import chart_ewma, chart_individuals, find_baseline
from provisioning.errors import ReportError
from provisioning.measurement_choices import DecisionRule
from provisioning.process_capability import ENOUGH_VALUES
from provisioning.report_error_plot import (
    plot_certificate_errors,
    plot_line_errors,
    plot_unit_errors,
)
from provisioning.report_figures import (
    RANKED_MAX,
    build_budget_rows,
    build_mode_figures,
    build_risk_figures,
    least_capable,
    worst_point,
)
from provisioning.report_page import ReportPage, render_template
from provisioning.report_plots import plot_captures, plot_linearity, plot_ranking
from provisioning.report_texts import format_kohm
from provisioning.uncertainty import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from provisioning.calibration_result import CalibrationResult
    from provisioning.capability_report import LineReport
    from provisioning.line_yield import LineYield
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.unit_certificate import UnitCertificate
    from provisioning.verification_result import PointResult, VerificationResult

_NA_PER_UA: Final = 1_000
_RULE_SETTINGS: Final = (
    "decision_rule", "guard_factor", "coverage", "reference_load_ohm", "claim_loads_ohm",
    "claim_end_load_ohm", "calibration_limit_percent", "calibration_limit_na",
    "claim_limit_percent", "claim_limit_na", "idle_limit_na",
)  # fmt: skip
"""What a report says about how results were decided."""


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
    page = ReportPage()
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
    return render_template(
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
        budget=build_budget_rows(verification) if verification else [],
        risk=build_risk_figures(verification) if verification else None,
        waveforms=page.add_waveforms(waveform_svgs),
        plots=plots,
    )


def render_certificate(certificate: UnitCertificate) -> str:
    """Return the certificate of one unit as an HTML document that prints to one page.

    Args:
        certificate: What it states.
    """
    plot = ReportPage().add(
        plot_certificate_errors(certificate.verification), "Error over target against both limits"
    )
    return render_template("certificate.html.j2", certificate=certificate, plot=plot)


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
    page = ReportPage()
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
    return render_template(
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
        enough_values=ENOUGH_VALUES,
        lot=lot,
        links=links or {},
        rules=(rules := _rules_of(units)),
        is_guarded_by_u=all(_is_guarded_by_u(settings) for settings in rules),
        instruments=sorted({_name_instrument(result) for _, result in measured}),
        measured_from=min((result.started_at for _, result in measured), default=None),
        measured_to=max((result.finished_at for _, result in measured), default=None),
        pictured=RANKED_MAX,
        is_crowded=len(measured) > RANKED_MAX,
        risk_worst=max((risk.worst_point for risk in risks), default=None),
        risk_bound=max((risk.unit_bound for risk in risks), default=None),
        waveforms=page.add_waveforms(waveform_svgs),
        plots=plots,
    )


def _draw_charts(page: ReportPage, capability: LineReport) -> list[str]:
    """Return the control chart of each mode's least capable current."""
    pictures = []
    for current in least_capable(capability.currents, by_mode=True):
        if current.capability is None:
            continue
        key = current.key
        target = f"{key.target_na / _NA_PER_UA:+g}".replace("-", "\N{MINUS SIGN}")
        name = f"{key.mode} {target} µA into {format_kohm(key.load_ohm)}"
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
