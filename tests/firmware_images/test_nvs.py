"""What the official generator writes, read by a reader that shares nothing with it."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.errors import NvsError
from firmware_images.nvs import parse_nvs
from firmware_images.nvs_building import build_nvs, build_nvs_keys, parse_nvs_keys
from firmware_images.nvs_plan import parse_nvs_plan
from firmware_images.nvs_values import NvsEntry, NvsType
from firmware_images.partition_csv import parse_partition_csv
from firmware_images.unit_values import UnitValues
from signing.errors import KeyFileError
from tests.firmware_images.nvs_parts import ENTRIES, KEY, PLAN, SIZE_BYTES, entry

SPEC = Path(__file__).parents[2] / "docs" / "spec" / "nvs.md"
UNIT = UnitValues(serial="AMPFL1264700001Z", mac=bytes.fromhex("60554a0000f1"), job="job-1")


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_every_type_comes_back_and_the_size_is_exactly_the_partition_s(key):
    content = build_nvs(ENTRIES, size_bytes=SIZE_BYTES, key=key)
    assert len(content) == SIZE_BYTES
    assert list(parse_nvs(content, key=key).values()) == list(ENTRIES)
    assert content == build_nvs(ENTRIES, size_bytes=SIZE_BYTES, key=key)
    assert (b"the same key elsewhere" in content) is (key is None)


def test_the_generator_s_own_tool_decrypts_it_to_the_plain_partition(tmp_path):
    from esp_idf_nvs_partition_gen import nvs_partition_gen as generator

    (tmp_path / "nvs.bin").write_bytes(build_nvs(ENTRIES, size_bytes=SIZE_BYTES, key=KEY))
    (tmp_path / "key.bin").write_bytes(build_nvs_keys(KEY))
    generator.decrypt(
        SimpleNamespace(
            input=str(tmp_path / "nvs.bin"), key=str(tmp_path / "key.bin"),
            output="plain.bin", outdir=str(tmp_path),
        )
    )  # fmt: skip
    assert list(parse_nvs((tmp_path / "plain.bin").read_bytes()).values()) == list(ENTRIES)


_NAMES = st.text(
    st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=15
)
_VALUES = st.one_of(
    st.sampled_from([kind for kind in NvsType if kind.is_integer]).flatmap(
        lambda kind: st.tuples(
            st.just(kind), st.integers(kind.integer_range[0], kind.integer_range[-1])
        )
    ),
    st.tuples(
        st.just(NvsType.STRING), st.text(st.characters(exclude_characters="\0", codec="utf-8"))
    ),
    st.tuples(st.just(NvsType.BLOB), st.binary(min_size=1, max_size=5000)),
)


@settings(max_examples=30)
@given(st.dictionaries(st.tuples(_NAMES, _NAMES), _VALUES, max_size=12), st.booleans())
def test_whatever_is_built_is_read_back_or_refused_because_it_does_not_fit(values, is_encrypted):
    entries = [
        NvsEntry(namespace=namespace, key=key, type=kind, value=value)
        for (namespace, key), (kind, value) in values.items()
    ]
    key = KEY if is_encrypted else None
    try:
        content = build_nvs(entries, size_bytes=0x4000, key=key)
    except NvsError as refusal:
        said = str(refusal)
    else:
        assert {e.place: e for e in entries} == parse_nvs(content, key=key)
        return
    assert "do not fit" in said


@settings(max_examples=60)
@given(st.integers(0, 2 * 4096 - 1), st.integers(0, 7), st.booleans())
def test_a_flipped_bit_gives_an_error_or_fewer_entries_and_never_another_value(
    position, bit, is_encrypted
):
    key = KEY if is_encrypted else None
    content = bytearray(build_nvs(ENTRIES, size_bytes=SIZE_BYTES, key=key))
    content[position] ^= 1 << bit
    try:
        found = parse_nvs(bytes(content), key=key)
    except NvsError:
        return
    assert set(found.values()) <= set(ENTRIES)


@settings(max_examples=60)
@given(st.binary(max_size=4096), st.booleans())
def test_arbitrary_bytes_are_nvs_or_an_error_of_ours(content, has_header):
    page = content.ljust(4096, b"\xff")
    if has_header:
        page = build_nvs((), size_bytes=0x3000)[:64] + page[64:]
    try:
        parse_nvs(page)
    except NvsError as refusal:
        place = refusal.where
    else:
        return
    assert place == "NVS" or place.startswith("NVS, ")


def test_another_key_opens_nothing():
    content = build_nvs(ENTRIES, size_bytes=SIZE_BYTES, key=KEY)
    with pytest.raises(NvsError, match="encrypted with another key"):
        parse_nvs(content, key=KEY[::-1])
    with pytest.raises(KeyFileError, match="two equal halves"):
        build_nvs(ENTRIES, size_bytes=SIZE_BYTES, key=bytes(64))


def test_a_key_sector_is_read_whole_or_not_at_all():
    sector = build_nvs_keys(KEY)
    assert parse_nvs_keys(sector) == KEY
    for damaged in (b"\xff" * 4096, bytes(4096), sector[:70], sector[:63] + b"\0" + sector[64:]):
        assert parse_nvs_keys(damaged) is None


@pytest.mark.parametrize("count", [124, 125, 126, 127, 250, 251, 252])
def test_entries_fill_pages_to_the_last_one(count):
    entries = [entry(f"k{number}", NvsType.U8, number % 256) for number in range(count)]
    random.Random(count).shuffle(entries)
    content = build_nvs(entries, size_bytes=0x4000)
    assert set(parse_nvs(content).values()) == set(entries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (entry("sixteen-letters!", NvsType.U8, 1), "a key of NVS has a name"),
        (entry("umlaut-ä", NvsType.U8, 1), "a key of NVS has a name"),
        (entry("k", NvsType.U8, 1, namespace="sixteen-letters!"), "a namespace of NVS has a name"),
        (entry("revision", NvsType.U16, 1), "stands twice"),
        (entry("k", NvsType.U8, 256), "u8: 0 to 255, got 256"),
        (entry("k", NvsType.I32, 1 << 31), "i32: -2147483648 to 2147483647"),
        (entry("k", NvsType.STRING, "x" * 4000), "at most 4000 bytes, got 4001"),
        (entry("k", NvsType.STRING, "a\0b"), "NUL"),
        (entry("k", NvsType.BLOB, b""), "empty"),
        (entry("k", NvsType.BLOB, bytes(20_000)), "do not fit"),
    ],
)
def test_what_the_generator_would_take_is_refused(change, message):
    with pytest.raises(NvsError, match=message):
        build_nvs([*ENTRIES, change], size_bytes=SIZE_BYTES)


@pytest.mark.parametrize("size_bytes", [0, 0x2000, 0x3800])
def test_a_size_that_no_board_could_use_is_refused(size_bytes):
    with pytest.raises(NvsError, match="cannot have this size"):
        build_nvs((), size_bytes=size_bytes)


def test_a_plan_gives_each_unit_its_own_values():
    entries = parse_nvs_plan(PLAN, where="nvs.toml").entries(UNIT)
    assert entries == (
        entry("serial", NvsType.STRING, "AMPFL1264700001Z"),
        entry("mac", NvsType.BLOB, UNIT.mac),
        entry("label", NvsType.STRING, "job-1 on 60:55:4a:00:00:f1"),
        entry("revision", NvsType.U8, 1),
    )


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_the_image_of_a_plan_has_the_digest_that_the_specification_states(key):
    unit = replace(UNIT, job="0a0a0a0a-0a0a-4a0a-8a0a-0a0a0a0a0a0a")
    entries = parse_nvs_plan(PLAN, where="nvs.toml").entries(unit)
    digest = hashlib.sha256(build_nvs(entries, size_bytes=0x3000, key=key)).hexdigest()
    assert f"{'none' if key is None else '00 01 … 3F'} | {digest} |" in SPEC.read_text("utf-8")


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        ("otadata, data, ota, 0x9000, 0x2000", "no partition 'nvs'"),
        ("nvs, data, fat, 0x9000, 0x5000", "for something else"),
        ("nvs, data, nvs, 0x9000, 0x2000, readonly", "cannot have this size"),
    ],
)
def test_a_plan_that_fits_no_board_of_the_product_is_refused_before_there_is_one(
    partitions, message
):
    from firmware_images.errors import FirmwareImageError

    plan = parse_nvs_plan(PLAN, where="nvs.toml")
    with pytest.raises(FirmwareImageError, match=message):
        plan.check(parse_partition_csv(partitions, where="partitions.csv"))
