"""Which algorithms a role's keys may have, and that a record which shuts boards out is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing.algorithms import Algorithm
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import sign_many, sign_one, verify_many, verify_one
from signing.errors import CoseError, SigningError, TrustError
from signing.key_life import rotate_key
from signing.role_algorithms import ENTRY_BYTES, allowed_algorithms
from signing.roles import Role, RoleKeys
from signing.trust import parse_trust_record, serialize_trust_record, sign_trust_record
from signing.trust_record import TrustRecord
from tests.signing.fixed_keys import fixed_signer

P256, P384, ED25519, RSA = Algorithm
TYPE = "application/vnd.ampforge.test"
ROOTS = tuple(fixed_signer(f"root {number}") for number in range(3))
RECORD = TrustRecord(
    product="flare",
    version=1,
    roles={
        Role.ROOT: RoleKeys(threshold=2, keys=tuple(root.public_key for root in ROOTS)),
        Role.RELEASE: RoleKeys(threshold=1, keys=(fixed_signer("release").public_key,)),
    },
    minimum_policy_version=0,
)
BOARD_ROLES = (Role.ROOT, Role.POLICY, Role.RELEASE, Role.CAMPAIGN, Role.FRESHNESS)


def with_keys(role: Role, *algorithms: Algorithm, threshold: int = 1, also=frozenset()):
    keys = tuple(
        fixed_signer(f"{role} {number}", algorithm).public_key
        for number, algorithm in enumerate(algorithms)
    )
    roles = {**RECORD.roles, role: RoleKeys(threshold=threshold, keys=keys)}
    return replace(RECORD, roles=roles, boards_verify=frozenset(also))


@pytest.mark.parametrize("algorithm", [P384, RSA])
@pytest.mark.parametrize("role", BOARD_ROLES)
def test_what_boards_do_not_verify_is_refused_where_they_read(role, algorithm):
    with pytest.raises(TrustError, match=f"role {role} ") as refused:
        with_keys(role, algorithm, P256)
    if (role, algorithm) == (Role.CAMPAIGN, RSA):  # whatever boards verify
        assert "too long for the messages boards read" in str(refused.value)
    else:
        assert "expected ecdsa-p256 or ed25519" in str(refused.value)
        assert f'boards_verify = ["{algorithm}"]' in str(refused.value.hint)


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("role", [Role.TIMESTAMP, Role.SNAPSHOT])
def test_roles_that_only_tuf_clients_read_may_use_each_algorithm(role, algorithm):
    assert with_keys(role, algorithm).keys_of(role).keys[0].algorithm is algorithm


def test_secure_boot_keys_are_those_that_boot_roms_verify():
    assert with_keys(Role.SECURE_BOOT, P256, P384, RSA)
    with pytest.raises(TrustError, match=r"role secure-boot .*got ed25519") as refused:
        with_keys(Role.SECURE_BOOT, ED25519)
    assert "rsa-3072" in str(refused.value.hint)


@pytest.mark.parametrize("role", [Role.STATION, Role.FACTORY_CA])
@pytest.mark.parametrize("algorithm", [P384, RSA])
def test_roles_of_certificates_stay_with_what_certificates_hold(role, algorithm):
    with pytest.raises(TrustError, match=f"role {role} .*expected ecdsa-p256 or ed25519"):
        with_keys(role, algorithm, also=[P384, RSA])


def test_a_record_says_what_its_boards_verify_more():
    record = with_keys(Role.RELEASE, P384, also=[P384])
    assert allowed_algorithms(Role.POLICY, record.boards_verify) == {P256, ED25519, P384}
    signer = fixed_signer(f"{Role.RELEASE} 0", P384)
    message = sign_one(b"payload", signer, content_type=TYPE)
    assert record.verify(message, Role.RELEASE, content_type=TYPE) == b"payload"
    with pytest.raises(TrustError, match="every board verifies"):
        with_keys(Role.RELEASE, P256, also=[P256])


def test_signatures_that_no_manifest_has_room_for_are_refused():
    """One RSA signature fits a device message of 1024 bytes beside a manifest, two do not."""
    both = {"also": [P384, RSA]}
    assert with_keys(Role.RELEASE, RSA, P256, P256, **both)
    assert with_keys(Role.RELEASE, RSA, P256, threshold=2, **both)
    with pytest.raises(TrustError, match="at most 512 bytes, got 519 bytes"):
        with_keys(Role.RELEASE, RSA, P384, threshold=2, **both)
    assert with_keys(Role.RELEASE, *[P384] * 5, threshold=4, **both)
    with pytest.raises(TrustError, match="role release would be too long"):
        with_keys(Role.RELEASE, *[P384] * 5, threshold=5, **both)
    assert with_keys(Role.CAMPAIGN, P384, **both)
    with pytest.raises(TrustError, match="role campaign would be too long"):
        with_keys(Role.CAMPAIGN, RSA, **both)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_signature_is_as_long_as_the_room_is_counted(algorithm):
    one, two = (fixed_signer("one", algorithm), fixed_signer("two", P256))
    with_one = len(sign_many(b"p", [two], content_type=TYPE))
    assert len(sign_many(b"p", [one, two], content_type=TYPE)) - with_one == ENTRY_BYTES[algorithm]


def test_a_key_that_boards_cannot_use_does_not_take_over_a_role():
    new = fixed_signer("new", P384).public_key
    old = RECORD.keys_of(Role.RELEASE).keys[0].key_id
    with pytest.raises(TrustError, match="cannot be verified for it"):
        rotate_key(RECORD, old, new)
    ready = replace(RECORD, boards_verify=frozenset([P384]))
    following = rotate_key(ready, old, new, is_revoked=True)
    assert following.keys_of(Role.RELEASE).keys == (new,)
    assert following.boards_verify == {P384}


def test_further_algorithms_survive_their_encoding_in_one_form():
    record = with_keys(Role.RELEASE, P384, also=[P384, RSA])
    encoded = serialize_trust_record(record)
    assert parse_trust_record(encoded) == record
    assert 8 not in parse_cbor(serialize_trust_record(RECORD), max_bytes=4000)
    document = parse_cbor(encoded, max_bytes=4000)
    assert document[8] == [-35, -37]
    for numbers, part in (
        ([-37, -35], "order of keys"),
        ([-35, -35, -37], "order of keys"),
        ([-35, -7], "not known here"),
        ([-35, -257], "not known here"),
        ([[-35]], "not known here"),
        ([{}], "not known here"),
        (-35, "not known here"),
        ("ES384", "not known here"),
    ):
        with pytest.raises(TrustError, match=part):
            parse_trust_record(serialize_cbor({**document, 8: numbers}))
    with pytest.raises(TrustError, match="order of keys"):
        parse_trust_record(
            serialize_cbor(
                {
                    **document,
                    4: {name: held for name, held in document[4].items() if name == "root"},
                    8: [],
                }
            )
        )


def test_too_many_long_root_keys_do_not_fit_a_board():
    keys = tuple(fixed_signer(f"r{number}", P384) for number in range(8))
    record = replace(
        RECORD,
        roles={
            Role.ROOT: RoleKeys(threshold=7, keys=tuple(key.public_key for key in keys)),
            Role.POLICY: RoleKeys(
                threshold=1,
                keys=tuple(fixed_signer(f"p{number}", P384).public_key for number in range(8)),
            ),
            Role.RELEASE: RoleKeys(
                threshold=1,
                keys=tuple(fixed_signer(f"q{number}", P384).public_key for number in range(8)),
            ),
        },
        boards_verify=frozenset([P384]),
    )
    with pytest.raises(TrustError, match="too long for a device"):
        sign_trust_record(record, keys)


@pytest.mark.parametrize("algorithm", [P384, RSA])
@settings(max_examples=30)
@given(data=st.data())
def test_any_flipped_bit_refuses_a_message(algorithm, data):
    signer = fixed_signer("one", algorithm)
    key = signer.public_key
    is_one = data.draw(st.booleans())
    message = (
        sign_one(b"payload", signer, content_type=TYPE)
        if is_one
        else sign_many(b"payload", [signer], content_type=TYPE)
    )
    bit = data.draw(st.integers(0, 8 * len(message) - 1))
    changed = bytearray(message)
    changed[bit // 8] ^= 1 << bit % 8
    verify = verify_one if is_one else partial(verify_many, threshold=1)
    with pytest.raises(SigningError):
        verify(bytes(changed), [key], content_type=TYPE)


def test_a_signature_of_another_length_than_its_algorithm_has_is_misshapen():
    signer = fixed_signer("one", P384)
    message = sign_one(b"payload", signer, content_type=TYPE)
    body = parse_cbor(message[1:], max_bytes=1000)
    for size_bytes in (0, 64, 95, 384):
        cut = message[:1] + serialize_cbor([*body[:3], bytes(size_bytes)])
        with pytest.raises(CoseError, match="expected 96 bytes"):
            verify_one(cut, [signer.public_key], content_type=TYPE)
