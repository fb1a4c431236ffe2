"""What waivers cover of a table's findings, and whether they are in force.

Implements docs/spec/policy-and-approval.md §8.2 to §8.4. Everything that judges a table with
waivers goes through `judge_with_waivers`: with none it refuses as the policy alone does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_images.errors import WaiverError
from firmware_images.limits_judging import judge_table, refuse_violations
from firmware_images.waiver import LimitWaiver, quantize_figure
from firmware_images.waiver_rules import WAIVABLE, explain_refusal, is_waivable
from firmware_images.waveform_table import parse_waveform_table, table_digest
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from firmware_images.limits_finding import Finding
    from firmware_images.limits_policy import LimitsPolicy

WAIVER_COUNT_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WaivedFinding:
    """A violation that a waiver covers."""

    finding: Finding
    waiver: LimitWaiver


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverRequest:
    """What is asked to be waived.

    Args:
        name: A rule, or the key of the limit where a rule has several.
        mode: The mode.
        level: Number of the level from 1, or `None` for every level.
        reason: Why it is acceptable.
        requested_by: Who asks.
        issued_at: The present, UTC.
        expires_at: The first moment at which it no longer counts, UTC.
    """

    name: str
    mode: str
    level: int | None
    reason: str
    requested_by: str
    issued_at: datetime
    expires_at: datetime


def judge_with_waivers(
    table_bytes: bytes, policy: LimitsPolicy, waivers: Sequence[LimitWaiver], *, where: object
) -> tuple[WaivedFinding, ...]:
    """Refuses a table that breaks a limit which no waiver covers.

    Args:
        table_bytes: The compiled table.
        policy: The limits that it was compiled for.
        waivers: All that are meant for it; their signatures and expiry are judged elsewhere.
        where: The file or release, for errors.

    Returns:
        The violations that are waived, none when there are no waivers.

    Raises:
        LimitError: When a limit is broken and not waived.
        WaiverError: When a waiver is for something else, or for nothing that the table does.
        PolicyError: When the table was compiled for another policy.
    """
    findings = _judge(table_bytes, policy)
    for waiver in waivers:
        refuse_foreign_waiver(waiver, table_bytes)
    waived = cover_findings(findings, waivers)
    refuse_violations(exclude_waived(findings, waived), where=where)
    refuse_idle_waivers(waivers, waived, where=where)
    return waived


def cover_findings(
    findings: Iterable[Finding], waivers: Sequence[LimitWaiver]
) -> tuple[WaivedFinding, ...]:
    """The violations that a waiver covers, each with the narrowest that does.

    Args:
        findings: From `judge_table`.
        waivers: For the same table, as `refuse_foreign_waiver` decides.
    """
    # One order, however they were given: whoever judges them later must find the same of use.
    narrowest_first = sorted(waivers, key=lambda w: (w.level is None, w.value, w.digest))
    covers = (
        (finding, next((waiver for waiver in narrowest_first if _covers(waiver, finding)), None))
        for finding in findings
    )
    return tuple(
        WaivedFinding(finding=finding, waiver=waiver)
        for finding, waiver in covers
        if waiver is not None
    )


def exclude_waived(
    findings: Iterable[Finding], waived: Iterable[WaivedFinding]
) -> tuple[Finding, ...]:
    """The findings that no waiver covers."""
    covered = {entry.finding for entry in waived}
    return tuple(finding for finding in findings if finding not in covered)


def refuse_idle_waivers(
    waivers: Iterable[LimitWaiver], waived: Iterable[WaivedFinding], *, where: object
) -> None:
    """Refuses a waiver that covers no finding of its own.

    Raises:
        WaiverError: There is one.
    """
    used = {entry.waiver.digest for entry in waived}
    for waiver in waivers:
        if waiver.digest not in used:
            raise WaiverError(
                f"a waiver of {waiver.place} covers nothing that the table does",
                expected="each waiver to cover a finding of its own",
                got="a limit that is kept, or is waived already",
                where=where,
                hint="take it out of the release: what is not needed must not be shown",
            )


def refuse_foreign_waiver(waiver: LimitWaiver, table_bytes: bytes) -> None:
    """Refuses a waiver that is for another table, policy, version or hardware.

    Raises:
        WaiverError: It names something else.
    """
    table = parse_waveform_table(table_bytes)
    for what, expected, got in (
        ("hardware class", table.hardware_class, waiver.hardware_class),
        ("policy version", table.policy_version, waiver.policy_version),
        ("policy", table.policy_digest.hex(), waiver.policy_digest.hex()),
        ("table", table_digest(table_bytes).hex(), waiver.table_digest.hex()),
    ):
        if expected != got:
            raise WaiverError(
                f"a waiver of {waiver.place} is for another {what}",
                expected=expected,
                got=got,
                hint="waivers do not follow a change: have it issued for this table and policy",
            )


def refuse_out_of_force(waivers: Iterable[LimitWaiver], *, now: datetime) -> None:
    """Refuses waivers that are not in force, before an act that relies on them.

    Args:
        waivers: Those of a release.
        now: The present, UTC.

    Raises:
        WaiverError: One has expired, or is not valid yet.
    """
    for waiver in waivers:
        if now >= waiver.expires_at:
            raise WaiverError(
                f"a waiver of {waiver.place} has expired",
                expected=f"a waiver that holds at {now:%Y-%m-%d %H:%M} UTC",
                got=f"one that ended with {waiver.last_day}",
                hint="keep to the limit, or have it waived anew: `ampforge policy waive`",
            )
        if now < waiver.issued_at:
            raise WaiverError(
                f"a waiver of {waiver.place} is not in force yet",
                expected=f"issued by {now:%Y-%m-%d %H:%M} UTC",
                got=f"{waiver.issued_at:%Y-%m-%d %H:%M} UTC",
                hint="check the clock of this computer",
            )


def build_waiver(table_bytes: bytes, policy: LimitsPolicy, request: WaiverRequest) -> LimitWaiver:
    """What would have to be signed for a request; signing it is a separate decision.

    Raises:
        WaiverError: When nothing of that name is broken there, it can never be waived, or the
            request fits several findings that one waiver cannot cover.
        PolicyError: When the table was compiled for another policy.
    """
    table = parse_waveform_table(table_bytes)
    chosen = _find_requested(judge_table(table, policy), request)
    return LimitWaiver(
        table_digest=table_digest(table_bytes),
        policy_digest=table.policy_digest,
        policy_version=table.policy_version,
        hardware_class=table.hardware_class,
        rule=chosen[0].rule,
        limit_key=chosen[0].limit_key,
        mode=request.mode,
        level=request.level,
        value=max(quantize_figure(finding.value) for finding in chosen),
        limit=quantize_figure(chosen[0].limit),
        reason=request.reason,
        requested_by=request.requested_by,
        issued_at_s=int(request.issued_at.timestamp()),
        expires_at_s=int(request.expires_at.timestamp()),
    )


def order_waivers(waivers: Iterable[LimitWaiver]) -> tuple[LimitWaiver, ...]:
    """The waivers of a release in the order of their digests.

    Raises:
        WaiverError: When one is there twice, or there are too many.
    """
    ordered = sorted(waivers, key=lambda waiver: waiver.digest)
    if len({waiver.digest for waiver in ordered}) < len(ordered):
        raise WaiverError("a waiver is given twice", hint="name each waiver once")
    if len(ordered) > WAIVER_COUNT_MAX:
        raise WaiverError(
            "a release does not carry so many waivers",
            expected=f"at most {WAIVER_COUNT_MAX}",
            got=len(ordered),
            hint="change the waveform, or the policy as a new version",
        )
    return tuple(ordered)


_JUDGED: Final[dict[bytes, tuple[LimitsPolicy, tuple[Finding, ...]]]] = {}
"""What was judged last. Findings follow from table and policy alone, and neither ever changes."""


def _judge(table_bytes: bytes, policy: LimitsPolicy) -> tuple[Finding, ...]:
    """As `judge_table`; but who packs a table that was just judged does not wait for it again."""
    known = _JUDGED.get(table_bytes)
    if known is not None and known[0] == policy:
        return known[1]
    findings = judge_table(parse_waveform_table(table_bytes), policy)
    _JUDGED.clear()
    _JUDGED[table_bytes] = (policy, findings)
    return findings


def _covers(waiver: LimitWaiver, finding: Finding) -> bool:
    return (
        finding.is_violation
        and is_waivable(finding)
        and (finding.rule, finding.limit_key, finding.mode)
        == (waiver.rule, waiver.limit_key, waiver.mode)
        and waiver.level in (None, finding.level)
        and quantize_figure(finding.limit) == waiver.limit
        and quantize_figure(finding.value) <= waiver.value
    )


def _find_requested(findings: Iterable[Finding], request: WaiverRequest) -> list[Finding]:
    name = request.name.strip().upper()
    broken = [
        finding
        for finding in findings
        if finding.is_violation
        and name in (finding.rule, finding.limit_key)
        and finding.mode == request.mode
        and (request.level is None or finding.level == request.level)
    ]
    chosen = [finding for finding in broken if is_waivable(finding)]
    place = f"{request.mode} {'' if request.level is None else f'level {request.level}'}".strip()
    if broken and not chosen:
        raise WaiverError(
            f"{broken[0].rule} of {place} can never be waived ({broken[0].what})",
            expected=f"one of {', '.join(WAIVABLE)}",
            got=f"{broken[0].value:.6g} {broken[0].unit}, limit {broken[0].limit:.6g}",
            hint=explain_refusal(broken[0].rule),
        )
    if not chosen:
        raise WaiverError(
            f"there is nothing to waive: {name} is not broken by {place}",
            expected="a rule that `ampforge waveform check` shows as broken, with its mode",
            got=name,
            hint="a waiver is issued for a finding that exists, never ahead of one",
        )
    limits = {(finding.limit_key, quantize_figure(finding.limit)) for finding in chosen}
    if len(limits) > 1:
        told = ", ".join(f"{key} {limit:f}" for key, limit in sorted(limits))
        raise WaiverError(
            f"{name} of {place} is broken against more than one limit",
            expected="one limit for each waiver",
            got=told,
            hint="name the limit instead of the rule, and one level; issue a waiver for each",
        )
    return chosen
