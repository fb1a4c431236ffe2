"""Connections to a PostgreSQL server that keeps what it confirms, or is refused (psycopg 3).

Every connection asks for `synchronous_commit=on`, and its server is judged before it is used.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, create_engine, event

from provisioning.errors import LedgerError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from provisioning.ledger_address import PostgresAddress

CONNECT_TIMEOUT_S: Final = 10
LOCK_TIMEOUT_S: Final = 30
IDLE_IN_TRANSACTION_TIMEOUT_S: Final = 60
"""A writer that hangs longer between two statements is cut off, so that the others can go on."""
_OLDEST_SERVER: Final = 130_000
_MAX_CONNECTIONS: Final = 64  # one for each slot of the largest fixture
_SETTINGS: Final = (
    "SELECT current_setting('synchronous_commit'), current_setting('fsync'),"
    " current_setting('server_encoding'), current_setting('server_version_num')::int"
)


def create_postgres_engine(address: PostgresAddress) -> Engine:
    """Return an engine on a database. Connections are made, and judged, when they are used.

    Raises:
        LedgerError: The extra is not installed.
    """
    if find_spec("psycopg") is None:
        raise LedgerError(
            "a ledger on PostgreSQL needs the driver psycopg",
            where=address,
            hint="install it: `pip install 'ampforge[postgres]'`",
        )
    url = URL.create(
        "postgresql+psycopg",
        username=address.user,
        host=address.host,
        port=address.port,
        database=address.database,
        query=dict(address.options),
    )
    engine = create_engine(
        url,
        pool_size=8,
        max_overflow=_MAX_CONNECTIONS - 8,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "ampforge",
            "client_encoding": "utf8",
            "tcp_user_timeout": 1000 * LOCK_TIMEOUT_S,
            "options": "-c synchronous_commit=on"
            f" -c lock_timeout={LOCK_TIMEOUT_S}s"
            f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_S}s",
        },
    )

    @event.listens_for(engine, "connect")
    def _judge(dbapi_connection: Any, _record: object) -> None:
        cursor = dbapi_connection.cursor()
        try:
            found = cursor.execute(_SETTINGS).fetchone()
            dbapi_connection.rollback()
            _require_durable(address, *found)
        except BaseException:
            dbapi_connection.close()
            raise
        cursor.close()

    return engine


def _require_durable(
    address: PostgresAddress, commit: str, fsync: str, encoding: str, version: int
) -> None:
    if version < _OLDEST_SERVER:
        raise LedgerError(
            "the ledger's server is too old",
            expected="PostgreSQL 13 or newer",
            got=f"version number {version}",
            where=address,
            hint="upgrade the server; PostgreSQL no longer maintains this version",
        )
    for name, value in (("synchronous_commit", commit), ("fsync", fsync)):
        if value != "on":
            raise LedgerError(
                "the ledger's server would lose what it confirmed in a power cut",
                expected=f"{name} = on",
                got=value,
                where=address,
                hint=f"set {name} = on in postgresql.conf; a serial number must not be forgotten",
            )
    if encoding != "UTF8":
        raise LedgerError(
            "the ledger's database has another encoding",
            expected="UTF8",
            got=encoding,
            where=address,
            hint="create it again: `createdb --encoding=UTF8 --template=template0 NAME`",
        )
