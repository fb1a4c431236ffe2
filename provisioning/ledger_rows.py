"""Rows of the ledger as they are read: of the declared types, or refused.

SQLite stores whatever it is given into any column. A ledger that somebody edited by hand must be
refused with its place, not crash the one who reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from provisioning.errors import LedgerError
from provisioning.ledger_columns import STORED_TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from enum import StrEnum

    from provisioning.ledger_columns import StoredColumn

State = TypeVar("State", bound="StrEnum")
Row = TypeVar("Row")


class HasName(Protocol):
    """A table, as it is declared or as SQLAlchemy has it."""

    @property
    def name(self) -> str:
        """Name of the table."""
        ...


def check_row(row: Row, table: HasName, *, where: str) -> Row:
    """Return a row whose values have the types and sizes of their columns.

    Args:
        row: As read, a named tuple; what the table has no column for is not looked at.
        table: Whose columns they are.
        where: What to name in an error.

    Raises:
        LedgerError: A value has another type, or bytes have another length.
    """
    columns = STORED_TABLES[table.name].columns
    named: Any = row
    for name, value in zip(named._fields, named, strict=True):
        column = columns.get(name)
        if column is not None and not _is_as_declared(value, column):
            raise _damaged(f"{table.name}.{name}", _describe(column), repr(value)[:80], where)
    return row


def only_row(rows: Sequence[Any], table: HasName, *, where: str) -> Any | None:
    """Return the one row that was asked for by something unique; `None` without one.

    Raises:
        LedgerError: There are several.
    """
    if len(rows) > 1:
        raise _damaged(table.name, "one row", f"{len(rows)} rows", where)
    return rows[0] if rows else None


def check_state(states: type[State], text: str, *, where: str) -> State:
    """Return the state that a column names.

    Raises:
        LedgerError: There is no such state.
    """
    try:
        return states(text)
    except ValueError as error:
        raise _damaged("state", ", ".join(states), repr(text[:40]), where) from error


def _is_as_declared(value: object, column: StoredColumn) -> bool:
    if value is None:
        return column.is_nullable
    if type(value) is not column.kind:
        return False
    return not isinstance(value, bytes) or column.length in {None, len(value)}


def _describe(column: StoredColumn) -> str:
    if column.kind is bytes and column.length is not None:
        return f"{column.length} bytes"
    return {int: "a whole number", str: "text", bytes: "bytes"}[column.kind]


def _damaged(what: str, expected: object, got: str, where: str) -> LedgerError:
    return LedgerError(
        f"the ledger holds an unusable value: {what}",
        expected=expected,
        got=got,
        where=where,
        hint="the ledger was changed outside Ampforge; compare it with a backup",
    )
