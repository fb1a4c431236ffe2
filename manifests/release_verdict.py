"""Would devices with the trust record in force take a published release: its manifest and table.

The fleet refuses a release from the moment a key behind it is revoked, or its limits policy is too
old: the release role's keys over its manifest, and the policy role's over the approval that lies in
its waveform slot image. Devices ask for both (docs/spec/manifest.md §5, steps 4 and 6); so does
whoever assigns the release, or says what a new trust record did to it. Nothing is written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.approval import verify_approval
from firmware_images.waveform_slot import parse_waveform_slot
from manifests.errors import RepositoryError
from manifests.manifest import verify_manifest
from manifests.repository_reading import read_target
from signing.refusal import refusing_in

if TYPE_CHECKING:
    from manifests.manifest import Manifest
    from manifests.published_releases import PublishedRelease
    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata
    from signing.trust_record import TrustRecord


def verify_published(
    store: Store, metadata: RepositoryMetadata, trust: TrustRecord, release: PublishedRelease
) -> Manifest:
    """Return the manifest of a published release, if devices take it and its table.

    Args:
        store: The repository.
        metadata: Its verified state.
        trust: The product's trust record.
        release: The release.

    Raises:
        DeviceMessageError, SigningError, FirmwareImageError: Devices refuse manifest or table.
        RepositoryError: Its files are missing or damaged.
    """
    entry = metadata.targets.signed.targets[release.target_path]
    manifest = verify_manifest(read_target(store, entry), trust)
    verify_table(store, metadata, trust, manifest)
    return manifest


def verify_table(
    store: Store, metadata: RepositoryMetadata, trust: TrustRecord, manifest: Manifest
) -> None:
    """Verify that the policy role approved the waveform table that a manifest names.

    Args:
        store: The repository.
        metadata: Its verified state.
        trust: The product's trust record.
        manifest: The release's, verified.

    Raises:
        SigningError, FirmwareImageError: Devices refuse the table.
        RepositoryError: The waveform slot image is not listed, missing or damaged.
    """
    where = f"artifacts/{manifest.waveform.sha256.hex()}"
    entry = metadata.targets.signed.targets.get(where)
    if entry is None:
        raise RepositoryError(
            f"the waveform slot image of release {manifest.version} is not listed",
            expected=where,
            got="no such target",
            where="targets.json",
            hint="run `ampforge repo verify`",
        )
    table, approval = parse_waveform_slot(read_target(store, entry), where=where)
    with refusing_in(f"release {manifest.version}"):
        verify_approval(approval, trust, table_bytes=table, hardware_class=manifest.hardware_class)
