"""Makes the patch that turns one application image into another, and proves that it does.

The differences are found once, by detools (the extra `ampforge[delta]`), packed in each encoding
that the device class declares, and the smallest is kept. Then detools applies it: a patch that
does not make the new image byte by byte never leaves this module. Before it is published,
`delta_applying` applies it, too, the way a device will. Implements docs/spec/delta.md §5.

What lies in the images is not looked at here: any bytes have a patch.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

from firmware_images.delta_format import PatchCompression, PatchEncoding, parse_patch_header
from firmware_images.errors import DeltaError
from firmware_images.esp_image import IMAGE_MAX_BYTES
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL_IMAGE_ABOVE_PERCENT = 60
"""A larger patch is not worth a second way to go wrong: the full image is published alone."""


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
    detools = _import_detools()
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
    plain = _find_differences(detools, base, new)
    packed = [(encoding, _pack(plain, encoding)) for encoding in encodings]
    encoding, patch = min(packed, key=lambda one: len(one[1]))
    _refuse_wrong_result(detools, base, new, patch, encoding)
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


def _import_detools() -> Any:
    try:
        import detools
    except ModuleNotFoundError as error:
        raise DeltaError(
            "deltas cannot be made by this installation",
            expected="the package detools",
            got=f"no module {error.name}",
            hint="install Ampforge with it: pip install 'ampforge[delta]' (needs a C compiler)",
        ) from error
    return detools


def _find_differences(detools: Any, base: bytes, new: bytes) -> bytes:
    """Return the sequential patch, not compressed."""
    out = io.BytesIO()
    detools.create_patch(io.BytesIO(base), io.BytesIO(new), out, compression="none", use_mmap=False)
    return out.getvalue()


def _pack(plain: bytes, encoding: PatchEncoding) -> bytes:
    """Return a plain patch in an encoding: exactly what detools' own command makes of it."""
    start = parse_patch_header(plain).instructions_offset_bytes
    head = bytes([encoding.header_byte]) + plain[1:start]
    if encoding.compression is PatchCompression.NONE:
        return head + plain[start:]
    from detools.compression.heatshrink import HeatshrinkCompressor

    compressor: Any = HeatshrinkCompressor(encoding.window_bits, encoding.lookahead_bits)
    return b"".join((head, compressor.compress(plain[start:]), compressor.flush()))


def _refuse_wrong_result(
    detools: Any, base: bytes, new: bytes, patch: bytes, encoding: PatchEncoding
) -> None:
    made = io.BytesIO()
    try:
        detools.apply_patch(io.BytesIO(base), io.BytesIO(patch), made)
    except detools.Error as error:
        raise _wrong("detools", str(error), encoding) from error
    if made.getvalue() != new:
        raise _wrong("detools", "other bytes", encoding)


def prove_on_device(delta: Delta, base: bytes, new: bytes) -> None:
    """Apply a delta as a device does, too, before it is published: by other code, in pieces.

    Raises:
        DeltaError: The patch is refused, or does not make the new image.
    """
    from firmware_images.delta_applying import apply_patch

    patch = delta.patch
    pieces = apply_patch(
        lambda offset, size: patch[offset : offset + size],
        len(patch),
        lambda offset, size: base[offset : offset + size],
        len(base),
        result_size_bytes=len(new),
        encoding=delta.encoding,
    )
    if b"".join(pieces) != new:
        raise _wrong("the reference device", "other bytes", delta.encoding)


def _wrong(who: str, got: str, encoding: PatchEncoding) -> DeltaError:
    return DeltaError(
        f"the patch does not make the new image when {who} applies it",
        expected="the new image, byte by byte",
        got=got,
        where=str(encoding),
        hint="publish the full image, and report this with both images",
    )
