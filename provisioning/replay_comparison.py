"""Compares what an event states with what its readings give, value by value, to the last digit.

Implements docs/spec/calibration.md §9.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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
    read_filled: Callable[[], Mapping[str, object]] = dict,
) -> ReplayedResult:
    """Return which values of an event differ from those that its readings give.

    Args:
        event: The event.
        stored: What it states, JSON values.
        recomputed: What the readings give, JSON values.
        reading_count: Readings that it was judged from.
        read_filled: Returns the stored form as this version reads it; what reading filled in is no
            statement of the event.
    """
    if stored == recomputed:  # nearly always, and then no value needs the name of its place
        return ReplayedResult(
            event=event,
            reading_count=reading_count,
            value_count=_count_values(stored),
            differences=(),
        )
    told, given = _flatten(stored), _flatten(recomputed)
    filled = _flatten(read_filled())
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


# An empty list or object is a value of its own, so that it differs from one that is missing.


def _count_values(value: object) -> int:
    if isinstance(value, dict) and value:
        return sum(map(_count_values, value.values()))
    if isinstance(value, list) and value:
        return sum(map(_count_values, value))
    return 1


def _flatten(document: Mapping[str, object]) -> dict[str, object]:
    """Return each value of a JSON document by its path."""
    return dict(_walk("", document))


def _walk(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _walk(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _walk(f"{path}[{index}]", inner)
    else:
        yield path, value
