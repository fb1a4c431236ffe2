"""A ledger in one file that restores into either back end (docs/spec/ledger-backup.md).

| line | JSON |
|---|---|
| first | header: which ledger, of which revision and moment, its chains, its tables |
| each of the others | `["TABLE", [VALUE, ...]]`, bytes as `{"hex": "..."}` |
| last | `{"lines": N, "sha256": "..."}`, over every byte before it |

All of it is one state of the ledger, read in one transaction while stations go on writing. What
restoring does with it is `provisioning.ledger_restore`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import MetaData, func, inspect, select

from provisioning.errors import LedgerError
from provisioning.ledger_database import open_any_revision
from provisioning.ledger_events import format_time
from provisioning.ledger_journal import list_stations, read_head
from provisioning.ledger_revisions import require_known
from signing.durable_file import create_durably_from

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Table

    from provisioning.ledger_address import LedgerAddress

BACKUP_SCHEMA: Final = "ampforge.ledger-backup/1"
TABLES: Final = (
    "ledger_identity",
    "serial_numbers",
    "voided_ranges",
    "leases",
    "units",
    "jobs",
    "quarantines",
    "replaced_modules",
    "events",
)
"""In this order, so that a row never comes before the one that it refers to."""
_ROWS_AT_ONCE: Final = 1000
_FILE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSummary:
    """What a backup holds.

    Attributes:
        uuid: The ledger.
        epoch: Its epoch.
        revision: Revision of its tables.
        taken_at: When it was read, as `format_time` writes it.
        rows: Rows of each table.
        chains: Count and head, in hexadecimal, of each station's chain.
        sha256: Of the whole file but its last line, in hexadecimal.
    """

    uuid: str
    epoch: int
    revision: str
    taken_at: str
    rows: dict[str, int]
    chains: dict[str, tuple[int, str]]
    sha256: str


def write_backup(
    address: LedgerAddress,
    path: Path,
    *,
    now: dt.datetime,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> BackupSummary:
    """Write one consistent state of a ledger into a new file, while stations go on.

    Args:
        address: The ledger, of this or an earlier revision.
        path: The file; it must not exist.
        now: The present, aware.
        on_progress: Told how many of how many rows were written.

    Returns:
        What was written.

    Raises:
        LedgerError: The ledger cannot be read, or is of a later revision.
        DurableFileError: The file exists or cannot be written; nothing of it is left.
    """
    database, revision = open_any_revision(address)
    try:
        known = require_known(revision, where=address)
        with database.reading() as connection:
            tables = reflect_tables(connection)
            header = _header(connection, tables, revision=known, now=now)
            database.flush()
            digest = hashlib.sha256()
            lines = _lines(connection, tables, header, digest, on_progress)
            create_durably_from(path, lines, mode=_FILE_MODE)
    finally:
        database.close()
    ledger = header["ledger"]
    return BackupSummary(
        uuid=ledger["uuid"],
        epoch=ledger["epoch"],
        revision=known,
        taken_at=header["taken_at"],
        rows={name: table["rows"] for name, table in header["tables"].items()},
        chains={station: (count, head) for station, (count, head) in header["chains"].items()},
        sha256=digest.hexdigest(),
    )


def reflect_tables(connection: Connection) -> dict[str, Table]:
    """Return the ledger's tables as the database has them, in the order of `TABLES`."""
    there = set(inspect(connection).get_table_names())
    names = [name for name in TABLES if name in there]
    metadata = MetaData()
    metadata.reflect(connection, only=names)
    return {name: metadata.tables[name] for name in names}


def _header(
    connection: Connection, tables: dict[str, Table], *, revision: str, now: dt.datetime
) -> dict[str, Any]:
    identity = connection.execute(select(tables["ledger_identity"])).one_or_none()
    if identity is None:
        raise LedgerError(
            "the ledger has no identity",
            expected="one row with its UUID",
            hint="this ledger was not made by `ampforge station init`",
        )
    values = dict(identity._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    heads = {station: read_head(connection, station) for station in list_stations(connection)}
    return {
        "schema": BACKUP_SCHEMA,
        "ledger": {
            "uuid": values["uuid"],
            "epoch": values["epoch"],
            "opening": values.get("opening"),
            "product": values["product"],
        },
        "revision": revision,
        "taken_at": format_time(now),
        "chains": {station: [count, head.hex()] for station, (count, head) in heads.items()},
        "tables": {
            name: {
                "columns": [column.name for column in table.columns],
                "rows": connection.execute(select(func.count()).select_from(table)).scalar_one(),
            }
            for name, table in tables.items()
        },
    }


def _lines(
    connection: Connection,
    tables: dict[str, Table],
    header: dict[str, Any],
    digest: Any,
    on_progress: Callable[[int, int], None],
) -> Iterator[bytes]:
    total = sum(table["rows"] for table in header["tables"].values())
    count = 0

    def line(value: object) -> bytes:
        nonlocal count
        count += 1
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        content = text.encode("utf-8", "surrogateescape") + b"\n"
        digest.update(content)
        return content

    yield line(header)
    for name, table in tables.items():
        ordered = select(table).order_by(*table.primary_key)
        rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(ordered)
        for row in rows:
            yield line([name, [_as_json(value) for value in row]])
            if count % _ROWS_AT_ONCE == 0:
                on_progress(count, total)
    on_progress(total, total)
    end = {"lines": count, "sha256": digest.hexdigest()}
    yield json.dumps(end, separators=(",", ":")).encode() + b"\n"


def _as_json(value: object) -> object:
    if value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    raise LedgerError(
        "the ledger holds an unusable value",
        expected="text, a number, bytes or nothing",
        got=repr(value)[:80],
        hint="the ledger was changed outside Ampforge; compare it with an earlier backup",
    )
