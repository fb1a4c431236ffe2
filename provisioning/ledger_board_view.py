"""What the ledger knows of a board that is on a fixture, for its classification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from provisioning.classification import LedgerView
from provisioning.ledger_queries import find_by
from provisioning.ledger_schema import jobs, quarantines, replaced_modules, units
from provisioning.ledger_values import JobState

if TYPE_CHECKING:
    from provisioning.classification import BoardIdentity
    from provisioning.ledger import Ledger


def view_board(ledger: Ledger, mac: bytes, identity: BoardIdentity) -> LedgerView:
    """Return what the ledger knows of a board, in one consistent look.

    Args:
        ledger: The open ledger.
        mac: MAC of the chip.
        identity: What its flash says.
    """
    with ledger.database.reading() as connection:
        unit = find_by(connection, units.c.mac == mac)
        open_job = connection.execute(
            select(jobs.c.job)
            .join(units, units.c.serial == jobs.c.serial)
            .where(units.c.mac == mac, jobs.c.state == JobState.OPEN.value)
            .limit(1)
        ).scalar()
        replaced_in = connection.execute(
            select(replaced_modules.c.serial).where(replaced_modules.c.mac == mac)
        ).scalar()
        last = connection.execute(
            select(quarantines.c.record_digest, quarantines.c.closed_at)
            .where(quarantines.c.mac == mac)
            .order_by(quarantines.c.opened_at.desc(), quarantines.c.number.desc())
            .limit(1)
        ).one_or_none()
        # The last quarantine alone: what a supervisor let go by once is no rule for later.
        is_erasable = (
            last is not None
            and last.closed_at is not None
            and last.record_digest is not None
            and last.record_digest == identity.digest
        )
        return LedgerView(
            unit=unit,
            has_open_job=open_job is not None,
            named_unit=find_by(connection, units.c.serial == identity.serial)
            if identity.serial
            else None,
            replaced_in=replaced_in,
            is_erasable=is_erasable,
        )
