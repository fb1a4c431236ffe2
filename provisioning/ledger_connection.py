"""Questions in plain SQL (`provisioning.ledger_questions`), asked through SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


class ConnectionQuestions:
    """One state of a ledger.

    Args:
        connection: Inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, sql: str, **values: object) -> Sequence[Any]:
        """Return all rows of a question."""
        return self._connection.execute(text(sql), values).all()

    def has_table(self, name: str) -> bool:
        """Whether there is such a table."""
        return bool(inspect(self._connection).has_table(name))
