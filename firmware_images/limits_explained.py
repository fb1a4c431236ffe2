"""A rule explained to a person: its text, and what the policy at hand says of its figures."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Final

from firmware_images.limits_policy import FACT_UNITS, LIMIT_UNITS, format_value
from firmware_images.limits_texts import FACT_TEXTS, RULE_TEXTS, RuleText

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_images.limits_policy import LimitsPolicy, SourcedValue

SCHEMA: Final = "ampforge.rule/1"
_WIDTH: Final = 78
_PAGE_WIDTH: Final = 100
_INTRODUCTION: Final = (
    "For the person who signs the limits policy. Every level of every mode is judged by each rule; "
    "`ampforge waveform check` prints the worst value of each, the limit, and the margin. "
    "`ampforge waveform check --explain RULE` prints what is here, with the figures of your own "
    "policy: value, source, and who checked it. The exact definitions are in "
    "[policy-and-approval.md](../spec/policy-and-approval.md) §7 and "
    "[waveform-table.md](../spec/waveform-table.md) §8."
)
_ORIGINS: Final = (
    "A rule says what must hold; the policy says the figure, and where it is from. A figure that "
    'says `checked_by = "nobody yet"` was copied, not compared with its source, and whoever signs '
    "the policy signs that, too."
)
_BITING: Final = (
    "The rules that bite at microamps are PEAK, JDC, BALANCE and DOSE. The ceilings of IEC "
    "60601-2-10 never do; they catch a file in milliamps."
)
_UNITS: Final = {
    "cm2": "cm²",
    "uA": "µA",
    "ohm": "Ω",
    "mA/cm2": "mA/cm²",
    "uC": "µC",
    "mA*min": "mA·min",
    "W/cm2": "W/cm²",
    "log10(uC2/cm2)": "log₁₀(µC²/cm²)",
    "uA/ms": "µA/ms",
}


def find_rule(name: str) -> RuleText | None:
    """The rule of that id, or the one that a limit of that name belongs to; `None` without one."""
    wanted = name.strip().upper()
    for text in RULE_TEXTS:
        if wanted == text.rule:
            return text
    for text in RULE_TEXTS[::-1]:  # HEADER comes first and only compares what others limit
        if wanted in text.limits:
            return text
    return None


def describe_rule(text: RuleText, policy: LimitsPolicy | None) -> dict[str, object]:
    """The explanation for scripts."""
    document: dict[str, object] = {
        "schema": SCHEMA,
        "rule": text.rule,
        "title": text.title,
        "meaning": text.meaning,
        "clause": text.clause,
        "formula": text.formula,
        "method": text.method,
        "limits": list(text.limits),
        "facts": list(text.facts),
    }
    if policy is not None:
        document["policy"] = {"name": policy.name, "version": policy.version}
        document["figures"] = [
            {
                "key": key,
                "value": format_value(sourced.value),
                "unit": sourced.unit,
                "source": sourced.source,
                "checked_by": sourced.checked_by,
            }
            for key, sourced in _find_figures(text, policy)
        ]
    return document


def format_rule(text: RuleText, policy: LimitsPolicy | None) -> str:
    """The explanation for a person at a terminal."""
    lines = [f"{text.rule}: {text.title}", "", fill(text.meaning, _WIDTH), ""]
    for name, value in (("from", text.clause), ("rule", text.formula), ("value", text.method)):
        lines.append(_indent(name, value))
    if policy is None:
        keys = ", ".join((*text.limits, *text.facts)) or "no figure"
        lines += ["", f"figures  {keys}: give --limits to see what a policy says of them"]
        return "\n".join(lines)
    lines += ["", f"{policy.name} version {policy.version} says:"]
    figures = list(_find_figures(text, policy))
    for key, sourced in figures:
        lines += [
            f"  {key} = {_format_figure(sourced)}",
            f"    source      {sourced.source}",
            f"    checked by  {sourced.checked_by}",
        ]
    if not figures:
        lines.append("  this rule has no figure: what it compares must be equal")
    return "\n".join(lines)


def format_rules_document() -> str:
    """Every rule as the page docs/how-to/limits-in-plain-words.md."""
    lines = [
        "# What each limit means",
        "",
        fill(_INTRODUCTION, _PAGE_WIDTH),
        "",
        fill(_ORIGINS, _PAGE_WIDTH),
        "",
        fill(_BITING, _PAGE_WIDTH),
        "",
        "This page is made by `ampforge waveform check --explain all`: change the texts, not it.",
        "",
        "## What is assumed of the hardware",
        "",
        "| fact | unit | meaning |",
        "|---|---|---|",
        *(f"| `{key}` | {_unit(FACT_UNITS[key])} | {text} |" for key, text in FACT_TEXTS.items()),
    ]
    for text in RULE_TEXTS:
        lines += ["", f"## {text.rule}: {text.title}", "", fill(text.meaning, _PAGE_WIDTH), ""]
        lines += [
            f"- **From** {text.clause}.",
            f"- **Rule** `{text.formula}`.",
            f"- **Value** {text.method}",
        ]
        figures = [f"`{key}` ({_unit(LIMIT_UNITS[key])})" for key in text.limits]
        figures += [f"`{key}` ({_unit(FACT_UNITS[key])})" for key in text.facts]
        figures += ["each mode's `claim` (µA)"] if text.has_claims else []
        if figures:
            lines.append(f"- **In the policy** {', '.join(figures)}.")
    return "\n".join(lines) + "\n"


def _find_figures(text: RuleText, policy: LimitsPolicy) -> Iterator[tuple[str, SourcedValue]]:
    for key in text.limits:
        yield key, policy.limits[key]
    for key in text.facts:
        yield key, policy.facts[key]
    if text.has_claims:
        for name, mode in policy.modes.items():
            yield f"claim of {name}", mode.claim


def _format_figure(sourced: SourcedValue) -> str:
    return f"{format_value(sourced.value)} {_unit(sourced.unit)}"


def _unit(unit: str) -> str:
    return _UNITS.get(unit, unit)


def _indent(name: str, value: str) -> str:
    return fill(value, _WIDTH, initial_indent=f"{name:<9}", subsequent_indent=" " * 9)
