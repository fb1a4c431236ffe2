"""Where a ledger lies: a file of SQLite, or a database of PostgreSQL.

A PostgreSQL address never holds a password: libpq takes it from PGPASSFILE, PGPASSWORD or
~/.pgpass, so that no configuration, message or log of ours can give it away.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from provisioning.errors import LedgerError
from signing.value_class import dataclass

LEDGER_NAME: Final = "ledger.sqlite3"
"""In the station's folder, unless `[station] ledger` names another place."""
DEFAULT_PORT: Final = 5432
SCHEMES: Final = ("postgresql", "postgres")
OPTIONS: Final = ("host", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl")
_HINT: Final = (
    "write postgresql://USER@HOST:PORT/DATABASE; the password goes into PGPASSFILE or PGPASSWORD"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAddress:
    """One database on one PostgreSQL server.

    Attributes:
        host: Name or address; `None` for the socket folder in `options` or libpq's default.
        port: TCP port.
        database: Name of the database.
        user: Role; `None` for libpq's default.
        options: Of `OPTIONS`, as libpq knows them: how TLS is asked for, where the socket is.
    """

    host: str | None
    port: int
    database: str
    user: str | None
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        user = "" if self.user is None else f"{quote(self.user, safe='')}@"
        host = self.host or ""
        host = f"[{host}]" if ":" in host else host
        query = f"?{urlencode(self.options, safe='/')}" if self.options else ""
        return f"postgresql://{user}{host}:{self.port}/{quote(self.database, safe='')}{query}"


LedgerAddress: TypeAlias = Path | PostgresAddress


def parse_ledger_address(text: str, *, root: Path) -> LedgerAddress:
    """Return where a configuration says the ledger lies.

    Args:
        text: A path, or a URL `postgresql://`.
        root: Folder that a relative path starts from.

    Raises:
        LedgerError: It is a URL that we cannot use, or it has a password in it. The message never
            repeats what might be one.
    """
    if "://" not in text:
        if not text or "\0" in text:
            raise _refused("it is neither a path nor a URL")
        return root / text
    try:
        parts = urlsplit(text)
        port = parts.port
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:  # its text may repeat a part of the password
        raise _refused("it cannot be taken apart as a URL") from None
    if parts.scheme not in SCHEMES:
        raise _refused("its scheme is another one")
    if parts.password is not None or any("pass" in name for name, _ in options):
        raise LedgerError(
            "the ledger's address has a password in it",
            expected="postgresql://USER@HOST:PORT/DATABASE",
            where="[station] ledger",
            hint="take the password out, change it if others could read it, and give it in "
            "PGPASSFILE or PGPASSWORD",
        )
    unknown = sorted({name for name, _ in options} - set(OPTIONS))
    if unknown or len(dict(options)) != len(options):
        raise _refused(
            f"option {unknown[0]!r} is not one of {', '.join(OPTIONS)}"
            if unknown
            else "an option stands there twice"
        )
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in database or "\0" in database or parts.fragment:
        raise _refused("it does not end in the name of one database")
    return PostgresAddress(
        host=parts.hostname,
        port=DEFAULT_PORT if port is None else port,
        database=database,
        user=None if parts.username is None else unquote(parts.username),
        options=tuple(sorted(options)),
    )


def find_ledger(folder: Path, setting: str | None, *, root: Path) -> LedgerAddress:
    """Return where a station's ledger is.

    Args:
        folder: The station's folder.
        setting: `ledger` of section `[station]`: a path or a URL; `None` for the folder itself.
        root: Folder that a relative path starts from.

    Raises:
        LedgerError: The setting cannot be used, or the folder holds another ledger than it names.
    """
    own = folder / LEDGER_NAME
    if setting is None:
        return own
    address = parse_ledger_address(setting, root=root)
    is_own = isinstance(address, Path) and os.path.realpath(address) == os.path.realpath(own)
    if own.exists() and not is_own:
        raise LedgerError(
            "there are two ledgers for this station",
            expected=f"{address} alone",
            got=f"{own}, too",
            where="[station] ledger",
            hint="find out which one the boards were made with, and move the other one away; two "
            "ledgers give the same serial numbers twice",
        )
    return address


def _refused(got: str) -> LedgerError:
    return LedgerError(
        "the ledger's address cannot be used",
        expected="a path, or a URL of PostgreSQL",
        got=got,
        where="[station] ledger",
        hint=_HINT,
    )
