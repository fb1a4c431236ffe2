"""The partition table as a value: what a partition is, and which tables are acceptable.

Stricter than ESP-IDF's generator: every partition starts and ends on a 4096-byte sector, because an
erase would otherwise reach into its neighbour; sizes are positive; offsets ascend. The two written
forms are in `partition_csv` and `partitions`.
"""

from __future__ import annotations

from firmware_images.errors import PartitionTableError
from firmware_images.flash_medium import SECTOR_BYTES
from signing.value_class import dataclass

TABLE_OFFSET_BYTES = 0x8000
TABLE_SIZE_BYTES = 0xC00
FIRST_PARTITION_OFFSET_BYTES = 0x9000
APP_ALIGNMENT_BYTES = 0x10000
LABEL_MAX_BYTES = 16
ENTRY_BYTES = 32
ENTRY_COUNT_MAX = TABLE_SIZE_BYTES // ENTRY_BYTES - 2  # one row is the MD5, one stays erased

TYPE_APP = 0x00
TYPE_DATA = 0x01
SUBTYPE_APP_FACTORY = 0x00
SUBTYPE_APP_OTA_0 = 0x10
SUBTYPE_DATA_OTA = 0x00
SUBTYPE_DATA_NVS = 0x02
SUBTYPE_DATA_COREDUMP = 0x03
SUBTYPE_DATA_NVS_KEYS = 0x04
OTA_SLOT_MAX = 16
NVS_SIZE_MIN_BYTES = 3 * SECTOR_BYTES  # ESP-IDF's NVS keeps one sector free to move entries to
FLAG_ENCRYPTED = 1 << 0
FLAG_READ_ONLY = 1 << 1
_UINT32_MAX = 0xFFFFFFFF
_UINT8_MAX = 0xFF
_HINT = "correct the product's partition CSV and build again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One row of the table; offset and size in bytes from the start of flash."""

    name: str
    type: int
    subtype: int
    offset_bytes: int
    size_bytes: int
    flags: int = 0

    @property
    def end_bytes(self) -> int:
        """The first offset after the partition."""
        return self.offset_bytes + self.size_bytes

    @property
    def ota_slot(self) -> int | None:
        """The OTA app slot number, or `None` for any other partition."""
        slot = self.subtype - SUBTYPE_APP_OTA_0
        return slot if self.type == TYPE_APP and 0 <= slot < OTA_SLOT_MAX else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionTable:
    """A judged table: nothing overlaps, names are unique, one otadata at most."""

    partitions: tuple[Partition, ...]

    def find(self, name: str) -> Partition:
        """Return the partition of that name.

        Raises:
            PartitionTableError: There is none.
        """
        for partition in self.partitions:
            if partition.name == name:
                return partition
        raise PartitionTableError(
            f"the partition table has no partition {name!r}",
            expected=name,
            got=", ".join(partition.name for partition in self.partitions) or "an empty table",
            hint=f"add {name} to the product's partition CSV",
        )

    @property
    def ota_slots(self) -> tuple[Partition, ...]:
        """The OTA app slots, ota_0 first."""
        slots = {p.ota_slot: p for p in self.partitions if p.ota_slot is not None}
        return tuple(slots[number] for number in sorted(slots))

    def check_fits(self, name: str, size_bytes: int) -> Partition:
        """Return the partition, if content of that size fits in it.

        Raises:
            PartitionTableError: There is no such partition, or it is too small.
        """
        partition = self.find(name)
        if size_bytes > partition.size_bytes:
            raise PartitionTableError(
                f"the content does not fit in partition {name}",
                expected=f"at most {partition.size_bytes} bytes",
                got=f"{size_bytes} bytes",
                hint="make the partition larger, or the content smaller",
            )
        return partition

    def check_same_size(self, name: str, twin: str) -> None:
        """Refuse a pair of slots in which only one can hold what the other can.

        Raises:
            PartitionTableError: One of them is missing, or they have different sizes.
        """
        first, second = self.find(name), self.find(twin)
        if first.size_bytes != second.size_bytes:
            raise PartitionTableError(
                f"the slots {name} and {twin} do not have the same size",
                expected=f"{first.size_bytes:#x} bytes each",
                got=f"{second.size_bytes:#x} in {twin}",
                hint="an update goes to either slot: give both the same size in the partition CSV",
            )

    def check_flash_size(self, flash_size_bytes: int) -> None:
        """Refuse a table that needs more flash than the board has.

        Raises:
            PartitionTableError: A partition ends after the flash.
        """
        for partition in self.partitions:
            if partition.end_bytes > flash_size_bytes:
                raise PartitionTableError(
                    f"partition {partition.name} ends after the flash",
                    expected=f"an end at or before {flash_size_bytes:#x}",
                    got=f"{partition.end_bytes:#x}",
                    hint="correct flash_size_bytes in [product], or the partition CSV",
                )


def judge_partitions(partitions: tuple[Partition, ...], *, where: str) -> PartitionTable:
    """Return the table, if every partition is whole, aligned and alone in its place.

    Raises:
        PartitionTableError: A name, alignment, size or order is not acceptable.
    """
    if not partitions:
        raise PartitionTableError(
            "the partition table is empty",
            expected="a row for each partition",
            where=where,
            hint=_HINT,
        )
    if len(partitions) > ENTRY_COUNT_MAX:
        raise PartitionTableError(
            "the partition table has too many partitions",
            expected=f"at most {ENTRY_COUNT_MAX}",
            got=len(partitions),
            where=where,
            hint=_HINT,
        )
    last_end_bytes = FIRST_PARTITION_OFFSET_BYTES
    names: set[str] = set()
    for partition in partitions:
        place = f"{where}, partition {partition.name!r}"
        _judge_fields(partition, where=place)
        if partition.name in names:
            raise PartitionTableError("two partitions have the same name", where=place, hint=_HINT)
        names.add(partition.name)
        if partition.offset_bytes < last_end_bytes:
            raise PartitionTableError(
                "a partition starts before the end of the one above it",
                expected=f"an offset of at least {last_end_bytes:#x}",
                got=f"{partition.offset_bytes:#x}",
                where=place,
                hint="sort the rows by offset and correct the sizes",
            )
        last_end_bytes = partition.end_bytes
    _judge_ota(partitions, where=where)
    return PartitionTable(partitions=partitions)


def _judge_fields(partition: Partition, *, where: str) -> None:
    if not partition.name or len(partition.name.encode()) > LABEL_MAX_BYTES:
        raise PartitionTableError(
            "a partition's name does not fit its field",
            expected=f"1 to {LABEL_MAX_BYTES} bytes",
            got=repr(partition.name),
            where=where,
            hint=_HINT,
        )
    if not partition.name.isprintable():
        raise PartitionTableError(
            "a partition's name has characters that cannot be printed", where=where, hint=_HINT
        )
    if not 0 <= partition.type < _UINT8_MAX or not 0 <= partition.subtype < _UINT8_MAX:
        raise PartitionTableError(
            "a partition's type or subtype is out of range",
            expected="0 to 254",
            got=f"{partition.type}, {partition.subtype}",
            where=where,
            hint=_HINT,
        )
    if partition.flags & ~(FLAG_ENCRYPTED | FLAG_READ_ONLY):
        raise PartitionTableError(
            "a partition has unknown flags",
            expected="encrypted, readonly",
            got=f"{partition.flags:#x}",
            where=where,
            hint=_HINT,
        )
    alignment = APP_ALIGNMENT_BYTES if partition.type == TYPE_APP else SECTOR_BYTES
    if partition.offset_bytes % alignment:
        raise PartitionTableError(
            "a partition's offset is not aligned",
            expected=f"a multiple of {alignment:#x}",
            got=f"{partition.offset_bytes:#x}",
            where=where,
            hint=_HINT,
        )
    if partition.size_bytes <= 0 or partition.size_bytes % SECTOR_BYTES:
        raise PartitionTableError(
            "a partition's size is not a whole number of sectors",
            expected=f"a positive multiple of {SECTOR_BYTES:#x}",
            got=f"{partition.size_bytes:#x}",
            where=where,
            hint=_HINT,
        )
    if (
        (partition.type, partition.subtype) == (TYPE_DATA, SUBTYPE_DATA_NVS)
        and partition.size_bytes < NVS_SIZE_MIN_BYTES
        and not partition.flags & FLAG_READ_ONLY
    ):
        raise PartitionTableError(
            "an NVS partition is too small to be written",
            expected=f"at least {NVS_SIZE_MIN_BYTES:#x} bytes, or the flag readonly",
            got=f"{partition.size_bytes:#x}",
            where=where,
            hint=_HINT,
        )
    if (
        partition.type == TYPE_DATA
        and partition.subtype in {SUBTYPE_DATA_OTA, SUBTYPE_DATA_COREDUMP}
        and partition.flags & FLAG_READ_ONLY
    ):
        raise PartitionTableError(
            "a partition is read-only that the board itself has to write",
            expected="no flag readonly for otadata and core dumps",
            got=f"flags {partition.flags:#x}",
            where=where,
            hint=_HINT,
        )
    if partition.end_bytes > _UINT32_MAX:
        raise PartitionTableError(
            "a partition ends beyond what the table can address",
            got=f"{partition.end_bytes:#x}",
            where=where,
            hint=_HINT,
        )


def _judge_ota(partitions: tuple[Partition, ...], *, where: str) -> None:
    otadata = [p for p in partitions if (p.type, p.subtype) == (TYPE_DATA, SUBTYPE_DATA_OTA)]
    if len(otadata) > 1:
        raise PartitionTableError(
            "there is more than one otadata partition",
            got=", ".join(p.name for p in otadata),
            where=where,
            hint=_HINT,
        )
    if otadata and otadata[0].size_bytes != 2 * SECTOR_BYTES:
        raise PartitionTableError(
            "the otadata partition must hold exactly its two sectors",
            expected=f"{2 * SECTOR_BYTES:#x} bytes",
            got=f"{otadata[0].size_bytes:#x}",
            where=where,
            hint=_HINT,
        )
    slots = [p.ota_slot for p in partitions if p.ota_slot is not None]
    if sorted(slots) != list(range(len(slots))):
        raise PartitionTableError(
            "the OTA slots are not numbered from ota_0 without gaps",
            got=", ".join(f"ota_{slot}" for slot in slots),
            where=where,
            hint=_HINT,
        )
