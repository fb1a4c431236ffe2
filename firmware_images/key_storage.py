"""Where a board may keep its private key: an NVS partition that the factory does not write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_images.errors import PartitionTableError
from firmware_images.partition_model import (
    FLAG_READ_ONLY,
    NVS_SIZE_MIN_BYTES,
    SUBTYPE_DATA_NVS,
    TYPE_DATA,
)

if TYPE_CHECKING:
    from firmware_images.partition_model import Partition, PartitionTable

FACTORY_PARTITION: Final = "nvs"


def find_key_storage(
    table: PartitionTable, *, factory_partition: str = FACTORY_PARTITION, where: str
) -> tuple[Partition, ...]:
    """Return the partitions that a board may encrypt for its key; there is at least one.

    The firmware chooses among them by name, which nobody but itself knows
    (docs/spec/serial-link.md §4.12).

    Args:
        table: The release's.
        factory_partition: The one that the factory fills in the clear.
        where: The release, for messages.

    Raises:
        PartitionTableError: There is none: every board would fail when it is told to encrypt.
    """
    found = tuple(
        partition
        for partition in table.partitions
        if (partition.type, partition.subtype) == (TYPE_DATA, SUBTYPE_DATA_NVS)
        and partition.name != factory_partition
        and not partition.flags & FLAG_READ_ONLY  # every other one is large enough
    )
    if not found:
        raise PartitionTableError(
            "the release has no partition in which a board could encrypt its key",
            expected=f"a data partition of subtype nvs beside {factory_partition!r}, of at least "
            f"{NVS_SIZE_MIN_BYTES:#x} bytes, and not readonly",
            got=", ".join(partition.name for partition in table.partitions) or "an empty table",
            where=where,
            hint="add `keystore, data, nvs, , 0x3000` to the product's partition CSV, and build "
            "and sign the release again",
        )
    return found
