"""What goes into the NVS partition of each unit: one small TOML file per product.

```toml
partition = "nvs"
# keys_partition = "nvs_key" # encrypts it; only with flash encryption is that more than a curtain

[namespaces.factory]
serial = { string = "{serial}" }
mac = { blob = "{mac_hex}" } # hexadecimal
job = { string = "{job}" }
revision = { u8 = 1 }
```

Types are u8 to u64, i8 to i64, `string` and `blob`. In texts and blobs `{serial}`, `{mac}` (with
colons), `{mac_hex}` and `{job}` stand for the unit's own values; other braces are refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import field
from typing import TYPE_CHECKING, Final

from firmware_images.bounded_file import read_bounded
from firmware_images.errors import NvsError
from firmware_images.nvs_building import KEYS_PARTITION_BYTES, build_nvs
from firmware_images.nvs_values import NvsEntry, NvsType, judge_entries
from firmware_images.partition_model import SUBTYPE_DATA_NVS, SUBTYPE_DATA_NVS_KEYS, TYPE_DATA
from firmware_images.toml_document import parse_toml_document
from firmware_images.unit_values import EXAMPLE_UNIT
from signing.value_class import dataclass
from signing.written_checks import keyed, text, whole
from signing.written_table import nested, written, written_values

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.partition_model import Partition, PartitionTable
    from firmware_images.unit_values import UnitValues

NVS_PLAN_MAX_BYTES: Final = 256 * 1024
_PARTITION: Final = written(text(r"^[\x21-\x7e]{1,16}$"))
_WHOLE: Final = written(whole())
_TEXT: Final = written(text())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Value:
    u8: int | None = field(default=None, metadata=_WHOLE)
    u16: int | None = field(default=None, metadata=_WHOLE)
    u32: int | None = field(default=None, metadata=_WHOLE)
    u64: int | None = field(default=None, metadata=_WHOLE)
    i8: int | None = field(default=None, metadata=_WHOLE)
    i16: int | None = field(default=None, metadata=_WHOLE)
    i32: int | None = field(default=None, metadata=_WHOLE)
    i64: int | None = field(default=None, metadata=_WHOLE)
    string: str | None = field(default=None, metadata=_TEXT)
    blob: str | None = field(default=None, metadata=_TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    partition: str = field(default="nvs", metadata=_PARTITION)
    keys_partition: str | None = field(default=None, metadata=_PARTITION)
    namespaces: dict[str, dict[str, _Value]] = field(
        metadata=written(keyed(keyed(nested(_Value)), least=1))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NvsPlan:
    """The parsed file.

    Attributes:
        digest: SHA-256 of the file.
        partition: Name of the partition that it fills.
        keys_partition: Name of the partition with its key, if it is encrypted.
        templates: The entries; texts and blobs with their placeholders, as text.
        where: The file, for messages.
    """

    digest: bytes
    partition: str
    keys_partition: str | None
    templates: tuple[tuple[str, str, NvsType, int | str], ...]
    where: str

    def entries(self, unit: UnitValues) -> tuple[NvsEntry, ...]:
        """Return what one unit gets.

        Raises:
            NvsError: A value is not acceptable.
        """
        return judge_entries(
            (
                NvsEntry(namespace=namespace, key=key, type=kind, value=self._fill(place, unit))
                for place in self.templates
                for namespace, key, kind, _ in (place,)
            ),
            where=self.where,
        )

    def find_partition(self, table: PartitionTable) -> Partition:
        """Return the partition that the plan fills.

        Raises:
            PartitionTableError: There is none.
            NvsError: It is not one for NVS.
        """
        return _require_subtype(table.find(self.partition), SUBTYPE_DATA_NVS, "nvs", self.where)

    def find_keys_partition(self, table: PartitionTable) -> Partition | None:
        """Return the partition for the key, or `None` if the plan encrypts nothing.

        Raises:
            PartitionTableError: There is none.
            NvsError: It is not one for keys.
        """
        if self.keys_partition is None:
            return None
        partition = table.find(self.keys_partition)
        return _require_subtype(partition, SUBTYPE_DATA_NVS_KEYS, "nvs_keys", self.where)

    def check(self, table: PartitionTable) -> None:
        """Refuse, before there is a board, a plan that would fail for every unit.

        Raises:
            PartitionTableError: A partition is not there.
            NvsError: A partition is another one, a value is not acceptable, or they do not fit.
        """
        self.find_keys_partition(table)  # a sector holds the key, and each partition has one
        size_bytes = self.find_partition(table).size_bytes
        build_nvs(self.entries(EXAMPLE_UNIT), size_bytes=size_bytes, where=self.where)

    def _fill(
        self, template: tuple[str, str, NvsType, int | str], unit: UnitValues
    ) -> int | str | bytes:
        namespace, key, kind, value = template
        if isinstance(value, int):
            return value
        where = f"{self.where}, {namespace}/{key}"
        text = unit.fill(value, where=where, error=NvsError)
        if kind is NvsType.STRING:
            return text
        try:
            return bytes.fromhex(text)
        except ValueError as error:
            raise NvsError(
                "a blob is not hexadecimal",
                expected="pairs of 0-9 a-f, or {mac_hex}",
                got=repr(text[:40]),
                where=where,
            ) from error


def load_nvs_plan(path: Path) -> NvsPlan:
    """Load a product's NVS file.

    Raises:
        NvsError: It cannot be read, or is not acceptable.
    """
    return parse_nvs_plan(read_bounded(path, NVS_PLAN_MAX_BYTES, NvsError), where=str(path))


def parse_nvs_plan(untrusted_bytes: bytes, *, where: str) -> NvsPlan:
    """Parse a product's NVS file.

    Raises:
        NvsError: It is not acceptable for any unit.
    """
    document = parse_toml_document(untrusted_bytes, _Document, where=where, error=NvsError)
    if document.keys_partition == document.partition:
        raise NvsError(
            "the key would lie in the partition that it encrypts",
            expected="a partition of its own",
            got=document.partition,
            where=where,
        )
    plan = NvsPlan(
        digest=hashlib.sha256(untrusted_bytes).digest(),
        partition=document.partition,
        keys_partition=document.keys_partition,
        templates=tuple(
            (namespace, key, *_only_type(value, where=f"{where}, {namespace}/{key}"))
            for namespace, values in document.namespaces.items()
            for key, value in values.items()
        ),
        where=where,
    )
    plan.entries(EXAMPLE_UNIT)
    return plan


def _only_type(value: _Value, *, where: str) -> tuple[NvsType, int | str]:
    given = written_values(value)
    if len(given) != 1:
        raise NvsError(
            "a key of NVS has one value of one type",
            expected='such as { u8 = 1 } or { string = "{serial}" }',
            got=", ".join(given) or "none",
            where=where,
        )
    ((name, only),) = given.items()
    assert isinstance(only, (int, str))
    return NvsType[name.upper()], only


def _require_subtype(partition: Partition, subtype: int, name: str, where: str) -> Partition:
    if (partition.type, partition.subtype) != (TYPE_DATA, subtype):
        raise NvsError(
            f"partition {partition.name} is for something else",
            expected=f"type data, subtype {name}",
            got=f"type {partition.type:#x}, subtype {partition.subtype:#x}",
            where=where,
            hint="name the right partition, or correct the product's partition CSV",
        )
    assert partition.size_bytes >= KEYS_PARTITION_BYTES, "partitions are whole sectors"
    return partition
