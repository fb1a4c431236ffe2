"""When a file was made, which no copy of it can repeat; Python tells it on Linux from 3.15 only.

A file system gives the inode number of a removed file to the next one, so that a file that was
removed and copied back often has its old number. The time of birth is another one then.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_STATX_BTIME: Final = 0x800
_STATX_BYTES: Final = 256
_MASK: Final = struct.Struct("=I")
"""At offset 0 of `struct statx` (statx(2)): what of it was filled in."""
_BIRTH: Final = struct.Struct("=qI")
"""At offset 80: seconds, then nanoseconds."""
_BIRTH_OFFSET_BYTES: Final = 80
_NS_PER_S: Final = 1_000_000_000


def read_birth_ns(path: Path) -> int | None:
    """Return when a file was made, in nanoseconds since 1970; `None` where nobody knows.

    Raises:
        OSError: There is no such file.
    """
    found = path.stat(follow_symlinks=False)
    birth_s: float | None = getattr(found, "st_birthtime", None)
    if birth_s is not None:  # macOS, the BSDs
        return round(birth_s * _NS_PER_S)
    try:
        statx = ctypes.CDLL(None).statx
    except (AttributeError, OSError):  # an older C library, or another system
        return None
    answer = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, answer) != 0:
        return None
    if not _MASK.unpack_from(answer, 0)[0] & _STATX_BTIME:
        return None  # the file system does not keep it
    seconds, nanoseconds = _BIRTH.unpack_from(answer, _BIRTH_OFFSET_BYTES)
    return int(seconds) * _NS_PER_S + int(nanoseconds)
