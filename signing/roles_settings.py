"""The section `[signing]` of ampforge.toml: where the trust record and each role's keys are.

```toml
[signing]
trust_record = "trust.cose"

[signing.roles.root]
threshold = 2
keys = ["keys/root-1.pub.pem", "keys/root-2.pub.pem", "keys/root-3.pub.pem"]
signer = ["keys/root-1.pem", "keys/root-2.pem"]

[signing.roles.policy]
keys = ["keys/policy.pub.pem"]
signer = "keys/policy.pem"
```

Paths are relative to the file. Trust is decided by the signed record alone; this section says what
a new record is made from, and which private keys this machine signs with.
"""

from __future__ import annotations

from dataclasses import field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from signing.algorithms import Algorithm
from signing.errors import KeyFileError
from signing.key_files import load_public_key
from signing.key_uris import load_signer
from signing.roles import MAX_KEYS_PER_ROLE, Role, RoleKeys
from signing.value_class import dataclass
from signing.written_checks import keyed, member, path, several, text, whole
from signing.written_table import nested, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from signing.signers import Signer


def _one_or_several(value: object) -> tuple[str, ...]:
    uris: tuple[str, ...] = several(text())([value] if isinstance(value, str) else value)
    return uris


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSettings:
    """One role: who holds it, and the private keys that sign for it here.

    Attributes:
        threshold: Distinct keys that must sign.
        keys: Public key files, PEM.
        signer: URIs of the private keys that this machine has; one may stand alone.
    """

    threshold: int = field(default=1, metadata=written(whole(least=1, most=MAX_KEYS_PER_ROLE)))
    keys: tuple[Path, ...] = field(
        metadata=written(several(path(), least=1, most=MAX_KEYS_PER_ROLE))
    )
    signer: tuple[str, ...] = field(default=(), metadata=written(_one_or_several))

    def load_keys(self, root: Path) -> RoleKeys:
        """Load the role's public keys.

        Args:
            root: Folder that the paths are relative to.

        Raises:
            SigningError: A file is not a public key, or the threshold cannot be met.
        """
        keys = tuple(load_public_key(root / path) for path in self.keys)
        return RoleKeys(threshold=self.threshold, keys=keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSettings:
    """The section `[signing]`.

    Attributes:
        trust_record: The signed trust record's file.
        boards_verify: What the firmware of every board verifies beyond ECDSA P-256 and Ed25519;
            goes into the trust record.
        roles: The roles of this product.
    """

    trust_record: Path = field(default=Path("trust.cose"), metadata=written(path()))
    boards_verify: frozenset[Algorithm] = field(
        default=frozenset(), metadata=written(several(member(Algorithm), into=frozenset))
    )
    roles: dict[Role, RoleSettings] = field(
        metadata=written(keyed(nested(RoleSettings), keys=member(Role)))
    )

    def role(self, role: Role) -> RoleSettings:
        """Return the settings of one role.

        Raises:
            KeyFileError: The section does not name the role.
        """
        settings = self.roles.get(role)
        if settings is None:
            raise KeyFileError(
                f"the configuration names no keys for the role {role}",
                expected=f"a table [signing.roles.{role}]",
                got=", ".join(sorted(self.roles)) or "no role",
                hint=f"make a key with `ampforge key generate` and add [signing.roles.{role}]",
            )
        return settings

    def load_role_keys(self, root: Path) -> dict[Role, RoleKeys]:
        """Load the public keys of every role, for a new trust record.

        Args:
            root: Folder that the paths are relative to.
        """
        return {role: settings.load_keys(root) for role, settings in self.roles.items()}

    def load_signers(
        self, role: Role, root: Path, *, passphrase: Callable[[str], bytes] | None = None
    ) -> tuple[Signer, ...]:
        """Open the private keys that sign for a role on this machine.

        Args:
            role: The role.
            root: Folder that the paths are relative to.
            passphrase: Asked for each key that needs one, by its path or URI as configured.

        Raises:
            KeyFileError: The role names no private key, or one cannot be opened.
        """
        uris = self.role(role).signer
        if not uris:
            raise KeyFileError(
                f"the configuration names no private key for the role {role}",
                expected=f"signer in [signing.roles.{role}]",
                hint="sign on the machine that holds the key, or name the key's file",
            )
        return load_named_signers(uris, root=root, passphrase=passphrase)


def load_named_signers(
    uris: Iterable[str],
    *,
    root: Path | None = None,
    passphrase: Callable[[str], bytes] | None = None,
) -> tuple[Signer, ...]:
    """Open private keys, each with a passphrase of its own.

    Args:
        uris: Their paths or URIs.
        root: Folder that the paths are relative to; `None` for this process's own.
        passphrase: Asked for each key that needs one, by its path or URI as given.

    Raises:
        KeyFileError: A key cannot be opened.
    """
    return tuple(
        load_signer(
            uri if root is None else resolve_key_uri(uri, root),
            passphrase=None if passphrase is None else partial(passphrase, uri),
        )
        for uri in uris
    )


def resolve_key_uri(uri: str, root: Path) -> str:
    """Return the name of a key with its path relative to a folder; other URIs as they are."""
    path = uri.removeprefix("file:").removeprefix("//")
    return uri if ":" in path else str(root / path)
