"""What a repository publishes: the releases in its targets, the assignments in its campaigns.

Reads verified metadata; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firmware_images.release_constraints import (
    NO_CONSTRAINTS,
    ReleaseConstraints,
    constraints_from_document,
)
from manifests.assignment import Assignment, parse_assignment
from manifests.errors import RepositoryError
from manifests.manifest import Manifest, parse_manifest
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.repository_reading import read_target
from manifests.tuf_metadata import entries_of_kind
from signing.cose_message import parse_message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]  # public, without __all__

    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata

MANIFEST_KIND = "manifest"
BUNDLE_KIND = "bundle"
ASSIGNMENT_KIND = "assignment"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRelease:
    """A release that the targets metadata lists.

    Attributes:
        version: For people.
        release_counter: Strictly rising.
        hardware_class: Boards that it is for.
        bundle_sha256: Digest of its release statement.
        manifest_sha256: Names its signed manifest.
        target_path: TUF path of that manifest.
        waivers: What of the limits was waived for it, as `LimitWaiver.to_json` says it.
        constraints: Which devices may take it directly, and until when it is supported.
        replaces: Digests of the manifests before, if it was signed again; the last one last.
    """

    version: str
    release_counter: int
    hardware_class: str
    bundle_sha256: bytes
    manifest_sha256: bytes
    target_path: str
    waivers: tuple[Mapping[str, Any], ...] = ()
    constraints: ReleaseConstraints = NO_CONSTRAINTS
    replaces: tuple[bytes, ...] = ()


def list_releases(metadata: RepositoryMetadata) -> tuple[PublishedRelease, ...]:
    """Return the releases in the targets metadata, the latest last."""
    releases = [
        PublishedRelease(
            version=str(custom["version"]),
            release_counter=int(custom["release_counter"]),
            hardware_class=str(custom["hardware_class"]),
            bundle_sha256=bytes.fromhex(custom["bundle_sha256"]),
            manifest_sha256=bytes.fromhex(entry.hashes["sha256"]),
            target_path=path,
            waivers=tuple(custom.get("waivers", ())),
            constraints=constraints_from_document(custom, where=path),
            replaces=tuple(map(bytes.fromhex, custom.get("replaces", ()))),
        )
        for path, entry, custom in entries_of_kind(metadata.targets, MANIFEST_KIND)
    ]
    return tuple(sorted(releases, key=lambda release: release.release_counter))


def find_release(
    metadata: RepositoryMetadata,
    version: str,
    hardware_class: str | None = None,
    *,
    release_counter: int | None = None,
    is_only: bool = False,
) -> PublishedRelease:
    """Return the published release of a version; of several for one hardware class, the latest.

    Args:
        metadata: The repository's.
        version: The version.
        hardware_class: Which boards; needed where the version is published for several.
        release_counter: Which of several for one hardware class; `None` for the latest.
        is_only: Whether to refuse when several releases for the class have this version.

    Raises:
        RepositoryError: There is none, or it is not clear which.
    """
    releases = list_releases(metadata)
    found = [
        release
        for release in releases
        if release.version == version
        and hardware_class in {None, release.hardware_class}
        and release_counter in {None, release.release_counter}
    ]
    if not found:
        listed = [
            release.version
            if release_counter is None
            else f"{release.version} (counter {release.release_counter})"
            for release in releases
        ]
        raise RepositoryError(
            f"release {version} is not published",
            expected=", ".join(listed) or "a published release",
            got=version
            + ("" if hardware_class is None else f" for {hardware_class}")
            + ("" if release_counter is None else f" (counter {release_counter})"),
            hint="publish its bundle with `ampforge repo publish BUNDLE`",
        )
    classes = sorted({release.hardware_class for release in found})
    if len(classes) > 1:
        raise RepositoryError(
            f"release {version} is published for several hardware classes",
            expected="one of them",
            got=", ".join(classes),
            hint="say which with --hardware-class",
        )
    if is_only and len(found) > 1:
        raise RepositoryError(
            f"release {version} is published with several counters",
            expected="one of them",
            got=", ".join(str(release.release_counter) for release in found),
            hint="say which with --release-counter",
        )
    return found[-1]


def find_bundle(metadata: RepositoryMetadata, release_counter: int) -> tuple[str, TargetFile]:
    """Return path and entry of the bundle that a release was published from.

    Raises:
        RepositoryError: The targets metadata lists none.
    """
    for path, entry, custom in entries_of_kind(metadata.targets, BUNDLE_KIND):
        if custom.get("release_counter") == release_counter:
            return path, entry
    raise RepositoryError(
        "the bundle of a release is not listed",
        expected=f"a bundle with release counter {release_counter}",
        got="none",
        where="targets.json",
        hint="run `ampforge repo verify`",
    )


def list_artifacts(manifest: Manifest) -> tuple[tuple[bytes, int], ...]:
    """Return digest and size of each file that a manifest sends devices to: images and patches."""
    return (
        (manifest.app.sha256, manifest.app.size_bytes),
        (manifest.waveform.sha256, manifest.waveform.size_bytes),
        *((delta.patch_sha256, delta.patch_size_bytes) for delta in manifest.deltas),
    )


def name_extension(release: PublishedRelease | Manifest) -> str:
    """Return the command that signs a release's manifest again, for hints."""
    return (
        f"ampforge repo extend {release.version} --hardware-class {release.hardware_class} "
        f"--release-counter {release.release_counter}"
    )


def name_withdrawal(release: PublishedRelease | Manifest) -> str:
    """Return the command that takes a release back, for hints."""
    return (
        f"ampforge repo withdraw {release.version} --release-counter {release.release_counter} "
        "--reason TEXT"
    )


def refuse_step_back(
    store: Store,
    metadata: RepositoryMetadata,
    releases: Sequence[PublishedRelease],
    manifest: Manifest,
) -> None:
    """Refuse a release that devices with the last one would refuse (docs/spec/manifest.md §5.4).

    Args:
        store: The repository.
        metadata: Its verified state.
        releases: What `list_releases` says of that.
        manifest: The new release's.

    Raises:
        RepositoryError: Its secure version or policy version is below that of the last release for
            the hardware class.
    """
    before = [one for one in releases if one.hardware_class == manifest.hardware_class]
    if not before:
        return
    last = read_listed_manifest(store, metadata, before[-1])
    for what, floor, got in (
        ("secure version", last.app.secure_version, manifest.app.secure_version),
        ("limits policy version", last.waveform.policy_version, manifest.waveform.policy_version),
    ):
        if got < floor:
            raise RepositoryError(
                f"the {what} of release {manifest.version} is below that of release {last.version}",
                expected=f"{floor} or later",
                got=got,
                hint="devices that run the last release would refuse this one: build it again",
            )


def read_listed_manifest(
    store: Store, metadata: RepositoryMetadata, release: PublishedRelease
) -> Manifest:
    """Return the manifest that the targets metadata lists for a release.

    The metadata that names its digest is verified; whose key signed it itself does not matter.
    """
    entry = metadata.targets.signed.targets[release.target_path]
    return open_listed_manifest(read_target(store, entry))


def open_listed_manifest(message: bytes) -> Manifest:
    """Return the manifest in a message that the targets metadata lists, whoever signed it."""
    return parse_manifest(parse_message(message, max_bytes=MESSAGE_MAX_BYTES).payload)


def read_listed_assignment(
    store: Store, metadata: RepositoryMetadata, hardware_class: str
) -> Assignment | None:
    """Return the assignment that the campaign metadata lists, whoever signed it itself.

    For what follows it, and for what people are told: its sequence and draw go on, also when the
    key that signed it was revoked since. The metadata that names its digest is verified; that a
    device accepts it is not.
    """
    entry = metadata.campaign.signed.targets.get(assignment_target_path(hardware_class))
    if entry is None:
        return None
    return open_listed_assignment(read_target(store, entry))


def open_listed_assignment(message: bytes) -> Assignment:
    """Return the assignment in a message that the campaign metadata lists, whoever signed it."""
    return parse_assignment(parse_message(message, max_bytes=MESSAGE_MAX_BYTES).payload)


def assignment_target_path(hardware_class: str) -> str:
    """Return the TUF path of a hardware class's assignment, within campaign's delegation."""
    return f"campaigns/{hardware_class}/assignment.cose"
