from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.canonical_cbor import parse_cbor, serialize_cbor, serialize_head
from signing.errors import CborError

INTEGERS = st.integers(min_value=-(2**64), max_value=2**64 - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.binary(max_size=40) | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(INTEGERS | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=20,
)

# RFC 8949 appendix A, the rows that our formats can hold.
RFC_8949_ROWS = [
    ("00", 0),
    ("17", 23),
    ("1818", 24),
    ("1864", 100),
    ("1903e8", 1000),
    ("1a000f4240", 1_000_000),
    ("1b000000e8d4a51000", 1_000_000_000_000),
    ("1bffffffffffffffff", 18446744073709551615),
    ("3bffffffffffffffff", -18446744073709551616),
    ("20", -1),
    ("3863", -100),
    ("3903e7", -1000),
    ("f4", False),
    ("f5", True),
    ("f6", None),
    ("40", b""),
    ("4401020304", b"\1\2\3\4"),
    ("60", ""),
    ("6449455446", "IETF"),
    ("62c3bc", "\u00fc"),
    ("64f0908591", "\U00010151"),
    ("80", []),
    ("8301820203820405", [1, [2, 3], [4, 5]]),
    ("a0", {}),
    ("a201020304", {1: 2, 3: 4}),
    ("a26161016162820203", {"a": 1, "b": [2, 3]}),
]


@pytest.mark.parametrize(("encoded", "value"), RFC_8949_ROWS)
def test_the_rows_of_rfc_8949_are_written_and_read(encoded: str, value: object) -> None:
    assert serialize_cbor(value).hex() == encoded
    parsed = parse_cbor(bytes.fromhex(encoded), max_bytes=100)
    assert parsed == value
    assert type(parsed) is type(value)


@given(VALUES)
def test_what_is_written_is_read_back_and_a_second_codec_agrees(value: object) -> None:
    encoded = serialize_cbor(value)
    assert parse_cbor(encoded, max_bytes=len(encoded)) == value
    assert cbor2.loads(encoded) == value


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_or_are_the_one_encoding(untrusted_bytes: bytes) -> None:
    try:
        value = parse_cbor(untrusted_bytes, max_bytes=60)
    except CborError:
        return
    assert serialize_cbor(value) == untrusted_bytes


@given(VALUES, st.data())
def test_a_cut_or_longer_encoding_is_refused(value: object, data: st.DataObject) -> None:
    encoded = serialize_cbor(value)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(CborError, match="ends inside"):
        parse_cbor(encoded[:cut], max_bytes=10_000)
    with pytest.raises(CborError, match="bytes follow"):
        parse_cbor(encoded + b"\0", max_bytes=10_000)


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ("1817", "longer than it needs to be"),
        ("1900ff", "longer than it needs to be"),
        ("1a0000ffff", "longer than it needs to be"),
        ("1b00000000ffffffff", "longer than it needs to be"),
        ("5801ff", "longer than it needs to be"),
        ("a2010002010100", "bytes follow"),
        ("a201000100", "map key is repeated"),
        ("a202000100", "map keys are not in order"),
        ("a2616100 0100", "map keys are not in order"),
        ("9f01ff", "not deterministic or not ours"),
        ("5f41004100ff", "not deterministic or not ours"),
        ("bf0100ff", "not deterministic or not ours"),
        ("1c", "not deterministic or not ours"),
        ("1f", "not deterministic or not ours"),
        ("f93c00", "not deterministic or not ours"),
        ("fa47c35000", "not deterministic or not ours"),
        ("f818", "not deterministic or not ours"),
        ("ff", "not deterministic or not ours"),
        ("f7", "simple or floating point value"),
        ("e0", "simple or floating point value"),
        ("c100", "a CBOR tag"),
        ("d2844040a040", "a CBOR tag"),
        ("62c328", "not UTF-8"),
        ("61ff", "not UTF-8"),
        ("a1f500", "neither integer nor text"),
        ("a14000", "neither integer nor text"),
        ("a18000", "neither integer nor text"),
        ("9affffffff", "ends inside"),
        ("bb00ffffffffffffff", "ends inside"),
        ("5bffffffffffffffff", "ends inside"),
        ("", "ends inside"),
        ("81" * 13 + "00", "nested too deeply"),
    ],
)
def test_encodings_that_are_not_ours_are_refused(encoded: str, message: str) -> None:
    with pytest.raises(CborError, match=message) as refused:
        parse_cbor(bytes.fromhex(encoded), max_bytes=100)
    assert "offset" in str(refused.value)


def test_an_encoding_beyond_the_bound_is_not_looked_at() -> None:
    with pytest.raises(CborError, match="expected at most 3 bytes, got 4 bytes"):
        parse_cbor(b"\x43abc", max_bytes=3)


def test_map_keys_are_sorted_by_their_encoding_not_by_their_length() -> None:
    # RFC 8949 §4.2.1: 1000 is 19 03e8 and comes before -1, which is 20.
    assert serialize_cbor({-1: 0, 1000: 0, "a": 0}).hex() == "a31903e8002000616100"


def test_a_tuple_is_written_as_a_list() -> None:
    assert serialize_cbor((1, "a")) == serialize_cbor([1, "a"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "no place in our CBOR: expected .* got float"),
        ({1, 2}, "got set"),
        (bytearray(b"x"), "got bytearray"),
        ({b"k": 1}, "map key has the wrong type: expected int or str, got bytes"),
        ({True: 1}, "map key has the wrong type"),
        ("\ud800", "not valid Unicode"),
        ({"\ud800": 1}, "not valid Unicode"),
        (2**64, "does not fit CBOR: expected .* 65 bits"),
        (-(2**64) - 1, "does not fit CBOR"),
    ],
)
def test_values_without_a_place_are_refused(value: object, message: str) -> None:
    with pytest.raises(CborError, match=message):
        serialize_cbor(value)


def test_nesting_is_bounded_when_writing_and_reading() -> None:
    value: object = 0
    for _ in range(12):
        value = [value]
    assert parse_cbor(serialize_cbor(value), max_bytes=13) == value
    with pytest.raises(CborError, match="nested too deeply"):
        serialize_cbor([value])
    with pytest.raises(CborError, match="nested too deeply"):
        serialize_cbor({1: value})
    with pytest.raises(CborError, match="at most 2 levels"):
        parse_cbor(bytes.fromhex("81818100"), max_bytes=10, max_depth=2)


def test_a_head_has_the_shortest_argument() -> None:
    assert [serialize_head(0, n).hex() for n in (23, 24, 255, 256, 65535, 65536)] == [
        "17",
        "1818",
        "18ff",
        "190100",
        "19ffff",
        "1a00010000",
    ]
