"""Judges a unit again from its raw readings, and says which stored number differs.

Every confirmed calibration and verification of a unit is recomputed from the readings and settings
in its own event, and compared with what that event states, to the last digit. Neither a board, an
instrument nor today's settings take part. Normative text: docs/spec/calibration.md §9.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.calibration import recompute_calibration
from provisioning.calibration_result import parse_calibration_result, serialize_calibration_result
from provisioning.errors import ExportError
from provisioning.ledger_events import Phase, format_time
from provisioning.station_values import Step
from provisioning.verification import recompute_verification
from provisioning.verification_result import (
    parse_verification_result,
    serialize_verification_result,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from provisioning.ledger_events import Event

REPLAY_SCHEMA: Final = "ampforge.unit-replay/1"
_RESULT_KEY: Final = "result"
_SCHEMA_KEY: Final = "schema"


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


def replay_events(events: Iterable[Event], *, where: str) -> tuple[ReplayedResult, ...]:
    """Judge every confirmed calibration and verification of a unit again, in order.

    Args:
        events: The unit's events, from the ledger or from a verified export.
        where: What to name in an error.

    Raises:
        ExportError: There is no result to judge.
        ProvisioningError: A stored result cannot be read, or lacks readings.
    """
    replayed = tuple(
        _replay(event)
        for event in events
        if event.phase is Phase.CONFIRM and event.step in {Step.CALIBRATE.value, Step.VERIFY.value}
    )
    if not replayed:
        raise ExportError(
            "the unit was never measured",
            expected="a confirmed calibration or verification",
            got="none",
            where=where,
            hint="see `ampforge unit history` for what was done to it",
        )
    return replayed


def replay_document(serial: str, replayed: tuple[ReplayedResult, ...]) -> dict[str, object]:
    """Return what a replay found as a JSON document (schema `ampforge.unit-replay/1`)."""
    return {
        "schema": REPLAY_SCHEMA,
        "serial": serial,
        "agrees": not any(result.differences for result in replayed),
        "results": [
            {
                "station": result.event.station,
                "number": result.event.number,
                "at": format_time(result.event.at),
                "job": result.event.job,
                "step": result.event.step,
                "reading_count": result.reading_count,
                "value_count": result.value_count,
                "differences": [
                    {
                        "path": difference.path,
                        "stored": difference.stored,
                        "recomputed": difference.recomputed,
                    }
                    for difference in result.differences
                ],
            }
            for result in replayed
        ],
    }


def _replay(event: Event) -> ReplayedResult:
    stored = event.data.get(_RESULT_KEY)
    if event.step == Step.CALIBRATE.value:
        calibration = parse_calibration_result(stored)
        read = serialize_calibration_result(calibration)
        recomputed = serialize_calibration_result(recompute_calibration(calibration))
        reading_count = len(calibration.readings)
    else:
        verification = parse_verification_result(stored)
        read = serialize_verification_result(verification)
        recomputed = serialize_verification_result(recompute_verification(verification))
        reading_count = sum(
            len(part) for part in (verification.points, verification.idle, verification.waveforms)
        )
    told, given = dict(_flatten("", stored)), dict(_flatten("", recomputed))
    # A result of an earlier version is read with what later ones added filled in; that is no
    # statement of the record. The schema was checked when it was read.
    filled = dict(_flatten("", read))
    given = {
        path: value
        for path, value in given.items()
        if path in told or path not in filled or filled[path] != value
    }
    given[_SCHEMA_KEY] = told[_SCHEMA_KEY]
    paths = tuple(dict.fromkeys((*told, *given)))
    return ReplayedResult(
        event=event,
        reading_count=reading_count,
        value_count=len(paths),
        differences=tuple(
            Difference(path=path, stored=told.get(path), recomputed=given.get(path))
            for path in paths
            if path not in told or path not in given or told[path] != given[path]
        ),
    )


def _flatten(path: str, value: object) -> Iterator[tuple[str, object]]:
    # An empty list or object is a value of its own, so that it differs from one that is missing.
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, (list, tuple)) and value:
        for index, inner in enumerate(value):
            yield from _flatten(f"{path}[{index}]", inner)
    else:
        yield path, list(value) if isinstance(value, tuple) else value
