"""Which algorithms the keys of a role may have: what those who verify for the role can do.

Implements docs/spec/trust.md §2.1. Boards verify what most roles sign, in messages of bounded
length, and a board that meets a key it cannot use refuses the whole trust record. So a record that
would shut boards out is refused here, before root is asked to sign it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signing.algorithms import (
    BOARD_ALGORITHMS,
    CERTIFICATE_ALGORITHMS,
    MESSAGE_ALGORITHMS,
    SECURE_BOOT_ALGORITHMS,
    Algorithm,
)
from signing.errors import TrustError
from signing.roles import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signing.roles import RoleKeys

FURTHER_ALGORITHMS: Final = MESSAGE_ALGORITHMS - BOARD_ALGORITHMS
"""What a trust record may say that its product's boards verify, too."""

# Roles whose signatures boards do not read, or read in certificates; of all others they do.
_FIXED: Final[Mapping[Role, frozenset[Algorithm]]] = MappingProxyType(
    {
        Role.SECURE_BOOT: SECURE_BOOT_ALGORITHMS,
        Role.TIMESTAMP: MESSAGE_ALGORITHMS,
        Role.SNAPSHOT: MESSAGE_ALGORITHMS,
        Role.STATION: CERTIFICATE_ALGORITHMS,
        Role.FACTORY_CA: CERTIFICATE_ALGORITHMS,
    }
)
SIGNATURE_ROOM_BYTES: Final[Mapping[Role, int]] = MappingProxyType(
    {Role.RELEASE: 512, Role.CAMPAIGN: 128, Role.FRESHNESS: 512}
)
"""What the longest manifest, assignment and answer leave of 1024 bytes for their signatures."""

# One signature of COSE_Sign with its headers (docs/spec/cose.md §5).
ENTRY_BYTES: Final[Mapping[Algorithm, int]] = MappingProxyType(
    {
        Algorithm.ECDSA_P256: 82,
        Algorithm.ECDSA_P384: 115,
        Algorithm.ED25519: 82,
        Algorithm.RSA_3072: 404,
    }
)


def allowed_algorithms(role: Role, boards_verify: frozenset[Algorithm]) -> frozenset[Algorithm]:
    """Return what the keys of a role may sign with.

    Args:
        role: The role.
        boards_verify: What the product's boards verify beyond `BOARD_ALGORITHMS`.
    """
    return _FIXED.get(role, BOARD_ALGORITHMS | boards_verify)


def refuse_unfit_algorithms(
    roles: Mapping[Role, RoleKeys], boards_verify: frozenset[Algorithm], *, where: str
) -> None:
    """Refuse keys by which a role could sign nothing that those who read it would verify.

    Raises:
        TrustError: A key's algorithm is not one of its role's, or the signatures of a threshold of
            keys are longer than the role's messages may be.
    """
    if not boards_verify <= FURTHER_ALGORITHMS:
        raise TrustError(
            "a trust record names algorithms that every board verifies as further ones",
            expected=f"none, or some of {', '.join(sorted(FURTHER_ALGORITHMS))}",
            got=", ".join(sorted(boards_verify)),
            where=where,
        )
    for role, held in roles.items():
        # First, because no firmware changes it.
        _refuse_long_signatures(role, held, where)
        allowed = allowed_algorithms(role, boards_verify)
        for key in held.keys:
            if key.algorithm not in allowed:
                raise TrustError(
                    f"a key of the role {role} is of an algorithm that cannot be verified for it",
                    expected=" or ".join(sorted(allowed)),
                    got=f"{key.algorithm}, key {key.key_id.hex()[:16]}",
                    where=where,
                    hint=_hint(role, boards_verify | {key.algorithm}),
                )


def _refuse_long_signatures(role: Role, held: RoleKeys, where: str) -> None:
    room_bytes = SIGNATURE_ROOM_BYTES.get(role)
    sizes = sorted((ENTRY_BYTES[key.algorithm] for key in held.keys), reverse=True)
    needed_bytes = sum(sizes[: held.threshold])
    if room_bytes is not None and needed_bytes > room_bytes:
        raise TrustError(
            f"the signatures of the role {role} would be too long for the messages boards read",
            expected=f"{held.threshold} of its keys sign in at most {room_bytes} bytes",
            got=f"{needed_bytes} bytes",
            where=where,
            hint="a device message has 1024 bytes; an RSA signature takes 404 of them, P-384 115, "
            "P-256 and Ed25519 82: give the role keys with shorter signatures, or fewer",
        )


def _hint(role: Role, wanted: frozenset[Algorithm]) -> str:
    if role not in _FIXED:
        names = ", ".join(f'"{algorithm}"' for algorithm in sorted(wanted))
        return (
            "boards verify what this role signs: use an ecdsa-p256 key; or, once the firmware of "
            f"every board verifies it, say boards_verify = [{names}] in [signing]"
        )
    if role is Role.SECURE_BOOT:
        return "no chip's boot ROM verifies it: `ampforge key generate --algorithm rsa-3072`"
    return "boards verify it in certificates: use an ecdsa-p256 key"
