"""The signed trust record: encoding, signing, and the step from one version to the next.

Implements docs/spec/trust.md §3 and §4. The payload is deterministic CBOR, a map:

===  ==============================================================  ========================
key  meaning                                                         type
===  ==============================================================  ========================
1    format version, 1                                               integer
2    product                                                         text, 1-64 ASCII
3    version                                                         integer, from 1
4    roles: name → [threshold, [SubjectPublicKeyInfo, …]]            map, keys by rising id
5    minimum policy version                                          integer, from 0
6    revoked key ids, rising                                         list of 32-byte strings
7    factory CA certificate, DER; empty if none                      byte string
8    algorithms that boards verify beyond -7 and -8; absent if none  list of COSE numbers
===  ==============================================================  ========================

Not here: storing a record (the device's flash and the repository do), TUF's own metadata, the files
that key holders keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import sign_many
from signing.cose_message import ALGORITHM_IDS, parse_message, refuse_content_type
from signing.errors import (
    CborError,
    CoseError,
    KeyFileError,
    RollbackError,
    TrustError,
)
from signing.keys import parse_public_key
from signing.role_algorithms import FURTHER_ALGORITHMS
from signing.roles import Role, RoleKeys
from signing.trust_record import TrustRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signing.algorithms import Algorithm
    from signing.keys import PublicKey
    from signing.signers import Signer

__all__ = [
    "MAX_TRUST_RECORD_BYTES",
    "TRUST_RECORD_CONTENT_TYPE",
    "Role",
    "RoleKeys",
    "TrustRecord",
    "parse_trust_record",
    "serialize_trust_record",
    "sign_trust_record",
    "verify_trust_record",
]

TRUST_RECORD_CONTENT_TYPE: Final = "application/vnd.ampforge.trust+cbor"
MAX_TRUST_RECORD_BYTES: Final = 3840
"""Longest signed record: it fits a 4 KiB flash sector together with the slot's own header."""

_FORMAT_VERSION: Final = 1
_FORMAT, _PRODUCT, _VERSION, _ROLES, _MINIMUM_POLICY_VERSION, _REVOKED, _FACTORY_CA = range(1, 8)
_BOARDS_VERIFY: Final = 8
_FIELDS: Final = set(range(1, 8))
_FURTHER: Final = {ALGORITHM_IDS[algorithm]: algorithm for algorithm in FURTHER_ALGORITHMS}
_HINT: Final = "get the trust record again from its origin"


def serialize_trust_record(record: TrustRecord) -> bytes:
    """Write a trust record's payload, unsigned (docs/spec/trust.md §3)."""
    fields: dict[int, object] = {
        _FORMAT: _FORMAT_VERSION,
        _PRODUCT: record.product,
        _VERSION: record.version,
        _ROLES: {
            str(role): [held.threshold, [key.spki_der for key in held.keys]]
            for role, held in record.roles.items()
        },
        _MINIMUM_POLICY_VERSION: record.minimum_policy_version,
        _REVOKED: sorted(record.revoked_key_ids),
        _FACTORY_CA: record.factory_ca_der,
    }
    if record.boards_verify:
        # Falling: the order in which CBOR puts negative integers.
        numbers = sorted((ALGORITHM_IDS[each] for each in record.boards_verify), reverse=True)
        fields[_BOARDS_VERIFY] = numbers
    return serialize_cbor(fields)


def parse_trust_record(untrusted_bytes: bytes) -> TrustRecord:
    """Read a trust record's payload; it is not verified, see `verify_trust_record`.

    Raises:
        TrustError: It is not a trust record, or one that cannot be used.
    """
    try:
        document = parse_cbor(untrusted_bytes, max_bytes=MAX_TRUST_RECORD_BYTES)
    except CborError as error:
        raise TrustError(
            f"a trust record is not readable: {error.what}",
            expected=error.expected,
            got=error.got,
            where=error.where,
            hint=_HINT,
        ) from error
    if not isinstance(document, dict):
        raise _misshapen("fields")
    if document.get(_FORMAT, _FORMAT_VERSION) != _FORMAT_VERSION:
        raise TrustError(
            "a trust record has a format of another version",
            expected=_FORMAT_VERSION,
            got=document[_FORMAT],
            hint="use a release of Ampforge that knows this format",
        )
    match document:
        case {
            1: int(),
            2: str(product),
            3: int(version),
            4: dict(roles),
            5: int(minimum_policy_version),
            6: list(revoked),
            7: bytes(factory_ca_der),
        } if (
            len(roles) <= len(Role)
            and set(document) - {_BOARDS_VERIFY} == _FIELDS
            and _are_rising(revoked)
        ):
            record = TrustRecord(
                product=product,
                # A CBOR boolean is an int to Python; as a number it fails the comparison below.
                version=int(version),
                roles={
                    _parse_role(name): _parse_role_keys(name, held) for name, held in roles.items()
                },
                minimum_policy_version=int(minimum_policy_version),
                revoked_key_ids=frozenset(revoked),
                factory_ca_der=factory_ca_der,
                boards_verify=_parse_boards_verify(document.get(_BOARDS_VERIFY, [])),
            )
        case _:
            raise _misshapen("fields")
    if serialize_trust_record(record) != untrusted_bytes:
        raise _misshapen("order of keys")
    return record


def sign_trust_record(record: TrustRecord, signers: Sequence[Signer]) -> bytes:
    """Sign a trust record with root keys, old and new ones together when they change.

    Args:
        record: The record.
        signers: Root keys of this record, and of the one before if its root keys differ.

    Returns:
        COSE_Sign.

    Raises:
        TrustError: The result would be too long for a device, or the signers are too few for the
            record's own root.
    """
    payload = serialize_trust_record(record)
    message = sign_many(payload, signers, content_type=TRUST_RECORD_CONTENT_TYPE)
    if len(message) > MAX_TRUST_RECORD_BYTES:
        raise TrustError(
            "a signed trust record is too long for a device",
            expected=f"at most {MAX_TRUST_RECORD_BYTES} bytes",
            got=f"{len(message)} bytes",
            hint="name fewer keys, or shorter ones: P-256 keys take 91 bytes each and 82 for a "
            "signature, Ed25519 44 and 82, P-384 120 and 115, RSA 422 and 404",
        )
    record.verify(message, Role.ROOT, content_type=TRUST_RECORD_CONTENT_TYPE)
    return message


def verify_trust_record(untrusted_bytes: bytes, *, current: TrustRecord | None) -> TrustRecord:
    """Verify a trust record, by itself or as the successor of one (docs/spec/trust.md §4).

    The root keys are inside the signed payload, so this is the one place that reads a payload
    before its signatures are verified. The parser is bounded and strict, and nothing of the
    record is returned until the signatures are.

    Args:
        untrusted_bytes: The signed record.
        current: The record that is trusted now; `None` if this is the first, whose origin the
            caller vouches for (written at the factory, or compared by digest).

    Returns:
        The record.

    Raises:
        TrustError: It is signed by too few root keys, old or new, or is not usable.
        RollbackError: It is of another product, not newer, or takes a protection back.
        SignatureError: It was changed after signing.
    """
    message = parse_message(untrusted_bytes, max_bytes=MAX_TRUST_RECORD_BYTES)
    refuse_content_type(message, TRUST_RECORD_CONTENT_TYPE)
    if message.is_sign1:
        raise CoseError("a trust record is signed in another form", expected="COSE_Sign")
    record = parse_trust_record(message.payload)
    record.verify_message(message, Role.ROOT)
    if current is not None:
        current.verify_message(message, Role.ROOT)
        _refuse_step_back(record, current)
    return record


def _refuse_step_back(record: TrustRecord, current: TrustRecord) -> None:
    missing = current.revoked_key_ids - record.revoked_key_ids
    for what, is_refused, expected, got in (
        (
            "is of another product",
            record.product != current.product,
            current.product,
            record.product,
        ),
        (
            "is not newer than the one in use",
            record.version <= current.version,
            f"a version above {current.version}",
            record.version,
        ),
        (
            "would accept older limits policies again",
            record.minimum_policy_version < current.minimum_policy_version,
            f"a minimum policy version of {current.minimum_policy_version} or more",
            record.minimum_policy_version,
        ),
        (
            "takes a revocation back",
            bool(missing),
            f"all {len(current.revoked_key_ids)} revoked keys",
            f"without {', '.join(sorted(key_id.hex()[:16] for key_id in missing))}",
        ),
    ):
        if is_refused:
            raise RollbackError(
                f"a trust record {what}",
                expected=expected,
                got=got,
                where=f"trust record {record.product} version {record.version}",
                hint="publish a record with a higher version that keeps every protection",
            )


def _parse_role(name: object) -> Role:
    try:
        return Role(str(name))
    except ValueError as error:
        raise TrustError(
            "a trust record names an unknown role",
            expected=", ".join(Role),
            got=ascii(name),
            hint="use a release of Ampforge that knows this role",
        ) from error


def _parse_boards_verify(numbers: object) -> frozenset[Algorithm]:
    known = isinstance(numbers, list) and all(
        isinstance(number, int) and number in _FURTHER for number in numbers
    )
    if not isinstance(numbers, list) or not known:
        raise TrustError(
            "a trust record wants boards to verify an algorithm that is not known here",
            expected=", ".join(f"{number} ({name})" for number, name in sorted(_FURTHER.items())),
            got=ascii(numbers),
            hint="use a release of Ampforge that knows this algorithm",
        )
    return frozenset(_FURTHER[number] for number in numbers)


def _parse_role_keys(name: object, held: object) -> RoleKeys:
    match held:
        case [int(threshold), list(spki_ders)] if all(isinstance(der, bytes) for der in spki_ders):
            keys = tuple(_parse_key(der, f"role {name}") for der in spki_ders)
            return RoleKeys(threshold=int(threshold), keys=keys)
        case _:
            raise _misshapen(f"role {name}")


def _parse_key(spki_der: bytes, where: str) -> PublicKey:
    try:
        return parse_public_key(spki_der, where=where)
    except KeyFileError as error:
        raise TrustError(
            "a trust record holds a key that cannot be used", got=error, where=where, hint=_HINT
        ) from error


def _are_rising(revoked: list[object]) -> bool:
    key_ids = [key_id for key_id in revoked if isinstance(key_id, bytes)]
    return len(key_ids) == len(revoked) and key_ids == sorted(set(key_ids))


def _misshapen(part: str) -> TrustError:
    return TrustError("a trust record has another shape than ours", where=part, hint=_HINT)
