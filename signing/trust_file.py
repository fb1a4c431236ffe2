"""The trust record's file on a workstation: load it, and make the one that follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signing.cose_message import MAX_MESSAGE_BYTES
from signing.errors import TrustError
from signing.input_file import is_present, read_input
from signing.refusal import refusing_in
from signing.trust import verify_trust_record
from signing.trust_record import TrustRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from signing.algorithms import Algorithm
    from signing.roles import Role, RoleKeys


def read_trust_record(path: Path) -> bytes:
    """Read a trust record's bytes, unverified.

    Raises:
        TrustError: The file cannot be read, or is far too long to be one.
    """
    try:
        untrusted_bytes = read_input(path, MAX_MESSAGE_BYTES)
    except OSError as error:
        raise TrustError(
            "the trust record cannot be read",
            got=error.strerror,
            where=path,
            hint="make one with `ampforge trust sign`, or name its file in [signing] trust_record",
        ) from error
    if len(untrusted_bytes) > MAX_MESSAGE_BYTES:
        raise TrustError(
            "the trust record is too long",
            expected=f"at most {MAX_MESSAGE_BYTES} bytes",
            got="more",
            where=path,
            hint="name the product's trust record, as `ampforge trust sign` wrote it",
        )
    return untrusted_bytes


def load_trust_record(path: Path) -> TrustRecord:
    """Load a trust record that this workstation trusts because it was put there.

    Raises:
        SigningError: It cannot be read, or its own root keys did not sign it.
    """
    untrusted_bytes = read_trust_record(path)
    with refusing_in(path):
        return verify_trust_record(untrusted_bytes, current=None)


def save_trust_record(path: Path, signed: bytes, *, current: TrustRecord | None) -> None:
    """Save the record that follows `current`, if that is still the one in the file.

    Two people who sign at the same time would make two records of one version; devices would take
    either, and the later would be lost. The second is refused instead.

    Args:
        path: The record's file; its folder exists.
        signed: The new record, signed.
        current: The record that it was made from; `None` when there was none.

    Raises:
        SigningError: Root did not sign it, or it does not follow `current`.
        TrustError: Another record was saved meanwhile; the file is unchanged.
    """
    following = verify_trust_record(signed, current=current)
    from signing.durable_file import hold_folder, save_durably

    with hold_folder(path.parent):
        there = load_trust_record(path) if is_present(path) else None
        if there != current:
            raise TrustError(
                "another trust record was saved meanwhile; this one would take its place",
                expected="no record" if current is None else f"version {current.version}",
                got="no record" if there is None else f"another one, version {there.version}",
                where=path,
                hint=f"do not use the version {following.version} that was signed now; "
                "run the command again, it follows the record that is there",
            )
        save_durably(path, signed)


def next_trust_record(
    current: TrustRecord | None,
    *,
    product: str,
    roles: Mapping[Role, RoleKeys],
    minimum_policy_version: int | None = None,
    factory_ca_der: bytes | None = None,
    boards_verify: frozenset[Algorithm] | None = None,
) -> TrustRecord:
    """Return the record that follows, not yet signed; what is not given stays as it was.

    Args:
        current: The record in force; `None` for the first one.
        product: Name of the product.
        roles: Keys and threshold of each role.
        minimum_policy_version: Oldest limits policy that counts from now on.
        factory_ca_der: Certificate of the factory CA, DER.
        boards_verify: What every board verifies beyond ECDSA P-256 and Ed25519.

    Raises:
        TrustError: The record cannot be used.
        CertificateError: The certificate is not a CA's.
    """
    from signing.certificates import parse_ca_certificate

    if minimum_policy_version is None:
        minimum_policy_version = 0 if current is None else current.minimum_policy_version
    if factory_ca_der is None:
        factory_ca_der = b"" if current is None else current.factory_ca_der
    else:
        parse_ca_certificate(factory_ca_der)
    if boards_verify is None:
        boards_verify = frozenset() if current is None else current.boards_verify
    return TrustRecord(
        product=product,
        version=1 if current is None else current.version + 1,
        roles=roles,
        minimum_policy_version=minimum_policy_version,
        revoked_key_ids=frozenset() if current is None else current.revoked_key_ids,
        factory_ca_der=factory_ca_der,
        boards_verify=boards_verify,
    )
