"""A release needs a partition in which a board can encrypt its key."""

from __future__ import annotations

import pytest

from firmware_images.errors import PartitionTableError
from firmware_images.key_storage import find_key_storage
from firmware_images.partition_csv import parse_partition_csv

TABLE = """\
nvs, data, nvs, 0x9000, 0x5000
{line}
ota_0, app, ota_0, 0x20000, 0x100000
"""


@pytest.mark.parametrize(
    ("line", "factory", "expected"),
    [
        ("keystore, data, nvs, 0x10000, 0x3000", "nvs", ["keystore"]),
        ("secrets, data, nvs, 0x10000, 0x4000", "nvs", ["secrets"]),
        ("factory, data, nvs, 0x10000, 0x4000", "factory", ["nvs"]),
    ],
)
def test_any_nvs_partition_that_the_factory_does_not_fill_will_do(line, factory, expected):
    table = parse_partition_csv(TABLE.format(line=line), where="partitions.csv")
    found = find_key_storage(table, factory_partition=factory, where="release")
    assert [partition.name for partition in found] == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "keystore, data, nvs, 0x10000, 0x3000, readonly",
        "keystore, data, 0x40, 0x10000, 0x3000",
        "keystore, data, nvs_keys, 0x10000, 0x1000",
    ],
)
def test_a_release_without_one_is_refused(line):
    table = parse_partition_csv(TABLE.format(line=line), where="partitions.csv")
    with pytest.raises(PartitionTableError, match="could encrypt its key") as caught:
        find_key_storage(table, where="release")
    assert "keystore" in caught.value.hint
