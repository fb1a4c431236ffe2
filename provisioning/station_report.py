"""Turns what the ledger knows into the pages of `provisioning.reports`.

Only units that were worked on with the given release are reported: their waveforms and limits are
those of its bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_images.waiver_text import format_waiver
from firmware_images.waveform_plot import plot_mode
from provisioning.errors import ReportError
from provisioning.ledger_queries import find_unit, list_units
from provisioning.line_yield import LineYield, count_yield
from provisioning.reports import (
    ReportedUnit,
    ReportHeader,
    render_line_report,
    render_unit_report,
)
from provisioning.station_values import Step
from provisioning.unit_records import read_results
from provisioning.unit_udi import find_udi

if TYPE_CHECKING:
    import datetime as dt

    from firmware_images.bundle import Bundle
    from provisioning.ledger import Ledger


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
    note: str = "",
    is_verified: bool = False,
) -> StationReport:
    """Return the report of the line, or of one unit, as an HTML document.

    Args:
        ledger: The open ledger.
        bundle: The verified release.
        station: Name of the station.
        now: The present, aware.
        serial: The unit; `None` for all units of the release.
        note: A sentence at the top of the page.
        is_verified: Whether the ledger was verified just now, with all that is known of it.

    Returns:
        The page, and what is counted in it.

    Raises:
        ReportError: No unit was worked on with this release.
        LedgerError: The ledger was changed outside Ampforge.
    """
    if not is_verified:
        ledger.verify_chains()
    units = tuple(
        load_reported_unit(ledger, unit.serial)
        for unit in list_units(ledger.database, bundle_digest=bundle.digest)
        if serial in {None, unit.serial}
    )
    if not units:
        raise ReportError(
            "there is nothing to report",
            expected=f"units that were worked on with {bundle.statement.version}",
            got="none" if serial is None else f"not {serial}",
            where=ledger.database.address,
            hint="name the bundle that the units were made with",
        )
    header = ReportHeader(
        product=bundle.statement.product,
        hardware_class=bundle.statement.hardware_class,
        release=bundle.statement.version,
        bundle_digest=bundle.digest.hex(),
        station=station,
        created_at=now,
        note=note,
        waivers=tuple(format_waiver(waiver.to_json(), now=now) for waiver in bundle.waivers),
    )
    table = bundle.waveform_table
    pictures = {
        mode.name: plot_mode(mode, bundle.policy, tick_us=table.tick_us) for mode in table.modes
    }
    if serial is not None:
        page = render_unit_report(units[0], header, pictures)
        return StationReport(page=page, unit_count=1, line_yield=None)
    line_yield = count_yield(ledger, bundle_digest=bundle.digest)
    page = render_line_report(units, header, pictures, line_yield=line_yield)
    return StationReport(page=page, unit_count=len(units), line_yield=line_yield)


def load_reported_unit(ledger: Ledger, serial: str) -> ReportedUnit:
    """Return a unit as a report shows it: its last verdict and results."""
    unit = find_unit(ledger.database, serial=serial)
    chained_events = ledger.events(serial=serial)
    calibration, verification = read_results(chained_events)
    events = [chained.event for chained in chained_events]
    final = [event.data for event in events if event.step == Step.FINAL.value]
    udi = find_udi(events)
    last = final[-1] if final else {}
    reasons = last.get("reasons", [])
    version = last.get("firmware_version")
    return ReportedUnit(
        serial=serial,
        mac=unit.mac.hex(":"),
        udi=None if udi is None else udi.human_readable,
        verdict=unit.state.value.upper().replace("-", "_"),
        reasons=tuple(map(str, reasons)) if isinstance(reasons, list) else (),
        firmware_before=None if version is None else str(version),
        calibration=calibration,
        verification=verification,
    )
