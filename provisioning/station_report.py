"""Turns what the ledger knows into the pages of `provisioning.reports`.

Only units that were worked on with the given release are reported: their waveforms and limits are
those of its bundle.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from firmware_images.waiver_text import format_waiver
from firmware_images.waveform_plot import plot_mode
from provisioning.capability_report import report_line
from provisioning.errors import CapabilityDataError, ReportError
from provisioning.instruments import SIMULATED_NOTE
from provisioning.ledger_queries import list_units
from provisioning.ledger_retelling import HOLD_STEP
from provisioning.ledger_units import find_unit
from provisioning.ledger_values import UnitState
from provisioning.line_yield import LineYield, count_yield
from provisioning.reports import (
    ReportedUnit,
    ReportHeader,
    render_certificate,
    render_line_report,
    render_unit_report,
)
from provisioning.station_values import Step
from provisioning.unit_certificate import build_certificate, is_certifiable, is_waiting
from provisioning.unit_events import read_unit_events
from provisioning.unit_records import read_results
from provisioning.unit_udi import find_lot, find_udi
from signing.durable_file import save_durably

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from firmware_images.bundle import Bundle
    from provisioning.ledger import Ledger

T = TypeVar("T")

AWAITS_CHECK: Final = "PASS_AWAITS_CHECK"
"""A PASS that releases nothing until the check standard was read and is good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StationReport:
    """A report of a line, or of one unit.

    Attributes:
        page: The HTML document.
        unit_count: How many units are in it.
        line_yield: How well the line does; `None` for one unit.
    """

    page: str
    unit_count: int
    line_yield: LineYield | None


def render_report(
    ledger: Ledger,
    bundle: Bundle,
    *,
    station: str,
    now: dt.datetime,
    serial: str | None = None,
    is_verified: bool = False,
    lot: str | None = None,
    links: Mapping[str, str] | None = None,
    progress: Callable[[str, float], None] = lambda _step, _fraction: None,
) -> StationReport:
    """Return the report of the line, or of one unit, as an HTML document.

    Args:
        ledger: The open ledger.
        bundle: The verified release.
        station: Name of the station.
        now: The present, aware.
        serial: The unit; `None` for all units of the release.
        is_verified: Whether the ledger was verified just now, with all that is known of it.
        lot: Only the units of this lot; `None` for all.
        links: Where the page of a unit is, relative to the report, by serial number.
        progress: Told what is done, and how much of it, from 0 to 1.

    Returns:
        The page, and what is counted in it.

    Raises:
        ReportError: No unit was worked on with this release.
        LedgerError: The ledger was changed outside Ampforge.
    """
    if not is_verified:
        ledger.verify_chains(on_progress=_counting(progress, "looking at the ledger"))
    known = [
        unit.serial
        for unit in list_units(ledger.database, bundle_digest=bundle.digest)
        if serial in {None, unit.serial}
    ]
    units = tuple(
        load_reported_unit(ledger, one) for one in _telling(known, progress, "reading the units")
    )
    if lot is not None:
        units = tuple(unit for unit in units if unit.lot == lot)
    if not units:
        raise ReportError(
            "there is nothing to report",
            expected=f"units that were worked on with {bundle.statement.version}",
            got=f"none of lot {lot}"
            if lot is not None
            else "none"
            if serial is None
            else f"not {serial}",
            where=ledger.database.address,
            hint="name the bundle that the units were made with, and their lot as it was set",
        )
    header = ReportHeader(
        product=bundle.statement.product,
        hardware_class=bundle.statement.hardware_class,
        release=bundle.statement.version,
        bundle_digest=bundle.digest.hex(),
        station=station,
        created_at=now,
        note=_tell_simulated(units),
        waivers=tuple(format_waiver(waiver.to_json(), now=now) for waiver in bundle.waivers),
    )
    table = bundle.waveform_table
    pictures = {
        mode.name: plot_mode(mode, bundle.policy, tick_us=table.tick_us)
        for mode in _telling(table.modes, progress, "drawing the modes")
    }
    if serial is not None:
        page = render_unit_report(units[0], header, pictures)
        return StationReport(page=page, unit_count=1, line_yield=None)
    serials = None if lot is None else {unit.serial for unit in units}
    line_yield = count_yield(ledger, bundle_digest=bundle.digest, serials=serials)
    capability = None
    with suppress(CapabilityDataError):  # no unit was first made with this release
        capability = report_line(
            ledger,
            bundle_prefix=bundle.digest.hex(),
            serials={unit.serial for unit in units},
            on_progress=_counting(progress, "counting what the line does"),
        )
    progress("drawing the units", 0.0)
    page = render_line_report(
        units,
        header,
        pictures,
        line_yield=line_yield,
        capability=capability,
        lot=lot,
        links=links,
    )
    return StationReport(page=page, unit_count=len(units), line_yield=line_yield)


def _counting(progress: Callable[[str, float], None], step: str) -> Callable[[int, int], None]:
    """Return what takes counts and tells them as a part of a step."""
    return lambda done, total: progress(step, done / total if total else 1.0)


def _telling(things: Sequence[T], progress: Callable[[str, float], None], step: str) -> Iterator[T]:
    """Yield each of some things, and tell before how many are done."""
    for count, thing in enumerate(things):
        progress(step, count / len(things))
        yield thing


def _tell_simulated(reported: Sequence[ReportedUnit]) -> str:
    """Return the note that keeps a page from being taken for that of real boards."""
    count = sum(
        any(
            result is not None and result.instrument.is_simulated
            for result in (unit.calibration, unit.verification)
        )
        for unit in reported
    )
    if count in {0, len(reported)}:
        return SIMULATED_NOTE if count else ""
    return f"{count} of {len(reported)} units: {SIMULATED_NOTE}"


def write_certificates(
    ledger: Ledger,
    bundle: Bundle,
    folder: Path,
    *,
    ca_der: bytes,
    lot: str | None = None,
    progress: Callable[[str, float], None] = lambda _step, _fraction: None,
) -> dict[str, Path]:
    """Write the certificate of each unit that has a verdict on a verification.

    Args:
        ledger: The open ledger.
        bundle: The verified release that the units were made with.
        folder: Where to write them; made if it is not there.
        ca_der: Certificate of the factory CA.
        lot: Only the units of this lot; `None` for all.
        progress: Told what is done, and how much of it, from 0 to 1.

    Returns:
        The file of each unit, by serial number.

    Raises:
        ReportError: The record of a unit does not agree with its own readings.
        LedgerError: An event is damaged.
        SigningError: A unit's record was not signed by a station of this factory.
    """
    written = {}
    units = list_units(ledger.database, bundle_digest=bundle.digest)
    for unit in _telling(units, progress, "writing certificates"):
        if unit.state is UnitState.IN_WORK or unit.state is UnitState.REWORK:
            continue
        record = read_unit_events(ledger, unit.serial)
        if lot is not None and find_lot(record.events) != lot:
            continue
        if not is_certifiable(record):
            continue
        made = build_certificate(record, ca_der, where=unit.serial)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{unit.serial}.certificate.html"
        save_durably(path, render_certificate(made).encode())
        written[unit.serial] = path
    return written


def load_reported_unit(ledger: Ledger, serial: str) -> ReportedUnit:
    """Return a unit as a report shows it: its last verdict and results."""
    unit = find_unit(ledger.database, serial=serial)
    chained_events = ledger.events(serial=serial)
    calibration, verification = read_results(chained_events)
    events = [chained.event for chained in chained_events]
    final = [event.data for event in events if event.step == Step.FINAL.value]
    verdict = unit.state.value.upper().replace("-", "_")
    if unit.state is UnitState.PASS and is_waiting(events):
        verdict = AWAITS_CHECK
    udi = find_udi(events)
    last = final[-1] if final else {}
    holds = [event.data for event in events if event.step == HOLD_STEP]
    is_held = unit.state is UnitState.HOLD and bool(holds)
    why = "on hold, because the check standard failed: " if is_held else ""
    reasons = (holds[-1] if is_held else last).get("reasons", [])
    version = last.get("firmware_version")
    return ReportedUnit(
        serial=serial,
        mac=unit.mac.hex(":"),
        lot=find_lot(events),
        udi=None if udi is None else udi.human_readable,
        verdict=verdict,
        reasons=tuple(f"{why}{reason}" for reason in reasons) if isinstance(reasons, list) else (),
        firmware_before=None if version is None else str(version),
        calibration=calibration,
        verification=verification,
    )
