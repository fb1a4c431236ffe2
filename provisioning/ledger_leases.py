"""Leases as the ledger has them; nothing here writes.

A number of an open lease that was not given is LEASED: it has no row of its own, and no other
station can get it, because allocation goes on behind the block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, select

from provisioning.lease import NUMBER_MAX, Lease
from provisioning.ledger_connection import ConnectionQuestions
from provisioning.ledger_events import parse_time
from provisioning.ledger_formats import read_format
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import leases, serial_numbers, voided_ranges
from provisioning.ledger_voids import find_range
from provisioning.number_span import NumberSpan

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable

    from sqlalchemy import Connection, Row

    from provisioning.ledger import Ledger
    from provisioning.serial_formats import SerialFormat
    from provisioning.serial_numbers import SerialNumber

LEASE_STEP: Final = "lease"
LEASE_END_STEP: Final = "lease-end"
_NO_MAC: Final = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord(NumberSpan):
    """One lease as the ledger knows it.

    Attributes:
        station: Who holds it.
        number: Its number among the station's, from 1.
        request: Name of the request, 16 bytes.
        epoch: Epoch that gave it.
        issued_at: When, aware.
        expires_at: From when on no number of it may be given, aware.
        document_digest: SHA-256 of the signed document; `None` until the station confirmed it.
        closed_at: When it ended, aware; `None` while it is open.
        reason: Why it ended.
        given: How many of its numbers were given, as far as the ledger knows.
        voided: How many of its numbers are void.
        serial_format: What the ledger's serial numbers look like.
    """

    station: str
    number: int
    request: bytes
    epoch: int
    issued_at: dt.datetime
    expires_at: dt.datetime
    document_digest: bytes | None
    closed_at: dt.datetime | None
    reason: str | None
    given: int
    voided: int
    serial_format: SerialFormat

    def serial(self, sequence: int) -> str:
        """Return the serial number of one sequence."""
        return self.serial_in(self.serial_format, sequence)

    @property
    def name(self) -> str:
        """Name of the lease, and of its chain."""
        return f"{self.station}/{self.number}"

    @property
    def left(self) -> int:
        """How many of them are LEASED."""
        return 0 if self.closed_at is not None else self.count - self.given - self.voided

    def is_of(self, lease: Lease) -> bool:
        """Whether a signed lease says of itself what the ledger says of it."""
        return (
            lease.station, lease.number, lease.request, lease.epoch, lease.prefix, lease.model,
            lease.year, lease.week, lease.first_sequence, lease.last_sequence, lease.issued_at,
            lease.expires_at, lease.serial_format,
        ) == (
            self.station, self.number, self.request, self.epoch, self.prefix, self.model,
            self.year, self.week, self.first_sequence, self.last_sequence, self.issued_at,
            self.expires_at, self.serial_format,
        )  # fmt: skip


def list_leases(ledger: Ledger) -> tuple[LeaseRecord, ...]:
    """Return every lease, oldest first."""
    with ledger.database.reading() as connection:
        return list_lease_records(connection)


def list_lease_records(connection: Connection) -> tuple[LeaseRecord, ...]:
    """Return every lease, oldest first, inside the caller's transaction."""
    order = leases.c.issued_at, leases.c.station, leases.c.number
    rows = connection.execute(select(leases).order_by(*order)).all()
    if not rows:
        return ()
    serial_format = read_format(ConnectionQuestions(connection))
    return tuple(_record(connection, row, serial_format) for row in rows)


def find_lease(connection: Connection, *, request: bytes) -> LeaseRecord | None:
    """Return the lease that a request got, or `None`."""
    row = connection.execute(select(leases).where(leases.c.request == request)).one_or_none()
    return (
        None
        if row is None
        else _record(connection, row, read_format(ConnectionQuestions(connection)))
    )


def find_named(connection: Connection, name: str) -> LeaseRecord | None:
    """Return the lease of a name, STATION/n, or `None`."""
    station, _, number = name.rpartition("/")
    if not (number.isascii() and number.isdigit() and len(number) <= len(str(NUMBER_MAX))):
        return None
    row = connection.execute(
        select(leases).where(leases.c.station == station, leases.c.number == int(number))
    ).one_or_none()
    return (
        None
        if row is None
        else _record(connection, row, read_format(ConnectionQuestions(connection)))
    )


def open_names(
    connection: Connection, station: str, *, requests: Collection[bytes]
) -> dict[bytes, str]:
    """Return the names of those open leases of a station that were got by one of some requests.

    Unlike `find_lease` it counts no numbers: a station asks at each start, of all that it ever had.
    """
    rows = connection.execute(
        select(leases).where(leases.c.station == station, leases.c.request.in_(requests))
    ).all()
    checked = [check_row(row, leases, where="table leases") for row in rows]
    return {row.request: f"{row.station}/{row.number}" for row in checked if row.closed_at is None}


def unused_ranges(connection: Connection, record: LeaseRecord) -> list[range]:
    """Return the sequences of a block that were neither given nor voided, in ranges."""
    taken = set(_given_of(connection, record))
    for void in _voids_of(connection, record):
        taken.update(void)
    ranges: list[range] = []
    for sequence in record.sequences:
        if sequence in taken:
            continue
        if ranges and ranges[-1].stop == sequence:
            ranges[-1] = range(ranges[-1].start, sequence + 1)
        else:
            ranges.append(range(sequence, sequence + 1))
    return ranges


def is_void(connection: Connection, number: SerialNumber) -> str | None:
    """Return why a number is void, or `None` when it is not."""
    void = find_range(connection, number)
    return None if void is None else void.reason


def _given_of(connection: Connection, record: LeaseRecord) -> Iterable[int]:
    return connection.execute(
        select(serial_numbers.c.sequence).where(
            *_same_series(serial_numbers, record),
            serial_numbers.c.sequence.between(record.first_sequence, record.last_sequence),
        )
    ).scalars()


def _voids_of(connection: Connection, record: LeaseRecord) -> list[range]:
    rows = connection.execute(
        select(voided_ranges.c.first_sequence, voided_ranges.c.last_sequence).where(
            *_same_series(voided_ranges, record),
            and_(
                voided_ranges.c.first_sequence <= record.last_sequence,
                voided_ranges.c.last_sequence >= record.first_sequence,
            ),
        )
    )
    return [
        range(max(first, record.first_sequence), min(last, record.last_sequence) + 1)
        for first, last in rows
    ]


def _same_series(table: Any, record: LeaseRecord) -> list[Any]:
    return [table.c[name] == getattr(record, name) for name in ("prefix", "model", "year", "week")]


def _record(connection: Connection, row: Row[Any], serial_format: SerialFormat) -> LeaseRecord:
    check_row(row, leases, where="table leases")
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    for name in ("issued_at", "expires_at", "closed_at"):
        values[name] = None if values[name] is None else parse_time(values[name])
    bare = LeaseRecord(**values, given=0, voided=0, serial_format=serial_format)
    given = len(list(_given_of(connection, bare)))
    voided = sum(len(void) for void in _voids_of(connection, bare))
    return replace(bare, given=given, voided=voided)
