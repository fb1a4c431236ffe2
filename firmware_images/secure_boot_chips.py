"""Which Secure Boot v2 scheme each chip has, from which silicon on, and where one is broken.

Implements docs/spec/secure-boot.md §4. The facts are those of ESP-IDF 6.1's Secure Boot v2 guide
for each chip, and of Espressif's advisory AR2026-006: the boot ROM of four chips accepts some
invalid ECDSA signatures, of either curve and in all revisions so far. P-384 is in the eFuses of the
ESP32-C5 and of the ESP32-P4 from v3.0 on (SECURE_BOOT_SHA384_EN), which are two of the four. A chip
that is not listed is refused.
"""

from __future__ import annotations

from dataclasses import field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from firmware_images.errors import SecureBootError
from signing.keys import Algorithm
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from signing.keys import PublicKey

_RSA, _P256, _P384 = Algorithm.RSA_3072, Algorithm.ECDSA_P256, Algorithm.ECDSA_P384


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureBootChip:
    """What one chip can verify.

    Attributes:
        schemes: Algorithms that its boot ROM verifies.
        first_revision: First silicon with Secure Boot v2, as 100 * major + minor.
        block_count_max: How many signature blocks it looks at.
        broken: Schemes that it has and that do not protect, each with the reason.
    """

    schemes: frozenset[Algorithm]
    first_revision: int = 0
    block_count_max: int = 3
    broken: Mapping[Algorithm, str] = field(default_factory=lambda: MappingProxyType({}))


_ROM_ACCEPTS_BAD: Final = "its boot ROM accepts some invalid ECDSA signatures (AR2026-006)"
_BROKEN_ECDSA: Final[Mapping[Algorithm, str]] = MappingProxyType(
    {_P256: _ROM_ACCEPTS_BAD, _P384: _ROM_ACCEPTS_BAD}
)
_RSA_ONLY: Final = frozenset({_RSA})
_P256_ONLY: Final = frozenset({_P256})
_BOTH: Final = frozenset({_RSA, _P256})
_ALL_THREE: Final = frozenset({_RSA, _P256, _P384})
CHIPS: Final[Mapping[str, SecureBootChip]] = MappingProxyType(
    {
        "esp32": SecureBootChip(schemes=_RSA_ONLY, first_revision=300, block_count_max=1),
        "esp32s2": SecureBootChip(schemes=_RSA_ONLY),
        "esp32s3": SecureBootChip(schemes=_RSA_ONLY),
        "esp32c3": SecureBootChip(schemes=_RSA_ONLY, first_revision=3),
        "esp32c2": SecureBootChip(schemes=_P256_ONLY, block_count_max=1),
        "esp32c6": SecureBootChip(schemes=_BOTH),
        "esp32h2": SecureBootChip(schemes=_BOTH, broken=_BROKEN_ECDSA),
        "esp32c5": SecureBootChip(schemes=_ALL_THREE, broken=_BROKEN_ECDSA),
        "esp32c61": SecureBootChip(schemes=_P256_ONLY, broken=_BROKEN_ECDSA),
        "esp32p4": SecureBootChip(schemes=_ALL_THREE, broken=_BROKEN_ECDSA),
    }
)


def judge_scheme(
    chip: str, keys: Iterable[PublicKey], *, oldest_revision: int, where: str
) -> SecureBootChip:
    """Return what a chip can verify, if it verifies the signatures of these keys, and soundly.

    Args:
        chip: esptool's name of the chip.
        keys: In the order of the blocks.
        oldest_revision: Oldest silicon that the image is for, as 100 * major + minor.
        where: The image, for messages.

    Raises:
        SecureBootError: The silicon lacks the scheme, is too old for it, or is broken in it.
    """
    signing_keys = tuple(keys)
    if chip not in CHIPS:
        raise SecureBootError(
            "it is not known whether this chip has Secure Boot v2",
            expected=", ".join(sorted(CHIPS)),
            got=chip[:80],
            where=where,
            hint="name the chip as esptool does, with --chip or in [product]",
        )
    silicon = CHIPS[chip]
    for algorithm in dict.fromkeys(key.algorithm for key in signing_keys):
        if algorithm not in silicon.schemes:
            raise SecureBootError(
                f"the {chip} does not have this Secure Boot scheme",
                expected=" or ".join(sorted(silicon.schemes)),
                got=str(algorithm),
                where=where,
                hint="sign with a key of a scheme that the chip has",
            )
        if algorithm in silicon.broken:
            sound = sorted(silicon.schemes - silicon.broken.keys())
            raise SecureBootError(
                f"this Secure Boot scheme does not protect an {chip}: {silicon.broken[algorithm]}",
                expected=" or ".join(sound) or "silicon in which this is repaired",
                got=str(algorithm),
                where=where,
                hint="sign with a key of a scheme that holds" if sound else "use another chip",
            )
    if oldest_revision < silicon.first_revision:
        raise SecureBootError(
            f"{chip} silicon as old as this has no Secure Boot v2",
            expected=f"revision {format_revision(silicon.first_revision)} or later",
            got=f"revision {format_revision(oldest_revision)} or later",
            where=where,
            hint="raise the minimum chip revision in the build, or state --chip-revision if no "
            "older silicon is in your boards",
        )
    if len(signing_keys) > silicon.block_count_max:
        raise SecureBootError(
            f"the {chip} looks at fewer signatures than these",
            expected=f"at most {silicon.block_count_max}",
            got=len(signing_keys),
            where=where,
            hint="sign with the key that the boards hold",
        )
    return silicon


def format_revision(revision: int) -> str:
    """Return a chip revision as Espressif writes it, such as `v0.3`."""
    return f"v{revision // 100}.{revision % 100}"
