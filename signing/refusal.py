"""The shape that every error of ours has: what, expected, got, where, and what to do next.

Each package derives one root error from `Refusal`. It does not decide exit codes: the one table
from error to exit code is in `cli/failures.py`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSAL_PARTS: Final = ("what", "expected", "got", "where", "hint")
"""The attributes of a `Refusal` that another process needs to tell it: text, or `None`."""


class Refusal(Exception):  # noqa: N818 - the packages' roots end in Error; this is what they share
    """Raised when input, state or a peer cannot be accepted; nothing was changed.

    Args:
        what: A sentence's first half: what was refused.
        expected: What would have been accepted.
        got: What was there instead.
        where: File, offset, field, mode or port.
        hint: What the person does next.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        where: object = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.expected = None if expected is None else str(expected)
        self.got = None if got is None else str(got)
        self.where = None if where is None else str(where)
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.what]
        if self.expected is not None and self.got is not None:
            parts.append(f"expected {self.expected}, got {self.got}")
        elif self.expected is not None:
            parts.append(f"expected {self.expected}")
        elif self.got is not None:
            parts.append(f"got {self.got}")
        message = ": ".join(parts)
        return message if self.where is None else f"{message} ({self.where})"


@contextmanager
def refusing_in(place: object) -> Iterator[None]:
    """Have every refusal from a block name the file that it came about in, before the part of it.

    Args:
        place: The file, or whatever the parts belong to.

    Raises:
        Refusal: The one that was raised, with `place` in front of its own `where`.
    """
    try:
        yield
    except Refusal as refusal:
        inner, outer = refusal.where, str(place)
        if inner is None:
            refusal.where = outer
        elif inner != outer and not inner.startswith(f"{outer}, "):
            refusal.where = f"{outer}, {inner}"
        raise
