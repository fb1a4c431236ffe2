"""Judges a unit again from its raw readings, and says which stored number differs.

Every confirmed calibration, verification and recheck of a unit is recomputed from the readings and
settings in its own event, and compared with what that event states, to the last digit; so are the
record that was read back from the board, and each verdict that rests on measuring. Neither a board,
an instrument nor today's settings take part. Normative text: docs/spec/calibration.md §9.1.
"""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from firmware_images.calibration_record import parse_signed_record
from provisioning.calibration import recompute_calibration
from provisioning.calibration_result import parse_calibration_result, serialize_calibration_result
from provisioning.errors import ExportError, InstrumentError
from provisioning.instrument_certificates import age_of_certificate, refuse_uncertified
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_values import UnitState
from provisioning.recipe import RECIPE_KEY, canonical_digest, recipe_document, recompute_recipe
from provisioning.replay_comparison import RESULT_KEY, ReplayedResult, compare_values
from provisioning.station_values import Step
from provisioning.unit_calibration_record import REACH_KEY, build_calibration_record
from provisioning.unit_judgement import judge_calibration, judge_verification
from provisioning.verification import recompute_verification
from provisioning.verification_result import (
    ExpectedRecord,
    parse_verification_result,
    serialize_verification_result,
)
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from firmware_images.calibration_record import CalibrationRecord
    from provisioning.calibration_result import CalibrationResult
    from provisioning.ledger_events import Event
    from provisioning.verification_result import VerificationResult

REPLAY_SCHEMA: Final = "ampforge.unit-replay/1"
_STORED_KEY: Final = "stored"
_Result = TypeVar("_Result", "CalibrationResult", "VerificationResult")


def replay_events(events: Iterable[Event], *, where: str) -> tuple[ReplayedResult, ...]:
    """Judge every confirmed calibration and verification of a unit again, in order.

    The board's records and the verdicts follow from them, and are compared with them.

    Args:
        events: The unit's events, from the ledger or from a verified export.
        where: What to name in an error.

    Raises:
        ExportError: There is no result to judge.
        ProvisioningError: A stored result cannot be read, or lacks readings.
        FirmwareImageError: A board's record cannot be read.
        SigningError: Its signed message cannot.
    """
    known = _Known()
    replayed: list[ReplayedResult] = []
    for event in events:
        if event.phase is Phase.CONFIRM:
            with _refusing_uncountable(event, where):
                replayed += _replay_event(event, known, where)
    if known.is_empty:
        raise ExportError(
            "the unit was never measured",
            expected="a confirmed calibration or verification",
            got="none",
            where=where,
            hint="see `ampforge unit history` for what was done to it",
        )
    return tuple(replayed)


def _replay_event(event: Event, known: _Known, where: str) -> Iterator[ReplayedResult]:
    match event.step:
        case Step.CALIBRATE.value:
            yield _replay_calibration(event, known)
        case Step.RECORD.value:
            yield from _replay_record(event, known, where)
        case Step.VERIFY.value:
            yield _replay_verification(event, known)
        case Step.RECHECK.value if RESULT_KEY in event.data:  # an older Ampforge stored none
            yield from _replay_recheck(event, known)
        case Step.FINAL.value:
            yield from _replay_verdict(event, known)


@contextmanager
def _refusing_uncountable(event: Event, where: str) -> Iterator[None]:
    """Refuse a result whose numbers are numbers, but lead to none."""
    try:
        yield
    except (ArithmeticError, ValueError) as error:
        raise ExportError(
            "nothing can be computed from the stored result",
            expected="settings and readings of a measurement",
            got=str(error).splitlines()[0],
            where=f"{where}, event {event.number} of {event.station}",
            hint="restore the ledger from its backup",
        ) from error


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


@dataclass(slots=True)
class _Known:
    # The last calibration, verification and recheck so far, as their readings give them.
    calibration: CalibrationResult | None = None
    calibration_sha256: bytes = b""
    verification: VerificationResult | None = None
    recheck: VerificationResult | None = None
    reach_na: int | None = None

    @property
    def is_empty(self) -> bool:
        return self.calibration is None and self.verification is None


def _replay_calibration(event: Event, known: _Known) -> ReplayedResult:
    read = parse_calibration_result(event.data.get(RESULT_KEY))
    result = recompute_calibration(_look_certificate_up(read))
    known.calibration, known.verification, known.reach_na = result, None, None
    known.recheck = None
    stored = _stored_result(event)
    known.calibration_sha256 = canonical_digest(stored)
    return _compare_results(
        event,
        result,
        read=partial(serialize_calibration_result, read),
        given=serialize_calibration_result(result),
        reading_count=len(result.readings),
    )


def _replay_verification(event: Event, known: _Known) -> ReplayedResult:
    known.verification, replayed = _judge_again(event, known)
    known.recheck = None
    return replayed


def _replay_recheck(event: Event, known: _Known) -> Iterator[ReplayedResult]:
    """Judge the current after the locks again, and compare what the event says of it."""
    result, replayed = _judge_again(event, known)
    known.recheck = result
    yield replayed
    told = event.data.get("current")
    points = [
        {name: getattr(point, name) for name in ("mode", "target_na", "measured_na", "load_ohm")}
        for point in result.points
    ]
    given = {"current": points[0] if len(points) == 1 else points}
    yield compare_values(event, {"current": told}, given, reading_count=0)


def _judge_again(event: Event, known: _Known) -> tuple[VerificationResult, ReplayedResult]:
    read = parse_verification_result(event.data.get(RESULT_KEY))
    result = _look_certificate_up(read)
    if result.record is not None and known.calibration is not None and known.calibration.fit:
        # What the board should be using is what it was calibrated to.
        record = ExpectedRecord(
            gain_ppm=known.calibration.gain_ppm, offset_na=known.calibration.offset_na
        )
        result = result.model_copy(update={"record": record})
    result = recompute_verification(result)
    return result, _compare_results(
        event,
        result,
        read=partial(serialize_verification_result, read),
        given=serialize_verification_result(result),
        reading_count=sum(len(part) for part in (result.points, result.idle, result.waveforms)),
    )


def _look_certificate_up(result: _Result) -> _Result:
    """Return a result with the certificate and age that its settings give for its instrument."""
    today = result.started_at.date()
    certificate, age_days = None, None
    with suppress(InstrumentError):  # then there was none to measure with
        certificate = refuse_uncertified(result.instrument, result.settings, today=today)
        age_days = age_of_certificate(result.instrument, result.settings, today=today)
    return result.model_copy(update={"certificate": certificate, "certificate_age_days": age_days})


def _compare_results(
    event: Event,
    result: CalibrationResult | VerificationResult,
    *,
    read: Callable[[], dict[str, object]],
    given: dict[str, object],
    reading_count: int,
) -> ReplayedResult:
    """Compare a stored result with the recomputed one, and its recipe with what it rests on.

    Args:
        event: The event that holds it.
        result: The recomputed one.
        read: Returns the stored one as this version reads it, which may fill in what later ones
            added.
        given: The recomputed one.
        reading_count: Readings that it was judged from.
    """
    stored = _stored_result(event)
    told: dict[str, object] = {RESULT_KEY: stored}
    if RECIPE_KEY in event.data:
        told[RECIPE_KEY] = event.data[RECIPE_KEY]
    recomputed: dict[str, object] = {RESULT_KEY: given}
    if result.recipe is not None:
        settings = stored["settings"]
        assert isinstance(settings, dict), "the result was parsed from it"
        recipe = recompute_recipe(result.recipe, result, settings=settings)
        given["recipe"] = recipe_document(recipe)
        recomputed[RECIPE_KEY] = recipe.sha256
    # The schema was checked when the result was read; what was filled in is no statement of it.
    given["schema"] = stored["schema"]
    return compare_values(
        event,
        told,
        recomputed,
        reading_count=reading_count,
        read_filled=lambda: {RESULT_KEY: read()},
    )


def _stored_result(event: Event) -> dict[str, object]:
    stored = event.data.get(RESULT_KEY)
    assert isinstance(stored, dict), "it was parsed before"
    return stored


def _replay_record(event: Event, known: _Known, where: str) -> Iterator[ReplayedResult]:
    """Compare what was read back from the board with the record that its calibration yields."""
    calibration = known.calibration
    if calibration is None or calibration.fit is None:
        return
    try:
        stored = parse_signed_record(bytes.fromhex(str(event.data.get(_STORED_KEY))))
    except ValueError as error:
        raise ExportError(
            "the event does not hold the board's record",
            expected="hexadecimal",
            got=str(event.data.get(_STORED_KEY))[:40],
            where=f"{where}, event {event.number} of {event.station}",
        ) from error
    told_reach = event.data.get(REACH_KEY)
    known.reach_na = told_reach if isinstance(told_reach, int) else None
    temperature_centi_c = calibration.temperature_centi_c
    record = build_calibration_record(
        calibration,
        serial=event.serial or "",
        mac=event.mac or b"",
        job_id=event.job or "",
        generation=stored.generation,
        temperature_centi_c=(
            stored.temperature_centi_c if temperature_centi_c is None else temperature_centi_c
        ),
        reach_na=known.reach_na,
    )
    # The digest is of the result as it was stored: read by a later version it may have more.
    record = replace(record, fit_digest=known.calibration_sha256)
    yield compare_values(event, _record_document(stored), _record_document(record), reading_count=0)


def _record_document(record: CalibrationRecord) -> dict[str, object]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {
        name: value.hex() if isinstance(value, bytes) else str(value)
        if isinstance(value, dt.datetime) else value
        for name, value in values.items()
    }  # fmt: skip


def _replay_verdict(event: Event, known: _Known) -> Iterator[ReplayedResult]:
    """Compare a verdict with the one that the measurements give, where it rests on them."""
    failed_step = event.data.get("failed_step")
    if failed_step == Step.CALIBRATE.value and known.calibration is not None:
        state, reasons = UnitState.FAIL, judge_calibration(known.calibration)
    elif (
        failed_step in {None, Step.RECHECK.value}
        and known.recheck is not None
        and known.recheck.reasons  # what else fails after the locks is no measurement
    ):
        state, reasons = judge_verification(known.recheck)
    elif failed_step in {None, Step.VERIFY.value} and known.verification is not None:
        state, reasons = judge_verification(known.verification)
    else:
        return
    told = {name: event.data.get(name) for name in ("outcome", "reasons")}
    given: dict[str, object] = {"outcome": state.value, "reasons": list(reasons)}
    if known.reach_na is not None and known.verification is not None:
        # What the board's record says was verified is what was measured in the end.
        told[REACH_KEY] = known.reach_na
        given[REACH_KEY] = max(abs(point.target_na) for point in known.verification.points)
    yield compare_values(event, told, given, reading_count=0)
