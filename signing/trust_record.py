"""Who may sign what: roles, thresholds counted by distinct key, revocation.

Implements docs/spec/trust.md. A trust record is signed by the root role and names, for one
product, the keys of each role. Everything else is verified through it: `record.verify(bytes, role,
content_type=…)` gives the payload or refuses.

Not here: the record's own encoding and signatures, which are `signing.trust`.
"""

from __future__ import annotations

from dataclasses import field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signing.cose import verify_signatures
from signing.cose_message import (
    KID_BYTES,
    MAX_MESSAGE_BYTES,
    CoseMessage,
    kid_of,
    parse_message,
    refuse_content_type,
)
from signing.errors import CoseError, RevokedKeyError, ThresholdError, TrustError, UnknownKeyError
from signing.role_algorithms import refuse_unfit_algorithms
from signing.roles import Role, RoleKeys
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from signing.algorithms import Algorithm
    from signing.certificate_fields import CertificateKind
    from signing.certificates import Certificate
    from signing.keys import PublicKey

MAX_REVOKED_KEYS: Final = 64
KEY_ID_BYTES: Final = 32
LARGEST_VERSION: Final = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRecord:
    """The keys and rules that one product's devices, stations and tools trust.

    Attributes:
        product: Name of the product; a record of another product is never accepted.
        version: Rises with each record, from 1.
        roles: The keys of each role; root is always there.
        minimum_policy_version: Oldest limits policy whose approvals still count.
        revoked_key_ids: Full key ids that count nowhere, also not in certificates.
        factory_ca_der: Certificate of the factory CA, DER; empty where there is none yet.
        boards_verify: What the product's boards verify beyond ECDSA P-256 and Ed25519.
    """

    product: str
    version: int
    roles: Mapping[Role, RoleKeys]
    minimum_policy_version: int
    revoked_key_ids: frozenset[bytes] = field(default_factory=frozenset)
    factory_ca_der: bytes = b""
    boards_verify: frozenset[Algorithm] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", MappingProxyType(dict(self.roles)))
        object.__setattr__(self, "revoked_key_ids", frozenset(self.revoked_key_ids))
        _refuse_unusable(self)

    def verify(
        self,
        untrusted_bytes: bytes,
        role: Role,
        *,
        content_type: str,
        max_bytes: int = MAX_MESSAGE_BYTES,
    ) -> bytes:
        """Verify that a role signed a message, and return what it signed.

        COSE_Sign is accepted for every role, COSE_Sign1 where the role's threshold is 1.

        Args:
            untrusted_bytes: The message.
            role: Who must have signed it.
            content_type: What the payload must say it is.
            max_bytes: Longest message that is looked at.

        Returns:
            The payload.

        Raises:
            CoseError: Not a message in our shape, or another content type.
            SignatureError: It was changed after signing.
            UnknownKeyError: It is signed by no key of the role.
            RevokedKeyError: Revoked keys would be needed to reach the threshold.
            ThresholdError: Too few keys of the role signed it.
        """
        message = parse_message(untrusted_bytes, max_bytes=max_bytes)
        refuse_content_type(message, content_type)
        self.verify_message(message, role)
        return message.payload

    def verify_message(self, message: CoseMessage, role: Role) -> frozenset[bytes]:
        """Verify that a role signed a message whose shape was checked.

        Returns:
            Full ids of the role's keys that signed, a threshold of them at least.

        Raises:
            SigningError: As `verify`.
        """
        role_keys = self.keys_of(role)
        if message.is_sign1 and role_keys.threshold > 1:
            raise CoseError(
                "a message can carry one signature and its role needs more",
                expected=f"COSE_Sign with {role_keys.threshold} keys of the role {role}",
                got="COSE_Sign1",
                where=self._where,
            )
        active = [key for key in role_keys.keys if key.key_id not in self.revoked_key_ids]
        key_ids = verify_signatures(message, active)
        if len(key_ids) < role_keys.threshold:
            raise self._too_few(message, role, key_ids)
        return key_ids

    def keys_of(self, role: Role) -> RoleKeys:
        """Return the keys of a role, revoked ones among them.

        Raises:
            TrustError: The record gives the role to nobody.
        """
        role_keys = self.roles.get(role)
        if role_keys is None:
            raise TrustError(
                f"nobody holds the role {role}",
                expected=f"keys for {role}",
                got=", ".join(sorted(self.roles)),
                where=self._where,
                hint="add the role's keys to the trust record and have root sign it",
            )
        return role_keys

    def verify_certificate(
        self, untrusted_der: bytes, *, now: datetime, kind: CertificateKind | None = None
    ) -> Certificate:
        """Verify that this record's factory CA issued a certificate whose key is not revoked.

        Implements docs/spec/trust.md §6.3.

        Args:
            untrusted_der: The certificate.
            now: The present, aware.
            kind: What the holder must be; `None` leaves it to the caller to look.

        Raises:
            CertificateError: It is not issued by the CA, not yet valid, or of another kind.
            RevokedKeyError: Its key is revoked.
            TrustError: The record names no factory CA.
        """
        from signing.certificates import verify_certificate

        if not self.factory_ca_der:
            raise TrustError(
                "the trust record names no factory CA",
                where=self._where,
                hint="have root sign a record with the factory CA's certificate",
            )
        certificate = verify_certificate(untrusted_der, self.factory_ca_der, now=now, kind=kind)
        self.refuse_revoked(certificate.public_key)
        return certificate

    def refuse_revoked(self, key: PublicKey) -> None:
        """Refuse a key that this record revokes, for keys that come in certificates.

        Raises:
            RevokedKeyError: The key is revoked.
        """
        if key.key_id in self.revoked_key_ids:
            raise RevokedKeyError(
                "a key is revoked", got=f"key {key.key_id.hex()}", where=self._where
            )

    @property
    def _where(self) -> str:
        return f"trust record {self.product} version {self.version}"

    def _too_few(self, message: CoseMessage, role: Role, key_ids: frozenset[bytes]) -> TrustError:
        role_keys = self.roles[role]
        kids = {signature.kid for signature in message.signatures}
        revoked = sorted(key for key in self.revoked_key_ids if key[:KID_BYTES] in kids)
        expected = (
            f"{role_keys.threshold} of the {role} keys "
            f"{', '.join(key.key_id.hex()[:16] for key in role_keys.keys)}"
        )
        signed = ", ".join(sorted(kid.hex() for kid in kids))
        if revoked:
            return RevokedKeyError(
                f"a message for the role {role} is signed by a revoked key",
                expected=expected,
                got=f"revoked {', '.join(key.hex() for key in revoked)}",
                where=self._where,
                hint=f"sign it again with a key that still holds the role {role}",
            )
        if not key_ids:
            others = {
                str(other)
                for other, held in self.roles.items()
                if other is not role and any(kid_of(key) in kids for key in held.keys)
            }
            holder = f", which holds {', '.join(sorted(others))}" if others else ""
            return UnknownKeyError(
                f"a message is signed by no key of the role {role}",
                expected=expected,
                got=signed + holder,
                where=self._where,
                hint=f"have a key holder of the role {role} sign it",
            )
        return ThresholdError(
            f"too few keys of the role {role} signed a message",
            expected=expected,
            got=f"{len(key_ids)} of them: {', '.join(sorted(key.hex()[:16] for key in key_ids))}",
            where=self._where,
            hint=f"have another key holder of the role {role} sign it",
        )


def _refuse_unusable(record: TrustRecord) -> None:
    where = f"trust record {record.product!r} version {record.version}"
    is_printable = record.product.isascii() and record.product.isprintable()
    if not is_printable or not 1 <= len(record.product) <= 64:  # noqa: PLR2004 - docs/spec/trust.md §3
        raise TrustError(
            "a product's name cannot be used", expected="1 to 64 printable ASCII characters"
        )
    for name, number, lowest in (
        ("version", record.version, 1),
        ("minimum policy version", record.minimum_policy_version, 0),
    ):
        if not lowest <= number <= LARGEST_VERSION:
            raise TrustError(
                f"a trust record's {name} is out of range",
                expected=f"{lowest} to {LARGEST_VERSION}",
                got=number,
                where=where,
                hint="versions count up from one, a step at a time",
            )
    if len(record.revoked_key_ids) > MAX_REVOKED_KEYS or any(
        len(key_id) != KEY_ID_BYTES for key_id in record.revoked_key_ids
    ):
        raise TrustError(
            "a trust record's list of revoked keys cannot be used",
            expected=f"at most {MAX_REVOKED_KEYS} key ids of {KEY_ID_BYTES} bytes",
            where=where,
        )
    if Role.ROOT not in record.roles:
        raise TrustError("a trust record names no root keys", where=where)
    refuse_unfit_algorithms(record.roles, record.boards_verify, where=where)
    _refuse_shared_keys(record.roles, where)
    _refuse_unreachable_thresholds(record, where)


def _refuse_shared_keys(roles: Mapping[Role, RoleKeys], where: str) -> None:
    # Two roles on one key are one person or one machine, which is what roles are there to prevent.
    holder: dict[bytes, Role] = {}
    for role, role_keys in roles.items():
        for key in role_keys.keys:
            other = holder.setdefault(kid_of(key), role)
            if other is not role:
                raise TrustError(
                    "one key holds two roles",
                    expected="each role on keys of its own",
                    got=f"{key.key_id.hex()[:16]} for {other} and {role}",
                    where=where,
                    hint="make another key with `ampforge key generate`",
                )


def _refuse_unreachable_thresholds(record: TrustRecord, where: str) -> None:
    for role, role_keys in record.roles.items():
        active = sum(key.key_id not in record.revoked_key_ids for key in role_keys.keys)
        # Root must survive the loss of one key: nothing else can replace root.
        needed = role_keys.threshold + (1 if role is Role.ROOT else 0)
        if active < needed:
            raise TrustError(
                f"the role {role} has too few keys",
                expected=f"{needed} keys that are not revoked, for a threshold of "
                f"{role_keys.threshold}",
                got=active,
                where=where,
                hint="add a key; root keeps one more than it needs, so that one can be lost",
            )
