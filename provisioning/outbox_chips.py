"""The chips that the ledger may know more of than a station's outbox: it leaves them alone.

They stand in a table that an outbox has beside those of a ledger, from when it was made: the chips
that the ledger knew then, and since then each one of which the ledger was told more than the
outbox. Without the ledger nothing is done to them (docs/spec/lease.md §4). That nothing is done,
`offline_ledger` sees to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Column, LargeBinary, MetaData, Table, insert, select, union
from sqlalchemy.dialects.sqlite import insert as insert_into_file

from provisioning.ledger_schema import quarantines, replaced_modules, units

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.ledger import Ledger

_MACS_AT_ONCE: Final = 10_000
known_chips = Table(
    "known_chips", MetaData(), Column("mac", LargeBinary(6), primary_key=True, nullable=False)
)
"""Chips that the ledger may know more of: nothing is done to them without it."""
_REMEMBER: Final = insert_into_file(known_chips).on_conflict_do_nothing()


def create_known_chips(connection: Connection, ledger: Ledger) -> None:
    """Make the table in an outbox that is being made, with all chips that the ledger knows.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    known_chips.create(connection)
    _remember_all(connection, ledger)


def remember_chip(outbox: Ledger, mac: bytes) -> None:
    """Write down, durably, that the ledger is about to know more of a chip than the outbox.

    Raises:
        LedgerError: The outbox cannot be written.
    """
    with outbox.database.writing() as connection:
        if not is_known_chip(connection, mac):
            connection.execute(insert(known_chips).values(mac=mac))


def remember_own_units(outbox: Ledger) -> None:
    """Write down that the ledger has all units of the outbox: it decides about them from now on.

    Raises:
        LedgerError: The outbox cannot be written.
    """
    with outbox.database.writing() as connection:
        known = select(known_chips.c.mac)
        own = select(units.c.mac).where(units.c.mac.not_in(known))
        connection.execute(insert(known_chips).from_select(["mac"], own))


def is_known_chip(connection: Connection, mac: bytes) -> bool:
    """Whether the ledger may know more of a chip than the outbox."""
    found = connection.execute(select(known_chips.c.mac).where(known_chips.c.mac == mac))
    return found.first() is not None


def remember_all_chips(outbox: Ledger, ledger: Ledger) -> None:
    """Write down each chip that the ledger knows now and did not when the outbox was made.

    Raises:
        LedgerError: The ledger cannot be read, or the outbox not be written.
    """
    with outbox.database.writing() as connection:
        _remember_all(connection, ledger)


def _remember_all(connection: Connection, ledger: Ledger) -> None:
    told = union(
        select(units.c.mac),
        select(replaced_modules.c.mac),
        select(quarantines.c.mac).where(quarantines.c.closed_at.is_(None)),
    )
    with ledger.database.reading() as source:
        rows = source.execution_options(yield_per=_MACS_AT_ONCE).execute(told)
        for part in rows.partitions(_MACS_AT_ONCE):
            connection.execute(_REMEMBER, [{"mac": mac} for (mac,) in part])
