"""Whose devices a SUIT envelope is for: identifiers that devices compare, and where the images are.

Implements docs/spec/suit-export.md §1.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Final

from manifests.errors import SuitError

_DOMAIN_MAX: Final = 253
_DOMAIN: Final = re.compile(
    r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])"
)
_BASE_URL: Final = re.compile(r"https?://[!-~]{1,1000}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitIdentity:
    """Whose devices an envelope is for, and where the images are.

    Attributes:
        vendor_domain: The maker's domain, from which vendor and class identifiers are derived.
        base_url: What the paths of the artifacts are appended to; empty makes relative references.
    """

    vendor_domain: str
    base_url: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no domain, or no address."""
        if len(self.vendor_domain) > _DOMAIN_MAX or not _DOMAIN.fullmatch(self.vendor_domain):
            raise SuitError(
                "the maker's domain cannot be read",
                expected="a domain in lower case, like flare.example",
                got=self.vendor_domain[:80],
                hint="correct vendor_domain in [suit], or --vendor-domain; devices compare what is "
                "derived from it, so it stays the same for ever",
            )
        if self.base_url and not _BASE_URL.fullmatch(self.base_url):
            raise SuitError(
                "the address of the repository cannot be read",
                expected="http:// or https:// and what follows",
                got=self.base_url[:80],
                hint="correct base_url in [suit], or --base-url; left out, paths are relative",
            )

    @property
    def vendor_id(self) -> uuid.UUID:
        """The vendor identifier (RFC 9562 §5.5, name space DNS)."""
        return uuid.uuid5(uuid.NAMESPACE_DNS, self.vendor_domain)

    def class_id(self, hardware_class: str, revision: int) -> uuid.UUID:
        """The class identifier of the boards of a hardware class and revision."""
        return uuid.uuid5(self.vendor_id, f"{hardware_class}/{revision}")

    def artifact_uri(self, sha256: bytes) -> str:
        """Where an artifact is."""
        path = f"device/artifacts/{sha256.hex()}"
        return f"{self.base_url.rstrip('/')}/{path}" if self.base_url else path
