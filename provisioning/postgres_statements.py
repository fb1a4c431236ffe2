"""Statements of the ledger that a PostgreSQL server plans once for each connection, and then runs.

Several of them travel in one message, because others wait meanwhile.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Dialect

    from provisioning.ledger_writes import Statement

_PREPARED: Final = "ampforge_prepared_statements"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A statement as the server prepares it.

    Attributes:
        name: Its name within a connection.
        text: The statement, with $1, $2, ...
        parameters: Names of the parameters, in this order.
        constants: Values of those that are the same each time.
    """

    name: str
    text: str
    parameters: tuple[str, ...]
    constants: dict[str, object]


class PreparedStatements:
    """The statements of one ledger, whichever of its connections runs them."""

    def __init__(self) -> None:
        self._plans: dict[object, _Plan] = {}
        self._numbers = count()
        # As PREPARE wants parameters: $1, $2, ...
        self._dialect: Dialect = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

    def prepare(self, driver: Any, info: dict[Any, Any], statements: Iterable[Statement]) -> None:
        """Have the server plan statements, once for each connection, before anybody waits."""
        known: set[str] = info.setdefault(_PREPARED, set())
        plans = [self._plan_of(statement) for statement in statements]
        missing = [plan for plan in plans if plan.name not in known]
        if missing:
            exchange(driver, "; ".join(f"PREPARE {plan.name} AS {plan.text}" for plan in missing))
            known.update(plan.name for plan in missing)

    def run_of(
        self,
        driver: Any,
        statement: Statement,
        values: Mapping[str, object],
    ) -> str:
        """Return the text that runs a prepared statement, its values quoted by libpq."""
        from psycopg.pq import Escaping

        plan = self._plan_of(statement)
        given, escaping = {**plan.constants, **values}, Escaping(driver.pgconn)
        quoted = ", ".join(_quoted(given[name], escaping) for name in plan.parameters)
        return f"EXECUTE {plan.name} ({quoted})"

    def _plan_of(self, statement: Statement) -> _Plan:
        """Return how a statement of this package is prepared and run; made once."""
        if statement not in self._plans:
            compiled = statement.compile(dialect=self._dialect)
            assert isinstance(compiled, SQLCompiler)
            assert compiled.positiontup is not None
            plan = _Plan(
                # Of one statement alone, even when two threads come here at once.
                name=f"ampforge_{next(self._numbers)}",
                text=str(compiled),
                parameters=tuple(compiled.positiontup),
                constants={k: v for k, v in compiled.params.items() if v is not None},
            )
            return self._plans.setdefault(statement, plan)
        return self._plans[statement]


def _quoted(value: object, escaping: Any) -> str:
    """Return a value as a literal: a cursor that does this looks at each type again each time."""
    match value:
        case str() if "\0" not in value:  # libpq would end the text there
            return str(escaping.escape_literal(value.encode()), "utf-8")
        case bytes():
            return f"E'\\\\x{value.hex()}'"
        case int():
            return str(value)
        case None:
            return "NULL"
        case _:
            raise TypeError(value)


def exchange(driver: Any, statements: str) -> list[list[Any]]:
    """Have the server run several statements in one journey; return the rows of each that has any.

    Raises:
        DBAPIError: As SQLAlchemy raises it for a statement of its own.
    """
    from psycopg import Error as PsycopgError

    try:
        cursor = driver.execute(statements, prepare=False)
        answers = []
        while True:
            if cursor.rownumber is not None:  # it returned rows, or none of them
                answers.append(cursor.fetchall())
            if not cursor.nextset():
                return answers
    except PsycopgError as error:
        lost = bool(driver.closed or driver.broken)
        statement = statements.partition(";")[0]
        raise DBAPIError(statement, None, error, connection_invalidated=lost) from error
