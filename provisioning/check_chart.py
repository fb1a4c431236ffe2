"""The charts of an instrument's check standards, as a person looks at them.

Figures are those that the ledger tells, not computed again. Implements docs/spec/calibration.md
§3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.capability_plot import plot_charts
from provisioning.check_entry import LostCheck
from provisioning.check_history import read_checks
from provisioning.control_charts import ControlChart
from provisioning.ledger_events import format_time
from provisioning.ledger_journal import list_stations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioning.check_entry import ToldCheck
    from provisioning.ledger import Ledger
    from provisioning.report_canvas import PictureFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckChart:
    """The readings of one standard in one slot, by one instrument with one certificate.

    Attributes:
        station: Whose chain tells them.
        standard: Name of the standard.
        slot: Name of the slot.
        certificate: The instrument's certificate on file.
        readings: Good and bad ones, in order.
    """

    station: str
    standard: str
    slot: str
    certificate: str | None
    readings: tuple[ToldCheck, ...]

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "station": self.station,
            "standard": self.standard,
            "slot": self.slot,
            "certificate": self.certificate,
            "readings": [
                {
                    "at": format_time(told.at),
                    "number": told.number,
                    "moment": told.reading.moment.value,
                    "mean_na": told.reading.mean_na,
                    "reference_na": told.reading.reference_na,
                    "limit_na": told.reading.limit_na,
                    "ewma_na": told.reading.ewma_na,
                    "ewma_lower_na": told.reading.lower_na,
                    "ewma_upper_na": told.reading.upper_na,
                    "is_good": told.entry.is_good,
                    "reasons": list(told.entry.reasons),
                }
                for told in self.readings
            ],
        }


def read_check_charts(ledger: Ledger, instrument: str) -> tuple[CheckChart, ...]:
    """Return all charts of an instrument, by station and in the order of their first readings.

    Args:
        ledger: The open ledger.
        instrument: Serial number as `*IDN?` told it.

    Raises:
        LedgerError: An event is damaged.
    """
    groups: dict[tuple[str, str, str, str | None], list[ToldCheck]] = {}
    with ledger.database.reading() as connection:
        for station in list_stations(connection):
            if "/" in station:  # a lease: the station tells its readings, as the ledger judged them
                continue
            for told in read_checks(connection, station, instrument=instrument):
                if isinstance(told.entry, LostCheck):
                    continue
                entry = told.entry
                key = (station, entry.standard, entry.slot, entry.certificate)
                groups.setdefault(key, []).append(told)
    return tuple(
        CheckChart(
            station=station,
            standard=standard,
            slot=slot,
            certificate=certificate,
            readings=tuple(readings),
        )
        for (station, standard, slot, certificate), readings in groups.items()
    )


def plot_check_charts(charts: Sequence[CheckChart], *, picture_format: PictureFormat) -> bytes:
    """Return each chart as two panels: the readings between their limits, and the EWMA.

    Args:
        charts: At least one.
        picture_format: `svg` or `png`.
    """
    panels: list[ControlChart] = []
    for one in charts:
        entries = [told.reading for told in one.readings]
        own_na = [entry.reference_na for entry in entries]
        last_na = own_na[-1:] * len(entries)  # one zero for the moving average, which has a memory
        name = f"{one.standard}, slot {one.slot}: "
        panels.append(
            ControlChart(
                name=f"{name}reading \N{MINUS SIGN} its reference, nA",
                points=_off((entry.mean_na for entry in entries), own_na),
                center=0.0,
                lower=tuple(-entry.limit_na for entry in entries),
                upper=tuple(entry.limit_na for entry in entries),
            )
        )
        panels.append(
            ControlChart(
                name=f"{name}EWMA \N{MINUS SIGN} last reference, nA",
                points=_off((entry.ewma_na for entry in entries), last_na),
                center=entries[-1].center_na - last_na[-1],
                lower=_off((entry.lower_na for entry in entries), last_na),
                upper=_off((entry.upper_na for entry in entries), last_na),
            )
        )
    return plot_charts(panels, picture_format=picture_format)


def _off(values: Iterable[float], reference_na: Sequence[float]) -> tuple[float, ...]:
    return tuple(value - ref for value, ref in zip(values, reference_na, strict=True))
