"""Tables of the factory's ledger (docs/spec/ledger-and-record-export.md §2).

Times are UTC text in RFC 3339 with microseconds: they sort as text, and read the same in every
database. What is signed and chained is `events.content`; the other columns of `events` repeat parts
of it for searching, and reading checks that they agree.

The tables change only through `provisioning/migrations`; a test proves that both are the same.
"""

from __future__ import annotations

from typing import Final

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

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006")
HEAD_REVISION: Final = REVISIONS[-1]
TIME_LENGTH: Final = 27

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

ledger_identity = Table(
    "ledger_identity",
    metadata,
    Column("row", Integer, primary_key=True),
    Column("uuid", String(36), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("product", String(64), nullable=False),
    Column("created_at", String(TIME_LENGTH), nullable=False),
    Column("opening", String(36), nullable=True),
    CheckConstraint("row = 1", name="only_one_row"),
)

serial_numbers = Table(
    "serial_numbers",
    metadata,
    Column("serial", String(20), primary_key=True),
    Column("prefix", String(3), nullable=False),
    Column("model", String(3), nullable=False),
    Column("year", Integer, nullable=False),
    Column("week", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("mac", LargeBinary(6), nullable=True, unique=True),
    Column("reserved_at", String(TIME_LENGTH), nullable=False),
    UniqueConstraint("prefix", "model", "year", "week", "sequence"),
)

voided_ranges = Table(
    "voided_ranges",
    metadata,
    Column("prefix", String(3), primary_key=True),
    Column("model", String(3), primary_key=True),
    Column("year", Integer, primary_key=True, autoincrement=False),
    Column("week", Integer, primary_key=True, autoincrement=False),
    Column("first_sequence", Integer, primary_key=True, autoincrement=False),
    Column("last_sequence", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("voided_at", String(TIME_LENGTH), nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("prefix", String(3), primary_key=True),
    Column("model", String(3), primary_key=True),
    Column("year", Integer, primary_key=True, autoincrement=False),
    Column("week", Integer, primary_key=True, autoincrement=False),
    Column("first_sequence", Integer, primary_key=True, autoincrement=False),
    Column("last_sequence", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("station", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("request", LargeBinary(16), nullable=False),
    Column("issued_at", String(TIME_LENGTH), nullable=False),
    Column("expires_at", String(TIME_LENGTH), nullable=False),
    Column("document_digest", LargeBinary(32), nullable=True),
    Column("closed_at", String(TIME_LENGTH), nullable=True),
    Column("reason", String(200), nullable=True),
    UniqueConstraint("station", "number"),
)

units = Table(
    "units",
    metadata,
    Column("serial", String(20), ForeignKey("serial_numbers.serial"), primary_key=True),
    Column("mac", LargeBinary(6), nullable=False, unique=True),
    Column("state", String(24), nullable=False),
    Column("bundle_digest", LargeBinary(32), nullable=False),
    Column("last_job", String(36), nullable=True),
    Column("first_seen_at", String(TIME_LENGTH), nullable=False),
    Column("changed_at", String(TIME_LENGTH), nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job", String(36), primary_key=True),
    Column("serial", String(20), ForeignKey("units.serial"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("station", String(64), nullable=False),
    Column("bundle_digest", LargeBinary(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("outcome", String(24), nullable=True),
    Column("opened_at", String(TIME_LENGTH), nullable=False),
    Column("closed_at", String(TIME_LENGTH), nullable=True),
    Column("run", String(36), nullable=True),
    UniqueConstraint("serial", "number"),
)

events = Table(
    "events",
    metadata,
    Column("station", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", String(TIME_LENGTH), nullable=False),
    Column("job", String(36), nullable=True),
    Column("serial", String(20), nullable=True),
    Column("step", String(24), nullable=False),
    Column("phase", String(8), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("previous", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False, unique=True),
)

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

quarantines = Table(
    "quarantines",
    metadata,
    Column("station", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("mac", LargeBinary(6), nullable=False),
    Column("serial", String(20), nullable=True),
    Column("board_class", String(16), nullable=False),
    Column("reason", String(400), nullable=False),
    Column("record_digest", LargeBinary(32), nullable=True),
    Column("opened_at", String(TIME_LENGTH), nullable=False),
    Column("closed_at", String(TIME_LENGTH), nullable=True),
)

replaced_modules = Table(
    "replaced_modules",
    metadata,
    Column("mac", LargeBinary(6), primary_key=True),
    Column("serial", String(20), ForeignKey("units.serial"), nullable=False),
    Column("replaced_by", LargeBinary(6), nullable=False),
    Column("replaced_at", String(TIME_LENGTH), nullable=False),
)

Index("ix_quarantines_mac", quarantines.c.mac)
