"""Which numbers a lost ledger may have given between its backup and its end: ranges, to be void.

A new epoch cannot give them again, whatever was lost (`provisioning.ledger_epochs`); that they are
written down explains a label from that time. One that turns up goes back to its board by
`provisioning.ledger_lost_numbers`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.ledger_events import format_time, parse_time
from provisioning.ledger_schema import leases, serial_numbers
from provisioning.ledger_voids import VoidedRange

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from provisioning.ledger_backup_reading import BackupHeader
    from provisioning.ledger_values import LedgerIdentity


def find_lost_ranges(
    connection: Connection,
    header: BackupHeader,
    identity: LedgerIdentity,
    *,
    now: dt.datetime,
    reason: str,
) -> Iterator[VoidedRange]:
    """Yield what may have been given since the backup: the rest of each series of its weeks.

    A model that was first made in the lost time is not known here; its numbers are of a past epoch
    all the same, and so never given again.

    Args:
        connection: Inside the transaction that makes the ledger, its rows those of the backup.
        header: Of the backup.
        identity: The ledger, in its new epoch.
        now: The present, aware.
        reason: Why the ledger is restored.
    """
    taken_at = parse_time(header.taken_at)
    epoch, serial_format = identity.epoch, identity.serial_format
    weeks = serial_format.periods_between(taken_at, now)
    known = select(serial_numbers.c.prefix, serial_numbers.c.model).union(
        select(leases.c.prefix, leases.c.model)
    )
    for prefix, model in sorted(tuple(row) for row in connection.execute(known)):
        template = VoidedRange(
            prefix=prefix, model=model, year=0, week=0, first_sequence=0, last_sequence=0, epoch=0,
            reason=f"may have been given between {header.taken_at} and the restore: {reason}",
            voided_at=format_time(now),
        )  # fmt: skip
        for year, week in weeks:
            for lost_epoch in range(header.ledger.epoch, epoch):
                allowed = sequences_of_epoch(lost_epoch, serial_format)
                last = _read_last_given(
                    connection, prefix=prefix, model=model, year=year, week=week, epoch=lost_epoch
                )
                first = allowed[0] if last is None else last + 1
                if first in allowed:
                    yield replace(
                        template, year=year, week=week, epoch=lost_epoch,
                        first_sequence=first, last_sequence=allowed[-1],
                    )  # fmt: skip


def _read_last_given(
    connection: Connection, *, prefix: str, model: str, year: int, week: int, epoch: int
) -> int | None:
    # Leased numbers are explained: their station alone can give them, and reports.
    found = (
        connection.execute(
            select(func.max(sequence)).where(
                sequence.table.c.prefix == prefix,
                sequence.table.c.model == model,
                sequence.table.c.year == year,
                sequence.table.c.week == week,
                sequence.table.c.epoch == epoch,
            )
        ).scalar()
        for sequence in (serial_numbers.c.sequence, leases.c.last_sequence)
    )
    return max(filter(None, found), default=None)
