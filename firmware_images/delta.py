"""Makes the patch that turns one application image into another, and proves that it does.

The differences are found once, by detools (the extra `ampforge[delta]`), packed in each encoding
that the device class declares, and the smallest is kept. Then detools unpacks it and it is followed
as on a device: a patch that does not make the new image byte by byte never leaves this module.
Before it is published, detools applies it, and so does the reference device with its own unpacking.
Implements docs/spec/delta.md §5.

What lies in the images is not looked at here: any bytes have a patch.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Final

from firmware_images.delta_applying import apply_patch
from firmware_images.delta_format import PatchCompression, PatchEncoding, parse_patch_header
from firmware_images.delta_tools import load_delta_tools
from firmware_images.errors import DeltaError
from firmware_images.esp_image import IMAGE_MAX_BYTES
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from firmware_images.delta_tools import DeltaTools

FULL_IMAGE_ABOVE_PERCENT = 60
"""A larger patch is not worth a second way to go wrong: the full image is published alone."""
_SUFFIX_BYTES: Final = 4
_NO_TRANSFORMATION: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A patch that was seen to make the result from the base.

    Attributes:
        base_size_bytes: Size of the image that it starts from.
        base_sha256: Its digest.
        patch: The patch itself.
        patch_sha256: Its digest.
        result_size_bytes: Size of the image that it makes.
        result_sha256: Its digest.
        encoding: How the patch is packed.
        tried: Each declared encoding with the size of the patch in it.
    """

    base_size_bytes: int
    base_sha256: bytes
    patch: bytes
    patch_sha256: bytes
    result_size_bytes: int
    result_sha256: bytes
    encoding: PatchEncoding
    tried: tuple[tuple[PatchEncoding, int], ...]

    @property
    def percent(self) -> float:
        """Size of the patch, in percent of the image that it makes."""
        return 100 * len(self.patch) / self.result_size_bytes

    @property
    def is_worthwhile(self) -> bool:
        """Whether the patch is small enough to be published."""
        return 100 * len(self.patch) <= FULL_IMAGE_ABOVE_PERCENT * self.result_size_bytes


def create_delta(base: bytes, new: bytes, encodings: Sequence[PatchEncoding]) -> Delta:
    """Return the smallest patch in any of the encodings; of equal ones, the first.

    Args:
        base: The image that a device runs.
        new: The image that it is to run.
        encodings: What the device class declares that it can apply.

    Raises:
        DeltaError: The extra is not installed, the images are the same or of a size that no image
            has, or a patch does not make the new image.
    """
    tools = load_delta_tools()
    for name, content in (("base", base), ("new image", new)):
        if not 1 <= len(content) <= IMAGE_MAX_BYTES:
            raise DeltaError(
                f"the {name} has a size that no image has",
                expected=f"1 to {IMAGE_MAX_BYTES} bytes",
                got=f"{len(content)} bytes",
                where=name,
            )
    if base == new:
        raise DeltaError(
            "base and new image are the same: there is nothing to patch",
            expected="two images",
            got=f"SHA-256 {hashlib.sha256(new).hexdigest()} twice",
            hint="give the release that devices run now as the base",
        )
    instructions = _find_differences(tools, base, new)
    packed = [
        (encoding, _pack(tools, instructions, encoding, result_size_bytes=len(new)))
        for encoding in encodings
    ]
    encoding, patch = min(packed, key=lambda one: len(one[1]))
    _refuse_wrong_result(tools, base, new, (instructions, patch, encoding))
    return Delta(
        base_size_bytes=len(base),
        base_sha256=hashlib.sha256(base).digest(),
        patch=patch,
        patch_sha256=hashlib.sha256(patch).digest(),
        result_size_bytes=len(new),
        result_sha256=hashlib.sha256(new).digest(),
        encoding=encoding,
        tried=tuple((tried, len(content)) for tried, content in packed),
    )


def _find_differences(tools: DeltaTools, base: bytes, new: bytes) -> bytes:
    """Return the instructions, not compressed: exactly what detools' own command makes."""
    suffixes = bytearray(_SUFFIX_BYTES * (len(base) + 1))
    tools.suffix_array.divsufsort(base, suffixes)
    parts = tools.bsdiff.create_patch(suffixes, base, new, bytearray(len(new) + 1))
    return b"".join((tools.bsdiff.pack_size(_NO_TRANSFORMATION), *parts))


def _pack(
    tools: DeltaTools, instructions: bytes, encoding: PatchEncoding, *, result_size_bytes: int
) -> bytes:
    """Return a patch in an encoding: exactly what detools' own command makes."""
    head: bytes = bytes([encoding.header_byte]) + tools.bsdiff.pack_size(result_size_bytes)
    if encoding.compression is PatchCompression.NONE:
        return head + instructions
    compressor = tools.heatshrink.HeatshrinkCompressor(
        encoding.window_bits, encoding.lookahead_bits
    )
    return b"".join((head, compressor.compress(instructions), compressor.flush()))


def _unpack(tools: DeltaTools, patch: bytes, *, size_bytes: int) -> bytes:
    """Return the first bytes of a patch's instructions, not compressed any more."""
    header = parse_patch_header(patch)
    if header.encoding.compression is PatchCompression.NONE:
        return patch[header.instructions_offset_bytes :]
    # To detools the byte with window and lookahead, the last of our header, is heatshrink's first.
    packed = patch[header.instructions_offset_bytes - 1 :]
    unpacked: bytes = tools.heatshrink.HeatshrinkDecompressor(len(packed)).decompress(
        packed, size_bytes
    )
    return unpacked


def _refuse_wrong_result(
    tools: DeltaTools, base: bytes, new: bytes, delta: tuple[bytes, bytes, PatchEncoding]
) -> None:
    """Unpack the patch by detools, and follow its instructions as a device does."""
    instructions, patch, encoding = delta
    plain = PatchEncoding(compression=PatchCompression.NONE)
    unpacked = _unpack(tools, patch, size_bytes=len(instructions) + 1)
    if unpacked != instructions:
        raise _wrong("detools", "other instructions", encoding)
    followed = _pack(tools, unpacked, plain, result_size_bytes=len(new))
    try:
        made = b"".join(_apply(followed, base, result_size_bytes=len(new), encoding=plain))
    except DeltaError as error:
        raise _wrong("the reference device", str(error), encoding) from error
    if made != new:
        raise _wrong("the reference device", "other bytes", encoding)


def prove_for_publication(delta: Delta, base: bytes, new: bytes) -> None:
    """Apply a delta by detools itself, and as a device does: from its packed bytes, in pieces.

    Raises:
        DeltaError: The patch is refused, or does not make the new image.
    """
    import detools

    by_detools = io.BytesIO()
    try:
        detools.apply_patch(io.BytesIO(base), io.BytesIO(delta.patch), by_detools)
    except detools.Error as error:
        raise _wrong("detools", str(error), delta.encoding) from error
    if by_detools.getvalue() != new:
        raise _wrong("detools", "other bytes", delta.encoding)
    pieces = _apply(delta.patch, base, result_size_bytes=len(new), encoding=delta.encoding)
    if b"".join(pieces) != new:
        raise _wrong("the reference device", "other bytes", delta.encoding)


def _apply(
    patch: bytes, base: bytes, *, result_size_bytes: int, encoding: PatchEncoding
) -> Iterator[bytes]:
    return apply_patch(
        lambda offset, size: patch[offset : offset + size],
        len(patch),
        lambda offset, size: base[offset : offset + size],
        len(base),
        result_size_bytes=result_size_bytes,
        encoding=encoding,
    )


def _wrong(who: str, got: str, encoding: PatchEncoding) -> DeltaError:
    return DeltaError(
        f"the patch does not make the new image when {who} applies it",
        expected="the new image, byte by byte",
        got=got,
        where=str(encoding),
        hint="publish the full image, and report this with both images",
    )
