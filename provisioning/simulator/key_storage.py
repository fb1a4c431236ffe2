"""Where the simulated firmware keeps the unit's private key: an encrypted NVS partition of its own.

As ESP-IDF's HMAC scheme has it: 32 random bytes are burned into an eFuse block that only the HMAC
peripheral reads, and the partition's key is what the peripheral makes of two fixed messages. So
the flash alone, or in another chip, tells nothing, and no flash encryption is needed.

The partition holds one entry and is always written as a whole. A torn one reads as empty.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from firmware_images.errors import FirmwareImageError
from firmware_images.nvs import parse_nvs
from firmware_images.nvs_building import build_nvs
from firmware_images.nvs_hmac import HMAC_KEY_BYTES, derive_nvs_key
from firmware_images.nvs_values import NvsEntry, NvsType
from provisioning.errors import SimulatorError
from provisioning.link_messages import BoardErrorCode
from provisioning.simulator.hidden_key import HMAC_BLOCK
from provisioning.simulator.smp_server import BoardRefusalError

if TYPE_CHECKING:
    from firmware_images.flash_medium import FlashMedium
    from firmware_images.partitions import PartitionTable
    from provisioning.simulator.hidden_key import HiddenKey

PARTITION: Final = "keystore"
NAMESPACE: Final = "identity"
ENTRY: Final = "private_key"


class KeyStorage:
    """The key storage of one board.

    Args:
        medium: The flash.
        table: Its partition table.
        hidden_key: The chip's HMAC key.
    """

    def __init__(self, medium: FlashMedium, table: PartitionTable, hidden_key: HiddenKey) -> None:
        self._medium = medium
        self._table = table
        self._hidden_key = hidden_key

    @property
    def block(self) -> int | None:
        """Number of the eFuse key block that it is encrypted by, or `None` while it is not."""
        return HMAC_BLOCK if self._hidden_key.is_ready else None

    def encrypt(self) -> None:
        """Burn the chip's HMAC key, unless it is there. It is never read or told.

        Raises:
            BoardRefusalError: There is no partition for it, or the eFuses cannot be burned.
        """
        self._table_has_partition()
        try:
            self._hidden_key.burn(secrets.token_bytes(HMAC_KEY_BYTES))
        except SimulatorError as error:
            raise BoardRefusalError(BoardErrorCode.STORAGE, error) from error

    def save(self, private_key_der: bytes) -> None:
        """Write a key and read it back.

        Raises:
            BoardRefusalError: The storage is not encrypted, or flash did not keep it.
        """
        self._table_has_partition()
        if self.block is None:
            raise BoardRefusalError(
                BoardErrorCode.BAD_STATE, "the key storage is not encrypted: no key is made"
            )
        partition = self._table.find(PARTITION)
        content = build_nvs(
            [NvsEntry(namespace=NAMESPACE, key=ENTRY, type=NvsType.BLOB, value=private_key_der)],
            size_bytes=partition.size_bytes,
            key=derive_nvs_key(self._hidden_key.compute),
            where=PARTITION,
        )
        self._medium.erase(partition.offset_bytes, partition.size_bytes)
        self._medium.write(partition.offset_bytes, content)
        if self.load() != private_key_der:
            raise BoardRefusalError(BoardErrorCode.STORAGE, "the flash did not keep the key")

    def load(self) -> bytes | None:
        """Return the stored key, or `None`: none, a torn one, or one of another chip."""
        if self.block is None:
            return None
        try:
            partition = self._table.find(PARTITION)
            content = self._medium.read(partition.offset_bytes, partition.size_bytes)
            key = derive_nvs_key(self._hidden_key.compute)
            entry = parse_nvs(content, key=key, where=PARTITION).get((NAMESPACE, ENTRY))
        except FirmwareImageError:
            return None
        return entry.value if entry is not None and isinstance(entry.value, bytes) else None

    def _table_has_partition(self) -> None:
        try:
            self._table.find(PARTITION)
        except FirmwareImageError as error:
            raise BoardRefusalError(BoardErrorCode.STORAGE, error) from error
