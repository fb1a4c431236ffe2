"""A second opinion on an image: esptool's.

`esp_image` reads images itself and is quick; the tests hold it against esptool over changed images.
Here one image is read by both, for whoever looks at a build and has the second that importing
esptool takes. What a release is built and verified with does not come here.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from firmware_images.errors import EspImageError
from firmware_images.esp_image_layout import measure_image

if TYPE_CHECKING:
    from collections.abc import Iterable

    from firmware_images.esp_image import EspImage

_HINT = "do not flash this image; build it again, and report the disagreement if it stays"


def check_with_esptool(content: bytes, image: EspImage, *, where: str) -> None:
    """Refuse an image in which esptool does not read what we read.

    Args:
        content: The image's bytes.
        image: What we read in them.
        where: Their file, for messages.

    Raises:
        EspImageError: esptool refuses the image, or reads something else in it.
    """
    theirs = _load(content[: measure_image(content, where=where)], image.chip, where=where)
    for what, ours, other in (
        ("entry point", f"{image.entry_point:#x}", f"{theirs.entrypoint:#x}"),
        ("lowest chip revision", image.min_chip_revision, theirs.min_rev_full),
        ("highest chip revision", image.max_chip_revision, theirs.max_rev_full),
        ("checksum", f"{theirs.calculate_checksum():02x}", f"{theirs.checksum:02x}"),
        (
            "appended SHA-256",
            _tell_digest(image.appended_sha256),
            _tell_digest(theirs.stored_digest if theirs.append_digest else None),
        ),
        (
            "calculated SHA-256",
            _tell_digest(image.appended_sha256),
            _tell_digest(theirs.calc_digest if theirs.append_digest else None),
        ),
        (
            "list of segments",
            _tell_segments((s.address, s.size_bytes) for s in image.segments),
            _tell_segments((s.addr, len(s.data)) for s in theirs.segments),
        ),
    ):
        if ours != other:
            raise EspImageError(
                f"esptool reads another {what} in the image than we do",
                expected=ours,
                got=other,
                where=where,
                hint=_HINT,
            )


def _load(content: bytes, chip: str, *, where: str) -> Any:
    try:
        from esptool.bin_image import LoadFirmwareImage
        from esptool.util import FatalError
    except OSError as error:  # esptool looks for its settings when it is imported
        raise EspImageError(
            "esptool cannot read its settings",
            got=error.strerror,
            where=error.filename,
            hint="make that file readable, or remove it",
        ) from error
    try:
        return LoadFirmwareImage(chip, content)
    except (FatalError, RuntimeError, struct.error, LookupError, TypeError, ValueError) as error:
        raise EspImageError(
            "esptool refuses an image that we read",
            got=" ".join(str(argument) for argument in error.args) or type(error).__name__,
            where=where,
            hint=_HINT,
        ) from error


def _tell_digest(digest: bytes | None) -> str:
    return "none" if digest is None else digest.hex()


def _tell_segments(segments: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{size_bytes} bytes at {address:#x}" for address, size_bytes in segments)
