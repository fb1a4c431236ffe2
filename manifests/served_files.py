"""Which file a request path names, and what HTTP says of it: ETag, length, ranges.

Only `metadata/`, `targets/` and `device/` are served, and only names made of letters, digits,
`.`, `_`, `+` and `-`: a path with anything else names nothing, so there is nothing to normalise
and nothing to escape from. Files are kept in memory, the least recently asked for making room.
What a publication replaces is looked at on disk in each turn of the event loop that asks for it, so
that it is seen at once; what never changes, once a second. An ETag is the digest in a file's name,
or that of its content; of a large file without one, that of its inode, length and time of change.
No network here.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import stat
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manifests.rsgi import FixedHeaders

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEPT_FILE_MAX_BYTES = 4 << 20
KEPT_MAX_BYTES = 64 << 20
KEPT_MAX_FILES = 4096
RECHECK_IMMUTABLE_S = 1.0
ETAG_DIGITS = 32
_PATH = re.compile(
    r"/(?:metadata|targets|device)(?:/[A-Za-z0-9_+][A-Za-z0-9._+-]{0,199}){1,4}", re.ASCII
)
_DIGEST_IN_NAME = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
_CONTENT_TYPES = {"json": "application/json", "cose": "application/cose", "zip": "application/zip"}
IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFile:
    """One file as a response needs it.

    Attributes:
        file_path: Where it lies.
        size_bytes: Its length.
        etag: Strong entity tag, quotes included.
        headers: All headers of a 200.
        not_modified_headers: Those of a 304 (RFC 9110 §15.4.5).
        content: Its bytes, when they are kept in memory.
        is_immutable: Whether no publication ever replaces it.
    """

    file_path: str
    size_bytes: int
    etag: str
    headers: FixedHeaders
    not_modified_headers: FixedHeaders
    content: bytes | None
    is_immutable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """A satisfiable range, first byte and the byte after the last."""

    start_bytes: int
    end_bytes: int


class UnreadableFileError(Exception):
    """Raised when a file is there and cannot be read now: the response is 503."""


class UnsatisfiableRangeError(ValueError):
    """Raised when a range lies outside the file: the response is 416."""


@dataclass(slots=True, kw_only=True)
class _Kept:
    served: ServedFile
    version: tuple[int, int, int]
    recheck_at_s: float
    is_of_this_turn: bool = False


class ServedFiles:
    """The files below a repository's folder.

    Args:
        root: The repository's folder.
        clock_s: Monotonic clock, seconds.
    """

    def __init__(self, root: Path, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._root = str(root.resolve())
        self._clock_s = clock_s
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._kept_bytes = 0
        self._of_this_turn: list[_Kept] = []

    def find(self, path: str) -> ServedFile | None:
        """Return the file that a request path names, or `None`.

        Raises:
            UnreadableFileError: It is there, and cannot be read now.
        """
        kept = self._kept.get(path)
        if kept is not None:
            if kept.is_of_this_turn:
                return kept.served
            if kept.served.is_immutable and self._clock_s() < kept.recheck_at_s:
                return kept.served
        return self._look(path, kept)

    def _look(self, path: str, kept: _Kept | None) -> ServedFile | None:
        if kept is None and _PATH.fullmatch(path) is None:
            return None
        file_path = self._root + path
        try:
            status = os.stat(file_path, follow_symlinks=False)  # noqa: PTH116 - a Path costs more than the stat
            version = (status.st_ino, status.st_size, status.st_mtime_ns)
            if kept is not None and kept.version == version:
                kept.recheck_at_s = self._clock_s() + RECHECK_IMMUTABLE_S
                self._kept.move_to_end(path)
                self._trust_for_this_turn(kept)
                return kept.served
            self._drop(path)
            # The folders, too: `stat` looks at the last name alone. The root is no link any more.
            if not stat.S_ISREG(status.st_mode) or os.path.realpath(file_path) != file_path:
                return None
            served = _describe(path, file_path, version)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            self._drop(path)
            return None
        except OSError as error:
            if error.errno in {errno.ENAMETOOLONG, errno.ELOOP}:
                return None
            # Not "there is none": to a TUF client that says that there is nothing newer.
            raise UnreadableFileError(error.strerror) from error
        self._keep(path, served, version)
        return served

    def _trust_for_this_turn(self, kept: _Kept) -> None:
        # Whoever is answered in this turn of the loop had asked when it began. Looking again for
        # each of them would cost as much as all the rest of a 304.
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if not self._of_this_turn:
            loop.call_soon(self._end_turn)
        kept.is_of_this_turn = True
        self._of_this_turn.append(kept)

    def _end_turn(self) -> None:
        for kept in self._of_this_turn:
            kept.is_of_this_turn = False
        self._of_this_turn.clear()

    def _keep(self, path: str, served: ServedFile, version: tuple[int, int, int]) -> None:
        self._kept[path] = _Kept(
            served=served, version=version, recheck_at_s=self._clock_s() + RECHECK_IMMUTABLE_S
        )
        self._kept_bytes += len(served.content or b"")
        while self._kept_bytes > KEPT_MAX_BYTES or len(self._kept) > KEPT_MAX_FILES:
            self._drop(next(iter(self._kept)))

    def _drop(self, path: str) -> None:
        kept = self._kept.pop(path, None)
        if kept is not None:
            self._kept_bytes -= len(kept.served.content or b"")


def is_immutable_name(name: str) -> bool:
    """Whether no publication ever replaces a file of this name: it has a digest or a version."""
    return _DIGEST_IN_NAME.match(name) is not None or name.partition(".")[0].isdigit()


def content_type_of(name: str) -> str:
    """Return the media type of a file by its name."""
    return _CONTENT_TYPES.get(name.rpartition(".")[2], "application/octet-stream")


def is_match(if_match: str, etag: str) -> bool:
    """Whether the client means this very content (RFC 9110 §13.1.1, strong comparison)."""
    tags = {tag.strip() for tag in if_match.split(",")}
    return "*" in tags or etag in tags


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


def _describe(path: str, file_path: str, version: tuple[int, int, int]) -> ServedFile:
    _, size_bytes, _ = version
    name = path.rpartition("/")[2]
    content: bytes | None = None
    if size_bytes <= KEPT_FILE_MAX_BYTES:
        with open(file_path, "rb") as file:  # noqa: PTH123 - the path is text on the hot path
            content = file.read(KEPT_FILE_MAX_BYTES)
        size_bytes = len(content)
    named = _DIGEST_IN_NAME.match(name)
    if named is not None:
        digest = named.group()
    elif content is not None:
        digest = hashlib.sha256(content).hexdigest()
    else:
        # Reading it all would hold up everybody else's answers.
        digest = hashlib.sha256(repr(version).encode()).hexdigest()
    is_immutable = is_immutable_name(name)
    etag = ("etag", f'"{digest[:ETAG_DIGITS]}"')
    cache_control = ("cache-control", IMMUTABLE if is_immutable else REVALIDATE)
    content_type = content_type_of(name)
    return ServedFile(
        file_path=file_path,
        size_bytes=size_bytes,
        etag=etag[1],
        headers=FixedHeaders(
            [
                ("content-type", content_type),
                ("content-length", str(size_bytes)),
                etag,
                cache_control,
                # Without it a cache in front sends the whole file for the first range of it.
                *([("accept-ranges", "bytes")] if is_immutable else []),
            ]
        ),
        not_modified_headers=FixedHeaders([etag, cache_control]),
        content=content,
        is_immutable=is_immutable,
    )
