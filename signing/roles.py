"""The roles that keys hold, and the keys that hold one (docs/spec/trust.md §2)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from signing.cose_message import kid_of
from signing.errors import TrustError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from signing.keys import PublicKey

MAX_KEYS_PER_ROLE: Final = 8


class Role(StrEnum):
    """What a key may sign (docs/spec/trust.md §2)."""

    ROOT = "root"
    POLICY = "policy"
    RELEASE = "release"
    SECURE_BOOT = "secure-boot"
    CAMPAIGN = "campaign"
    FRESHNESS = "freshness"
    TIMESTAMP = "timestamp"
    SNAPSHOT = "snapshot"
    STATION = "station"
    SUPERVISOR = "supervisor"
    FACTORY_CA = "factory-ca"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleKeys:
    """The keys of one role, and how many of them must sign.

    Attributes:
        threshold: Distinct keys that must sign, at least 1.
        keys: The keys of the role, each once; kept in rising order of key id.
    """

    threshold: int
    keys: tuple[PublicKey, ...]

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.keys, key=lambda key: key.key_id))
        object.__setattr__(self, "keys", ordered)
        if len({kid_of(key) for key in ordered}) != len(ordered):
            raise TrustError("a role names one key twice", expected="each key once")
        if not 1 <= len(ordered) <= MAX_KEYS_PER_ROLE:
            raise TrustError(
                "a role has the wrong number of keys",
                expected=f"1 to {MAX_KEYS_PER_ROLE}",
                got=len(ordered),
            )
        if not 1 <= self.threshold <= len(ordered):
            raise TrustError(
                "a role's threshold cannot be met",
                expected=f"1 to {len(ordered)}, its number of keys",
                got=self.threshold,
            )
