from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import add_signature, sign_many, sign_one, verify_many, verify_one
from signing.cose_message import (
    SIGN1_TAG,
    SIGN_TAG,
    kid_of,
    parse_message,
    sign1_structure,
    sign_structure,
)
from signing.errors import (
    AlgorithmError,
    CoseError,
    SignatureError,
    SigningError,
    ThresholdError,
    UnknownKeyError,
)
from signing.keys import Algorithm, PublicKey
from tests.signing.fixed_keys import fixed_signer

TYPE = "application/vnd.ampforge.test"
A, B, C = fixed_signer("a"), fixed_signer("b"), fixed_signer("c")
ED = fixed_signer("ed", Algorithm.ED25519)
KEYS = [signer.public_key for signer in (A, B, C, ED)]


def flips(message: bytes):
    for bit in range(len(message) * 8):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def sign1(
    protected: object, payload: object, signature: object, unprotected: object = None
) -> bytes:
    header = protected if isinstance(protected, bytes) else serialize_cbor(protected)
    fields = [header, {} if unprotected is None else unprotected, payload, signature]
    return SIGN1_TAG + serialize_cbor(fields)


def forge(header: dict[int, object], payload: bytes = b"payload", signer=A) -> bytes:
    """Sign any header as COSE_Sign1: everything is right but what the header says."""
    protected = serialize_cbor(header)
    return sign1(protected, payload, signer.sign(sign1_structure(protected, payload)))


HEADER = {1: -7, 3: TYPE, 4: kid_of(A.public_key)}


@settings(deadline=None)
@given(payload=st.binary(max_size=100), aad=st.binary(max_size=20), signer=st.sampled_from([A, ED]))
def test_what_one_key_signs_verifies(payload: bytes, aad: bytes, signer) -> None:
    message = sign_one(payload, signer, content_type=TYPE, external_aad=aad)
    verified = verify_one(message, KEYS, content_type=TYPE, external_aad=aad)
    assert verified.payload == payload
    assert verified.key_ids == {signer.public_key.key_id}
    with pytest.raises(SignatureError, match="does not match"):
        verify_one(message, KEYS, content_type=TYPE, external_aad=aad + b"x")


@settings(deadline=None, max_examples=20)
@given(
    payload=st.binary(max_size=100),
    signers=st.lists(st.sampled_from([A, B, C, ED]), min_size=1, unique=True),
)
def test_what_several_keys_sign_verifies_whatever_their_order(payload: bytes, signers) -> None:
    message = sign_many(payload, signers, content_type=TYPE)
    assert message == sign_many(payload, signers[::-1], content_type=TYPE)
    verified = verify_many(message, KEYS, threshold=len(signers), content_type=TYPE)
    assert verified.payload == payload
    assert verified.key_ids == {signer.public_key.key_id for signer in signers}


@pytest.mark.parametrize("signer", [A, ED])
def test_any_flipped_bit_in_a_message_of_one_key_is_refused(signer) -> None:
    for changed in flips(sign_one(b"payload", signer, content_type="t/x")):
        with pytest.raises(SigningError):
            verify_one(changed, KEYS, content_type="t/x")


def test_any_flipped_bit_in_a_message_of_two_keys_is_refused() -> None:
    for changed in flips(sign_many(b"p", [A, ED], content_type="t/x")):
        with pytest.raises(SigningError):
            verify_many(changed, KEYS, threshold=2, content_type="t/x")


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_refused(untrusted_bytes: bytes) -> None:
    for tag in (b"", SIGN1_TAG, SIGN_TAG):
        with pytest.raises(CoseError):
            parse_message(tag + untrusted_bytes)


def test_the_threshold_counts_distinct_keys() -> None:
    message = sign_many(b"p", [A, B], content_type=TYPE)
    assert len(verify_many(message, KEYS * 3, threshold=2, content_type=TYPE).key_ids) == 2
    with pytest.raises(ThresholdError, match="expected 3 distinct keys, got 2: ") as refused:
        verify_many(message, KEYS * 3, threshold=3, content_type=TYPE)
    assert A.public_key.key_id.hex() in str(refused.value)


def test_one_key_cannot_sign_twice() -> None:
    with pytest.raises(CoseError, match="one key signed a message twice"):
        sign_many(b"p", [A, A], content_type=TYPE)
    message = sign_many(b"p", [A], content_type=TYPE)
    with pytest.raises(CoseError, match="one key signed a message twice"):
        add_signature(message, A, content_type=TYPE)
    body = parse_cbor(message[2:], max_bytes=1000)
    body[3] *= 2
    with pytest.raises(CoseError, match="one key signed a message twice"):
        verify_many(SIGN_TAG + serialize_cbor(body), KEYS, threshold=2, content_type=TYPE)


def test_a_threshold_below_one_is_refused() -> None:
    message = sign_many(b"p", [A], content_type=TYPE)
    with pytest.raises(ThresholdError, match="below one"):
        verify_many(message, KEYS, threshold=0, content_type=TYPE)


def test_a_signature_is_added_later_by_another_holder() -> None:
    message = add_signature(sign_many(b"p", [A], content_type=TYPE), ED, content_type=TYPE)
    assert message == sign_many(b"p", [A, ED], content_type=TYPE)
    with pytest.raises(CoseError, match="of another kind"):
        add_signature(message, B, content_type="other/type")
    with pytest.raises(CoseError, match="expected COSE_Sign, got COSE_Sign1"):
        add_signature(sign_one(b"p", A, content_type=TYPE), B, content_type=TYPE)


def test_a_signature_by_an_unknown_key_is_not_counted_and_does_no_harm() -> None:
    message = sign_many(b"p", [A, B], content_type=TYPE)
    verified = verify_many(message, [A.public_key], threshold=1, content_type=TYPE)
    assert verified.key_ids == {A.public_key.key_id}


def test_a_wrong_signature_by_a_known_key_refuses_the_message_even_if_enough_are_right() -> None:
    body = parse_cbor(sign_many(b"p", [A, B], content_type=TYPE)[2:], max_bytes=1000)
    other = parse_cbor(sign_many(b"q", [A, B], content_type=TYPE)[2:], max_bytes=1000)
    body[3][1] = other[3][1]
    with pytest.raises(SignatureError, match="does not match"):
        verify_many(SIGN_TAG + serialize_cbor(body), KEYS, threshold=1, content_type=TYPE)


def test_no_key_at_all_is_its_own_error() -> None:
    for keys in ([], [B.public_key]):
        with pytest.raises(UnknownKeyError, match=f"kid {kid_of(A.public_key).hex()}"):
            verify_one(sign_one(b"p", A, content_type=TYPE), keys, content_type=TYPE)
        with pytest.raises(UnknownKeyError, match="no key that may sign it"):
            verify_many(
                sign_many(b"p", [A], content_type=TYPE), keys, threshold=1, content_type=TYPE
            )


def test_the_two_forms_are_not_taken_for_each_other() -> None:
    with pytest.raises(CoseError, match="expected COSE_Sign1, got COSE_Sign"):
        verify_one(sign_many(b"p", [A], content_type=TYPE), KEYS, content_type=TYPE)
    with pytest.raises(CoseError, match="expected COSE_Sign, got COSE_Sign1"):
        verify_many(sign_one(b"p", A, content_type=TYPE), KEYS, threshold=1, content_type=TYPE)


def test_a_signature_cannot_move_between_the_two_forms() -> None:
    one = parse_cbor(sign_one(b"p", A, content_type=TYPE)[1:], max_bytes=1000)
    many = parse_cbor(sign_many(b"p", [A], content_type=TYPE)[2:], max_bytes=1000)
    with pytest.raises(SignatureError, match="does not match"):
        verify_one(sign1(one[0], b"p", many[3][0][2]), KEYS, content_type=TYPE)


def test_a_message_of_another_kind_is_refused_before_any_key_is_tried() -> None:
    with pytest.raises(CoseError, match="expected other/type, got application/vnd"):
        verify_one(sign_one(b"p", A, content_type=TYPE), [], content_type="other/type")


def test_a_message_names_the_algorithm_of_its_key() -> None:
    assert verify_one(forge(HEADER), KEYS, content_type=TYPE).payload == b"payload"
    for algorithm_id in (-8, -9, 5, 0):
        with pytest.raises(
            AlgorithmError, match=f"expected ecdsa-p256, got COSE algorithm {algorithm_id} "
        ):
            verify_one(forge({**HEADER, 1: algorithm_id}), KEYS, content_type=TYPE)
    for algorithm_id, size_bytes in ((-35, 96), (-37, 384)):
        with pytest.raises(CoseError, match=f"expected {size_bytes} bytes"):
            verify_one(forge({**HEADER, 1: algorithm_id}), KEYS, content_type=TYPE)
    ed_header = {1: -7, 3: TYPE, 4: kid_of(ED.public_key)}
    with pytest.raises(AlgorithmError, match="expected ed25519"):
        verify_one(forge(ed_header, signer=ED), KEYS, content_type=TYPE)


def test_a_kid_that_names_another_key_than_the_signer_is_refused() -> None:
    confused = forge({**HEADER, 4: kid_of(B.public_key)}, signer=A)
    with pytest.raises(SignatureError, match="does not match") as refused:
        verify_one(confused, KEYS, content_type=TYPE)
    assert B.public_key.key_id.hex() in str(refused.value)


def test_keys_that_share_a_kid_are_each_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kid is a hint: two keys may share it, and only the one that signed is counted."""
    monkeypatch.setattr("signing.cose.kid_of", lambda _key: b"collides")
    monkeypatch.setattr("signing.cose_message.kid_of", lambda _key: b"collides")
    for order in ([A, B, ED], [B, ED, A]):
        message = sign_one(b"p", A, content_type=TYPE)
        keys: list[PublicKey] = [signer.public_key for signer in order]
        verified = verify_one(message, keys, content_type=TYPE)
        assert verified.key_ids == {A.public_key.key_id}
    with pytest.raises(SignatureError, match="does not match"):
        verify_one(message, [B.public_key, C.public_key], content_type=TYPE)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (b"", "not a signed message: expected .* got nothing"),
        (b"\xd1\x84", "not a signed message"),
        (b"\x84\x40\xa0\x40\x40", "not a signed message"),
        (b"\xd8\x12\x84", "not a signed message"),
        (SIGN1_TAG, "not readable: CBOR ends"),
        (forge(HEADER) + b"\0", "not readable: bytes follow"),
        (SIGN1_TAG + b"\x98\x04" + forge(HEADER)[2:], "not readable: .*longer than it needs"),
        (sign1(HEADER, b"p", bytes(64), {1: -7}), "another shape.*body"),
        (sign1(HEADER, None, bytes(64)), "another shape.*body"),
        (sign1(HEADER, "p", bytes(64)), "another shape.*body"),
        (SIGN1_TAG + serialize_cbor([b"", {}, b""]), "another shape.*body"),
        (SIGN1_TAG + serialize_cbor({1: 2}), "another shape.*body"),
        (sign1(b"", b"p", bytes(64)), "not readable: CBOR ends.*header"),
        (sign1([1], b"p", bytes(64)), "a map of exactly .1, 3, 4. .header"),
        (sign1({1: -7, 3: TYPE}, b"p", bytes(64)), "a map of exactly"),
        (sign1({**HEADER, 2: [1]}, b"p", bytes(64)), "a map of exactly"),
        (sign1({**HEADER, 1: "ES256"}, b"p", bytes(64)), "algorithm of signature"),
        (sign1({**HEADER, 1: False}, b"p", bytes(64)), "algorithm of signature"),
        (sign1({**HEADER, 3: 60}, b"p", bytes(64)), "another shape.*content type"),
        (sign1({**HEADER, 4: b"short"}, b"p", bytes(64)), "expected 8 bytes .kid of signature"),
        (sign1({**HEADER, 4: "textkid8"}, b"p", bytes(64)), "kid of signature"),
        (sign1(HEADER, b"p", bytes(63)), "expected 64 bytes .signature"),
        (sign1(HEADER, b"p", [bytes(64)]), "expected 64 bytes .signature"),
        (sign1({**HEADER, 3: "x" * 400}, b"p", bytes(64)), "not readable: CBOR is too long"),
    ],
)
def test_another_shape_is_refused(changed: bytes, message: str) -> None:
    with pytest.raises(CoseError, match=message):
        verify_one(changed, KEYS, content_type=TYPE)


def test_another_shape_of_several_signatures_is_refused() -> None:
    body = parse_cbor(sign_many(b"p", [A, B], content_type=TYPE)[2:], max_bytes=1000)
    first = body[3][0]
    for signatures, message in (
        ([], "wrong number of signatures: expected 1 to 16, got 0"),
        ([first] * 17, "wrong number of signatures: expected 1 to 16, got more than 16"),
        (body[3][::-1], "expected rising kids"),
        (b"", "expected a list"),
        ([[first[0], {1: 2}, first[2]]], "signature 0"),
        ([first[:2]], "signature 0"),
        ([first, 1], "signature 1"),
        ([[serialize_cbor(HEADER), {}, first[2]]], "exactly .1, 4. .header of signature 0"),
    ):
        changed = SIGN_TAG + serialize_cbor([*body[:3], signatures])
        with pytest.raises(CoseError, match=message):
            verify_many(changed, KEYS, threshold=1, content_type=TYPE)


def test_a_message_beyond_the_bound_is_not_looked_at() -> None:
    message = sign_one(bytes(100), A, content_type=TYPE)
    assert verify_one(message, KEYS, content_type=TYPE, max_bytes=len(message)).payload
    with pytest.raises(CoseError, match="too long"):
        verify_one(message, KEYS, content_type=TYPE, max_bytes=len(message) - 1)


def test_signing_needs_a_signer_and_a_usable_content_type() -> None:
    with pytest.raises(CoseError, match="expected 1 to 16, got 0"):
        sign_many(b"p", [], content_type=TYPE)
    for content_type in ("", "x" * 121, "caf\u00e9"):
        with pytest.raises(CoseError, match="content type cannot be used"):
            sign_one(b"p", A, content_type=content_type)
        with pytest.raises(CoseError, match="content type cannot be used"):
            sign_many(b"p", [A], content_type=content_type)


def test_the_signed_bytes_are_those_of_rfc_9052_section_4_4() -> None:
    assert sign1_structure(b"\xa0", b"P", b"X").hex() == "846a5369676e61747572653141a041584150"
    assert sign_structure(b"\xa0", b"\xa1", b"P").hex() == "85695369676e617475726541a041a1404150"


def test_a_parsed_message_says_what_it_claims_without_believing_it() -> None:
    message = parse_message(sign_one(b"p", A, content_type=TYPE))
    assert message.is_sign1
    assert message.content_type == TYPE
    assert [signature.algorithm_id for signature in message.signatures] == [-7]
    assert replace(message, payload=b"q").payload == b"q"
