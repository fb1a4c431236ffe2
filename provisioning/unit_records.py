"""The record of one unit as JSON documents: what it is, and what was done to it.

Schemas are described in docs/spec/ledger-and-record-export.md §5. `unit_exports` adds the proof.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.calibration_result import CalibrationResult, parse_calibration_result
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_modules import list_replaced
from provisioning.ledger_quarantine import find_quarantine
from provisioning.ledger_queries import awaits_check, list_jobs
from provisioning.ledger_supervision import SUPERVISE_STEP
from provisioning.ledger_units import find_unit
from provisioning.recipe import recipe_document
from provisioning.replay_comparison import RESULT_KEY
from provisioning.station_values import Step
from provisioning.supervision import Act
from provisioning.unit_events import event_document
from provisioning.unit_udi import find_udi
from provisioning.verification_result import (
    PointResult,
    VerificationResult,
    parse_verification_result,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioning.ledger import Ledger
    from provisioning.ledger_events import ChainedEvent, Event
    from provisioning.ledger_values import JobRecord, UnitRecord

SHOW_SCHEMA: Final = "ampforge.unit/1"
HISTORY_SCHEMA: Final = "ampforge.unit-history/1"


def load_results(
    ledger: Ledger, serial: str
) -> tuple[CalibrationResult | None, VerificationResult | None]:
    """Return the last confirmed calibration and verification of a unit.

    Raises:
        LedgerError: An event is damaged.
        ProvisioningError: A stored result cannot be read.
    """
    return read_results(ledger.events(serial=serial))


def read_results(
    events: Iterable[ChainedEvent],
) -> tuple[CalibrationResult | None, VerificationResult | None]:
    """Return the last confirmed calibration and verification among a unit's events, in order.

    Raises:
        ProvisioningError: A stored result cannot be read.
    """
    return read_result_pair(chained.event for chained in events)


def read_result_pair(
    events: Iterable[Event],
) -> tuple[CalibrationResult | None, VerificationResult | None]:
    """Return the same from events without their links."""
    calibration: CalibrationResult | None = None
    verification: VerificationResult | None = None
    for event in events:
        if event.phase is not Phase.CONFIRM:
            continue
        if event.step == Step.CALIBRATE.value:
            calibration = parse_calibration_result(event.data.get(RESULT_KEY))
            verification = None  # it was about the calibration before
        elif event.step == Step.VERIFY.value:
            verification = parse_verification_result(event.data.get(RESULT_KEY))
    return calibration, verification


def describe_unit(ledger: Ledger, serial: str) -> dict[str, object]:
    """Return what is known about a unit as a JSON document (schema `ampforge.unit/1`).

    Raises:
        LedgerError: There is no such unit, or an event is damaged.
    """
    unit = find_unit(ledger.database, serial=serial)
    jobs = list_jobs(ledger.database, serial)
    events = ledger.events(serial=serial)
    confirmed = {
        chained.event.step: chained.event.data
        for chained in events
        if chained.event.phase is Phase.CONFIRM
    }
    calibration, verification = read_results(events)
    final = confirmed.get(Step.FINAL.value, {})
    quarantine = find_quarantine(ledger, unit.mac)
    udi = find_udi(chained.event for chained in events)
    return {
        "schema": SHOW_SCHEMA,
        **unit_document(unit),
        "ledger": {"uuid": ledger.identity.uuid, "epoch": ledger.identity.epoch},
        "quarantine": None if quarantine is None else quarantine.reason,
        "awaits_check": awaits_check(ledger.database, serial),
        "firmware_version": final.get("firmware_version"),
        "reasons": final.get("reasons", []),
        "waivers": final.get("waivers", []),
        "lot": final.get("lot"),
        "udi": None if udi is None else udi.document(),
        "adopted": _find_adoption(events),
        "replaced_modules": [
            module.document() for module in list_replaced(ledger.database, serial=serial)
        ],
        "jobs": [job_document(job) for job in jobs],
        "calibration": calibration_figures(calibration),
        "calibration_record": confirmed.get(Step.RECORD.value, {}).get("stored"),
        "verification": verification_figures(verification),
        "recipe": recipe_figures(calibration, verification),
        "event_count": len(events),
    }


def _find_adoption(events: Iterable[ChainedEvent]) -> dict[str, object] | None:
    """Return when and why the unit got its lost number back; `None` when it never lost it."""
    for chained in events:
        event = chained.event
        if event.step == SUPERVISE_STEP and event.data.get("act") == Act.ADOPT.value:
            return {"at": format_time(event.at), "reason": event.data.get("reason")}
    return None


def describe_history(ledger: Ledger, serial: str) -> dict[str, object]:
    """Return a unit's events in order as a JSON document (schema `ampforge.unit-history/1`)."""
    unit = find_unit(ledger.database, serial=serial)
    return {
        "schema": HISTORY_SCHEMA,
        **unit_document(unit),
        "events": [
            event_document(chained.event, link=chained.hash)
            for chained in ledger.events(serial=serial)
        ],
    }


def unit_document(unit: UnitRecord) -> dict[str, object]:
    """Return the fields that every document about a unit begins with."""
    return {
        "serial": unit.serial,
        "mac": unit.mac.hex(":"),
        "state": unit.state.value,
        "bundle": unit.bundle_digest.hex(),
        "first_seen_at": format_time(unit.first_seen_at),
        "changed_at": format_time(unit.changed_at),
    }


def job_document(job: JobRecord) -> dict[str, object]:
    """Return one job as JSON values."""
    return {
        "job": job.job,
        "number": job.number,
        "station": job.station,
        "bundle": job.bundle_digest.hex(),
        "state": job.state.value,
        "outcome": None if job.outcome is None else job.outcome.value,
        "opened_at": format_time(job.opened_at),
        "closed_at": None if job.closed_at is None else format_time(job.closed_at),
    }


def calibration_figures(result: CalibrationResult | None) -> dict[str, object] | None:
    """Return the figures of a calibration as JSON values; `None` when nothing was fitted."""
    if result is None or result.fit is None:
        return None
    return {
        "gain_ppm": result.gain_ppm,
        "offset_na": result.offset_na,
        "output_impedance_ohm": result.output_impedance_ohm,
        "inl_lsb": result.inl_lsb,
        "instrument": str(result.instrument),
        "recipe_sha256": None if result.recipe is None else result.recipe.sha256,
        "findings": [finding.message for finding in result.findings],
    }


def verification_figures(result: VerificationResult | None) -> dict[str, object] | None:
    """Return the outcome of a verification and each mode's worst point as JSON values."""
    if result is None:
        return None
    return {
        "outcome": result.outcome.value,
        "reasons": list(result.reasons),
        "recipe_sha256": None if result.recipe is None else result.recipe.sha256,
        "point_count": len(result.points),
        "worst": [
            {
                "mode": point.mode,
                "level_index": point.level_index,
                "load_ohm": point.load_ohm,
                "target_na": point.target_na,
                "measured_na": point.measured_na,
                "error_na": point.error_na,
                "expanded_uncertainty_na": point.expanded_uncertainty_na,
                "limit_na": point.deciding_limit_na,
            }
            for point in worst_points(result)
        ],
    }


def recipe_figures(
    calibration: CalibrationResult | None, verification: VerificationResult | None
) -> dict[str, object] | None:
    """Return by what a unit was measured last, with its digest; `None` where nothing says so."""
    for result in (verification, calibration):
        if result is not None and result.recipe is not None:
            return recipe_document(result.recipe)
    return None


def worst_points(result: VerificationResult) -> tuple[PointResult, ...]:
    """Return for each mode the point that used most of its limit."""
    worst: dict[str, PointResult] = {}
    for point in result.points:
        known = worst.get(point.mode)
        if known is None or point.share_of_limit > known.share_of_limit:
            worst[point.mode] = point
    return tuple(worst.values())
