"""Rows of the ledger as they are read: of the declared types, or refused.

SQLite stores whatever it is given into any column. A ledger that somebody edited by hand must be
refused with its place, not crash the one who reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import LargeBinary

from provisioning.errors import LedgerError

if TYPE_CHECKING:
    from enum import StrEnum

    from sqlalchemy import Column, Row, Table

State = TypeVar("State", bound="StrEnum")


def check_row(row: Any, table: Table, *, where: str) -> Row[Any]:
    """Return a row whose values have the types and sizes of their columns.

    Args:
        row: As read; columns of the table that it does not have are not looked at.
        table: Whose columns they are.
        where: What to name in an error.

    Raises:
        LedgerError: A value has another type, or bytes have another length.
    """
    checked: Row[Any] = row
    values = checked._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    for column in table.columns:
        if column.name in values and not _is_as_declared(values[column.name], column):
            raise _damaged(
                f"{table.name}.{column.name}", column.type, repr(values[column.name])[:80], where
            )
    return checked


def check_state(states: type[State], text: str, *, where: str) -> State:
    """Return the state that a column names.

    Raises:
        LedgerError: There is no such state.
    """
    try:
        return states(text)
    except ValueError as error:
        raise _damaged("state", ", ".join(states), repr(text[:40]), where) from error


def _is_as_declared(value: object, column: Column[Any]) -> bool:
    if value is None:
        return bool(column.nullable)
    if type(value) is not column.type.python_type:
        return False
    length = column.type.length if isinstance(column.type, LargeBinary) else None
    return length is None or (isinstance(value, bytes) and len(value) == length)


def _damaged(what: str, expected: object, got: str, where: str) -> LedgerError:
    return LedgerError(
        f"the ledger holds an unusable value: {what}",
        expected=expected,
        got=got,
        where=where,
        hint="the ledger was changed outside Ampforge; compare it with a backup",
    )
