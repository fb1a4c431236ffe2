"""Brings what a station did under a lease into the ledger, and ends the lease when it is time.

Part by part, each one transaction: the outbox's next events, what follows from them, and one event
of the station that says how far its lease's chain has come. Nothing is sent twice, because the
ledger itself says what it has; killed anywhere, it goes on there. Implements docs/spec/lease.md §5
and §6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, insert, select

from provisioning.errors import LeaseError
from provisioning.held_lease import verify_held
from provisioning.lease_folder import find_lease_files, holding_lease
from provisioning.lease_recalling import find_to_recall, recall
from provisioning.lease_refusals import Following
from provisioning.lease_replay import Replay
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_journal import append_event, event_row, read_end, read_part
from provisioning.ledger_leases import LEASE_END_STEP, find_lease
from provisioning.ledger_schema import events
from provisioning.ledger_values import Writer
from provisioning.offline_ledger import OfflineLedger, read_use
from provisioning.outbox_chips import remember_own_units
from provisioning.outbox_database import opened_outbox, refusing_damage
from provisioning.outbox_events import SYNC_STEP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioning.lease_folder import LeaseFiles
    from provisioning.ledger import Ledger
    from provisioning.ledger_leases import LeaseRecord

EVENTS_PER_PART: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """What came of a synchronisation.

    Attributes:
        record: The lease as the ledger has it now.
        event_count: How many events it took over.
        refused: What could not follow, one sentence each; a person must look at these boards.
        is_in_place: Whether this is the very folder that the lease was made for.
        archive: Where the files of the lease lie, now that it has ended; `None` while it is open.
    """

    record: LeaseRecord
    event_count: int
    refused: tuple[str, ...]
    is_in_place: bool
    archive: Path | None


def synchronise(
    folder: Path,
    ledger: Ledger,
    writer: Writer,
    *,
    is_given_back: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> SyncResult | None:
    """Take over what the station did under its lease; end the lease if it is over.

    A lease that ended, and that the ledger has open because it was restored since, is brought back
    from `closed-leases/` for that.

    Args:
        folder: The station's folder.
        ledger: The factory's ledger.
        writer: The station.
        is_given_back: End the lease although it is still in force.
        on_progress: Told how many of how many events the ledger has.

    Returns:
        What was done; `None` when the station holds no lease.

    Raises:
        LeaseError: The lease is not this station's, the ledger knows it otherwise, the outbox is
            damaged or says what no outbox says, or the folder is an older copy.
        LedgerError: A database cannot be read or written; what was taken over until then stays.
        SigningError: The lease does not verify.
    """
    result = _synchronise_held(
        folder, ledger, writer, is_given_back=is_given_back, on_progress=on_progress
    )
    while find_lease_files(folder) is None:
        ended = find_to_recall(folder, ledger, station=writer.station)
        if ended is None:
            break
        with holding_lease(folder, is_alone=True):
            recall(ended, folder)
        recalled = _synchronise_held(
            folder, ledger, writer, is_given_back=False, on_progress=on_progress
        )
        if recalled is not None and result is not None:
            recalled = replace(
                recalled,
                event_count=result.event_count + recalled.event_count,
                refused=result.refused + recalled.refused,
            )
        result = recalled
    return result


def _synchronise_held(
    folder: Path,
    ledger: Ledger,
    writer: Writer,
    *,
    is_given_back: bool,
    on_progress: Callable[[int, int], None],
) -> SyncResult | None:
    if find_lease_files(folder) is None:
        return None
    with holding_lease(folder, is_alone=True):
        files = find_lease_files(folder)
        if files is None:
            return None
        with opened_outbox(files.outbox) as outbox:
            with refusing_damage(files.outbox):
                is_complete = read_use(outbox).is_complete
            if not is_complete:
                return None  # it was asked for, and never used: `serials lease` goes on with it
            lease = verify_held(files, station=writer.station, now=writer.now())
            held = OfflineLedger(outbox.database, lease)
            sync = _Sync(files, held, ledger, writer, on_progress)
            result = sync.run(is_given_back=is_given_back)
        if result.record.closed_at is None:
            return result
        archive = files.archive()
    return replace(result, archive=archive)


class _Sync:
    def __init__(
        self,
        files: LeaseFiles,
        outbox: OfflineLedger,
        ledger: Ledger,
        writer: Writer,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._files = files
        self._outbox = outbox
        self._lease = outbox.lease
        self._ledger = ledger
        self._writer = writer
        self._on_progress = on_progress
        self._refused: list[str] = []
        self._event_count = 0

    def run(self, *, is_given_back: bool) -> SyncResult:
        record = self._require_known()
        with refusing_damage(self._files.outbox):
            self._outbox.verify_chains()
            is_older = self._outbox.has_forgotten()
        is_in_place = not is_older and self._files.place() == self._lease.place
        while self._take_over_part():
            pass
        remember_own_units(self._outbox)
        record = self._require_known()
        reason = self._find_end(record, is_given_back=is_given_back)
        # A copy ends nothing: its original may know of more.
        if reason is not None and record.closed_at is None and is_in_place:
            self._end(reason)
            while self._take_over_part():
                pass
            record = self._require_known()
        return SyncResult(
            record=record,
            event_count=self._event_count,
            refused=tuple(self._refused),
            is_in_place=is_in_place,
            archive=None,
        )

    def _require_known(self) -> LeaseRecord:
        with self._ledger.database.reading() as connection:
            record = find_lease(connection, request=self._lease.request)
        lease, identity = self._lease, self._ledger.identity
        if lease.ledger_uuid != identity.uuid:
            raise LeaseError(
                "the lease is of another ledger",
                expected=identity.uuid, got=lease.ledger_uuid, where=self._files.document,
                hint="synchronise with the ledger that gave it",
            )  # fmt: skip
        if record is None or not record.is_of(lease):
            raise LeaseError(
                "the ledger does not know this lease",
                expected="the lease as it was signed",
                got="none of its name" if record is None else "other numbers or times",
                where=lease.chain,
                hint="it was restored from a backup that is older than the lease: "
                "`ampforge station sync --give-up --reason TEXT`",
            )
        return record

    def _take_over_part(self) -> bool:
        """Take over the next events; say whether there may be more."""
        chain = self._lease.chain
        with self._ledger.database.writing() as connection:
            record = find_lease(connection, request=self._lease.request)
            assert record is not None, "leases are never removed"
            end = read_end(connection, chain)
            with self._outbox.database.reading() as source:
                total = source.execute(select(func.count()).select_from(events)).scalar_one()
                first = max(0, end.count - 1)
                part = read_part(
                    source, chain, first_number=first, count=EVENTS_PER_PART + end.count - first
                )
            if end.count:
                if not part or part[0].hash != end.head:
                    raise self._refuse_copy(end.count, total)
                part = part[1:]
            if not part:
                self._on_progress(total, total)
                return False
            now = self._writer.now()
            connection.execute(insert(events), [event_row(chained) for chained in part])
            following = Following(
                connection=connection, ledger=self._ledger, writer=self._writer, record=record,
                now=now,
            )  # fmt: skip
            replay = Replay(following)
            for chained in part:
                replay.follow(chained)
            append_event(
                connection, self._writer, epoch=self._ledger.identity.epoch, step=SYNC_STEP,
                phase=Phase.CONFIRM,
                data={
                    "lease": chain,
                    "count": end.count + len(part),
                    "head": part[-1].hash.hex(),
                },
                mac=None, reservation=None, at=now,
            )  # fmt: skip
        self._refused += replay.refused
        self._event_count += len(part)
        self._on_progress(end.count + len(part), total)
        return True

    def _refuse_copy(self, in_ledger: int, in_outbox: int) -> LeaseError:
        return LeaseError(
            "the ledger has other events of this lease than this folder",
            expected=f"the {in_ledger} events that the ledger has",
            got=f"{in_outbox} events, not going on from them",
            where=self._lease.chain,
            hint="this folder, or the one that was synchronised, is a copy: find the other one; "
            "for boards made with this one: `ampforge station sync --give-up --reason TEXT`",
        )

    def _find_end(self, record: LeaseRecord, *, is_given_back: bool) -> str | None:
        """Return why the lease is over, or `None` while it is not."""
        lease, identity = self._lease, self._ledger.identity
        name = f"lease {lease.chain}"
        if (identity.epoch, identity.opening) != (lease.epoch, lease.opening):
            return f"{name} of epoch {lease.epoch}: the ledger was restored since"
        if self._writer.now() >= lease.expires_at:
            return f"{name} expired at {format_time(lease.expires_at)}"
        if is_given_back:
            return f"{name} given back"
        return None if record.left else f"{name} used up"

    def _end(self, reason: str) -> None:
        """Write into the outbox, durably, that no further number is given; the ledger follows."""
        writer = self._writer
        own = Writer(
            station=self._lease.chain, now=writer.now, new_job=writer.new_job, run=writer.run
        )
        self._outbox.append(
            own, step=LEASE_END_STEP, phase=Phase.CONFIRM,
            data={"lease": self._lease.chain, "reason": reason},
        )  # fmt: skip
