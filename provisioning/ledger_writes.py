"""Changes that a writing transaction sends with its COMMIT, in one message to the server.

Other writers wait for as long as a transaction holds the write lock. A change that nobody reads
again in the same transaction need not make a journey of its own while they wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Union

from sqlalchemy import insert

from provisioning.ledger_schema import metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Select, Table
    from sqlalchemy.sql.dml import Insert, Update

ANSWER: Final = "ampforge_answer"
"""Where the answer lies to the question that was asked together with the write lock."""
QUEUE: Final = "ampforge_queued_changes"
INSERTS: Final[dict[str, Insert]] = {
    table.name: insert(table).inline() for table in metadata.sorted_tables
}
"""Made once: building a statement costs more than running it."""

Statement = Union["Insert", "Update", "Select[Any]"]
QueuedChange = tuple["Insert | Update", "Mapping[str, object]"]
"""A statement that was made once, and the values of its parameters."""

Question = tuple["Select[Any]", "Mapping[str, object]"]
"""A statement with named parameters, and their values."""


def add_row(connection: Connection, table: Table, row: Mapping[str, object]) -> None:
    """Insert a row with all of its columns, at the latest when the transaction is committed."""
    change_row(connection, INSERTS[table.name], row)


def change_row(
    connection: Connection, statement: Insert | Update, values: Mapping[str, object]
) -> None:
    """Run a statement that was made once, at the latest when the transaction is committed."""
    queue: list[QueuedChange] | None = connection.info.get(QUEUE)
    if queue is None:
        connection.execute(statement, dict(values))
    else:
        queue.append((statement, values))


def send_changes(connection: Connection) -> None:
    """Send what was queued, so that a question in the same transaction sees it."""
    queue: list[QueuedChange] = connection.info.get(QUEUE) or []
    for statement, values in queue:
        connection.execute(statement, dict(values))
    queue.clear()
