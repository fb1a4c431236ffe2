"""Brings a database to a revision of the ledger; every other module works on the newest alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from provisioning.errors import LedgerError
from provisioning.ledger_schema import HEAD_REVISION, REVISIONS

if TYPE_CHECKING:
    from sqlalchemy import Connection

MIGRATIONS_FOLDER: Final = Path(__file__).parent / "migrations"
VERSION_TABLE: Final = "alembic_version"


def read_revision(connection: Connection) -> str | None:
    """Return the revision that a database is of; `None` when it is no ledger."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)


def migrate(connection: Connection, *, revision: str = HEAD_REVISION) -> None:
    """Bring the tables to a revision, inside the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def require_head(revision: str | None, *, where: object) -> None:
    """Refuse a ledger of another revision than this version of Ampforge works on.

    Raises:
        LedgerError: It is older, newer, or no ledger at all.
    """
    require_known(revision, where=where)
    if revision != HEAD_REVISION:
        raise _other_version(
            revision, where, "run `ampforge ledger upgrade` once; it writes a backup first"
        )


def require_known(revision: str | None, *, where: object) -> str:
    """Return the revision of a ledger that this version of Ampforge can read or bring up to date.

    Raises:
        LedgerError: It is of a later revision, or no ledger at all.
    """
    if revision in REVISIONS:
        return revision
    if revision is None:
        hint = "name the right file or database; a new factory runs `ampforge station init`"
    else:
        hint = "a newer Ampforge wrote it: use that version, or a newer one"
    raise _other_version(revision, where, hint)


def _other_version(revision: str | None, where: object, hint: str) -> LedgerError:
    return LedgerError(
        "the ledger is of another version",
        expected=f"revision {HEAD_REVISION}",
        got="no revision" if revision is None else f"revision {revision}",
        where=where,
        hint=hint,
    )
