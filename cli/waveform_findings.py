"""How `ampforge waveform check` shows what a policy says of a table, and what of it is waived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.output import count_of
from cli.waveform_output import align

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from firmware_images.limits_finding import Finding
    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.waiver_judging import WaivedFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the policy says of a table, and what of it is waived.

    Attributes:
        findings: From `judge_table`.
        waived: Those of the violations that a waiver covers.
    """

    findings: Sequence[Finding]
    waived: Sequence[WaivedFinding] = ()

    @property
    def remaining(self) -> tuple[Finding, ...]:
        """The findings that no waiver covers."""
        from firmware_images.waiver_judging import exclude_waived

        return exclude_waived(self.findings, self.waived)

    def find_shown(self) -> tuple[Finding, ...]:
        """The worst finding of each rule, where something is broken one that nothing covers."""
        from firmware_images.limits_judging import find_worst

        broken = {
            (finding.rule, finding.what): finding
            for finding in find_worst(self.remaining)
            if finding.is_violation
        }
        worst = find_worst(self.findings)
        return tuple(broken.get((finding.rule, finding.what), finding) for finding in worst)


def describe_findings(
    judgement: Judgement, *, path: Path, policy: LimitsPolicy
) -> dict[str, object]:
    """The document of `waveform check`."""
    waivers = {entry.finding: entry.waiver.digest.hex() for entry in judgement.waived}
    violations = [finding for finding in judgement.remaining if finding.is_violation]
    return {
        "schema": "ampforge.waveform-check/1",
        "file": str(path),
        "policy": {
            "name": policy.name,
            "version": policy.version,
            "digest": policy.digest.hex(),
        },
        "passed": not violations,
        "violations": len(violations),
        "waived": len(judgement.waived),
        "findings": [
            finding.to_json() | {"waiver": waivers.get(finding)} for finding in judgement.findings
        ],
    }


def format_findings(
    judgement: Judgement, *, path: Path, policy: LimitsPolicy, waivers: Sequence[str] = ()
) -> str:
    """Each rule's worst value, what it may be, what is left, and where; `~` marks what is waived.

    Args:
        judgement: What is shown.
        path: The file.
        policy: What it was judged by.
        waivers: A line for each.
    """
    waived = {entry.finding for entry in judgement.waived}
    rows = [("", "rule", "", "worst", "limit", "margin", "where")]
    for finding in judgement.find_shown():
        unit = finding.unit
        mark = "~" if finding in waived else "✗" if finding.is_violation else "✓"
        rows.append(
            (
                mark,
                finding.rule,
                finding.what,
                f"{_short(finding.value)} {unit}".rstrip(),
                f"{'<' if finding.is_strict else '≤'} {_short(finding.limit)}",
                _short(finding.margin),
                finding.place,
            )
        )
    violations = sum(finding.is_violation for finding in judgement.remaining)
    verdict = count_of(violations, "violation") if violations else "within every limit"
    if waived:
        verdict += f", {len(waived)} waived" if violations else f" but {len(waived)} that is waived"
    return "\n".join(
        [
            f"{path}: {verdict}",
            f"judged by {policy.name} version {policy.version}, {policy.digest.hex()[:16]}…",
            *waivers,
            "",
            *align(rows),
        ]
    )


def _short(value: float) -> str:
    return f"{value:.4g}"
