"""What `station report` prints about a line's yield: a JSON document and lines for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.failures import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.line_yield import CountedReason, LineYield


def describe_yield(line_yield: LineYield) -> dict[str, object]:
    """Return a line's yield as JSON values."""
    return {
        "judged": line_yield.judged,
        "passed": line_yield.passed,
        "yield_percent": line_yield.yield_percent,
        "first_pass": line_yield.first_pass,
        "first_pass_yield_percent": line_yield.first_pass_percent,
        "retests": line_yield.retests,
        "retested": line_yield.retested,
        "in_work": line_yield.in_work,
        "reasons": _describe(line_yield.reasons),
        "stops": _describe(line_yield.stops),
    }


def format_yield(line_yield: LineYield) -> list[str]:
    """Return a line's yield as lines for a person."""
    passed = _share(line_yield.passed, line_yield.judged, line_yield.yield_percent)
    first = _share(line_yield.first_pass, line_yield.judged, line_yield.first_pass_percent)
    retests = f"{line_yield.retests}" + (
        f", of {_units(line_yield.retested)}" if line_yield.retested else ""
    )
    return [
        f"  yield             {passed}",
        f"  first-pass yield  {first}",
        f"  retests           {retests}",
        f"  in work           {line_yield.in_work}",
        *_format("why units did not pass:", line_yield.reasons),
        *_format("what stopped the station:", line_yield.stops),
    ]


def _describe(kinds: Sequence[CountedReason]) -> list[dict[str, object]]:
    return [
        {"step": kind.step, "reason": kind.reason, "count": kind.count, "units": kind.units}
        for kind in kinds
    ]


def _format(title: str, kinds: Sequence[CountedReason]) -> list[str]:
    if not kinds:
        return []
    return [
        title,
        *(
            printable(f"  {kind.count:>4} times  {kind.step}: {kind.reason} ({_units(kind.units)})")
            for kind in kinds
        ),
    ]


def _share(part: int, whole: int, percent: float | None) -> str:
    return "no unit was judged yet" if percent is None else f"{percent:.1f} % ({part} of {whole})"


def _units(count: int) -> str:
    return "1 unit" if count == 1 else f"{count} units"
