"""How a patch is packed: its first bytes, and the encodings that a device class may declare.

A patch is detools' sequential patch. Implements docs/spec/delta.md §2:

| offset | bytes | content |
|---|---|---|
| 0 | 1 | bits 6 to 4: kind, 0 is sequential; bits 3 to 0: compression, 0 none, 4 heatshrink |
| 1 | 1 to 5 | size of the result: a size, as below |
| then | 1 | heatshrink only: bits 7 to 4 window bits - 4, bits 3 to 0 lookahead bits - 3 |
| then | rest | the instructions, compressed |

A size is 6 bits in the first byte and 7 in each byte after it, the lowest first; bit 7 says that
another byte follows, bit 6 of the first byte is the sign. Nothing is decompressed here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from firmware_images.errors import DeltaError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_BITS_MIN, WINDOW_BITS_MAX = 4, 14
"""heatshrink's own encoder never ends with 15: its buffer of two windows overflows 16 bits."""
LOOKAHEAD_BITS_MIN = 3
SIZE_MAX_BYTES = 10
"""A size of 63 bits; no image needs more than five."""

_MORE, _SIGN = 0x80, 0x40


class PatchKind(StrEnum):
    """What a patch's instructions are. The base stays as it is: it is what runs meanwhile."""

    SEQUENTIAL = "sequential"


class PatchCompression(StrEnum):
    """How the instructions are packed."""

    NONE = "none"
    HEATSHRINK = "heatshrink"

    @property
    def number(self) -> int:
        """The compression in byte 0 of a patch, and in a manifest."""
        return _COMPRESSION_NUMBERS[self]


_KIND_NUMBERS = {PatchKind.SEQUENTIAL: 0}
_COMPRESSION_NUMBERS = {PatchCompression.NONE: 0, PatchCompression.HEATSHRINK: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchEncoding:
    """One way to pack a patch that a device may be able to unpack.

    Attributes:
        compression: How the instructions are packed.
        window_bits: heatshrink: the device keeps 2^window_bits bytes; 0 without compression.
        lookahead_bits: heatshrink: longest repetition, 2^lookahead_bits bytes; or 0.
        kind: What the instructions are.
    """

    compression: PatchCompression
    window_bits: int = 0
    lookahead_bits: int = 0
    kind: PatchKind = PatchKind.SEQUENTIAL

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem is not None:
            raise DeltaError(
                "there is no such patch encoding",
                expected=problem,
                got=f"window_bits {self.window_bits}, lookahead_bits {self.lookahead_bits}",
                where=f"{self.kind}, {self.compression}",
            )

    def _problem(self) -> str | None:
        if self.compression is PatchCompression.NONE:
            return "neither for none" if self.window_bits or self.lookahead_bits else None
        if not WINDOW_BITS_MIN <= self.window_bits <= WINDOW_BITS_MAX:
            return f"window_bits {WINDOW_BITS_MIN} to {WINDOW_BITS_MAX}"
        if not LOOKAHEAD_BITS_MIN <= self.lookahead_bits < self.window_bits:
            return f"lookahead_bits {LOOKAHEAD_BITS_MIN} to {self.window_bits - 1}"
        return None

    @property
    def header_byte(self) -> int:
        """Byte 0 of a patch in this encoding."""
        return _KIND_NUMBERS[self.kind] << 4 | self.compression.number

    def __str__(self) -> str:
        if self.compression is PatchCompression.NONE:
            return f"{self.kind}, not compressed"
        return f"{self.kind}, {self.compression} {self.window_bits}/{self.lookahead_bits}"


DEFAULT_ENCODING = PatchEncoding(
    compression=PatchCompression.HEATSHRINK, window_bits=8, lookahead_bits=7
)
"""What detools' C library is built with unless it is told otherwise: 256 bytes of window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchHeader:
    """The first bytes of a patch.

    Attributes:
        encoding: How it is packed.
        result_size_bytes: Size of the image that it makes.
        instructions_offset_bytes: Where the packed instructions begin.
    """

    encoding: PatchEncoding
    result_size_bytes: int
    instructions_offset_bytes: int


def encoding_from_numbers(
    compression: int, window_bits: int, lookahead_bits: int, *, where: object
) -> PatchEncoding:
    """Return the sequential encoding that a patch or a manifest names by numbers.

    Raises:
        DeltaError: There is no such encoding.
    """
    for name, number in _COMPRESSION_NUMBERS.items():
        if number == compression:
            return PatchEncoding(
                compression=name, window_bits=window_bits, lookahead_bits=lookahead_bits
            )
    raise DeltaError(
        "a patch is compressed in a way that no device is asked to undo",
        expected=" or ".join(f"{n} ({name})" for name, n in _COMPRESSION_NUMBERS.items()),
        got=compression,
        where=where,
    )


def read_size(take_byte: Callable[[], int]) -> int:
    """Return the signed size that comes next, byte by byte.

    Raises:
        DeltaError: It goes on for longer than any size.
    """
    byte = take_byte()
    is_negative, value, shift = bool(byte & _SIGN), byte & 0x3F, 6
    for _ in range(SIZE_MAX_BYTES - 1):
        if not byte & _MORE:
            break
        byte = take_byte()
        value |= (byte & 0x7F) << shift
        shift += 7
    if byte & _MORE:
        raise DeltaError(
            "a size in a patch is too long",
            expected=f"at most {SIZE_MAX_BYTES} bytes",
            got="more",
            where="patch",
        )
    return -value if is_negative else value


def parse_patch_header(untrusted_bytes: bytes, *, where: object = "patch") -> PatchHeader:
    """Return what the first bytes of a patch say.

    Args:
        untrusted_bytes: The patch, or at least its first 12 bytes.
        where: What to call it in errors.

    Raises:
        DeltaError: It is not a patch of a known kind and compression, or ends too early.
    """
    remaining = iter(untrusted_bytes)
    taken = 0

    def take_byte() -> int:
        nonlocal taken
        taken += 1
        try:
            return next(remaining)
        except StopIteration:
            raise DeltaError(
                "a patch ends within its header", got=f"{len(untrusted_bytes)} bytes", where=where
            ) from None

    first = take_byte()
    kind, compression = first >> 4, first & 0x0F
    if kind != _KIND_NUMBERS[PatchKind.SEQUENTIAL]:
        raise DeltaError(
            "a patch is of a kind that no device is asked to apply",
            expected=f"{_KIND_NUMBERS[PatchKind.SEQUENTIAL]} ({PatchKind.SEQUENTIAL})",
            got=kind,
            where=where,
            hint="make it with `ampforge delta create`",
        )
    result_size_bytes = read_size(take_byte)
    if result_size_bytes < 1:
        raise DeltaError(
            "a patch makes no image", expected="1 byte or more", got=result_size_bytes, where=where
        )
    window_bits = lookahead_bits = 0
    if compression == PatchCompression.HEATSHRINK.number:
        packed = take_byte()
        window_bits = (packed >> 4) + WINDOW_BITS_MIN
        lookahead_bits = (packed & 0x0F) + LOOKAHEAD_BITS_MIN
    return PatchHeader(
        encoding=encoding_from_numbers(compression, window_bits, lookahead_bits, where=where),
        result_size_bytes=result_size_bytes,
        instructions_offset_bytes=taken,
    )
