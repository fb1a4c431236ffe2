"""Tables of the factory's ledger (docs/spec/ledger-and-record-export.md §2).

Times are UTC text in RFC 3339 with microseconds: they sort as text, and read the same in every
database. What is signed and chained is `events.content`; the other columns of `events` repeat parts
of it for searching, and reading checks that they agree.

The tables change only through `provisioning/migrations`; a test proves that both are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

from provisioning.ledger_columns import (
    EVENTS,
    JOBS,
    LEASES,
    LEDGER_IDENTITY,
    QUARANTINES,
    REPLACED_MODULES,
    SERIAL_NUMBERS,
    UNITS,
    VOIDED_RANGES,
)

if TYPE_CHECKING:
    from sqlalchemy.schema import Constraint

    from provisioning.ledger_columns import StoredColumn, StoredTable

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _table(
    stored: StoredTable, *constraints: Constraint, key: str, unique: str = "", refers_to: str = ""
) -> Table:
    """Return a table of declared columns.

    Args:
        stored: Name and columns.
        constraints: Over several columns.
        key: Columns of the primary key, space separated.
        unique: Column that holds no value twice.
        refers_to: Another table's `serial`, which this one's names.
    """
    keys = key.split()
    columns: list[Column[Any]] = [
        Column(
            name,
            _type_of(column),
            *([ForeignKey(f"{refers_to}.serial")] if refers_to and name == "serial" else []),
            primary_key=name in keys,
            autoincrement="auto" if len(keys) == 1 else False,
            nullable=column.is_nullable,
            unique=name == unique or None,
        )
        for name, column in stored.columns.items()
    ]
    return Table(stored.name, metadata, *columns, *constraints)


def _type_of(column: StoredColumn) -> Integer | String | LargeBinary:
    if column.kind is int:
        return Integer()
    return (String if column.kind is str else LargeBinary)(column.length)


ledger_identity = _table(
    LEDGER_IDENTITY, CheckConstraint("row = 1", name="only_one_row"), key="row"
)
serial_numbers = _table(
    SERIAL_NUMBERS,
    UniqueConstraint("prefix", "model", "year", "week", "sequence"),
    key="serial",
    unique="mac",
)
voided_ranges = _table(VOIDED_RANGES, key="prefix model year week first_sequence")
leases = _table(
    LEASES, UniqueConstraint("station", "number"), key="prefix model year week first_sequence"
)
units = _table(UNITS, key="serial", unique="mac", refers_to="serial_numbers")
jobs = _table(JOBS, UniqueConstraint("serial", "number"), key="job", refers_to="units")
events = _table(EVENTS, key="station number", unique="hash")

Index("ix_events_serial", events.c.serial)
Index("ix_events_job", events.c.job)

HEADS_STEP: Final = "heads"
"""Step of the events in which stations sign how far their chains have come."""
IS_HEADS: Final = text(f"step = '{HEADS_STEP}'")
"""As a text, so that a database sees that the index below answers the question."""
# It holds these events alone, which its migration says: said here, once for each kind of database,
# it would have every command import the drivers of both.
Index("ix_events_heads", events.c.station, events.c.number)

INSTRUMENT_STEP: Final = "instrument"
"""Step of the events that enter a calibrated instrument into the register."""
CHECK_STANDARD_STEP: Final = "check-standard"
"""Step of the events that tell a reading of a slot's check standard."""
IS_METROLOGY: Final = text(f"step IN ('{INSTRUMENT_STEP}', '{CHECK_STANDARD_STEP}')")
"""As a text, likewise; and likewise the index says nothing of it here."""
Index("ix_events_metrology", events.c.station, events.c.number)

quarantines = _table(QUARANTINES, key="station number")
replaced_modules = _table(REPLACED_MODULES, key="mac", refers_to="units")

Index("ix_quarantines_mac", quarantines.c.mac)
