"""The record of one unit: shown, told as a history, and exported with a proof.

An export holds every event of the unit as it was written, and for each station the links of its
chain from the unit's first event to the head: of other units only the digests, which tell nothing
about them. Whoever holds the factory CA's certificate can check that nothing was changed
(`verify_export`). Normative text: docs/spec/ledger-and-record-export.md §5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.calibration_result import CalibrationResult, parse_calibration_result
from provisioning.ledger_events import Phase, event_digest, format_time
from provisioning.ledger_journal import read_links
from provisioning.ledger_queries import find_unit, list_jobs
from provisioning.station_values import Step
from provisioning.verification_result import VerificationResult, parse_verification_result
from signing.canonical_cbor import serialize_cbor
from signing.cose import sign_one

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from provisioning.ledger import Ledger
    from provisioning.ledger_events import ChainedEvent
    from provisioning.ledger_values import JobRecord, UnitRecord
    from provisioning.station_files import StationKeys

SHOW_SCHEMA: Final = "ampforge.unit/1"
HISTORY_SCHEMA: Final = "ampforge.unit-history/1"
EXPORT_SCHEMA: Final = "ampforge.unit-export/1"
HEAD_CONTENT_TYPE: Final = "application/vnd.ampforge.chain-head+cbor"
_RESULT_KEY: Final = "result"


def load_results(
    ledger: Ledger, serial: str
) -> tuple[CalibrationResult | None, VerificationResult | None]:
    """Return the last confirmed calibration and verification of a unit.

    Raises:
        LedgerError: An event is damaged.
        ProvisioningError: A stored result cannot be read.
    """
    calibration: CalibrationResult | None = None
    verification: VerificationResult | None = None
    for chained in ledger.events(serial=serial):
        event = chained.event
        if event.phase is not Phase.CONFIRM:
            continue
        if event.step == Step.CALIBRATE.value:
            calibration = parse_calibration_result(event.data.get(_RESULT_KEY))
            verification = None  # it was about the calibration before
        elif event.step == Step.VERIFY.value:
            verification = parse_verification_result(event.data.get(_RESULT_KEY))
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
    calibration, verification = load_results(ledger, serial)
    final = confirmed.get(Step.FINAL.value, {})
    return {
        "schema": SHOW_SCHEMA,
        **_unit_document(unit),
        "ledger": {"uuid": ledger.identity.uuid, "epoch": ledger.identity.epoch},
        "firmware_version": final.get("firmware_version"),
        "reasons": final.get("reasons", []),
        "jobs": [_job_document(job) for job in jobs],
        "calibration": _calibration_document(calibration, confirmed),
        "verification": _verification_document(verification),
        "event_count": len(events),
    }


def describe_history(ledger: Ledger, serial: str) -> dict[str, object]:
    """Return a unit's events in order as a JSON document (schema `ampforge.unit-history/1`)."""
    unit = find_unit(ledger.database, serial=serial)
    return {
        "schema": HISTORY_SCHEMA,
        **_unit_document(unit),
        "events": [_event_document(chained) for chained in ledger.events(serial=serial)],
    }


def export_unit(
    ledger: Ledger, serial: str, *, keys: StationKeys, station: str, now: dt.datetime
) -> dict[str, object]:
    """Return the whole record of a unit with the proof of its place in every chain.

    Args:
        ledger: The open ledger.
        serial: Serial number of the unit.
        keys: Keys of the station that vouches for the heads.
        station: Its name.
        now: The present, aware.

    Raises:
        LedgerError: There is no such unit, or a chain is broken.
    """
    unit = find_unit(ledger.database, serial=serial)
    events = ledger.events(serial=serial)
    heads = ledger.verify_chains()
    first_numbers: dict[str, int] = {}
    for chained in events:
        first_numbers.setdefault(chained.event.station, chained.event.number)
    chains = [
        _chain_document(ledger, name, first, serial)
        for name, first in sorted(first_numbers.items())
    ]
    statement = serialize_cbor(
        {
            1: ledger.identity.uuid,
            2: ledger.identity.epoch,
            3: serial,
            4: format_time(now),
            5: {name: [heads[name][0], heads[name][1]] for name in first_numbers},
        }
    )
    return {
        "schema": EXPORT_SCHEMA,
        **_unit_document(unit),
        "ledger": {"uuid": ledger.identity.uuid, "epoch": ledger.identity.epoch},
        "exported_at": format_time(now),
        "exported_by": station,
        "jobs": [_job_document(job) for job in list_jobs(ledger.database, serial)],
        "events": [_event_document(chained) for chained in events],
        "chains": chains,
        "heads_cose": sign_one(
            statement, keys.station_signer, content_type=HEAD_CONTENT_TYPE
        ).hex(),
        "station_certificate": keys.station_der.hex(),
    }


def _chain_document(
    ledger: Ledger, station: str, first_number: int, serial: str
) -> dict[str, object]:
    with ledger.database.reading() as connection:
        rows = read_links(connection, station, first_number=first_number)
    own = {
        chained.event.number: chained.content
        for chained in ledger.events(serial=serial)
        if chained.event.station == station
    }
    links = [
        {
            "number": row.number,
            "digest": event_digest(row.content).hex(),
            "hash": row.hash.hex(),
            **({"content": own[row.number].hex()} if row.number in own else {}),
        }
        for row in rows
    ]
    return {"station": station, "previous": rows[0].previous.hex(), "links": links}


def _unit_document(unit: UnitRecord) -> dict[str, object]:
    return {
        "serial": unit.serial,
        "mac": unit.mac.hex(":"),
        "state": unit.state.value,
        "bundle": unit.bundle_digest.hex(),
        "first_seen_at": format_time(unit.first_seen_at),
        "changed_at": format_time(unit.changed_at),
    }


def _job_document(job: JobRecord) -> dict[str, object]:
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


def _event_document(chained: ChainedEvent) -> dict[str, object]:
    event = chained.event
    return {
        "station": event.station,
        "number": event.number,
        "at": format_time(event.at),
        "job": event.job,
        "step": event.step,
        "phase": event.phase.value,
        "data": dict(event.data),
        "hash": chained.hash.hex(),
    }


def _calibration_document(
    result: CalibrationResult | None, confirmed: Mapping[str, Mapping[str, object]]
) -> dict[str, object] | None:
    if result is None or result.fit is None:
        return None
    return {
        "gain_ppm": result.gain_ppm,
        "offset_na": result.offset_na,
        "output_impedance_ohm": result.output_impedance_ohm,
        "inl_lsb": result.inl_lsb,
        "instrument": str(result.instrument),
        "findings": [finding.message for finding in result.findings],
        "record": confirmed.get(Step.RECORD.value, {}).get("stored"),
    }


def _verification_document(result: VerificationResult | None) -> dict[str, object] | None:
    if result is None:
        return None
    worst: dict[str, dict[str, object]] = {}
    for point in result.points:
        margin = abs(point.error_na) / point.deciding_limit_na
        if point.mode not in worst or margin > float(str(worst[point.mode]["used_of_limit"])):
            worst[point.mode] = {
                "mode": point.mode,
                "level_index": point.level_index,
                "load_ohm": point.load_ohm,
                "target_na": point.target_na,
                "error_na": point.error_na,
                "expanded_uncertainty_na": point.expanded_uncertainty_na,
                "limit_na": point.deciding_limit_na,
                "used_of_limit": margin,
            }
    return {
        "outcome": result.outcome.value,
        "reasons": list(result.reasons),
        "point_count": len(result.points),
        "worst": list(worst.values()),
    }
