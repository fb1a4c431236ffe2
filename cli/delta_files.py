"""Where the images of a delta come from, and what the device class can apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cli.configuration import Configuration
    from firmware_images.delta_format import PatchEncoding
    from signing.trust import TrustRecord

_ARCHIVE_MAGIC = b"PK"


def load_encodings(configuration: Configuration | None) -> Sequence[PatchEncoding]:
    """Return what `[delta]` declares, or its default where it is left out."""
    from firmware_images.delta_format import DEFAULT_ENCODING

    if configuration is None or not configuration.has_section("delta"):
        return (DEFAULT_ENCODING,)
    from firmware_images.delta_settings import DeltaSettings

    return configuration.section("delta", DeltaSettings).encodings


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An application image, from a verified bundle or by itself.

    Attributes:
        content: Exactly the bytes that are flashed.
        name: Its version, or its file where it states none.
        chip: esptool's name of the chip that it is for.
    """

    content: bytes
    name: str
    chip: str


def read_application(path: Path, find_trust: Callable[[], TrustRecord]) -> Application:
    """Return the application of a signed bundle, or an application image.

    Args:
        path: A bundle, or an image as it is flashed.
        find_trust: Gets the trust record, which a bundle is verified with.

    Raises:
        FirmwareImageError, SigningError: It is neither, or the bundle does not verify.
    """
    from firmware_images.bounded_file import read_bounded
    from firmware_images.bundle_archive import ARCHIVE_MAX_BYTES
    from firmware_images.errors import DeltaError
    from firmware_images.esp_image import inspect_image

    content = read_bounded(path, ARCHIVE_MAX_BYTES, DeltaError)
    if content.startswith(_ARCHIVE_MAGIC):
        from firmware_images.bundle import verify_bundle

        bundle = verify_bundle(content, find_trust(), where=str(path))
        return Application(
            content=bundle.app, name=bundle.statement.version, chip=bundle.image.chip
        )
    image = inspect_image(content, where=str(path))
    return Application(content=content, name=image.version or path.name, chip=image.chip)


def refuse_other_chip(base: Application, new: Application) -> None:
    """Refuse a delta between images for different chips.

    Raises:
        DeltaError: They are.
    """
    from firmware_images.errors import DeltaError

    if base.chip != new.chip:
        raise DeltaError(
            "base and new image are for different chips: no device runs both",
            expected=base.chip,
            got=new.chip,
            where=new.name,
            hint="name two releases for the same boards",
        )
