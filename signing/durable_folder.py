"""Folders that are either whole or absent after a power cut.

The files go to a draft beside the folder, are flushed to the disk, and the draft takes the folder's
name in one step. What a kill can leave behind is `.NAME.<random>.partial`, never half a folder. It
does not replace a folder that holds anything.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from signing.durable_file import flush_folder
from signing.errors import DurableFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)?")


def create_folder_durably(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder with these files in one step that survives a power cut.

    Args:
        folder: New, or there and empty; the folder above it exists.
        files: Content by name, a name in at most one folder; nothing else than letters, digits,
            dot, dash and underscore, so that no name leads anywhere else.

    Raises:
        DurableFileError: The folder holds something, a name is not acceptable, or it cannot be
            written; nothing was left behind.
    """
    for name in files:
        if _NAME.fullmatch(name) is None:
            raise DurableFileError(
                "a file name is not acceptable",
                expected="letters, digits, dot, dash, and at most one folder",
                got=ascii(name[:80]),
                where=folder,
                hint="get the file that names it again from its origin",
            )
    try:
        # Not `Path.resolve`, which leaves with a RuntimeError where links lead round in a circle.
        target = Path(os.path.realpath(folder))
        _refuse_used(target, folder)
        draft = Path(
            tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
        )
        try:
            content = draft / "content"
            _write_files(content, files)
            content.rename(target)
            flush_folder(target.parent)
        finally:
            shutil.rmtree(draft)
    except OSError as error:
        raise DurableFileError(
            "a folder cannot be written",
            got=error.strerror or type(error).__name__,
            where=folder,
            hint="check that the folder above exists, is writable, and has space left",
        ) from error


def _refuse_used(target: Path, folder: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        got = "a folder with something in it" if target.is_dir() else "a file"
    elif target == Path.cwd():
        # It would be replaced, and whoever works in it would stay in the one that is gone.
        got = "the folder that this runs in"
    else:
        return
    raise DurableFileError(
        "a folder is not written over",
        expected="a new or empty folder",
        got=got,
        where=folder,
        hint="name a folder that does not exist yet",
    )


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for path in (*folder.iterdir(), folder):
        if path.is_dir():
            flush_folder(path)
