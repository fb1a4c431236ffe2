"""A word about the lease that a station holds: running, over, not synchronised, and what to do.

Only looks: nothing is taken over, ended or voided.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from provisioning.lease_folder import find_lease_files
from provisioning.ledger_journal import read_end
from provisioning.ledger_leases import list_leases
from provisioning.station_ledger import open_outbox, require_usable

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.ledger import Ledger
    from provisioning.ledger_values import Writer
    from provisioning.serial_numbers import SerialNumber


def describe_held_lease(folder: Path, ledger: Ledger | None, writer: Writer) -> str:
    """Say how it stands with a station's lease, and what is to be done about it.

    Args:
        folder: The station's folder.
        ledger: The factory's ledger; `None` while it is out of reach.
        writer: The station.

    Raises:
        LeaseError: It cannot be used.
        LedgerError: A database cannot be read.
        SigningError: It does not verify.
    """
    files = find_lease_files(folder)
    if files is None:
        missing = "" if ledger is None else _describe_missing(ledger, writer)
        return f"none: without the ledger this station stops (`ampforge serials lease`){missing}"
    with ExitStack() as stack:
        outbox = open_outbox(folder, writer, stack)
        if outbox is None:
            return "asked for and not completed: `ampforge serials lease` goes on with it"
        lease, use = outbox.lease, outbox.use()
        told = f"{lease.chain}, {lease.count - use.given} of {lease.count} numbers left"
        until = f"{lease.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        waiting = _describe_waiting(lease.chain, use.event_count, ledger)
        if use.end_reason is not None:
            return f"{told}, ended ({use.end_reason}){waiting or '; `ampforge station sync`'}"
        if writer.now() >= lease.expires_at:
            todo = waiting or ": `ampforge station sync` ends it"
            return f"{told}, EXPIRED on {until}{todo}, then `ampforge serials lease`"
        require_usable(folder, lease, outbox, writer=writer)
        return f"{told}, running until {until}{waiting}"


def describe_leased(ledger: Ledger, number: SerialNumber, *, writer: Writer) -> str | None:
    """Say which open lease has a number that was neither given nor voided; `None` if none has.

    Args:
        ledger: The factory's ledger, which knows neither.
        number: The number.
        writer: Whose clock says whether the lease has expired.
    """
    for record in list_leases(ledger):
        if record.closed_at is None and record.has(number):
            until = f"{record.expires_at:%Y-%m-%d %H:%M:%S} UTC"
            if writer.now() < record.expires_at:
                return f"{record.name} may give it until {until}, or has, and did not report yet"
            return f"{record.name} expired on {until} and did not report: `ampforge station sync`"
    return None


def _describe_waiting(chain: str, event_count: int, ledger: Ledger | None) -> str:
    if ledger is None:
        return "; the ledger is out of reach, so what was done since stays in the outbox"
    with ledger.database.reading() as connection:
        known = read_end(connection, chain).count
    waiting = event_count - known
    # The first says that the station holds the lease: the ledger knows that otherwise.
    if waiting <= (1 if known == 0 else 0):
        return ""
    return f"; {waiting} events not synchronised: `ampforge station sync`"


def _describe_missing(ledger: Ledger, writer: Writer) -> str:
    """Tell of open leases of this station whose outbox is not in its folder."""
    told = ""
    for record in list_leases(ledger):
        if record.station == writer.station and record.closed_at is None:
            close = f"`ampforge serials lease --close {record.name} --lost --reason TEXT`"
            if writer.now() < record.expires_at:
                close = f"from {record.expires_at:%Y-%m-%d %H:%M} UTC on {close}"
            told += (
                f"; the ledger keeps {record.left} numbers for {record.name}, whose outbox is not "
                f"here: look into `closed-leases` (how-to on leases), or {close}"
            )
    return told
