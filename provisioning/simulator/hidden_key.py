"""The chip's HMAC key: in an eFuse key block that nothing reads but the HMAC peripheral.

espefuse's model reads a protected block as zeros, and keeps zeros. What the fuses hold behind that
protection is in a file of its own beside the eFuses, and leaves this module only as an HMAC.
The fuses are burned as ESP-IDF does it: the block, then, in block 0 and at once, its purpose and
the protection against reading and writing.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from firmware_images.nvs_hmac import HMAC_KEY_BYTES
from provisioning.errors import SimulatorError
from provisioning.simulator.faults import NO_FAULTS, FaultPlan, PowerCutError
from signing.durable_file import save_durably

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.simulator.efuses import EfuseFile

HMAC_BLOCK: Final = 4
"""Key block of the firmware's HMAC key; Secure Boot's digests are in 0 to 2."""
HMAC_UP: Final = 8
"""Key purpose: what the peripheral computes goes to software."""

_PURPOSE: Final = {"word": 3, "shift": 4 * (HMAC_BLOCK - 2), "bits": 4}
_READ_DISABLE: Final = {"word": 1, "shift": HMAC_BLOCK, "bits": 1}
_WRITE_DISABLE: Final = {"word": 0, "shift": 0, "bits": 32}
_WRITE_DISABLE_OF_RD_DIS: Final = 1 << 0
_WRITE_DISABLE_OF_PURPOSE: Final = 1 << (8 + HMAC_BLOCK)
_WRITE_DISABLE_OF_BLOCK: Final = 1 << (23 + HMAC_BLOCK)
_BURNED_AT_LAST: Final = _WRITE_DISABLE_OF_PURPOSE | _WRITE_DISABLE_OF_BLOCK
_FIRST_KEY_BLOCK: Final = 4


class HiddenKey:
    """The HMAC key of one chip.

    Args:
        path: Where the hidden bytes are.
        efuses: The chip's eFuses.
        faults: What is wrong with the board.
    """

    def __init__(self, path: Path, efuses: EfuseFile, *, faults: FaultPlan = NO_FAULTS) -> None:
        self._path = path
        self._efuses = efuses
        self._faults = faults

    @property
    def is_ready(self) -> bool:
        """Whether the key is burned, for this purpose, and protected against reading."""
        return (
            self._efuses.read_field(**_PURPOSE) == HMAC_UP
            and bool(self._efuses.read_field(**_READ_DISABLE))
            and self._path.exists()
        )

    def burn(self, key: bytes) -> None:
        """Burn a key, unless there is one; go on with one that a power cut left half burned.

        Args:
            key: 32 random bytes.

        Raises:
            SimulatorError: The block has another purpose, something of it is protected against
                writing already, or it did not take the key.
            PowerCutError: By plan, between the two burns.
        """
        if self.is_ready:
            return
        efuses = self._efuses
        if efuses.read_field(**_PURPOSE) or efuses.read_field(**_READ_DISABLE):
            raise SimulatorError(
                "the eFuse block of the HMAC key is burned for something else",
                expected=f"BLOCK_KEY{HMAC_BLOCK} empty, or purpose HMAC_UP and not readable",
                got=f"purpose {efuses.read_field(**_PURPOSE)}",
            )
        if efuses.read_field(**_WRITE_DISABLE) & (_BURNED_AT_LAST | _WRITE_DISABLE_OF_RD_DIS):
            raise SimulatorError(
                "the eFuse block of the HMAC key, its purpose or its protection cannot be burned "
                "any more"
            )
        half_burned = efuses.read_key_block(HMAC_BLOCK)
        assert len(key) == HMAC_KEY_BYTES
        if any(half_burned):
            key = half_burned
        else:
            efuses.program_block(_FIRST_KEY_BLOCK + HMAC_BLOCK, key)
            if self._faults.cuts_power_between_fuses:
                raise PowerCutError("the power is cut by plan between two burns of eFuses")
            if efuses.read_key_block(HMAC_BLOCK) != key:
                raise SimulatorError("the eFuse block did not take the HMAC key")
        # The fuses keep it from here on; only we need a file to remember what they hide.
        save_durably(self._path, key, mode=0o600)
        protection = bytearray(HMAC_KEY_BYTES)
        protection[0:4] = _BURNED_AT_LAST.to_bytes(4, "little")
        protection[4:8] = (1 << HMAC_BLOCK).to_bytes(4, "little")
        purpose = HMAC_UP << _PURPOSE["shift"]
        protection[12:16] = purpose.to_bytes(4, "little")
        efuses.program_block(0, bytes(protection))

    def compute(self, message: bytes) -> bytes:
        """Return the HMAC-SHA-256 of a message.

        Raises:
            SimulatorError: There is no key.
        """
        if not self.is_ready:
            raise SimulatorError("the chip has no HMAC key")
        return hmac.digest(self._path.read_bytes(), message, "sha256")
