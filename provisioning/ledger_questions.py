"""Questions to a ledger in plain SQL that SQLite and PostgreSQL both understand.

What a short command reads of one unit is asked for so, and no other way: in a file through the
standard library alone (`provisioning.ledger_file`), elsewhere through SQLAlchemy
(`provisioning.ledger_database`), with the same words and the same checks of every row. Loading
SQLAlchemy takes such a command as long as its own work (docs/decisions/0110).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from provisioning.ledger_address import LedgerAddress
    from provisioning.ledger_columns import StoredTable


class Questions(Protocol):
    """One state of a ledger, inside a transaction."""

    def ask(self, sql: str, **values: object) -> Sequence[Any]:
        """Return all rows of a question, as named tuples; `:name` in it stands for a value."""
        ...

    def has_table(self, name: str) -> bool:
        """Whether there is such a table."""
        ...


class Askable(Protocol):
    """An open ledger that questions can be asked of, however it was opened."""

    @property
    def address(self) -> LedgerAddress:
        """Where the ledger lies."""
        ...

    def asking(self) -> AbstractContextManager[Questions]:
        """A transaction that sees one consistent state and changes nothing."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


def select_all(table: StoredTable, rest: str) -> str:
    """Return the question for whole rows of a table.

    Args:
        table: The table.
        rest: What follows its name.
    """
    # With the table's name before it, SQLite never takes the name of a column for a text.
    columns = ", ".join(f'{table.name}."{name}" AS "{name}"' for name in table.columns)
    return f"SELECT {columns} FROM {table.name} {rest}"  # noqa: S608 - names of our own
