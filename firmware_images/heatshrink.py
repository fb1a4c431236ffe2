"""Undoes heatshrink's compression, for a reader that asks for so many bytes at a time.

A bit stream, the highest bit of each byte first: 1 and 8 bits are a byte; 0, an offset and a
length repeat what came `offset + 1` bytes ago, `length + 1` bytes of it. Before the first byte
everything is zero. At the end up to seven zero bits fill the last byte. Implements
docs/spec/delta.md §4.

The memory that a hostile stream can make it take is the window, one longest repetition, and a
block; it decodes no further than it is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.errors import DeltaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_images.delta_format import PatchEncoding

_KEPT_BYTES = 1 << 16


class HeatshrinkReader:
    """What a compressed stream says, in order.

    Args:
        read_compressed: Returns the next compressed bytes; none at the end.
        encoding: Sizes of window and repetition.
    """

    def __init__(self, read_compressed: Callable[[], bytes], encoding: PatchEncoding) -> None:
        self._read_compressed = read_compressed
        self._window_bits = encoding.window_bits
        self._lookahead_bits = encoding.lookahead_bits
        self._decoded = bytearray(1 << encoding.window_bits)
        self._taken = len(self._decoded)
        self._bits = 0
        self._bit_count = 0

    def read(self, size_bytes: int) -> bytes:
        """Return exactly the next bytes.

        Raises:
            DeltaError: The stream ends before.
        """
        while len(self._decoded) - self._taken < size_bytes:
            self._decode(self._taken + size_bytes)
        start = self._taken
        self._taken += size_bytes
        content = bytes(self._decoded[start : self._taken])
        if self._taken > _KEPT_BYTES + (1 << self._window_bits):
            # Repetitions reach back from what was decoded, and that is not before what was taken.
            surplus = self._taken - (1 << self._window_bits)
            del self._decoded[:surplus]
            self._taken -= surplus
        return content

    def finish(self) -> None:
        """Refuse whatever is left after the last byte that was asked for.

        Raises:
            DeltaError: There are more than the bits that fill the last byte.
        """
        is_whole = len(self._decoded) == self._taken and self._bit_count < 8 and not self._bits  # noqa: PLR2004 - bits in a byte
        if not is_whole or self._read_compressed():
            raise DeltaError(
                "a patch goes on after its end",
                expected="nothing after the last instruction",
                where="patch",
            )

    def _decode(self, wanted: int) -> None:
        """Decode until so many bytes are there, or the bits at hand are used up."""
        bits, count, decoded = self._bits, self._bit_count, self._decoded
        window_bits, lookahead_bits = self._window_bits, self._lookahead_bits
        longest = max(9, 1 + window_bits + lookahead_bits)
        while len(decoded) < wanted:
            if count < longest:
                block = self._read_compressed()
                bits = bits << 8 * len(block) | int.from_bytes(block, "big")
                count += 8 * len(block)
                self._refuse_end(bits, count)
            count -= 1
            if bits >> count & 1:
                count -= 8
                decoded.append(bits >> count & 0xFF)
            else:
                count -= window_bits
                offset = (bits >> count & (1 << window_bits) - 1) + 1
                count -= lookahead_bits
                length = (bits >> count & (1 << lookahead_bits) - 1) + 1
                piece = decoded[-offset:][:length]
                decoded += piece if length <= offset else (piece * (length // offset + 1))[:length]
            bits &= (1 << count) - 1
        self._bits, self._bit_count = bits, count

    def _refuse_end(self, bits: int, count: int) -> None:
        is_literal = count > 0 and bits >> (count - 1) & 1
        needed = 9 if is_literal else 1 + self._window_bits + self._lookahead_bits
        if count < needed:
            raise DeltaError(
                "a patch ends before its image is complete",
                expected="more instructions",
                got="the end",
                where="patch",
            )
