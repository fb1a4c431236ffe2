"""Trust records that follow the first one, and publishers that hold their keys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from manifests.root_rotation import rotate_root
from manifests.store import FolderStore
from manifests.trust_publication import publish_trust
from signing.key_life import rotate_key
from signing.roles import Role
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import signer
from tests.manifests.world import NOW, open_publisher, signers, trust

if TYPE_CHECKING:
    from pathlib import Path

    from manifests.publishing import Publisher
    from manifests.trust_publication import TrustPublication
    from signing.signers import SoftwareSigner
    from signing.trust_record import TrustRecord


@dataclass(frozen=True, kw_only=True)
class TrustStep:
    """A record in force, signed, with the private keys that it names and those that signed it."""

    record: TrustRecord
    signed: bytes
    keys: dict[Role, tuple[SoftwareSigner, ...]]
    root_keys: tuple[SoftwareSigner, ...]

    def publisher(self, folder: Path) -> Publisher:
        base = open_publisher(folder)
        return replace(base, store=FolderStore(folder), trust=self.record, signers=self.keys)

    def publish(self, folder: Path, *, old_root: tuple[SoftwareSigner, ...] = ()) -> None:
        """What `ampforge repo rotate` does."""
        publisher = self.publisher(folder)
        keys = self.keys | {Role.ROOT: (*self.keys[Role.ROOT], *old_root)}
        rotate_root(publisher.store, self.record, keys, publisher.settings, now=NOW)
        self.publish_record(folder)

    def publish_record(self, folder: Path) -> TrustPublication:
        return publish_trust(self.publisher(folder), self.signed, now=NOW)


def first_step() -> TrustStep:
    from tests.manifests.world import trust_bytes

    keys = signers()
    return TrustStep(
        record=trust(), signed=trust_bytes(), keys=keys, root_keys=tuple(keys[Role.ROOT])
    )


def next_step(
    before: TrustStep,
    role: Role | None = None,
    old: str = "",
    new: str = "",
    *,
    minimum_policy_version: int | None = None,
) -> TrustStep:
    """The record with another key in place of a revoked one, or a higher policy version."""
    record, keys = replace(before.record, version=before.record.version + 1), dict(before.keys)
    if role is not None:
        record = rotate_key(
            before.record, signer(old).public_key.key_id, signer(new).public_key, is_revoked=True
        )
        keys[role] = (*(key for key in keys[role] if key is not signer(old)), signer(new))
    if minimum_policy_version is not None:
        record = replace(record, minimum_policy_version=minimum_policy_version)
    # Old root keys sign along, but for a revoked one.
    roots = {key.public_key.key_id: key for key in (*keys[Role.ROOT], *before.root_keys)}
    signing = [key for key_id, key in roots.items() if key_id not in record.revoked_key_ids]
    return TrustStep(
        record=record,
        signed=sign_trust_record(record, signing),
        keys=keys,
        root_keys=tuple(keys[Role.ROOT]),
    )
