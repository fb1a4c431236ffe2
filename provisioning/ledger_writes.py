"""Rows that a writing transaction sends with its COMMIT, in one message to the server.

Other writers wait for as long as a transaction holds the write lock. A row that nobody reads again
in the same transaction need not make a journey of its own while they wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import insert

from provisioning.ledger_schema import metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sqlalchemy import Connection, Select, Table
    from sqlalchemy.sql.dml import Insert

ANSWER: Final = "ampforge_answer"
"""Where the answer lies to the question that was asked together with the write lock."""
QUEUE: Final = "ampforge_queued_rows"
INSERTS: Final[dict[str, Insert]] = {
    table.name: insert(table).inline() for table in metadata.sorted_tables
}
"""Made once: building a statement costs more than running it."""

QueuedRow = tuple[str, "Mapping[str, object]"]


Question = tuple["Select[Any]", "Mapping[str, object]"]
"""A statement with named parameters, and their values."""


def add_row(connection: Connection, table: Table, row: Mapping[str, object]) -> None:
    """Insert a row with all of its columns, at the latest when the transaction is committed."""
    queue: list[QueuedRow] | None = connection.info.get(QUEUE)
    if queue is None:
        connection.execute(INSERTS[table.name], dict(row))
    else:
        queue.append((table.name, row))


def send_rows(connection: Connection) -> None:
    """Insert what was queued, so that a question in the same transaction sees it."""
    for name, row in take_rows(connection):
        connection.execute(INSERTS[name], dict(row))


def take_rows(connection: Connection) -> list[QueuedRow]:
    """Return what was queued, and leave the queue empty."""
    queue: list[QueuedRow] = connection.info.get(QUEUE) or []
    taken = list(queue)
    queue.clear()
    return taken
