"""What the rows of the ledger hold: the columns of every table, each with its type.

Declared here without a database library: who only reads a ledger checks its rows without loading
one. Keys, references and indexes are `provisioning.ledger_schema`'s, which makes the tables of
these columns (docs/spec/ledger-and-record-export.md §2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIME_LENGTH: Final = 27


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredColumn:
    """What a column holds.

    Attributes:
        kind: Type of its values.
        length: Of a text the most letters, of bytes exactly so many; `None` for any.
        is_nullable: Whether it may hold nothing.
    """

    kind: type[int | str | bytes]
    length: int | None = None
    is_nullable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTable:
    """A table and its columns, in order."""

    name: str
    columns: Mapping[str, StoredColumn]


def _text(length: int) -> StoredColumn:
    return StoredColumn(kind=str, length=length)


def _bytes(length: int | None = None) -> StoredColumn:
    return StoredColumn(kind=bytes, length=length)


def _maybe(column: StoredColumn) -> StoredColumn:
    return StoredColumn(kind=column.kind, length=column.length, is_nullable=True)


_NUMBER: Final = StoredColumn(kind=int)
_TIME: Final = _text(_TIME_LENGTH)
_NAME: Final = _text(36)
_STATION: Final = _text(64)
_SERIAL: Final = _text(20)
_MAC: Final = _bytes(6)
_DIGEST: Final = _bytes(32)
# Which numbers of serial numbers: of a prefix, a model and a week.
_SERIES: Final = {"prefix": _text(3), "model": _text(3), "year": _NUMBER, "week": _NUMBER}
_RANGE: Final = {**_SERIES, "first_sequence": _NUMBER, "last_sequence": _NUMBER, "epoch": _NUMBER}


LEDGER_IDENTITY: Final = StoredTable(
    name="ledger_identity",
    columns={
        "row": _NUMBER,
        "uuid": _NAME,
        "epoch": _NUMBER,
        "product": _text(64),
        "created_at": _TIME,
        "opening": _maybe(_NAME),
    },
)
SERIAL_NUMBERS: Final = StoredTable(
    name="serial_numbers",
    columns={
        "serial": _SERIAL,
        **_SERIES,
        "sequence": _NUMBER,
        "epoch": _NUMBER,
        "state": _text(16),
        "mac": _maybe(_MAC),
        "reserved_at": _TIME,
    },
)
VOIDED_RANGES: Final = StoredTable(
    name="voided_ranges", columns={**_RANGE, "reason": _text(200), "voided_at": _TIME}
)
LEASES: Final = StoredTable(
    name="leases",
    columns={
        **_RANGE,
        "station": _STATION,
        "number": _NUMBER,
        "request": _bytes(16),
        "issued_at": _TIME,
        "expires_at": _TIME,
        "document_digest": _maybe(_DIGEST),
        "closed_at": _maybe(_TIME),
        "reason": _maybe(_text(200)),
    },
)
UNITS: Final = StoredTable(
    name="units",
    columns={
        "serial": _SERIAL,
        "mac": _MAC,
        "state": _text(24),
        "bundle_digest": _DIGEST,
        "last_job": _maybe(_NAME),
        "first_seen_at": _TIME,
        "changed_at": _TIME,
    },
)
JOBS: Final = StoredTable(
    name="jobs",
    columns={
        "job": _NAME,
        "serial": _SERIAL,
        "number": _NUMBER,
        "station": _STATION,
        "bundle_digest": _DIGEST,
        "state": _text(16),
        "outcome": _maybe(_text(24)),
        "opened_at": _TIME,
        "closed_at": _maybe(_TIME),
        "run": _maybe(_NAME),
    },
)
EVENTS: Final = StoredTable(
    name="events",
    columns={
        "station": _STATION,
        "number": _NUMBER,
        "at": _TIME,
        "job": _maybe(_NAME),
        "serial": _maybe(_SERIAL),
        "step": _text(24),
        "phase": _text(8),
        "content": _bytes(),
        "previous": _DIGEST,
        "hash": _DIGEST,
    },
)
QUARANTINES: Final = StoredTable(
    name="quarantines",
    columns={
        "station": _STATION,
        "number": _NUMBER,
        "mac": _MAC,
        "serial": _maybe(_SERIAL),
        "board_class": _text(16),
        "reason": _text(400),
        "record_digest": _maybe(_DIGEST),
        "opened_at": _TIME,
        "closed_at": _maybe(_TIME),
    },
)
REPLACED_MODULES: Final = StoredTable(
    name="replaced_modules",
    columns={"mac": _MAC, "serial": _SERIAL, "replaced_by": _MAC, "replaced_at": _TIME},
)

STORED_TABLES: Final = {
    table.name: table
    for table in (
        LEDGER_IDENTITY,
        SERIAL_NUMBERS,
        VOIDED_RANGES,
        LEASES,
        UNITS,
        JOBS,
        EVENTS,
        QUARANTINES,
        REPLACED_MODULES,
    )
}
"""By name."""
