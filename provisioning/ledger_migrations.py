"""Brings a database to a revision of the ledger; every other module works on the newest alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioning.ledger_revisions import HEAD_REVISION

if TYPE_CHECKING:
    from sqlalchemy import Connection

MIGRATIONS_FOLDER: Final = Path(__file__).parent / "migrations"


def migrate(connection: Connection, *, revision: str = HEAD_REVISION) -> None:
    """Bring the tables to a revision, inside the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
