"""The bundle's container: a stored, deterministic ZIP that has exactly one encoding.

Every value that a ZIP leaves open is fixed: members in ascending order of name, stored (method 0),
time 1980-01-01 00:00, version 2.0, host 0, no flags, no extra fields, no comments, no directories,
central directory right after the last member, nothing before or after. So any ZIP tool can open a
bundle, and what `parse_archive` accepts is byte for byte what `serialize_archive` writes.

Layout (PKWARE APPNOTE, sections 4.3.7, 4.3.12 and 4.3.16), little endian:

    local header  PK 03 04, version, flags, method, time, date, CRC-32, size, size, name length, 0
    name, content
    ... for each member, then for each member again
    central entry PK 01 02, as above with host, and the offset of the local header
    name
    end           PK 05 06, counts, size and offset of the central directory, 0

This module does not know what the members mean: that is `bundle` and `release_statement`.
"""

from __future__ import annotations

import re
import struct
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

from firmware_images.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ARCHIVE_MAX_BYTES = 32 * 1024 * 1024
MEMBER_COUNT_MAX = 24
NAME_MAX_BYTES = 64
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)?")

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
assert (_LOCAL.size, _CENTRAL.size, _END.size) == (30, 46, 22)
_LOCAL_MAGIC = b"PK\x03\x04"
_CENTRAL_MAGIC = b"PK\x01\x02"
_END_MAGIC = b"PK\x05\x06"
_VERSION = 20
_TIME = 0
_DATE = (0 << 9) | (1 << 5) | 1  # 1980-01-01
_HINT = "get the bundle again from whoever built it; never repack it"


def serialize_archive(members: Mapping[str, bytes]) -> bytes:
    """Return the one encoding of these members.

    Args:
        members: Content by name; the order does not matter.

    Raises:
        BundleError: A name is not acceptable, or there is too much.
    """
    _judge_names(sorted(members))
    if not 1 <= len(members) <= MEMBER_COUNT_MAX:
        raise BundleError(
            "the bundle has the wrong number of members",
            expected=f"1 to {MEMBER_COUNT_MAX}",
            got=len(members),
        )
    archive = b"".join(_iterate_pieces(members))
    if len(archive) > ARCHIVE_MAX_BYTES:
        raise BundleError(
            "the bundle is too large",
            expected=f"at most {ARCHIVE_MAX_BYTES} bytes",
            got=f"{len(archive)} bytes",
            hint="carry less: a smaller app, bootloader, bill of materials or sources",
        )
    return archive


def _iterate_pieces(members: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield an archive in its order: each member's header, name and content, then the directory."""
    directory = bytearray()
    offset = 0
    for name in sorted(members):
        content = members[name]
        raw_name = name.encode("ascii")
        sizes = (zlib.crc32(content), len(content), len(content), len(raw_name), 0)
        directory += _CENTRAL.pack(
            *(_CENTRAL_MAGIC, _VERSION, _VERSION, 0, 0, _TIME, _DATE, *sizes),
            *(0, 0, 0, 0, offset),
        )
        directory += raw_name
        yield _LOCAL.pack(_LOCAL_MAGIC, _VERSION, 0, 0, _TIME, _DATE, *sizes)
        yield raw_name
        yield content
        offset += _LOCAL.size + len(raw_name) + len(content)
    yield bytes(directory)
    count = len(members)
    yield _END.pack(_END_MAGIC, 0, 0, count, count, len(directory), offset, 0)


def parse_archive(untrusted_bytes: bytes, *, where: str = "bundle") -> dict[str, bytes]:
    """Return the members of an archive, if it has exactly our encoding.

    Args:
        untrusted_bytes: The whole file.
        where: The file's name, for messages.

    Raises:
        BundleError: It is anything else than what `serialize_archive` writes.
    """
    if len(untrusted_bytes) > ARCHIVE_MAX_BYTES:
        raise BundleError(
            "the bundle is too large",
            expected=f"at most {ARCHIVE_MAX_BYTES} bytes",
            got=f"{len(untrusted_bytes)} bytes",
            where=where,
            hint=_HINT,
        )
    members: dict[str, bytes] = {}
    offset = 0
    while untrusted_bytes[offset : offset + 4] == _LOCAL_MAGIC:
        if len(members) == MEMBER_COUNT_MAX:
            raise BundleError(
                "the bundle has too many members",
                expected=f"at most {MEMBER_COUNT_MAX}",
                where=where,
                hint=_HINT,
            )
        name, content, offset = _read_member(untrusted_bytes, offset, where=where)
        if name in members:
            raise BundleError("the bundle has a member twice", got=name, where=where, hint=_HINT)
        members[name] = content
    if not members:
        raise BundleError(
            "this is not a bundle",
            expected="a ZIP archive that `ampforge bundle build` wrote",
            got=f"a file that starts with {untrusted_bytes[:4].hex()}"
            if untrusted_bytes
            else "an empty file",
            where=where,
            hint="name the .bundle.zip that `ampforge bundle build` or `bundle sign` wrote",
        )
    _judge_names(list(members), where=where)
    # Piece by piece: a second archive as large as the first is not needed to compare with.
    offset = 0
    for piece in _iterate_pieces(members):
        if not untrusted_bytes.startswith(piece, offset):
            at = offset + _count_same(piece, untrusted_bytes[offset : offset + len(piece)])
            raise _not_as_built(f"a difference at byte {at} of {len(untrusted_bytes)}", where)
        offset += len(piece)
    if offset != len(untrusted_bytes):
        raise _not_as_built(f"{len(untrusted_bytes) - offset} bytes after the end", where)
    return members


def _read_member(untrusted_bytes: bytes, offset: int, *, where: str) -> tuple[str, bytes, int]:
    if offset + _LOCAL.size > len(untrusted_bytes):
        raise _cut_off(where)
    header = _LOCAL.unpack_from(untrusted_bytes, offset)
    method, size_bytes, name_bytes, extra_bytes = header[3], header[7], header[9], header[10]
    start = offset + _LOCAL.size
    raw_name = untrusted_bytes[start : start + name_bytes]
    if method or extra_bytes:
        raise BundleError(
            "a member of the bundle is not simply stored",
            expected="method 0, no extra field",
            got=f"method {method}, {extra_bytes} extra bytes",
            where=f"{where}, byte {offset}",
            hint=_HINT,
        )
    end = start + name_bytes + size_bytes
    if end > len(untrusted_bytes):
        raise _cut_off(where)
    # Any byte becomes a character here; `_judge_names` refuses all but a few of them.
    return raw_name.decode("latin-1"), untrusted_bytes[start + name_bytes : end], end


def _judge_names(names: list[str], *, where: str = "bundle") -> None:
    for name in names:
        if len(name) > NAME_MAX_BYTES or not NAME_PATTERN.fullmatch(name):
            raise BundleError(
                "a member of the bundle has a name that is not acceptable",
                expected="lower case letters, digits, dot, dash and at most one folder",
                got=ascii(name[: 2 * NAME_MAX_BYTES]),
                where=where,
                hint=_HINT,
            )
    for first, second in pairwise(names):
        if first >= second:
            raise BundleError(
                "the bundle's members are not in order",
                expected=f"{second} before {first}",
                where=where,
                hint=_HINT,
            )


def _count_same(expected: bytes, got: bytes) -> int:
    """Return how many bytes are the same before the first that differs."""
    same, different = 0, min(len(expected), len(got)) + 1
    while different - same > 1:
        middle = (same + different) // 2
        if expected[:middle] == got[:middle]:
            same = middle
        else:
            different = middle
    return same


def _not_as_built(got: str, where: str) -> BundleError:
    return BundleError(
        "the bundle's archive is not exactly as it was built",
        expected="stored members in order with fixed times, CRCs that match, nothing more",
        got=got,
        where=where,
        hint=_HINT,
    )


def _cut_off(where: str) -> BundleError:
    return BundleError(
        "the bundle ends in the middle of a member",
        expected="the whole file",
        where=where,
        hint=_HINT,
    )
