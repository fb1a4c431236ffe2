"""The record that follows when a key is revoked or replaced."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.errors import RevokedKeyError, SigningError, TrustError
from signing.key_life import find_key_id, revoke_key, role_of_key, rotate_key
from signing.roles import Role, RoleKeys
from signing.trust import sign_trust_record, verify_trust_record
from signing.trust_record import TrustRecord
from tests.signing.fixed_keys import fixed_signer

ROOTS = [fixed_signer(f"life root {number}") for number in range(4)]
RELEASES = [fixed_signer(f"life release {number}") for number in range(3)]
POLICY, NEW = fixed_signer("life policy"), fixed_signer("life new")


def _keys(signers, threshold):
    return RoleKeys(threshold=threshold, keys=tuple(signer.public_key for signer in signers))


RECORD = TrustRecord(
    product="flare",
    version=7,
    roles={
        Role.ROOT: _keys(ROOTS, 2),
        Role.RELEASE: _keys(RELEASES, 2),
        Role.POLICY: _keys([POLICY], 1),
    },
    minimum_policy_version=3,
    revoked_key_ids=frozenset({bytes(32)}),
)


def test_a_revoked_key_loses_its_role_and_what_it_signed_no_longer_counts():
    gone = RELEASES[0].public_key
    following = revoke_key(RECORD, gone.key_id)
    assert following.version == 8
    assert following.revoked_key_ids == {bytes(32), gone.key_id}
    assert gone not in following.roles[Role.RELEASE].keys
    assert following.roles[Role.RELEASE].threshold == 2
    assert following.minimum_policy_version == 3
    signed = sign_trust_record(following, ROOTS[:2])
    assert verify_trust_record(signed, current=RECORD) == following


@pytest.mark.parametrize(
    ("signer", "role"),
    [(POLICY, "policy"), (RELEASES[0], "release"), (ROOTS[0], "root")],
)
def test_a_key_that_its_role_needs_is_not_revoked_but_rotated(signer, role):
    record = RECORD
    if signer is not POLICY:  # one can go, the next cannot
        others = ROOTS if role == "root" else RELEASES
        record = revoke_key(record, others[1].public_key.key_id)
    with pytest.raises(TrustError, match=f"the role {role} has too few") as refused:
        revoke_key(record, signer.public_key.key_id)
    assert "key rotate" in str(refused.value.hint)
    following = rotate_key(record, signer.public_key.key_id, NEW.public_key, is_revoked=True)
    assert role_of_key(following, NEW.public_key.key_id) == role
    assert role_of_key(following, signer.public_key.key_id) is None
    assert signer.public_key.key_id in following.revoked_key_ids
    assert following.version == record.version + 1


def test_a_rotated_key_is_not_revoked_unless_asked():
    following = rotate_key(RECORD, POLICY.public_key.key_id, NEW.public_key)
    assert following.revoked_key_ids == RECORD.revoked_key_ids
    assert following.roles[Role.POLICY].keys == (NEW.public_key,)


def test_a_new_root_is_signed_by_enough_old_and_enough_new_keys():
    following = rotate_key(RECORD, ROOTS[0].public_key.key_id, NEW.public_key, is_revoked=True)
    for signers in ([ROOTS[0], ROOTS[1]], [ROOTS[1]], [NEW, ROOTS[0]]):
        with pytest.raises(SigningError):
            verify_trust_record(sign_trust_record(following, signers), current=RECORD)
    for signers in ([ROOTS[1], ROOTS[2]], [NEW, ROOTS[0], ROOTS[1]]):
        assert verify_trust_record(sign_trust_record(following, signers), current=RECORD)
    signed = sign_trust_record(following, [NEW, ROOTS[1]])
    with pytest.raises(SigningError, match="too few keys of the role root"):
        verify_trust_record(signed, current=RECORD)


def test_a_station_is_revoked_by_its_whole_id_and_nothing_twice():
    station = fixed_signer("life station").public_key.key_id
    assert find_key_id(RECORD, station.hex().upper()) == station
    following = revoke_key(RECORD, station)
    assert station in following.revoked_key_ids
    assert following.roles == RECORD.roles
    with pytest.raises(RevokedKeyError, match="revoked already"):
        revoke_key(following, station)


def test_a_full_list_of_revoked_keys_is_told():
    record = TrustRecord(
        product="flare",
        version=1,
        roles=RECORD.roles,
        minimum_policy_version=0,
        revoked_key_ids=frozenset(bytes([number]) * 32 for number in range(64)),
    )
    with pytest.raises(TrustError, match="list of revoked keys is full"):
        revoke_key(record, bytes([99]) * 32)


def test_a_new_key_that_holds_a_role_or_is_revoked_is_refused():
    old = POLICY.public_key.key_id
    with pytest.raises(TrustError, match="holds a role already"):
        rotate_key(RECORD, old, RELEASES[0].public_key)
    with pytest.raises(TrustError, match="holds a role already"):
        rotate_key(RECORD, old, POLICY.public_key)
    with pytest.raises(TrustError, match="holds no role cannot be replaced"):
        rotate_key(RECORD, NEW.public_key.key_id, POLICY.public_key)
    without = revoke_key(RECORD, RELEASES[0].public_key.key_id)
    with pytest.raises(RevokedKeyError):
        rotate_key(without, old, RELEASES[0].public_key)


def test_a_key_is_named_by_the_beginning_of_its_id():
    whole = POLICY.public_key.key_id
    assert find_key_id(RECORD, whole.hex()[:8]) == whole
    for text in ("", whole.hex()[:7], "0" * 8, "z" * 64, whole.hex() + "00"):
        with pytest.raises(TrustError, match="not named well enough"):
            find_key_id(RECORD, text)


@given(st.text(max_size=70))
def test_arbitrary_text_names_a_key_or_is_refused(text):
    with suppress(TrustError):
        assert len(find_key_id(RECORD, text)) == 32
