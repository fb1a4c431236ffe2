"""One eFuse field as it shall be: what it is called, its value, and when it is burned.

The stages are those of docs/spec/efuses.md §4. Which fields a product has is `efuse_plan`; what a
chip says of them, `efuse_comparison`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from signing.value_class import dataclass

DIGEST_SLOTS: Final = 3


class Stage(IntEnum):
    """When a field is burned; each stage is read back before the next."""

    DATA = 0
    LOCK = 1
    LAST = 2
    """After it the chip does not tell its eFuses any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EfuseField:
    """One field as it shall be.

    Attributes:
        name: As espefuse names it.
        wanted: Its value; `None` for a field that shall only be protected against writing.
        stage: When it is burned.
        is_number: Whether its bits mean something only together.
    """

    name: str
    wanted: int | bytes | None
    stage: Stage
    is_number: bool = False

    @property
    def shown(self) -> str:
        """What is wanted, as the events and the tables have it."""
        return "protected" if self.wanted is None else show_value(self.wanted)

    @property
    def label(self) -> str:
        """Name of the field, or of its protection."""
        return f"{self.name} protected" if self.wanted is None else self.name


def show_value(value: int | bytes) -> str:
    """Return a value as the events and the tables have it: bytes in hexadecimal."""
    return value.hex() if isinstance(value, bytes) else str(value)
