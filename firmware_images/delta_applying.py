"""Applies a patch the way a device does: from flash, in pieces, never holding an image in memory.

Implements docs/spec/delta.md §3. The instructions are three things again and again, each led by
its size: *differences* (added, byte by byte, to the base at the reading position, which moves on),
*new bytes* (taken as they are), and a *step* of the reading position, forward or back.

The caller has verified the patch's digest before, and judges the result by its digest afterwards.
Whatever the bytes are, this refuses them or makes exactly the promised number of bytes, in memory
that does not depend on them, and takes time in proportion to that number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from firmware_images.delta_format import (
    SIZE_MAX_BYTES,
    PatchCompression,
    parse_patch_header,
    read_size,
)
from firmware_images.errors import DeltaError
from firmware_images.heatshrink import HeatshrinkReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firmware_images.delta_format import PatchEncoding

    ReadAt = Callable[[int, int], bytes]
    """Returns so many bytes from an offset: (offset_bytes, size_bytes)."""

PIECE_BYTES = 4096
_HEADER_MAX_BYTES = 2 + SIZE_MAX_BYTES
_BLOCK_BYTES = 256


class _Reader(Protocol):
    def read(self, size_bytes: int) -> bytes: ...

    def finish(self) -> None: ...


def apply_patch(
    read_patch: ReadAt,
    patch_size_bytes: int,
    read_base: ReadAt,
    base_size_bytes: int,
    *,
    result_size_bytes: int,
    encoding: PatchEncoding | None = None,
) -> Iterator[bytes]:
    """Yield the image that a patch makes of its base, in order, in pieces of at most 4096 bytes.

    Args:
        read_patch: Reads from the patch.
        patch_size_bytes: Size of the patch.
        read_base: Reads from the base.
        base_size_bytes: Size of the base.
        result_size_bytes: Size of the image that the manifest promises.
        encoding: The encoding that the manifest promises; any, if it is left out.

    Raises:
        DeltaError: The patch makes another size, or is of another encoding, or its instructions
            leave the base, or end too early or too late.
    """
    header = parse_patch_header(read_patch(0, min(_HEADER_MAX_BYTES, patch_size_bytes)))
    for what, promised, got in (
        ("size of result", result_size_bytes, header.result_size_bytes),
        ("encoding", encoding or header.encoding, header.encoding),
    ):
        if got != promised:
            raise DeltaError(
                f"a patch has another {what} than was promised",
                expected=promised,
                got=got,
                where="patch, header",
            )
    blocks = _iterate_blocks(read_patch, header.instructions_offset_bytes, patch_size_bytes)
    reader: _Reader
    if header.encoding.compression is PatchCompression.HEATSHRINK:
        reader = HeatshrinkReader(lambda: next(blocks, b""), header.encoding)
    else:
        reader = _PlainReader(blocks)
    yield from _follow(reader, read_base, base_size_bytes, result_size_bytes)
    reader.finish()


def _follow(
    reader: _Reader, read_base: ReadAt, base_size_bytes: int, result_size_bytes: int
) -> Iterator[bytes]:
    def take_size() -> int:
        return read_size(lambda: reader.read(1)[0])

    if take_size() != 0:
        raise _refuse("transforms its base for one processor", "no such transformation")
    made_bytes = base_offset_bytes = instruction_count = 0
    while made_bytes < result_size_bytes:
        # An instruction may make nothing. Without a bound on them, a few compressed bytes could
        # keep a device busy for ever.
        instruction_count += 1
        if instruction_count > result_size_bytes + 1:
            raise _refuse("has more instructions than its image has bytes", "progress")
        different_bytes = _bounded(take_size(), result_size_bytes - made_bytes)
        if not 0 <= base_offset_bytes <= base_size_bytes - different_bytes:
            raise _refuse(
                "reads outside of its base",
                f"0 to {base_size_bytes}",
                f"{base_offset_bytes} to {base_offset_bytes + different_bytes}",
            )
        for size_bytes in _pieces(different_bytes):
            base = read_base(base_offset_bytes, size_bytes)
            yield _add(base, reader.read(size_bytes))
            base_offset_bytes += size_bytes
        made_bytes += different_bytes
        new_bytes = _bounded(take_size(), result_size_bytes - made_bytes)
        for size_bytes in _pieces(new_bytes):
            yield reader.read(size_bytes)
        made_bytes += new_bytes
        base_offset_bytes += take_size()


def _bounded(size_bytes: int, maximum: int) -> int:
    if not 0 <= size_bytes <= maximum:
        raise _refuse("makes more than its image", f"0 to {maximum} bytes", size_bytes)
    return size_bytes


def _pieces(size_bytes: int) -> Iterator[int]:
    for offset_bytes in range(0, size_bytes, PIECE_BYTES):
        yield min(PIECE_BYTES, size_bytes - offset_bytes)


def _add(base: bytes, differences: bytes) -> bytes:
    """Add byte by byte, modulo 256, all at once: the carry out of each byte is kept out of it."""
    size_bytes = len(base)
    ones = int.from_bytes(b"\x7f" * size_bytes, "big")
    a, b = int.from_bytes(base, "big"), int.from_bytes(differences, "big")
    added = ((a & ones) + (b & ones)) ^ ((a ^ b) & ~ones)
    return added.to_bytes(size_bytes, "big")


def _iterate_blocks(read_patch: ReadAt, start_bytes: int, end_bytes: int) -> Iterator[bytes]:
    for offset_bytes in range(start_bytes, end_bytes, _BLOCK_BYTES):
        yield read_patch(offset_bytes, min(_BLOCK_BYTES, end_bytes - offset_bytes))


class _PlainReader:
    """Instructions that are not compressed."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._ahead = b""

    def read(self, size_bytes: int) -> bytes:
        pieces, missing_bytes = [], size_bytes
        while missing_bytes > 0:
            if not self._ahead:
                self._ahead = next(self._blocks, b"")
                if not self._ahead:
                    raise _refuse(
                        "ends before its image is complete", "more instructions", "the end"
                    )
            pieces.append(self._ahead[:missing_bytes])
            self._ahead = self._ahead[missing_bytes:]
            missing_bytes -= len(pieces[-1])
        return b"".join(pieces)

    def finish(self) -> None:
        if self._ahead or next(self._blocks, b""):
            raise _refuse("goes on after its end", "nothing after the last instruction")


def _refuse(what: str, expected: str, got: object = None) -> DeltaError:
    return DeltaError(f"a patch {what}", expected=expected, got=got, where="patch")
