"""Compares what an event states with what its readings give, value by value, to the last digit.

Implements docs/spec/calibration.md §9.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from provisioning.ledger_events import Event

RESULT_KEY: Final = "result"
"""Under which an event holds a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One value that the readings do not give.

    Attributes:
        path: Where it stands in the stored result, such as `fit.gain_ppm`.
        stored: What the record states; `None` where it states nothing.
        recomputed: What the readings give; `None` where they give nothing.
    """

    path: str
    stored: object
    recomputed: object


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedResult:
    """One stored result, judged again.

    Attributes:
        event: The event that holds it.
        reading_count: Readings that it was judged from.
        value_count: Values compared.
        differences: Those that differ; empty when all agree.
    """

    event: Event
    reading_count: int
    value_count: int
    differences: tuple[Difference, ...]


def compare_values(
    event: Event,
    stored: Mapping[str, object],
    recomputed: Mapping[str, object],
    *,
    reading_count: int,
    filled: Mapping[str, object] = MappingProxyType({}),
) -> ReplayedResult:
    """Return which values of an event differ from those that its readings give.

    Args:
        event: The event.
        stored: What it states.
        recomputed: What the readings give.
        reading_count: Readings that it was judged from.
        filled: What reading the stored form filled in; it is no statement of the event.
    """
    told, given = dict(flatten_values("", stored)), dict(flatten_values("", recomputed))
    given = {
        path: value
        for path, value in given.items()
        if path in told or path not in filled or filled[path] != value
    }
    paths = tuple(dict.fromkeys((*told, *given)))
    return ReplayedResult(
        event=event,
        reading_count=reading_count,
        value_count=len(paths),
        differences=tuple(
            Difference(
                path=path.removeprefix(f"{RESULT_KEY}."),
                stored=told.get(path),
                recomputed=given.get(path),
            )
            for path in paths
            if path not in told or path not in given or told[path] != given[path]
        ),
    )


def flatten_values(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield each value of a JSON document with its path."""
    # An empty list or object is a value of its own, so that it differs from one that is missing.
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten_values(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, (list, tuple)) and value:
        for index, inner in enumerate(value):
            yield from flatten_values(f"{path}[{index}]", inner)
    else:
        yield path, list(value) if isinstance(value, tuple) else value
