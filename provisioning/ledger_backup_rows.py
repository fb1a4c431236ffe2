"""Puts the rows of a backup into the empty tables of a ledger that is being made.

The rows are those of the backup's own revision, before any migration. Their events are verified by
whoever makes the ledger; here, only that the chains end where the backup says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import insert
from sqlalchemy.exc import SQLAlchemyError

from provisioning.errors import LedgerError
from provisioning.ledger_backup import reflect_tables
from provisioning.ledger_failures import describe_failure
from provisioning.ledger_journal import list_stations, read_head

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from provisioning.ledger_backup_reading import BackupHeader, BackupReader

_ROWS_AT_ONCE: Final = 1000


def insert_rows(connection: Connection, reader: BackupReader) -> None:
    """Put all rows of a backup into the tables.

    Args:
        connection: Inside the transaction that makes the ledger, at the backup's revision.
        reader: The open backup.

    Raises:
        LedgerError: The backup is damaged, or its rows cannot be stored.
    """
    tables = reflect_tables(connection)
    for name, table in tables.items():
        stated = reader.header.tables.get(name)
        if stated is None or set(stated.columns) != set(table.columns.keys()):
            raise LedgerError(
                "the backup is damaged",
                expected=f"table {name} with {', '.join(table.columns.keys())}",
                got="no such table" if stated is None else ", ".join(stated.columns),
                where=reader.path,
                hint="use another copy of it, or another backup",
            )
    try:
        for name, rows in _in_batches(reader):
            connection.execute(insert(tables[name]), rows)
    except SQLAlchemyError as error:
        raise LedgerError(
            "the backup's rows cannot be stored",
            got=describe_failure(error, reader.path).got,
            where=reader.path,
            hint="use another copy of it, or another backup",
        ) from error


def require_chains(connection: Connection, header: BackupHeader, *, where: Path) -> None:
    """Refuse rows whose chains do not end where the backup's header says.

    Raises:
        LedgerError: One of them does not.
    """
    found = {
        station: (count, head.hex())
        for station in list_stations(connection)
        for count, head in [read_head(connection, station)]
    }
    if found != header.chains:
        raise LedgerError(
            "the backup's chains do not end where it says",
            expected=header.chains,
            got=found,
            where=where,
            hint="use another copy of it, or another backup",
        )


def _in_batches(reader: BackupReader) -> Iterator[tuple[str, list[dict[str, object]]]]:
    of_table, batch = "", list[dict[str, object]]()
    for name, values in reader.rows():
        if batch and (name != of_table or len(batch) == _ROWS_AT_ONCE):
            yield of_table, batch
            batch = []
        of_table = name
        batch.append(values)
    if batch:
        yield of_table, batch
