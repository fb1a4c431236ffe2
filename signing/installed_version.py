"""The version of an installed package, without the standard library's reader of its metadata.

`importlib.metadata` is made for all that a package says of itself, and brings mail and archive
parsers for it: a tenth of a short command's time, when all that is asked for is one line.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

_FIELD: Final = "Version:"
_HEADER_MAX_BYTES: Final = 4096


def find_version(package: str) -> str:
    """Return the version that a package was installed with.

    Args:
        package: Its name as its folder of metadata has it: lower case, with `_`.

    Raises:
        importlib.metadata.PackageNotFoundError: It is not installed.
    """
    for folder in sys.path:
        try:
            names = [
                name
                for name in os.listdir(folder or ".")  # noqa: PTH208 - entries need not be folders
                if name.startswith(f"{package}-") and name.endswith(".dist-info")
            ]
        except OSError:
            continue
        if names:
            found = _read_version(Path(folder, names[0], "METADATA")) if len(names) == 1 else None
            if found is not None:
                return found
            break
    # Installed in another way, or twice: whoever knows all the ways is asked.
    from importlib.metadata import version

    return version(package)


def _read_version(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    for line in header.splitlines():
        if line.startswith(_FIELD):
            return line.removeprefix(_FIELD).strip()
        if not line:
            break
    return None
