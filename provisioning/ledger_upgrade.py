"""Brings a ledger of an earlier revision to the present one; a backup comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.ledger_audit import audit_ledger
from provisioning.ledger_backup import write_backup
from provisioning.ledger_connection import ConnectionQuestions
from provisioning.ledger_database import open_any_revision
from provisioning.ledger_identity import read_identity
from provisioning.ledger_migrations import migrate
from provisioning.ledger_revisions import HEAD_REVISION, read_revision, require_known

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    from provisioning.ledger_address import LedgerAddress


def upgrade_ledger(
    address: LedgerAddress,
    backup: Path,
    *,
    now: dt.datetime,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> str:
    """Back a ledger up, bring its tables to the present revision, and verify all of it.

    Args:
        address: The ledger; no station may work on it.
        backup: Where the backup goes; written only when there is something to upgrade.
        now: The present, aware.
        on_progress: Told how much of the verification is done.

    Returns:
        The revision that it was of; `HEAD_REVISION` when there was nothing to do.

    Raises:
        LedgerError: The ledger cannot be upgraded; it is as it was.
        DurableFileError: The backup cannot be written; the ledger is as it was.
    """
    database, found = open_any_revision(address)
    try:
        before = require_known(found, where=address)
        if before == HEAD_REVISION:
            return before
        write_backup(address, backup, now=now)
        with database.changing_tables() as connection:
            questions = ConnectionQuestions(connection)
            if read_revision(questions) == before:  # else somebody else was faster
                migrate(connection)
            identity = read_identity(questions, where=address)
            audit_ledger(connection, identity, on_progress=on_progress)
    finally:
        database.close()
    return before
