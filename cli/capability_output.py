"""How the capability verbs show their results: documents for scripts, tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cli.output import per_million

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provisioning.capability_report import CurrentCapability, LineReport
    from provisioning.control_charts import ControlChart
    from provisioning.process_capability import Capability, Index, Limits
    from provisioning.retest_truth import Share

_NA_PER_UA: Final = 1000
_NAMED_MAX: Final = 12
_PERCENT_FROM = 0.01
_INDICES: Final = ("cp", "cpk", "pp", "ppk")


def study_document(capability: Capability, limits: Limits) -> dict[str, object]:
    """The document of `capability study`."""
    return {
        "schema": "ampforge.capability-study/1",
        "lower": limits.lower,
        "upper": limits.upper,
        **_figures(capability),
    }


def tell_study(capability: Capability, limits: Limits, plot_path: Path | None) -> str:
    """The same for a person."""
    enclosed = " to ".join(
        "open" if limit is None else f"{limit:g}" for limit in (limits.lower, limits.upper)
    )
    lines = [
        f"{capability.count} values, limits {enclosed}",
        f"mean        {capability.mean:.6g}",
        f"sd within   {capability.sd_within:.6g}  ({capability.dof_within:.4g} degrees of freedom)",
        f"sd overall  {capability.sd_overall:.6g}",
        "",
        f"{'':<4}  {'estimate':>8}  {f'{100 * capability.confidence:g} % interval':>18}",
    ]
    for name in _INDICES:
        index: Index | None = getattr(capability, name)
        if index is not None:
            interval = f"{index.low:.3f} to {index.high:.3f}"
            lines.append(f"{name.capitalize():<4}  {index.estimate:>8.3f}  {interval:>18}")
    lines += [
        "",
        (
            f"outside     {capability.outside_count} of {capability.count}; a normal process has "
            + _tell_probability(capability.outside_expected)
        ),
        *(f"note: {remark}" for remark in capability.remarks),
    ]
    if plot_path is not None:
        lines.append(f"wrote {plot_path}")
    return "\n".join(lines)


def _tell_probability(probability: float) -> str:
    if probability < _PERCENT_FROM:
        return f"{per_million(probability)} in a million"
    return f"{100 * probability:.3g} %"


def chart_document(charts: Sequence[ControlChart]) -> dict[str, object]:
    """The document of `capability chart`."""
    return {
        "schema": "ampforge.control-charts/1",
        "in_control": not any(chart.signals for chart in charts),
        "charts": [
            {
                "name": chart.name,
                "first_value": chart.first_value,
                "center": chart.center,
                "points": list(chart.points),
                "lower": list(chart.lower),
                "upper": list(chart.upper),
                "signals": list(chart.signals),
            }
            for chart in charts
        ],
    }


def tell_charts(charts: Sequence[ControlChart], plot_path: Path | None) -> str:
    """The same for a person: limits, and where they are left."""
    lines = []
    for chart in charts:
        lines.append(
            f"{chart.name}: center {chart.center:.6g}, limits at the end {chart.lower[-1]:.6g} to "
            f"{chart.upper[-1]:.6g}"
        )
        signals = chart.signals
        if not signals:
            lines.append(f"  all {len(chart.points)} points are inside")
            continue
        named = ", ".join(map(str, signals[:_NAMED_MAX]))
        more = f" and {len(signals) - _NAMED_MAX} more" if len(signals) > _NAMED_MAX else ""
        lines.append(f"  outside at value {named}{more}: something changed before; find out what")
    if plot_path is not None:
        lines.append(f"wrote {plot_path}")
    return "\n".join(lines)


def line_document(line: LineReport) -> dict[str, object]:
    """The document of `capability report`."""
    yields = line.yields
    return {
        "schema": "ampforge.capability-report/1",
        "yield": {
            "first_pass": _share(yields.first_pass),
            "final": _share(yields.final),
            "retest_passed": yields.retest_passed,
            "rework_passed": yields.rework_passed,
            "passed_then_failed": yields.passed_then_failed,
            "retest_count": yields.retest_count,
        },
        "units_verified": line.unit_count,
        "currents": [
            {
                "mode": current.key.mode,
                "level_index": current.key.level_index,
                "target_na": current.key.target_na,
                "load_ohm": current.key.load_ohm,
                "limit_na": current.key.limit_na,
                "count": len(current.errors_na),
                "reason": current.reason,
                "capability": None if current.capability is None else _figures(current.capability),
            }
            for current in line.currents
        ],
    }


def tell_line(line: LineReport) -> str:
    """The same for a person: yield first, then the least capable current of each mode."""
    yields = line.yields
    lines = [
        f"first-pass yield  {_tell_share(yields.first_pass)}",
        f"final yield       {_tell_share(yields.final)}",
        (
            f"failed, then passed: {yields.retest_passed} on a mere retest, {yields.rework_passed} "
            f"after rework; passed, then failed: {yields.passed_then_failed}"
        ),
        "",
    ]
    worst = _worst_of_modes(line.currents)
    if not worst:
        reason = next((current.reason for current in line.currents), "no unit was verified")
        return "\n".join([*lines, f"no capability to state: {reason}"])
    lines += [
        f"least capable current of each mode, from {line.unit_count} first verifications:",
        (
            f"{'mode':<12}  {'target µA':>10}  {'load Ω':>7}  {'limit µA':>8}  {'mean nA':>9}  "
            f"{'sd nA':>8}  {'Ppk':>6}  95 % interval"
        ),
    ]
    for current in worst:
        capability, key = current.capability, current.key
        assert capability is not None, "only currents that say something are compared"
        lines.append(
            f"{key.mode:<12}  {key.target_na / _NA_PER_UA:>10g}  {key.load_ohm:>7}  "
            f"{key.limit_na / _NA_PER_UA:>8g}  {capability.mean:>9.1f}  "
            f"{capability.sd_overall:>8.1f}  {capability.ppk.estimate:>6.2f}  "
            f"{capability.ppk.low:.2f} to {capability.ppk.high:.2f}"
        )
        lines += [f"  note: {remark}" for remark in capability.remarks]
    return "\n".join(lines)


def _worst_of_modes(currents: Sequence[CurrentCapability]) -> list[CurrentCapability]:
    worst: dict[str, tuple[float, CurrentCapability]] = {}
    for current in currents:
        if current.capability is not None:
            ppk = current.capability.ppk.estimate
            known = worst.get(current.key.mode)
            if known is None or ppk < known[0]:
                worst[current.key.mode] = ppk, current
    return [current for _, current in worst.values()]


def _figures(capability: Capability) -> dict[str, object]:
    return {
        "count": capability.count,
        "mean": capability.mean,
        "sd_within": capability.sd_within,
        "dof_within": capability.dof_within,
        "sd_overall": capability.sd_overall,
        **{name: _interval(getattr(capability, name)) for name in _INDICES},
        "confidence": capability.confidence,
        "outside_count": capability.outside_count,
        "outside_expected": capability.outside_expected,
        "signal_count": capability.signal_count,
        "remarks": list(capability.remarks),
    }


def _interval(index: Index | None) -> dict[str, float] | None:
    if index is None:
        return None
    return {"estimate": index.estimate, "low": index.low, "high": index.high}


def _share(share: Share) -> dict[str, object]:
    return {
        "count": share.count,
        "total": share.total,
        "fraction": share.fraction,
        "low": share.low,
        "high": share.high,
    }


def _tell_share(share: Share) -> str:
    assert share.fraction is not None, "a report has units"
    return (
        f"{share.count} of {share.total}: {100 * share.fraction:.1f} % "
        f"(95 % interval {100 * share.low:.1f} to {100 * share.high:.1f})"
    )
