"""Says of a file that it cannot be a report database, before SQLite looks for one there.

SQLite says "file is not a database" as it says that a disk is full; who named the wrong file has
nothing to mend there. What is a database, and of something else, `fleet` refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from manifests.errors import FleetStoreError

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC: Final = b"SQLite format 3\0"
"""How each of its files begins (sqlite.org/fileformat.html §1.3); one that is new is empty."""


def refuse_other_kind(path: Path) -> None:
    """Refuse a file that is no database; one that is not there, or empty, may become one.

    Raises:
        FleetStoreError: It begins with something else.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(len(_MAGIC))
    except OSError:
        return  # who opens it says why
    if begin not in {b"", _MAGIC}:
        raise FleetStoreError(
            "the file is no report database",
            expected="the report database of `ampforge serve`, or a file that is not there",
            got="a file of another kind",
            where=path,
            hint="correct [serve] reports, or --reports",
        )
