"""Which ledger a station works with now: the factory's, or, cut off from it, its lease's outbox.

When the factory's ledger is there, what was done without it is taken over first. When it is not, a
station with a lease in force goes on within its block; one without stops (docs/spec/lease.md §4).
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.check_entry import ChainPlace
from provisioning.errors import LeaseError, LedgerError, LedgerUnreachableError
from provisioning.held_lease import verify_held
from provisioning.lease_folder import find_lease_files, holding_lease
from provisioning.lease_sync import SyncResult, synchronise
from provisioning.ledger import Ledger
from provisioning.ledger_events import format_time
from provisioning.ledger_values import Writer
from provisioning.ledger_witness import load_witness, require_witnessed, save_witness
from provisioning.offline_ledger import OfflineLedger, read_use, require_in_force
from provisioning.outbox_database import open_outbox_database, refusing_damage
from provisioning.station_lock import StationLock

if TYPE_CHECKING:
    from provisioning.lease import Lease
    from provisioning.ledger_address import LedgerAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class StationLedger:
    """What a station writes into.

    Attributes:
        ledger: The factory's ledger, or the outbox.
        writer: Who writes there: the station, or its lease.
        outbox: The outbox of the lease that the station holds, if it holds one in force.
        is_offline: Whether `ledger` is the outbox.
        synced: What was taken over just now, if there was a lease.
        known: Without the ledger: what the station remembers of its own chain in it.
        resources: Closed at the end.
    """

    ledger: Ledger
    writer: Writer
    outbox: OfflineLedger | None
    is_offline: bool
    synced: SyncResult | None
    known: ChainPlace | None = None
    resources: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Close what is open, and let others synchronise."""
        self.resources.close()


def open_station_ledger(folder: Path, address: LedgerAddress, writer: Writer) -> StationLedger:
    """Open the factory's ledger and synchronise with it, or else the outbox of a lease in force.

    Args:
        folder: The station's folder.
        address: The factory's ledger.
        writer: The station.

    Raises:
        LedgerUnreachableError: The ledger is out of reach, and the station holds no lease.
        LeaseError: It is out of reach, and the lease must not be used; or it is there, and what
            was done without it cannot be taken over.
        LedgerError: A ledger cannot be used.
        SigningError: The lease does not verify.
        StationError: Another process works as this station.
    """
    try:
        ledger = Ledger.open(address)
    except LedgerError as error:
        if not is_out_of_reach(error, address, folder) or find_lease_files(folder) is None:
            raise
        return _open_offline(folder, writer, error)
    with ExitStack() as stack:
        stack.callback(ledger.close)
        stack.callback(StationLock(folder).release)
        require_witnessed(folder, ledger, station=writer.station)
        # Open, before anything is taken over: a kill in between must not look like a stranger.
        # Also without a lease, which may be taken at this very moment.
        save_witness(folder, ledger, station=writer.station)
        synced = synchronise(folder, ledger, writer)
        # Held also without a lease: one that is taken meanwhile would not know these boards.
        stack.enter_context(holding_lease(folder, is_alone=False))
        outbox = open_outbox(folder, writer, stack)
        if outbox is not None and (synced is None or not synced.is_in_place):
            if synced is None:
                raise LeaseError(
                    "a lease was taken at this very moment",
                    expected="a station at rest",
                    got=outbox.lease.chain,
                    where=folder,
                    hint="start again",
                )
            outbox = None
        return StationLedger(
            ledger=ledger, writer=writer, outbox=outbox, is_offline=False, synced=synced,
            resources=stack.pop_all(),
        )  # fmt: skip
    raise AssertionError("an ExitStack without suppression")


def is_out_of_reach(error: LedgerError, address: LedgerAddress, folder: Path) -> bool:
    """Whether a ledger could not be opened because it is not there at present.

    A file outside the station's folder may be on a disk that is not mounted; one that belongs into
    the folder and is missing is lost, and no lease helps with that.
    """
    if isinstance(error, LedgerUnreachableError):
        return True
    return (
        isinstance(address, Path)
        and not address.exists()
        # Not `Path.resolve`: a circle of links would leave it with a RuntimeError.
        and Path(os.path.realpath(address)).parent != Path(os.path.realpath(folder))
    )


def require_usable(folder: Path, lease: Lease, outbox: OfflineLedger, *, writer: Writer) -> None:
    """Refuse a lease that must not be used now, in this folder.

    Raises:
        LeaseError: It was copied or restored, has ended or expired, is of an earlier epoch, or
            the clock is not to be trusted.
    """
    files = find_lease_files(folder)
    if files is None or files.place() != lease.place:
        raise LeaseError(
            "the lease was made in another folder, of which this is a copy",
            expected="the file and the machine that it was made for",
            got="another file, or another machine",
            where=lease.chain,
            hint="what was given since the copy is not known here: bring the ledger back, and "
            "`ampforge station sync`",
        )
    if outbox.has_forgotten():
        raise LeaseError(
            "the lease's outbox has forgotten what was given, so it is an older copy",
            expected="the outbox as the station left it",
            got="one without its last numbers",
            where=files.outbox,
            hint="put back the newest; else bring the ledger back, and `ampforge station sync`",
        )
    identity, use = outbox.identity, outbox.use()
    known = (lease.ledger_uuid, lease.epoch, lease.opening)
    if known != (identity.uuid, identity.epoch, identity.opening):
        raise LeaseError(
            "the lease is of another ledger than its outbox",
            expected=f"{identity.uuid}, epoch {identity.epoch}",
            got=f"{lease.ledger_uuid}, epoch {lease.epoch}",
            where=lease.chain,
            hint="put the right file back",
        )
    witness = load_witness(folder)
    if witness is not None and known != (witness.uuid, witness.epoch, witness.opening):
        raise LeaseError(
            "the lease is of another epoch than the ledger that this station worked with",
            expected=f"{witness.uuid}, epoch {witness.epoch}",
            got=f"{lease.ledger_uuid}, epoch {lease.epoch}",
            where=lease.chain,
            hint="the ledger was restored since: bring it back, then take a new lease",
        )
    if not use.is_complete or use.end_reason is not None:
        raise LeaseError(
            "the lease has ended" if use.end_reason else "the lease was never completed",
            got=use.end_reason,
            where=lease.chain,
            hint="bring the ledger back, then `ampforge serials lease`",
        )
    last_at = None if use.last_at is None else format_time(use.last_at)
    require_in_force(lease, now=writer.now(), last_at=last_at)


def _open_offline(folder: Path, writer: Writer, error: LedgerError) -> StationLedger:
    with ExitStack() as stack:
        try:
            stack.callback(StationLock(folder).release)
            stack.enter_context(holding_lease(folder, is_alone=False))
            outbox = open_outbox(folder, writer, stack)
            if outbox is None:
                raise error
            with refusing_damage(Path(str(outbox.database.address))):
                outbox.verify_chains()
            require_usable(folder, outbox.lease, outbox, writer=writer)
        except LeaseError as refusal:
            raise refusal from error
        own = Writer(
            station=outbox.lease.chain, now=writer.now, new_job=writer.new_job, run=writer.run
        )
        witness = load_witness(folder)
        known = None if witness is None else ChainPlace(count=witness.count, head=witness.head)
        return StationLedger(
            ledger=outbox, writer=own, outbox=outbox, is_offline=True, synced=None, known=known,
            resources=stack.pop_all(),
        )  # fmt: skip
    raise AssertionError("an ExitStack without suppression")


def open_outbox(folder: Path, writer: Writer, stack: ExitStack) -> OfflineLedger | None:
    """Open the outbox of the lease that the station holds; `None` when there is none.

    Args:
        folder: The station's folder.
        writer: The station.
        stack: Closes it.

    Raises:
        LeaseError: The lease is no lease, or another station's.
        LedgerError: The outbox cannot be used.
        SigningError: The lease does not verify.
    """
    files = find_lease_files(folder)
    if files is None:
        return None
    database = open_outbox_database(files.outbox)
    stack.callback(database.close)
    with refusing_damage(files.outbox):
        is_complete = read_use(Ledger(database)).is_complete
    if not is_complete:
        return None
    lease = verify_held(files, station=writer.station, now=writer.now())
    return OfflineLedger(database, lease)
