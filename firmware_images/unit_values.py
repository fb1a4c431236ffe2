"""The values of one unit that the product's files name by placeholders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from signing.value_class import dataclass

if TYPE_CHECKING:
    from firmware_images.errors import FirmwareImageError

_BRACES: Final = re.compile(r"\{[^{}]*\}|[{}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitValues:
    """What a unit's placeholders stand for.

    Attributes:
        serial: Serial number.
        mac: Chip MAC, 6 bytes.
        job: Name of the job.
    """

    serial: str
    mac: bytes
    job: str

    def fill(self, text: str, *, where: object, error: type[FirmwareImageError]) -> str:
        """Return a text with the unit's values in the place of placeholders.

        Args:
            text: With `{serial}`, `{mac}`, `{mac_hex}` and `{job}`.
            where: Where it stands, for messages.
            error: The error to raise.

        Raises:
            FirmwareImageError: As `error`: there is an unknown placeholder, or a brace alone.
        """
        values = {
            "{serial}": self.serial,
            "{mac}": self.mac.hex(":"),
            "{mac_hex}": self.mac.hex(),
            "{job}": self.job,
        }

        def replace(match: re.Match[str]) -> str:
            value = values.get(match[0])
            if value is None:
                raise error(
                    "a text has an unknown placeholder",
                    expected=", ".join(values),
                    got=match[0][:40],
                    where=where,
                )
            return value

        return _BRACES.sub(replace, text)


EXAMPLE_UNIT: Final = UnitValues(serial="0" * 20, mac=bytes(6), job="0" * 36)
"""As long as any unit's values are: 20 characters, a UUID."""
