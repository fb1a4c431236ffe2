from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.errors import BundleError
from firmware_images.release_constraints import ReleaseConstraints
from firmware_images.release_statement import (
    AppFacts,
    Part,
    ReleaseStatement,
    describe_part,
    parse_statement,
    serialize_statement,
)
from signing.canonical_cbor import parse_cbor, serialize_cbor

GOLDEN = Path(__file__).parents[1] / "golden" / "bundle"
STATEMENT = ReleaseStatement(
    product="flare",
    version="1.4.0",
    release_counter=1,
    hardware_class="flare-c3",
    hardware_revision_min=1,
    hardware_revision_max=2,
    chip="esp32c3",
    flash_size_bytes=4194304,
    parts={
        "app.bin": Part(size_bytes=65936, sha256=bytes(range(32))),
        "waveform-table.bin": Part(size_bytes=1148, sha256=bytes(32)),
    },
    app=AppFacts(project_name="flare", version="1.4.0", secure_version=0, elf_sha256=bytes(32)),
    policy_digest=bytes(range(32, 64)),
    policy_version=1,
)
CONSTRAINED = replace(
    STATEMENT,
    release_counter=4,
    constraints=ReleaseConstraints(minimum_current_counter=2, support_ends_at_s=1_924_992_000),
)


def test_the_statement_is_the_golden_bytes():
    golden = (GOLDEN / "statement.cbor").read_bytes()
    assert serialize_statement(STATEMENT) == golden
    assert parse_statement(golden) == STATEMENT


def test_the_statement_with_step_and_support_is_the_golden_bytes():
    golden = (GOLDEN / "statement-2.cbor").read_bytes()
    assert serialize_statement(CONSTRAINED) == golden
    assert parse_statement(golden) == CONSTRAINED


def test_an_app_without_a_descriptor_is_stated_with_nulls():
    nothing = AppFacts(project_name=None, version=None, secure_version=None, elf_sha256=None)
    statement = replace(STATEMENT, app=nothing)
    assert parse_statement(serialize_statement(statement)).app == nothing


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("product", ""),
        ("product", "flare\n"),
        ("product", "f" * 65),
        ("version", "1.4.0/../.."),
        ("release_counter", 0),
        ("release_counter", 1 << 32),
        ("hardware_class", "../flare"),
        ("hardware_revision_min", 3),
        ("hardware_revision_max", 1 << 16),
        ("chip", ""),
        ("flash_size_bytes", 0),
        ("policy_digest", b"short"),
        ("policy_version", 0),
        ("parts", {"../app.bin": describe_part(b"")}),
        ("parts", {"app.bin": Part(size_bytes=1 << 40, sha256=bytes(32))}),
        ("parts", {"app.bin": Part(size_bytes=1, sha256=b"short")}),
        ("constraints", ReleaseConstraints(minimum_current_counter=1)),
        ("constraints", ReleaseConstraints(minimum_current_counter=-1)),
        ("constraints", ReleaseConstraints(support_ends_at_s=-1)),
        ("constraints", ReleaseConstraints(support_ends_at_s=253_402_300_800)),
        ("app", replace(STATEMENT.app, version="v" * 33)),
        ("app", replace(STATEMENT.app, secure_version=-1)),
        ("app", replace(STATEMENT.app, elf_sha256=b"short")),
    ],
)
def test_a_value_that_a_statement_cannot_hold_is_refused(name, value):
    with pytest.raises(BundleError, match="is not acceptable"):
        serialize_statement(replace(STATEMENT, **{name: value}))


@pytest.mark.parametrize(
    "change",
    [
        {1: 2},
        {1: True},
        {4: True},
        {4: "1"},
        {6: [1]},
        {6: [True, 2]},
        {8: True},
        {10: [None, None, None]},
        {10: [None, None, True, None]},
        {11: [bytes(32), True]},
        {12: 0},
        {1: 2, 12: 0, 13: 0},
        {1: 2, 12: False, 13: 1},
        {1: 2, 12: 0, 13: True},
        {1: 2, 12: 0, 13: "2030"},
        {1: 2, 13: 1},
        {1: 3, 12: 0, 13: 1},
        {12: 0, 13: 1},
    ],
)
def test_a_statement_with_wrong_fields_is_refused(change):
    fields = parse_cbor(serialize_statement(STATEMENT), max_bytes=8192)
    assert isinstance(fields, dict)
    with pytest.raises(BundleError, match="does not have its fields"):
        parse_statement(serialize_cbor(fields | change))


@pytest.mark.parametrize("part", [[1], [1, "text"], "text", [True, bytes(32)], {}])
def test_a_part_without_size_and_digest_is_refused(part):
    fields = parse_cbor(serialize_statement(STATEMENT), max_bytes=8192)
    assert isinstance(fields, dict)
    with pytest.raises(BundleError):
        parse_statement(serialize_cbor(fields | {9: {"app.bin": part}}))


def test_what_is_no_map_at_all_is_refused():
    for content in (b"", b"\x80", b"\xa0", b"\xff" * 10, bytes(9000)):
        with pytest.raises(BundleError):
            parse_statement(content)


texts = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}", fullmatch=True)
digests = st.binary(min_size=32, max_size=32)
short_texts = st.text(max_size=32).filter(str.isprintable)


@given(
    st.builds(
        ReleaseStatement,
        product=texts,
        version=texts,
        release_counter=st.integers(1, 0xFFFFFFFF),
        hardware_class=texts,
        hardware_revision_min=st.integers(0, 5),
        hardware_revision_max=st.integers(5, 0xFFFF),
        chip=texts,
        flash_size_bytes=st.integers(1, 1 << 30),
        parts=st.dictionaries(
            st.from_regex(r"[a-z][a-z0-9._-]{0,9}", fullmatch=True),
            st.builds(Part, size_bytes=st.integers(0, 1 << 20), sha256=digests),
            max_size=5,
        ),
        app=st.builds(
            AppFacts,
            project_name=st.none() | short_texts,
            version=st.none() | short_texts,
            secure_version=st.none() | st.integers(0, 0xFFFFFFFF),
            elf_sha256=st.none() | digests,
        ),
        policy_digest=digests,
        policy_version=st.integers(1, 0xFFFFFFFF),
        constraints=st.builds(
            ReleaseConstraints,
            minimum_current_counter=st.just(0),
            support_ends_at_s=st.integers(0, 253_402_300_799),
        ),
    )
)
def test_a_statement_survives_its_bytes(statement):
    assert parse_statement(serialize_statement(statement)) == statement


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_our_error(content):
    with pytest.raises(BundleError):
        parse_statement(content)
