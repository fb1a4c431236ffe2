"""Revoking and replacing keys: the trust record that follows, not yet signed.

Implements docs/spec/trust.md §8. What a record needs to stay usable is checked before root is asked
to sign: a role keeps its threshold of keys, and root one more.

Not here: signing the record (`signing.trust`), and the certificates of stations and devices, whose
keys hold no role in the record and are revoked by their id alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from signing.errors import RevokedKeyError, TrustError
from signing.roles import Role, RoleKeys
from signing.trust_record import KEY_ID_BYTES, MAX_REVOKED_KEYS

if TYPE_CHECKING:
    from signing.keys import PublicKey
    from signing.trust_record import TrustRecord

SHORTEST_PREFIX_CHARACTERS: Final = 8


def find_key_id(record: TrustRecord, text: str) -> bytes:
    """Return the full id of a key, from it or from its beginning.

    Args:
        record: The record in force.
        text: Hexadecimal: 64 digits for any key, from 8 for one that holds a role in the record.

    Raises:
        TrustError: It is no such text, or begins the ids of no key or of several.
    """
    text = text.lower()
    known = {key.key_id for held in record.roles.values() for key in held.keys}
    found = {key_id for key_id in known if key_id.hex().startswith(text)}
    if len(text) >= SHORTEST_PREFIX_CHARACTERS and len(found) == 1:
        return found.pop()
    if len(text) == 2 * KEY_ID_BYTES and set(text) <= set("0123456789abcdef"):
        return bytes.fromhex(text)
    raise TrustError(
        "a key is not named well enough",
        expected=f"64 hexadecimal digits, or the first {SHORTEST_PREFIX_CHARACTERS} or more of "
        "one key of the trust record",
        got=f"{text[:80]!a}, which fits {len(found) or 'none'} of them",
        hint="`ampforge trust show` and `ampforge key list` show the ids",
    )


def role_of_key(record: TrustRecord, key_id: bytes) -> Role | None:
    """Return the role that a key holds in a record."""
    for role, held in record.roles.items():
        if any(key.key_id == key_id for key in held.keys):
            return role
    return None


def revoke_key(record: TrustRecord, key_id: bytes) -> TrustRecord:
    """Return the next record, in which a key counts nowhere and holds no role.

    Args:
        record: The record in force.
        key_id: Full id of the key; one that holds no role is a station's or a device's.

    Raises:
        RevokedKeyError: It is revoked already.
        TrustError: The role would have too few keys left, or the list of revoked keys is full.
    """
    if key_id in record.revoked_key_ids:
        raise RevokedKeyError(
            "a key is revoked already",
            got=key_id.hex(),
            where=f"trust record {record.product} version {record.version}",
            hint="nothing needs to be done",
        )
    if len(record.revoked_key_ids) >= MAX_REVOKED_KEYS:
        raise TrustError(
            "the list of revoked keys is full",
            expected=f"at most {MAX_REVOKED_KEYS}",
            got=len(record.revoked_key_ids) + 1,
            hint="role keys that are only replaced need no place in it: `ampforge key rotate`",
        )
    role = role_of_key(record, key_id)
    roles = dict(record.roles)
    if role is not None:
        kept = tuple(key for key in record.roles[role].keys if key.key_id != key_id)
        _refuse_too_few(record, role, kept)
        roles[role] = RoleKeys(threshold=record.roles[role].threshold, keys=kept)
    return replace(
        record,
        version=record.version + 1,
        roles=roles,
        revoked_key_ids=record.revoked_key_ids | {key_id},
    )


def rotate_key(
    record: TrustRecord, key_id: bytes, new: PublicKey, *, is_revoked: bool = False
) -> TrustRecord:
    """Return the next record, in which another key holds the role of an old one.

    Args:
        record: The record in force.
        key_id: Full id of the old key, which holds a role.
        new: The key that takes its place.
        is_revoked: Also put the old key on the list of revoked keys, because it was lost or stolen.

    Raises:
        RevokedKeyError: The new key is revoked.
        TrustError: The old key holds no role, or the new one holds one already.
    """
    where = f"trust record {record.product} version {record.version}"
    role = role_of_key(record, key_id)
    if role is None:
        raise TrustError(
            "a key that holds no role cannot be replaced",
            got=key_id.hex(),
            where=where,
            hint="`ampforge trust show` names the keys of each role",
        )
    record.refuse_revoked(new)
    holder = role_of_key(record, new.key_id)
    if holder is not None:
        raise TrustError(
            "the new key holds a role already",
            expected="a key of its own for each role",
            got=f"{new.key_id.hex()[:16]} for {holder}",
            where=where,
            hint="make another key with `ampforge key generate`, or in the token",
        )
    held = record.roles[role]
    keys = tuple(key for key in held.keys if key.key_id != key_id)
    following = replace(
        record,
        version=record.version + 1,
        roles={**record.roles, role: RoleKeys(threshold=held.threshold, keys=(*keys, new))},
    )
    if not is_revoked or key_id in record.revoked_key_ids:
        return following
    return replace(revoke_key(following, key_id), version=following.version)


def _refuse_too_few(record: TrustRecord, role: Role, kept: tuple[PublicKey, ...]) -> None:
    active = sum(key.key_id not in record.revoked_key_ids for key in kept)
    needed = record.roles[role].threshold + (1 if role is Role.ROOT else 0)
    if active < needed:
        raise TrustError(
            f"without this key the role {role} has too few",
            expected=f"{'1 key' if needed == 1 else f'{needed} keys'} left, for a threshold of "
            f"{record.roles[role].threshold}",
            got=active,
            where=f"trust record {record.product} version {record.version}",
            hint="replace it in one step: `ampforge key rotate OLD NEW.pub.pem --revoke`",
        )
