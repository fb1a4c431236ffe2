"""Text files from outside, line by line: never more of it in memory than its bytes and one line.

Splitting a file of sixteen megabytes into its lines, or decoding it as a whole, can take ten times
as much: sixteen million empty lines, or four bytes for each letter because one of them is rare.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE_BYTES_MAX: Final = 4096
_MARK: Final = b"\xef\xbb\xbf"


class TextLinesError(ValueError):
    """Raised when bytes are not text in lines; each caller says so in its own words.

    Args:
        what: What is wrong.
        line: In which line, from 1.
    """

    def __init__(self, what: str, *, line: int) -> None:
        super().__init__(what)
        self.line = line


def iterate_lines(untrusted_bytes: bytes) -> Iterator[str]:
    """Yield the lines of UTF-8 text without their ends; a byte order mark is skipped.

    Args:
        untrusted_bytes: The file, already bounded.

    Raises:
        TextLinesError: A line is not UTF-8, or longer than `LINE_BYTES_MAX`.
    """
    file = io.BytesIO(untrusted_bytes)
    if untrusted_bytes.startswith(_MARK):
        file.seek(len(_MARK))
    number = 0
    while raw := file.readline(LINE_BYTES_MAX + 2):
        number += 1
        line = raw[:-1].removesuffix(b"\r") if raw.endswith(b"\n") else raw
        if len(line) > LINE_BYTES_MAX:
            raise TextLinesError(f"a line longer than {LINE_BYTES_MAX} bytes", line=number)
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise TextLinesError(f"byte {error.start + 1} of a line", line=number) from error
        yield text


def count_lines(untrusted_bytes: bytes) -> int:
    """Return how many lines there are, without looking at any."""
    has_rest = bool(untrusted_bytes) and not untrusted_bytes.endswith(b"\n")
    return untrusted_bytes.count(b"\n") + has_rest
