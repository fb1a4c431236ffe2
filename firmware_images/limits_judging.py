"""Judges a table by a policy: every rule, every level, the value and the margin of each.

Implements docs/spec/policy-and-approval.md §7. The rules are in `limits_rules` and
`limits_rules_electrical`; what this module does not do is decide who may say that a table is
acceptable (`approval`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.errors import LimitError, PolicyError
from firmware_images.limits_case import build_case
from firmware_images.limits_finding import COUNT_UNIT, Finding
from firmware_images.limits_rules import (
    judge_dc_density,
    judge_dose,
    judge_peak,
    judge_power_density,
    judge_rms_density,
    judge_shannon,
)
from firmware_images.limits_rules_balance import judge_balance
from firmware_images.limits_rules_electrical import (
    judge_compliance,
    judge_iec_rms,
    judge_pulse_energy,
    judge_session,
    judge_slope,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from firmware_images.limits_case import LevelCase
    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.waveform import Mode, WaveformTable

_RULES: tuple[Callable[[LevelCase], Iterator[Finding]], ...] = (
    judge_peak,
    judge_rms_density,
    judge_dc_density,
    judge_balance,
    judge_dose,
    judge_power_density,
    judge_shannon,
    judge_iec_rms,
    judge_pulse_energy,
    judge_slope,
    judge_session,
    judge_compliance,
)


def judge_table(table: WaveformTable, policy: LimitsPolicy) -> tuple[Finding, ...]:
    """Applies every rule of `policy` to every level of `table`.

    Returns:
        All findings, most of which are not violations: filter by `is_violation`, or call
        `refuse_violations`.

    Raises:
        PolicyError: When the table was compiled for another policy.
    """
    if table.policy_digest != policy.digest:
        raise PolicyError(
            "the table was compiled for another policy",
            expected=f"{policy.name} version {policy.version}, {policy.digest.hex()}",
            got=f"version {table.policy_version}, {table.policy_digest.hex()}",
            hint="compile the table again with this policy",
        )
    findings = list(_judge_header(table, policy))
    for mode in table.modes:
        findings.extend(_judge_mode(mode, policy))
        for number in range(1, len(mode.levels) + 1):
            case = build_case(policy, mode, number, table.tick_us)
            for rule in _RULES:
                findings.extend(rule(case))
    return tuple(findings)


def refuse_violations(findings: Iterable[Finding], *, where: object) -> None:
    """Raises when any finding is a violation, naming the worst one in full.

    Args:
        findings: From `judge_table`.
        where: The file or release, for the error.

    Raises:
        LimitError: With rule, value, limit and place of the worst violation, and how many more.
    """
    violations = sorted(
        (f for f in findings if f.is_violation), key=lambda f: (f.severity, -f.value)
    )
    if not violations:
        return
    worst = violations[0]
    rest = ""
    if len(violations) > 1:
        rules = ", ".join(sorted({finding.rule for finding in violations}))
        rest = f"; {len(violations)} violations in all, of {rules}"
    if worst.unit == COUNT_UNIT:
        raise LimitError(
            f"{worst.rule}: the table differs from the policy{rest}",
            expected="no difference",
            got=worst.detail,
            where=f"{where}, {worst.place}",
            hint=f"correct the waveform, or have the policy {worst.source} changed",
        )
    detail = f" ({worst.detail})" if worst.detail else ""
    raise LimitError(
        f"{worst.rule}: {worst.what}{detail} is over the limit{rest}",
        expected=f"{'below' if worst.is_strict else 'at most'} {worst.limit:.6g} {worst.unit}",
        got=f"{worst.value:.6g} {worst.unit}",
        where=f"{where}, {worst.place}",
        hint=f"limit from {worst.source}; `ampforge waveform check` shows every rule's margin",
    )


def find_worst(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The finding with the least margin of each rule and phrase, in the order of the rules."""
    worst: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = (finding.rule, finding.what)
        rank = (finding.severity, -finding.value)
        if key not in worst or rank < (worst[key].severity, -worst[key].value):
            worst[key] = finding
    return tuple(worst.values())


def _judge_header(table: WaveformTable, policy: LimitsPolicy) -> Iterator[Finding]:
    """TICK holds for every table that exists; HEADER compares what the firmware enforces."""
    yield _count("TICK", "whole ticks, rising levels, last sample zero", [], "the waveform model")
    pairs = (
        ("policy version", table.policy_version, policy.version),
        ("clamp", table.clamp_na, policy.clamp_na),
        ("hard stop", table.hard_stop_ticks * table.tick_us, policy.hard_stop_us),
        ("contact area", table.contact_area_mm2, policy.contact_area_mm2),
    )
    differences = [
        f"{name} {got}, policy {expected}" for name, got, expected in pairs if got != expected
    ]
    yield _count("HEADER", "what the firmware enforces is the policy's", differences, policy.name)


def _judge_mode(mode: Mode, policy: LimitsPolicy) -> Iterator[Finding]:
    """MODE: the policy names the mode, and says the same of balance and regulation."""
    limits = policy.modes.get(mode.name)
    if limits is None:
        differences = [f"the policy names only {', '.join(policy.modes)}"]
    else:
        pairs = (
            ("balance", mode.balance, limits.balance),
            ("regulation", mode.regulation, limits.regulation),
        )
        differences = [f"{name} {a}, policy {b}" for name, a, b in pairs if a != b]
    yield _count("MODE", "as the policy describes it", differences, policy.name, mode.name)


def _count(
    rule: str, what: str, differences: Sequence[str], source: str, mode: str | None = None
) -> Finding:
    return Finding(
        rule=rule,
        what=what,
        detail="; ".join(differences),
        value=float(len(differences)),
        limit=0.0,
        unit=COUNT_UNIT,
        is_strict=False,
        source=source,
        mode=mode,
    )
