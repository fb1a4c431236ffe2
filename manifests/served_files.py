"""Which file a request path names, and what HTTP says of it: ETag, length, ranges.

Only `metadata/`, `targets/` and `device/` are served, and only names made of letters, digits,
`.`, `_`, `+` and `-`: a path with anything else names nothing, so there is nothing to normalise
and nothing to escape from. Small files are kept in memory until they change on disk; files whose
name is their digest are never read to make an ETag. No network here.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MEMORY_FILE_MAX_BYTES = 64 << 10
MEMORY_MAX_FILES = 512
_PATH = re.compile(
    r"/(?:metadata|targets|device)(?:/[A-Za-z0-9_+][A-Za-z0-9._+-]{0,199}){1,4}", re.ASCII
)
_DIGEST_IN_NAME = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
_CONTENT_TYPES = {
    "json": "application/json",
    "cose": "application/cose",
    "zip": "application/zip",
}
IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFile:
    """One file as a response needs it.

    Attributes:
        file_path: Where it lies.
        size_bytes: Its length.
        etag: Strong entity tag, quotes included.
        headers: All headers of a 200, Content-Length included.
        content: Its bytes, when it is kept in memory.
    """

    file_path: str
    size_bytes: int
    etag: str
    headers: list[tuple[str, str]]
    content: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """A satisfiable range, first byte and the byte after the last."""

    start_bytes: int
    end_bytes: int


class UnsatisfiableRangeError(ValueError):
    """Raised when a range lies outside the file: the response is 416."""


class ServedFiles:
    """The files below a repository's folder.

    Args:
        root: The repository's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root.resolve())
        self._kept: OrderedDict[str, tuple[tuple[int, int, int], ServedFile]] = OrderedDict()

    def find(self, path: str) -> ServedFile | None:
        """Return the file that a request path names, or `None`.

        A file in memory is used as long as inode, size and modification time are the same.
        """
        if _PATH.fullmatch(path) is None:
            return None
        file_path = self._root + path
        try:
            status = os.stat(file_path, follow_symlinks=False)  # noqa: PTH116 - a Path costs more than the stat
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        version = (status.st_ino, status.st_size, status.st_mtime_ns)
        kept = self._kept.get(path)
        if kept is not None and kept[0] == version:
            return kept[1]
        try:
            served = _describe(path, file_path, status.st_size)
        except OSError:
            return None
        self._kept[path] = (version, served)
        if len(self._kept) > MEMORY_MAX_FILES:
            self._kept.popitem(last=False)
        return served


def is_not_modified(if_none_match: str, etag: str) -> bool:
    """Whether the client has this very content (RFC 9110 §13.1.2, weak comparison)."""
    if if_none_match == etag:
        return True
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag in tags


def parse_range(header: str, size_bytes: int) -> ByteRange | None:
    """Return the one range that is asked for, or `None` to send the whole file.

    A list of ranges, another unit or nonsense is ignored, as RFC 9110 §14.2 allows.

    Args:
        header: The value of `Range`.
        size_bytes: Length of the file.

    Raises:
        UnsatisfiableRangeError: The range begins at or after the end, or asks for no byte.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start_bytes, end_bytes = max(0, size_bytes - int(last)), size_bytes
    else:
        start_bytes = int(first)
        end_bytes = min(int(last) + 1, size_bytes) if last else size_bytes
        if last and int(last) < start_bytes:
            return None
    if start_bytes >= size_bytes or start_bytes >= end_bytes:
        raise UnsatisfiableRangeError
    return ByteRange(start_bytes=start_bytes, end_bytes=end_bytes)


def _describe(path: str, file_path: str, size_bytes: int) -> ServedFile:
    name = path.rpartition("/")[2]
    content: bytes | None = None
    if size_bytes <= MEMORY_FILE_MAX_BYTES:
        with open(file_path, "rb") as file:  # noqa: PTH123 - the path is text on the hot path
            content = file.read(MEMORY_FILE_MAX_BYTES)
        size_bytes = len(content)
    named = _DIGEST_IN_NAME.match(name)
    if content is not None:
        digest = hashlib.sha256(content).hexdigest()
    elif named is not None:
        digest = named.group()
    else:
        with open(file_path, "rb") as file:  # noqa: PTH123 - as above
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    etag = f'"{digest[:32]}"'
    is_immutable = named is not None or name.partition(".")[0].isdigit()
    headers = [
        ("content-type", _CONTENT_TYPES.get(name.rpartition(".")[2], "application/octet-stream")),
        ("content-length", str(size_bytes)),
        ("etag", etag),
        ("cache-control", IMMUTABLE if is_immutable else REVALIDATE),
        ("accept-ranges", "bytes"),
    ]
    return ServedFile(
        file_path=file_path, size_bytes=size_bytes, etag=etag, headers=headers, content=content
    )
