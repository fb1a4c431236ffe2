"""Collects what the certificate of one unit states, from its record alone.

The record is judged again first: a number that its readings do not give is on no certificate. The
board's calibration record is verified with the factory CA, which tells who signed. Nothing in here
depends on when or where the certificate is made, so the same record gives the same certificate.
Implements docs/spec/calibration.md §9.2. How it looks is `reports` and its template.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_images.calibration_record import verify_signed_record
from firmware_images.waiver_text import format_waiver
from provisioning.certificate_rows import build_rows
from provisioning.conformity_statement import state_conformity, state_coverage
from provisioning.errors import ReportError
from provisioning.ledger_events import Phase
from provisioning.ledger_retelling import HOLD_STEP, RELEASE_STEP
from provisioning.ledger_values import UnitState
from provisioning.report_figures import RiskFigures, build_risk_figures
from provisioning.station_values import Step
from provisioning.unit_records import read_result_pair
from provisioning.unit_replay import replay_events
from provisioning.unit_udi import LOT_KEY, find_udi

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from provisioning.calibration_result import CalibrationResult
    from provisioning.certificate_rows import LevelRow
    from provisioning.ledger_events import Event
    from provisioning.meter_accuracy import InstrumentCalibration
    from provisioning.unit_events import UnitEvents
    from provisioning.verification_result import VerificationResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who signed the record that the unit carries.

    Attributes:
        station: Name in the station's certificate.
        key_id: Id of its key, hex.
        generation: Which record of the unit it is, from 1.
    """

    station: str
    key_id: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """An event of the ledger that the certificate rests on.

    Attributes:
        step: Its step.
        station: Whose chain it is in.
        number: Its number there.
        hash: Hash of its link, hex.
    """

    step: str
    station: str
    number: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCertificate:
    """Everything on the certificate of one unit.

    Attributes:
        number: Serial number and number of the job: one certificate for each verdict.
        serial: Serial number.
        mac: Chip MAC as text.
        udi: Identification as people read it, or `None`.
        lot: Lot, or `None`.
        verdict: Outcome of the job, such as PASS.
        reasons: Why it is not PASS.
        statement: The statement of conformity.
        decided_at: When the verdict was written down.
        firmware_version: Version of the release.
        bundle: SHA-256 of the release, hex.
        waivers: A line for each limit that was waived.
        calibration: The calibration.
        verification: The verification.
        instrument_certificate: The one that counted for the instrument; `None`: none on file.
        rows: Levels, at most `ROWS_MAX`, and the idle current.
        omitted_count: Levels that are not shown.
        risk: Probabilities of false accept.
        coverage: Which coverage factors its expanded uncertainties have.
        signature: Who signed the unit's record.
        ledger_uuid: UUID of the ledger.
        anchors: Its events behind the certificate.
        is_released_by_check: A good reading of the check standard followed, and released it.
        replayed_count: Values that were computed again and agreed.
    """

    number: str
    serial: str
    mac: str
    udi: str | None
    lot: str | None
    verdict: str
    reasons: tuple[str, ...]
    statement: str
    decided_at: dt.datetime
    firmware_version: str
    bundle: str
    waivers: tuple[str, ...]
    calibration: CalibrationResult
    verification: VerificationResult
    instrument_certificate: InstrumentCalibration | None
    rows: tuple[LevelRow, ...]
    omitted_count: int
    risk: RiskFigures
    coverage: str
    signature: Signature
    ledger_uuid: str
    anchors: tuple[Anchor, ...]
    is_released_by_check: bool
    replayed_count: int


def build_certificate(record: UnitEvents, ca_der: bytes, *, where: str) -> UnitCertificate:
    """Return the certificate of a unit.

    Args:
        record: Its events, from the ledger or from a verified export.
        ca_der: Certificate of the factory CA, trusted.
        where: What to name in an error.

    Raises:
        ReportError: There is no verdict on a verification, or the record does not agree with its
            own readings, or the unit was sent back since.
        ProvisioningError: A stored result cannot be read.
        FirmwareImageError: The board's record cannot be read, or is another board's.
        SigningError: Its signature does not verify.
    """
    places = _find_places(record)
    if isinstance(places, str):
        raise ReportError(
            "there is nothing to certify",
            expected="a unit whose last measurement has its verdict",
            got=places,
            where=where,
            hint="finish the unit with `ampforge station run`; `ampforge unit show` says where it "
            "is",
        )
    calibration, verification = read_result_pair(record.events)
    assert calibration is not None, "its event is there"
    assert verification is not None, "its event is there"
    final = record.events[places[-1]]
    replayed = replay_events(record.events, where=where)
    if any(result.differences for result in replayed):
        raise ReportError(
            "the record does not agree with its own readings",
            expected="every number as the readings give it",
            got=f"{sum(len(result.differences) for result in replayed)} others",
            where=where,
            hint="`ampforge unit replay` names them; a certificate would repeat them",
        )
    rows, omitted_count = build_rows(verification)
    serial, mac = final.serial or "", final.mac or b""
    udi = find_udi(record.events)
    beside = _find_beside(record, final)
    waivers = final.data.get("waivers")
    return UnitCertificate(
        number=f"{serial}-{_job_number(record.events, final)}",
        serial=serial,
        mac=mac.hex(":"),
        udi=None if udi is None else udi.human_readable,
        lot=_text(final, LOT_KEY),
        verdict=str(final.data.get("outcome")).upper().replace("-", "_"),
        reasons=_texts(final.data.get("reasons")),
        statement=state_conformity(final, verification),
        decided_at=final.at,
        firmware_version=_text(final, "firmware_version") or "unknown",
        bundle=_text(final, "bundle") or "unknown",
        # As of when the unit was made: that is what its record says, now and for good.
        waivers=tuple(
            format_waiver(waiver, now=None)
            for waiver in (waivers if isinstance(waivers, list) else ())
        ),
        calibration=calibration,
        verification=verification,
        instrument_certificate=_find_certificate(verification),
        rows=rows,
        omitted_count=omitted_count,
        risk=build_risk_figures(verification),
        coverage=state_coverage(verification),
        signature=_verify_signature(record.events[places[1]], ca_der, serial=serial, mac=mac),
        ledger_uuid=record.ledger_uuid,
        anchors=tuple(
            Anchor(
                step=record.events[place].step,
                station=record.events[place].station,
                number=record.events[place].number,
                hash=record.hashes[place],
            )
            for place in sorted((*places, *beside.values()))
        ),
        is_released_by_check=RELEASE_STEP in beside,
        replayed_count=sum(result.value_count for result in replayed),
    )


def is_certifiable(record: UnitEvents) -> bool:
    """Whether a unit has a verdict on its last measurement, so that there is what to certify."""
    return not isinstance(_find_places(record), str)


def _find_places(record: UnitEvents) -> list[int] | str:
    """Return where calibration, record, verification and verdict are, or what is there instead."""
    confirmed = {
        event.step: index
        for index, event in enumerate(record.events)
        if event.phase is Phase.CONFIRM
    }
    steps = (Step.CALIBRATE, Step.RECORD, Step.VERIFY, Step.FINAL)
    places = [confirmed[step.value] for step in steps if step.value in confirmed]
    if len(places) < len(steps):
        return "no verdict on a verification"
    if places != sorted(places):
        return "a verdict from before the last measurement"
    if len({record.events[place].job for place in places}) > 1:
        return "a verdict of a later job, which did not measure"
    final = record.events[places[-1]]
    # Of its job, wherever they stand: two chains are put in order by their clocks.
    beside = [event for event in record.events if event.job == final.job]
    return _tell_what_followed(record.events[places[-1] :], beside) or places


def _find_beside(record: UnitEvents, final: Event) -> dict[str, int]:
    """Return where the reading after the locks and the release of a job are, if there are any."""
    return {
        event.step: index
        for index, event in enumerate(record.events)
        if event.phase is Phase.CONFIRM
        and event.job == final.job
        and event.step in {Step.RECHECK.value, RELEASE_STEP}
    }


def _tell_what_followed(events: Sequence[Event], of_job: Sequence[Event]) -> str | None:
    """Return what a verdict, the first of these events, is not certified for.

    Args:
        events: The verdict, and all after it.
        of_job: All events of its job. A hold ends a job, and is never before its verdict.
    """
    if any(event.data.get("sends_back") is True for event in events):
        return "a supervisor's order that sent the unit back"
    steps = {event.step for event in of_job if event.phase is Phase.CONFIRM}
    if HOLD_STEP in steps:
        return "a unit on hold: the check standard failed after it was measured"
    if is_waiting(of_job):
        return "a PASS that waits for the next good reading of the check standard"
    return None


def is_waiting(events: Sequence[Event]) -> bool:
    """Whether the last verdict is a PASS that the check standard has not released yet.

    Args:
        events: Events of one unit, in order.
    """
    confirmed = [event for event in events if event.phase is Phase.CONFIRM]
    finals = [event for event in confirmed if event.step == Step.FINAL.value]
    if not finals:
        return False
    last = finals[-1]
    # Of its job, wherever it stands: a release is told in another chain than a lease's verdict.
    is_released = any(event.step == RELEASE_STEP and event.job == last.job for event in confirmed)
    is_passed = last.data.get("outcome") == UnitState.PASS.value
    return is_passed and last.data.get("awaits_check") is True and not is_released


def _verify_signature(event: Event, ca_der: bytes, *, serial: str, mac: bytes) -> Signature:
    # What a station signed while it was trusted stays valid (docs/spec/trust.md §8).
    record, certificate = verify_signed_record(
        bytes.fromhex(str(event.data.get("stored"))),
        ca_der,
        now=event.at,
        serial=serial,
        mac=mac,
        revoked_key_ids=(),
    )
    return Signature(
        station=certificate.common_name,
        key_id=certificate.public_key.key_id.hex(),
        generation=record.generation,
    )


def _find_certificate(verification: VerificationResult) -> InstrumentCalibration | None:
    for entry in verification.settings.instruments:
        if entry.serial_number == verification.instrument.serial_number:
            return entry
    return None


def _job_number(events: Sequence[Event], final: Event) -> int:
    jobs = list(dict.fromkeys(event.job for event in events if event.job is not None))
    return 1 + jobs.index(final.job or "")


def _text(event: Event, key: str) -> str | None:
    value = event.data.get(key)
    return None if value is None else str(value)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
