from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.bundle_archive import (
    ARCHIVE_MAX_BYTES,
    MEMBER_COUNT_MAX,
    parse_archive,
    serialize_archive,
)
from firmware_images.errors import BundleError

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "golden" / "bundle"
MEMBERS = {"app.bin": b"app", "sources/limits.toml": b"# limits\n", "empty": b""}


def test_the_archive_is_the_golden_file():
    assert serialize_archive(MEMBERS) == (GOLDEN / "archive.zip").read_bytes()


def test_any_flipped_bit_of_an_archive_is_refused():
    archive = serialize_archive(MEMBERS)
    for bit in range(8 * len(archive)):
        changed = bytearray(archive)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BundleError):
            parse_archive(bytes(changed))


def test_every_truncation_is_refused():
    archive = serialize_archive(MEMBERS)
    for size_bytes in range(len(archive)):
        with pytest.raises(BundleError):
            parse_archive(archive[:size_bytes])


def test_an_archive_that_pythons_zipfile_wrote_is_refused_unless_it_is_ours():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.bin", b"app")
    with pytest.raises(BundleError, match="not exactly as it was built"):
        parse_archive(buffer.getvalue())


def test_too_much_is_refused():
    with pytest.raises(BundleError, match="too large"):
        parse_archive(bytes(ARCHIVE_MAX_BYTES + 1))
    with pytest.raises(BundleError, match="too large"):
        serialize_archive({"a": bytes(ARCHIVE_MAX_BYTES)})
    many = {f"part-{number:02}": b"" for number in range(MEMBER_COUNT_MAX + 1)}
    with pytest.raises(BundleError, match="wrong number of members"):
        serialize_archive(many)
    with pytest.raises(BundleError, match="wrong number of members"):
        serialize_archive({})


names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}(/[a-z0-9][a-z0-9._-]{0,20})?", fullmatch=True)


@pytest.mark.no_cover
@given(st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=MEMBER_COUNT_MAX))
def test_members_survive_the_archive_and_any_zip_reader_agrees(members):
    archive = serialize_archive(members)
    assert parse_archive(archive) == members
    with zipfile.ZipFile(io.BytesIO(archive)) as reader:
        assert reader.testzip() is None
        assert {name: reader.read(name) for name in reader.namelist()} == members


@given(st.binary(max_size=300), st.booleans())
def test_arbitrary_bytes_raise_only_our_error(content, has_magic):
    with pytest.raises(BundleError):
        parse_archive(b"PK\x03\x04" + content if has_magic else content)


@pytest.mark.no_cover
@given(st.text(min_size=1, max_size=70))
def test_a_name_is_written_only_if_it_can_be_read(name):
    try:
        archive = serialize_archive({name: b""})
    except BundleError:
        return
    assert parse_archive(archive) == {name: b""}


def test_a_local_header_has_the_fixed_fields():
    header = struct.unpack_from("<4sHHHHHIIIHH", serialize_archive({"a": b"x"}))
    assert header[:6] == (b"PK\x03\x04", 20, 0, 0, 0, 33)
