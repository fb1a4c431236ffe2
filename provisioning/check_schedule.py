"""Whether a check standard is to be read now: each run, or every so many units and so long.

Implements docs/spec/calibration.md §3.8. Asks the ledger, or the outbox of a lease, which knows
less and therefore asks for a reading sooner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.check_coverage import measured_since
from provisioning.check_history import read_history
from provisioning.check_order import find_bad_elsewhere
from provisioning.ledger_events import format_time

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from provisioning.check_entry import ToldCheck
    from provisioning.check_standard_settings import CheckStandardSettings
    from provisioning.ledger import Ledger

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckStanding:
    """How a slot stands with its check standard.

    Attributes:
        slot: Name of the slot.
        instrument: Serial number of its instrument.
        last: The last reading of its chart; `None` when there was none.
        units_since: Units that the instrument measured since its last good reading.
        due: Why a reading is due now; `None` when none is.
        standard: The section.
    """

    slot: str
    instrument: str
    last: ToldCheck | None
    units_since: int
    due: str | None
    standard: CheckStandardSettings

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        last = None if self.last is None else self.last.reading
        return {
            "slot": self.slot,
            "standard": self.standard.name,
            "instrument": self.instrument,
            "is_due": self.due is not None,
            "due": self.due,
            "units_since": self.units_since,
            "every_units": self.standard.every_units,
            "every_s": None if self.standard.is_read_each_run else self.standard.every_s,
            "reference_na": self.standard.reference_na,
            "limit_na": self.standard.limit_na,
            "last": None
            if self.last is None or last is None
            else {
                "at": format_time(self.last.at),
                "moment": last.moment.value,
                "mean_na": last.mean_na,
                "deviation_na": last.mean_na - last.reference_na,
                "ewma_na": last.ewma_na,
                "ewma_lower_na": last.lower_na,
                "ewma_upper_na": last.upper_na,
                "is_good": last.is_good,
                "reasons": list(last.reasons),
            },
        }

    def __str__(self) -> str:
        due = "none is due" if self.due is None else f"due: {self.due}"
        if self.last is None:
            return f"{self.standard.name}, {due}"
        entry = self.last.reading
        return (
            f"{self.standard.name}, last {'good' if entry.is_good else 'BAD'} at "
            f"{self.last.at:%Y-%m-%d %H:%M}: {entry.mean_na - entry.reference_na:+.1f} nA from the "
            f"reference, at most {self.standard.limit_na:g} nA; {self.units_since} units since; "
            f"{due}"
        )


def find_standing(
    ledger: Ledger,
    standard: CheckStandardSettings,
    *,
    station: str,
    slot: str,
    instrument: str,
    certificate: str | None,
    now: dt.datetime,
) -> CheckStanding:
    """Return how a slot stands with its check standard.

    Args:
        ledger: The factory's ledger, or the outbox.
        standard: The section.
        station: Whose chain tells of readings: the station, or its lease.
        slot: Name of the slot.
        instrument: Serial number of its instrument.
        certificate: The instrument's certificate on file.
        now: The present, aware.

    Raises:
        LedgerError: An event is damaged.
    """
    chart = (standard.name, slot, instrument, certificate)
    with ledger.database.reading() as connection:
        before = read_history(connection, station, instrument=instrument, chart=chart)
        since = measured_since(connection, station, instrument, before.last_good)
        elsewhere = find_bad_elsewhere(connection, station, instrument, before.last_good)
    last = before.last_of_chart
    return CheckStanding(
        slot=slot,
        instrument=instrument,
        last=last,
        units_since=len(since),
        due=_why_due(standard, last, before.last, len(since), now, elsewhere=elsewhere),
        standard=standard,
    )


def _why_due(
    standard: CheckStandardSettings,
    last: ToldCheck | None,
    last_of_instrument: ToldCheck | None,
    units_since: int,
    now: dt.datetime,
    *,
    elsewhere: Sequence[ToldCheck],
) -> str | None:
    if standard.is_read_each_run:
        return "it is read before and after each run"
    if last is None or last_of_instrument is None:
        return "it was never read in this slot by this instrument with this certificate"
    age_s = (now - last.at).total_seconds()
    reasons = (
        (
            not (last.entry.is_good and last_of_instrument.entry.is_good),
            "the last reading was not good",
        ),
        (bool(elsewhere), "its instrument was found not good at another station"),
        (age_s < 0, "the last reading lies in the future of this clock"),
        (age_s >= standard.every_s, f"the last reading is {age_s / _SECONDS_PER_HOUR:.1f} h old"),
        (
            units_since >= standard.every_units,
            f"{units_since} units were measured since the last good reading",
        ),
    )
    return next((reason for is_so, reason in reasons if is_so), None)
