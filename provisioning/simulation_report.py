"""Tells a simulation study as a Markdown report. The same study gives the same text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioning.simulation_decisions import DecisionRow
    from provisioning.simulation_run import StudyResult


def format_study(result: StudyResult, *, command: str) -> str:
    """Return the report.

    Args:
        result: The figures.
        command: What reproduces them.
    """
    units = result.population
    share = 100 * units.good_pass_count / units.good_count if units.good_count else 0.0
    parts = [
        "# Simulated units, and what the station made of them",
        (
            f"`{command}`, waveform table `{result.table_digest[:16]}…`. Each unit's true figures "
            "are drawn; the station's own measuring, fitting and judging never see them."
        ),
        "## Production",
        _table(
            ("what", "units"),
            (
                ("good units (nonlinearity within the design)", units.good_count),
                ("of these, passed", f"{units.good_pass_count} ({share:.2f} %)"),
                ("units to be rejected (too much nonlinearity)", units.bad_count),
                ("of these, passed", units.bad_pass_count),
                ("passed with a true error beyond a limit", units.wrong_pass_count),
                (
                    "so many of the passed may be wrong by what their reports state, at most",
                    f"{units.stated_risk_sum:.2g}",
                ),
            ),
        ),
        _table(("verdict", "units"), units.verdicts.items()),
        "## Without their own record",
        (
            "The same units, verified while they work with the identity record "
            "(gain 1, no offset) instead of their own."
        ),
        _table(
            ("what", "units"),
            (
                ("tried", units.uncalibrated_count),
                ("passed", units.uncalibrated_pass_count),
                ("readings within the claim limit all the same", units.uncalibrated_claim_count),
                ("readings within the calibration limit, too", units.uncalibrated_limit_count),
            ),
        ),
        (
            "A claim limit cannot see whether a unit is calibrated. The calibration limit sees "
            "nearly all of it, and the code that the board chose sees the rest."
        ),
        "## Faults",
        _table(
            ("fault", "found as", "units", "by that name", "others"),
            (
                (trial.fault, trial.expected, trial.count, trial.named, _others(trial.others))
                for trial in result.faults
            ),
        ),
        "## Decisions",
        (
            "Units with true errors of half a limit (standard deviation), each read once by an "
            "instrument of its own from all that are inside their specification. Stated: the joint "
            "risk of [calibration.md §7.2](spec/calibration.md#7-risk). Counted: against the true "
            "error, with its 99 % interval."
        ),
        _table(
            (
                "target, µA",
                "r",
                "false accept stated",
                "counted",
                "false reject stated",
                "counted",
            ),
            (_decision(row) for row in result.decisions),
        ),
        (
            "An instrument's specification counts as one rectangular error, and the drawn "
            "instruments have two independent ones inside it: what is stated errs to the safe "
            "side."
        ),
        "## Verdict",
        *(
            [f"- {entry}" for entry in result.shortcomings]
            or ["Nothing is missed, nothing wrong passes, and the stated risks hold."]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _decision(row: DecisionRow) -> tuple[object, ...]:
    return (
        f"{row.target_na / 1_000:g} ± {row.limit_na / 1_000:g}",
        f"{row.guard_factor:g}",
        _rate(row.stated_pfa),
        _counted(row.false_accept_count, row.count, row.pfa_interval),
        _rate(row.stated_pfr),
        _counted(row.false_reject_count, row.count, row.pfr_interval),
    )


def _rate(rate: float) -> str:
    return f"{100 * rate:.2g} %" if rate < 0.1 else f"{100 * rate:.1f} %"  # noqa: PLR2004


def _counted(hits: int, count: int, interval: tuple[float, float]) -> str:
    return f"{hits} of {count} ({_rate(interval[0])} to {_rate(interval[1])})"


def _others(others: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in others.items()) or "none"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
