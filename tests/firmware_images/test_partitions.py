from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.errors import PartitionTableError
from firmware_images.partitions import (
    FLAG_ENCRYPTED,
    FLAG_READ_ONLY,
    TABLE_SIZE_BYTES,
    Partition,
    PartitionTable,
    judge_partitions,
    load_partition_table,
    parse_partition_csv,
    parse_partition_table,
    serialize_partition_table,
)

ROOT = Path(__file__).parents[2]
FLARE_CSV = ROOT / "examples" / "flare" / "partitions.csv"


def test_the_example_product_has_the_layout_of_the_design():
    table = load_partition_table(FLARE_CSV)
    assert [(p.name, p.offset_bytes, p.size_bytes) for p in table.partitions] == [
        ("nvs", 0x9000, 0x5000),
        ("otadata", 0xE000, 0x2000),
        ("devrec", 0x10000, 0x8000),
        ("keystore", 0x18000, 0x3000),
        ("ota_0", 0x20000, 0x180000),
        ("ota_1", 0x1A0000, 0x180000),
        ("wave_0", 0x320000, 0x10000),
        ("wave_1", 0x330000, 0x10000),
    ]
    assert [slot.name for slot in table.ota_slots] == ["ota_0", "ota_1"]
    table.check_flash_size(4 * 1024 * 1024)


def test_the_binary_is_laid_out_as_esp_idf_reads_it():
    """Written here by struct and hashlib alone."""
    table = parse_partition_csv(
        "nvs, data, nvs, 0x9000, 20K,\napp, app, ota_0, , 1M, encrypted:readonly\n", where="test"
    )
    rows = struct.pack("<HBBII16sI", 0x50AA, 1, 2, 0x9000, 0x5000, b"nvs", 0)
    rows += struct.pack("<HBBII16sI", 0x50AA, 0, 0x10, 0x10000, 0x100000, b"app", 3)
    expected = rows + b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(rows).digest()  # noqa: S324 - the format's
    assert serialize_partition_table(table) == expected.ljust(0xC00, b"\xff")
    assert table.find("app").flags == FLAG_ENCRYPTED | FLAG_READ_ONLY


def test_empty_offsets_continue_and_align():
    table = parse_partition_csv(
        "# a comment\n\nnvs,data,nvs,,0x3000\nota_0,app,ota_0,,64k\ncfg,0x40,0,,4k,\n", where="test"
    )
    assert [p.offset_bytes for p in table.partitions] == [0x9000, 0x10000, 0x20000]
    assert table.partitions[2].ota_slot is None


def test_a_small_nvs_partition_may_only_be_read():
    table = parse_partition_csv("cfg, data, nvs, , 0x1000, readonly\n", where="test")
    assert table.find("cfg").size_bytes == 0x1000


def test_what_is_missing_or_does_not_fit_is_named():
    table = load_partition_table(FLARE_CSV)
    with pytest.raises(PartitionTableError, match="no partition 'spiffs'"):
        table.find("spiffs")
    assert table.check_fits("wave_0", 0x10000).name == "wave_0"
    with pytest.raises(PartitionTableError, match="does not fit in partition wave_0"):
        table.check_fits("wave_0", 0x10001)
    with pytest.raises(PartitionTableError, match="ota_1 ends after the flash"):
        table.check_flash_size(2 * 1024 * 1024)
    with pytest.raises(PartitionTableError, match="an empty table"):
        PartitionTable(partitions=()).find("nvs")


def test_a_file_that_cannot_be_read_or_is_huge_is_refused(tmp_path):
    with pytest.raises(PartitionTableError, match="cannot be read"):
        load_partition_table(tmp_path / "none.csv")
    (tmp_path / "huge.csv").write_bytes(b"#" * 70_000)
    with pytest.raises(PartitionTableError, match="too long"):
        load_partition_table(tmp_path / "huge.csv")


def test_too_many_partitions_are_refused():
    rows = "".join(f"p{number},0x40,0,,4k\n" for number in range(95))
    with pytest.raises(PartitionTableError, match="too many partitions"):
        parse_partition_csv(rows, where="test")
    table = parse_partition_csv(rows.removesuffix("p94,0x40,0,,4k\n"), where="test")
    assert parse_partition_table(serialize_partition_table(table)) == table


def test_unknown_flags_in_a_binary_are_refused():
    partition = Partition(
        name="x", type=0x40, subtype=0, offset_bytes=0x9000, size_bytes=0x1000, flags=4
    )
    with pytest.raises(PartitionTableError, match="unknown flags"):
        judge_partitions((partition,), where="test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-1], "wrong size"),
        (lambda b: b + b"\xff", "wrong size"),
        (lambda b: b"\x00" + b[1:], "does not start like a partition"),
        (lambda b: b[:12] + b"\xfe" * 16 + b[28:], "not UTF-8"),
        (lambda b: b[:-1] + b"\x00", "damaged"),
        (lambda b: b[: 7 * 32 + 16] + bytes(16) + b[8 * 32 :], "damaged"),
        (lambda b: b[: 7 * 32] + b"\xff" * (TABLE_SIZE_BYTES - 7 * 32), "like a partition"),
        (lambda _: b"\xff" * TABLE_SIZE_BYTES, "like a partition"),
        (lambda _: b"\xeb\xeb" + b"\xff" * (TABLE_SIZE_BYTES - 2), "is empty"),
    ],
    ids=[
        *("one-byte-less", "one-byte-more", "magic", "label", "padding", "md5", "no-md5"),
        *("erased", "md5-alone"),
    ],
)
def test_a_changed_binary_is_refused(change, message):
    binary = serialize_partition_table(load_partition_table(FLARE_CSV))
    with pytest.raises(PartitionTableError, match=message):
        parse_partition_table(change(binary))


def test_any_flipped_bit_of_a_binary_is_refused():
    binary = serialize_partition_table(load_partition_table(FLARE_CSV))
    for bit in range(8 * 8 * 32 + 64):
        changed = bytearray(binary)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PartitionTableError):
            parse_partition_table(bytes(changed))


@st.composite
def tables(draw):
    offset_bytes = 0x9000
    rows = []
    for number in range(draw(st.integers(1, 8))):
        offset_bytes += draw(st.integers(0, 4)) * 0x1000
        size_bytes = draw(st.integers(1, 64)) * 0x1000
        rows.append(
            Partition(
                name=f"p{number}" + draw(st.sampled_from(["", "_äö", "x" * 10])),
                type=draw(st.sampled_from([0x40, 0xFE])),
                subtype=draw(st.integers(0, 254)),
                offset_bytes=offset_bytes,
                size_bytes=size_bytes,
                flags=draw(st.integers(0, 3)),
            )
        )
        offset_bytes += size_bytes
    return PartitionTable(partitions=tuple(rows))


@given(tables())
def test_a_table_survives_the_binary(table):
    assert parse_partition_table(serialize_partition_table(table)) == table


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes_raise_only_our_error(content, is_padded):
    with pytest.raises(PartitionTableError):
        parse_partition_table(content.ljust(TABLE_SIZE_BYTES if is_padded else 0, b"\xff"))


@given(st.text(max_size=300))
def test_arbitrary_text_is_a_table_or_our_error(text):
    try:
        table = parse_partition_csv(text, where="test")
    except PartitionTableError:
        return
    assert parse_partition_table(serialize_partition_table(table)) == table
