from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import add_signature, sign_many, sign_one
from signing.errors import (
    CoseError,
    RevokedKeyError,
    RollbackError,
    SignatureError,
    SigningError,
    ThresholdError,
    TrustError,
    UnknownKeyError,
)
from signing.keys import Algorithm
from signing.trust import (
    MAX_TRUST_RECORD_BYTES,
    TRUST_RECORD_CONTENT_TYPE,
    Role,
    RoleKeys,
    TrustRecord,
    parse_trust_record,
    serialize_trust_record,
    sign_trust_record,
    verify_trust_record,
)
from tests.signing.fixed_keys import fixed_signer

TYPE = "application/vnd.ampforge.test"
ROOTS = [fixed_signer(f"root-{number}") for number in (1, 2, 3)]
NEW_ROOTS = [fixed_signer(f"new-root-{number}", Algorithm.ED25519) for number in (1, 2, 3)]
RELEASES = [fixed_signer(f"release-{number}") for number in (1, 2, 3)]
POLICY = fixed_signer("policy")
CAMPAIGN = fixed_signer("campaign", Algorithm.ED25519)
STRANGER = fixed_signer("stranger")


def held_by(*signers, threshold: int = 1) -> RoleKeys:
    return RoleKeys(threshold=threshold, keys=tuple(signer.public_key for signer in signers))


def ids(*signers) -> frozenset[bytes]:
    return frozenset(signer.public_key.key_id for signer in signers)


RECORD = TrustRecord(
    product="flare",
    version=3,
    roles={
        Role.ROOT: held_by(*ROOTS, threshold=2),
        Role.RELEASE: held_by(*RELEASES, threshold=2),
        Role.POLICY: held_by(POLICY),
        Role.CAMPAIGN: held_by(CAMPAIGN),
    },
    minimum_policy_version=2,
    factory_ca_der=b"certificate",
)
NEXT = replace(RECORD, version=4)


def test_a_role_of_threshold_one_signs_in_either_form() -> None:
    for message in (
        sign_one(b"policy", POLICY, content_type=TYPE),
        sign_many(b"policy", [POLICY], content_type=TYPE),
        sign_many(b"policy", [POLICY, STRANGER, RELEASES[0]], content_type=TYPE),
    ):
        assert RECORD.verify(message, Role.POLICY, content_type=TYPE) == b"policy"


def test_a_role_of_threshold_two_needs_two_of_its_keys() -> None:
    message = sign_many(b"release", RELEASES[:1], content_type=TYPE)
    with pytest.raises(ThresholdError, match="role release") as refused:
        RECORD.verify(message, Role.RELEASE, content_type=TYPE)
    text = str(refused.value)
    assert "expected 2 of the release keys" in text
    assert "trust record flare version 3" in text
    for signer in RELEASES:
        assert signer.public_key.key_id.hex()[:16] in text
    message = add_signature(message, RELEASES[2], content_type=TYPE)
    assert RECORD.verify(message, Role.RELEASE, content_type=TYPE) == b"release"


def test_strangers_and_other_roles_do_not_make_up_a_threshold() -> None:
    message = sign_many(b"p", [RELEASES[0], POLICY, STRANGER, *ROOTS], content_type=TYPE)
    with pytest.raises(ThresholdError, match="got 1 of them"):
        RECORD.verify(message, Role.RELEASE, content_type=TYPE)


def test_a_message_of_one_signature_is_refused_where_two_are_needed() -> None:
    with pytest.raises(CoseError, match="expected COSE_Sign with 2 keys of the role release"):
        RECORD.verify(
            sign_one(b"p", RELEASES[0], content_type=TYPE), Role.RELEASE, content_type=TYPE
        )


def test_a_wrong_role_is_named_with_the_role_that_the_key_holds() -> None:
    message = sign_one(b"p", CAMPAIGN, content_type=TYPE)
    with pytest.raises(UnknownKeyError, match=r"no key of the role policy.*which holds campaign"):
        RECORD.verify(message, Role.POLICY, content_type=TYPE)
    message = sign_one(b"p", STRANGER, content_type=TYPE)
    with pytest.raises(UnknownKeyError, match="no key of the role policy") as refused:
        RECORD.verify(message, Role.POLICY, content_type=TYPE)
    assert "which holds" not in str(refused.value)
    assert STRANGER.public_key.key_id.hex()[:16] in str(refused.value)


def test_a_role_that_nobody_holds_is_its_own_error() -> None:
    message = sign_one(b"p", POLICY, content_type=TYPE)
    with pytest.raises(TrustError, match=r"nobody holds the role freshness.*got campaign, policy"):
        RECORD.verify(message, Role.FRESHNESS, content_type=TYPE)


def test_a_revoked_key_does_not_count() -> None:
    record = replace(RECORD, revoked_key_ids=ids(RELEASES[0]))
    message = sign_many(b"p", RELEASES[:2], content_type=TYPE)
    assert RECORD.verify(message, Role.RELEASE, content_type=TYPE) == b"p"
    with pytest.raises(RevokedKeyError, match="role release is signed by a revoked key") as refused:
        record.verify(message, Role.RELEASE, content_type=TYPE)
    assert RELEASES[0].public_key.key_id.hex() in str(refused.value)
    message = add_signature(message, RELEASES[2], content_type=TYPE)
    assert record.verify(message, Role.RELEASE, content_type=TYPE) == b"p"


def test_a_revoked_key_is_refused_in_certificates() -> None:
    record = replace(RECORD, revoked_key_ids=ids(STRANGER))
    record.refuse_revoked(POLICY.public_key)
    with pytest.raises(RevokedKeyError, match=STRANGER.public_key.key_id.hex()):
        record.refuse_revoked(STRANGER.public_key)


def test_another_kind_of_content_or_a_longer_message_is_refused() -> None:
    message = sign_one(b"p", POLICY, content_type=TYPE)
    with pytest.raises(CoseError, match="expected other/type"):
        RECORD.verify(message, Role.POLICY, content_type="other/type")
    with pytest.raises(CoseError, match="too long"):
        RECORD.verify(message, Role.POLICY, content_type=TYPE, max_bytes=len(message) - 1)


def test_a_changed_payload_is_refused() -> None:
    message = sign_one(b"limit 400", POLICY, content_type=TYPE).replace(b"400", b"900")
    with pytest.raises(SignatureError, match="does not match"):
        RECORD.verify(message, Role.POLICY, content_type=TYPE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: held_by(POLICY, POLICY), "one key twice"),
        (held_by, "expected 1 to 8, got 0"),
        (lambda: held_by(*(fixed_signer(f"k{n}") for n in range(9))), "expected 1 to 8, got 9"),
        (lambda: held_by(POLICY, threshold=0), "threshold cannot be met"),
        (lambda: held_by(POLICY, threshold=2), "expected 1 to 1, its number of keys, got 2"),
        (lambda: replace(RECORD, product=""), "product's name cannot be used"),
        (lambda: replace(RECORD, product="x" * 65), "expected 1 to 64 printable ASCII"),
        (lambda: replace(RECORD, product="fla\nre"), "1 to 64 printable ASCII characters"),
        (lambda: replace(RECORD, product="caf\u00e9"), "name cannot be used"),
        (lambda: replace(RECORD, version=0), "version is out of range: expected 1 to"),
        (lambda: replace(RECORD, version=2**32), "version is out of range"),
        (lambda: replace(RECORD, minimum_policy_version=-1), "policy version is out of range"),
        (lambda: replace(RECORD, revoked_key_ids=frozenset([b"x"])), "list of revoked keys"),
        (
            lambda: replace(RECORD, revoked_key_ids=frozenset(bytes([n]) * 32 for n in range(65))),
            "at most 64",
        ),
        (lambda: replace(RECORD, roles={Role.POLICY: held_by(POLICY)}), "names no root keys"),
        (
            lambda: replace(RECORD, roles={Role.ROOT: held_by(*ROOTS[:2], threshold=2)}),
            "root has too few keys: expected 3 keys",
        ),
        (
            lambda: replace(RECORD, revoked_key_ids=ids(ROOTS[0])),
            "root has too few keys",
        ),
        (
            lambda: replace(RECORD, revoked_key_ids=ids(POLICY)),
            "policy has too few keys",
        ),
        (
            lambda: replace(RECORD, roles={**RECORD.roles, Role.FRESHNESS: held_by(CAMPAIGN)}),
            "one key holds two roles: .* for campaign and freshness",
        ),
    ],
)
def test_a_record_that_cannot_be_used_is_refused(make, message: str) -> None:
    with pytest.raises(TrustError, match=message):
        make()


def test_root_keeps_one_key_more_than_it_needs() -> None:
    """A lost root key must not be the end: n >= t + 1 also when the record is read."""
    assert replace(RECORD, roles={Role.ROOT: held_by(*ROOTS[:2], threshold=1)})


def test_a_record_survives_its_encoding() -> None:
    record = replace(RECORD, revoked_key_ids=ids(RELEASES[1], STRANGER))
    encoded = serialize_trust_record(record)
    assert parse_trust_record(encoded) == record
    assert serialize_trust_record(parse_trust_record(encoded)) == encoded


def test_the_first_record_is_signed_by_its_own_root() -> None:
    message = sign_trust_record(RECORD, ROOTS[:2])
    assert verify_trust_record(message, current=None) == RECORD
    with pytest.raises(ThresholdError, match="role root"):
        sign_trust_record(RECORD, ROOTS[:1])
    too_few = sign_many(
        serialize_trust_record(RECORD), ROOTS[:1], content_type=TRUST_RECORD_CONTENT_TYPE
    )
    with pytest.raises(ThresholdError, match="role root"):
        verify_trust_record(too_few, current=None)


def test_any_flipped_bit_in_a_signed_record_is_refused() -> None:
    record = TrustRecord(
        product="f",
        version=1,
        roles={Role.ROOT: held_by(*NEW_ROOTS[:2])},
        minimum_policy_version=0,
    )
    message = sign_trust_record(record, NEW_ROOTS[:1])
    for bit in range(len(message) * 8):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SigningError):
            verify_trust_record(bytes(changed), current=None)


def test_a_successor_needs_the_old_root_and_the_new_root() -> None:
    new_roles = {**RECORD.roles, Role.ROOT: held_by(*NEW_ROOTS, threshold=2)}
    record = replace(NEXT, roles=new_roles)
    both = sign_trust_record(record, [*ROOTS[:2], *NEW_ROOTS[1:]])
    assert verify_trust_record(both, current=RECORD) == record
    new_alone = sign_trust_record(record, NEW_ROOTS[:2])
    with pytest.raises(UnknownKeyError, match=r"no key of the role root.*version 3\)"):
        verify_trust_record(new_alone, current=RECORD)
    one_old = sign_trust_record(record, [ROOTS[0], *NEW_ROOTS[:2]])
    with pytest.raises(ThresholdError, match=r"role root.*version 3\)"):
        verify_trust_record(one_old, current=RECORD)
    old_alone = sign_many(
        serialize_trust_record(record), ROOTS[:2], content_type=TRUST_RECORD_CONTENT_TYPE
    )
    with pytest.raises(UnknownKeyError, match=r"no key of the role root.*version 4\)"):
        verify_trust_record(old_alone, current=RECORD)


def test_a_stolen_and_revoked_root_key_counts_neither_before_nor_after() -> None:
    roots = [*ROOTS, fixed_signer("root-4")]
    current = replace(RECORD, roles={**RECORD.roles, Role.ROOT: held_by(*roots, threshold=2)})
    record = replace(current, version=4, revoked_key_ids=ids(ROOTS[0]))
    with pytest.raises(RevokedKeyError):
        sign_trust_record(record, ROOTS[:2])
    message = sign_trust_record(record, ROOTS[1:])
    assert verify_trust_record(message, current=current) == record


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (RECORD, "not newer than the one in use: expected a version above 3, got 3"),
        (replace(RECORD, version=2), "not newer"),
        (replace(NEXT, product="glow"), "of another product: expected flare, got glow"),
        (replace(NEXT, minimum_policy_version=1), "would accept older limits policies again"),
        (replace(NEXT, revoked_key_ids=frozenset()), "takes a revocation back"),
    ],
)
def test_a_step_back_is_refused(record: TrustRecord, message: str) -> None:
    current = replace(RECORD, revoked_key_ids=ids(STRANGER))
    record = (
        record if message.startswith("takes") else replace(record, revoked_key_ids=ids(STRANGER))
    )
    with pytest.raises(RollbackError, match=message):
        verify_trust_record(sign_trust_record(record, ROOTS[:2]), current=current)


def test_a_step_ahead_may_skip_versions_and_raise_protections() -> None:
    record = replace(RECORD, version=9, minimum_policy_version=7, revoked_key_ids=ids(STRANGER))
    assert verify_trust_record(sign_trust_record(record, ROOTS[1:]), current=RECORD) == record


def test_a_record_is_not_accepted_in_another_form_or_of_another_kind() -> None:
    payload = serialize_trust_record(RECORD)
    with pytest.raises(CoseError, match="expected COSE_Sign"):
        verify_trust_record(
            sign_one(payload, ROOTS[0], content_type=TRUST_RECORD_CONTENT_TYPE), current=None
        )
    with pytest.raises(CoseError, match="of another kind"):
        verify_trust_record(sign_many(payload, ROOTS, content_type=TYPE), current=None)


def test_a_record_too_long_for_a_device_is_refused() -> None:
    record = replace(RECORD, factory_ca_der=bytes(MAX_TRUST_RECORD_BYTES - 900))
    with pytest.raises(TrustError, match="too long for a device: expected at most 3840 bytes"):
        sign_trust_record(record, ROOTS[:2])


def changed(**fields: object) -> bytes:
    document = parse_cbor(serialize_trust_record(RECORD), max_bytes=5000)
    for name, value in fields.items():
        document[int(name[1:])] = value
    return serialize_cbor(document)


ROOT_SPKIS = [key.spki_der for key in RECORD.roles[Role.ROOT].keys]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "not readable: CBOR ends"),
        (serialize_trust_record(RECORD) + b"\0", "not readable: bytes follow"),
        (serialize_cbor([1, 2]), "another shape"),
        (serialize_cbor({}), "another shape"),
        (changed(_1=2), "format of another version: expected 1, got 2"),
        (changed(_1=True), "another shape"),
        (changed(_3=True), "another shape"),
        (changed(_5=False), "another shape"),
        (changed(_9=0), "another shape"),
        (changed(_3="3"), "another shape"),
        (changed(_4=[]), "another shape"),
        (changed(_6=[b"b" * 32, b"a" * 32]), "another shape"),
        (changed(_6=[b"a" * 32, b"a" * 32]), "another shape"),
        (changed(_6=["a" * 32]), "another shape"),
        (changed(_6=[b"a"]), "list of revoked keys"),
        (changed(_4={"emperor": [1, ROOT_SPKIS]}), "unknown role: expected root.*got 'emperor'"),
        (changed(_4={1: [1, ROOT_SPKIS]}), "unknown role"),
        (changed(_4={"root": [1]}), "another shape.*role root"),
        (changed(_4={"root": [1, ["key"]]}), "another shape.*role root"),
        (changed(_4={"root": [True, ROOT_SPKIS]}), "another shape"),
        (changed(_4={"root": [1, ROOT_SPKIS[::-1]]}), "another shape.*order of keys"),
        (changed(_4={"root": [1, [b"key"]]}), "key that cannot be used.*role root"),
        (changed(_4={"root": [1, [ROOT_SPKIS[0]] * 2]}), "one key twice"),
        (changed(_2="caf\u00e9"), "name cannot be used"),
    ],
)
def test_another_shape_of_record_is_refused(payload: bytes, message: str) -> None:
    with pytest.raises(TrustError, match=message):
        parse_trust_record(payload)


def test_a_key_in_a_second_encoding_is_refused() -> None:
    """The hybrid form of a point names the same key; only one form may stand in a record."""
    hybrid = bytearray(ROOT_SPKIS[0])
    hybrid[26] = 6 + (hybrid[-1] & 1)
    with pytest.raises(TrustError, match=r"order of keys|cannot be used"):
        parse_trust_record(changed(_4={"root": [1, [bytes(hybrid), *ROOT_SPKIS[1:]]]}))


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_no_record(untrusted_bytes: bytes) -> None:
    with pytest.raises(TrustError):
        parse_trust_record(untrusted_bytes)
    with pytest.raises(SigningError):
        verify_trust_record(untrusted_bytes, current=None)
