"""Files that a person names: read up to a bound, and never waited for.

A named pipe without a writer would keep a program waiting for ever, and nobody sees why. It reads
as empty here; a pipe that has a writer (`<(...)` of a shell) reads as usual.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path


def read_input(path: Path, bytes_max: int) -> bytes:
    """Return a file's content, or its first `bytes_max + 1` bytes if it is longer.

    Raises:
        OSError: It cannot be read; each caller says so in its own words.
    """
    content, _ = read_input_and_mode(path, bytes_max)
    return content


def read_input_and_mode(path: Path, bytes_max: int) -> tuple[bytes, int]:
    """Return a file's content as `read_input`, and the mode of that very file.

    Raises:
        OSError: It cannot be read.
    """
    with open_input(path) as file:
        return file.read(bytes_max + 1), os.fstat(file.fileno()).st_mode


def open_input(path: Path) -> BufferedReader:
    """Open a file that is too long to be read at once; a pipe without a writer reads as empty.

    Raises:
        OSError: It cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a zero byte, which a configuration can spell
        raise OSError(errno.EINVAL, "Not a file name", str(path)) from error
    # Only opening must not wait: a writer that is there may take its time.
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def is_present(path: Path) -> bool:
    """Whether a name leads to anything, or may: reading it then says what keeps us from it.

    A file that is there and cannot be reached must not pass for one that was never made.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True
