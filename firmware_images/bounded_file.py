"""Files that a person names, refused in words of this package: unreadable, or too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signing.input_file import read_input

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.errors import FirmwareImageError


def read_bounded(path: Path, bytes_max: int, error: type[FirmwareImageError]) -> bytes:
    """The content of a file that a person named, refused when it is unreadable or too long."""
    try:
        content = read_input(path, bytes_max)
    except OSError as cause:
        raise error(
            "the file cannot be read",
            got=cause.strerror or cause,
            where=path,
            hint="check the path and its permissions",
        ) from cause
    if len(content) > bytes_max:
        raise error(
            "the file is too long",
            expected=f"at most {bytes_max} bytes",
            got=f"more than {bytes_max} bytes",
            where=path,
            hint="check that this is the file that was meant",
        )
    return content
