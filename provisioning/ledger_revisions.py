"""Revisions of the ledger's tables: which one a database is of, and which can be worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.errors import LedgerError

if TYPE_CHECKING:
    from provisioning.ledger_questions import Questions

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006")
HEAD_REVISION: Final = REVISIONS[-1]
_VERSION_TABLE: Final = "alembic_version"


def read_revision(questions: Questions) -> str | None:
    """Return the revision that a database is of; `None` when it is no ledger."""
    if not questions.has_table(_VERSION_TABLE):
        return None
    found = questions.ask("SELECT version_num FROM alembic_version")
    return str(found[0].version_num) if found and found[0].version_num is not None else None


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
