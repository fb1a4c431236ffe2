"""A part of a file that is the body of an answer, read as the peer takes it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from manifests.http_requests import RequestRefusal

if TYPE_CHECKING:
    from manifests.http_requests import Request

FILE_PIECE_BYTES = 256 << 10


@dataclass(slots=True)
class FilePart:
    """What of a file is still owed.

    Attributes:
        descriptor: The open file.
        offset_bytes: Where the next piece begins.
        remaining_bytes: How much is owed.
        request: What is answered.
        is_last: Whether the connection ends with it.
    """

    descriptor: int
    offset_bytes: int
    remaining_bytes: int
    request: Request
    is_last: bool

    def read_piece(self) -> bytes:
        """Return the next piece; empty where the file has become shorter, or cannot be read."""
        try:
            wished_bytes = min(FILE_PIECE_BYTES, self.remaining_bytes)
            piece = os.pread(self.descriptor, wished_bytes, self.offset_bytes)
        except OSError:
            return b""
        self.offset_bytes += len(piece)
        self.remaining_bytes -= len(piece)
        return piece

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


def open_file_part(
    file: str, request: Request, *, start_bytes: int, end_bytes: int, is_last: bool
) -> FilePart | RequestRefusal:
    """Open a file for an answer; a refusal where it cannot be.

    Args:
        file: Path of the file.
        request: What is answered.
        start_bytes: Offset of the first byte.
        end_bytes: Offset of the byte after the last.
        is_last: Whether the connection ends with the answer.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return RequestRefusal(HTTPStatus.NOT_FOUND, "the file has just been taken away")
    except OSError:
        # Not 404: to a TUF client that says that there is nothing newer.
        text = "the file cannot be read now, try again"
        return RequestRefusal(HTTPStatus.SERVICE_UNAVAILABLE, text)
    return FilePart(descriptor, start_bytes, end_bytes - start_bytes, request, is_last)
