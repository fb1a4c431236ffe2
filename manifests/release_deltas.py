"""Deltas of a release: from which earlier releases a device may come without the full image.

A delta is no part of a release: the same release has other deltas when other releases are in the
field. So it is made when the release is published, from signed bundles, and stands in the signed
manifest. Its result is always the manifest's application. Implements docs/spec/delta.md §5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_images.bundle import verify_bundle
from firmware_images.delta import create_delta, prove_for_publication
from manifests.errors import RepositoryError
from manifests.manifest import DELTAS_MAX, DeltaFacts
from manifests.repository import NewFile
from signing.refusal import refusing_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firmware_images.bundle import Bundle
    from firmware_images.delta import Delta
    from firmware_images.delta_format import PatchEncoding
    from manifests.manifest import Manifest
    from signing.trust_record import TrustRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaPlan:
    """Which deltas to publish with a release.

    Attributes:
        bases: Bundle files of the releases that devices run, each under a name for errors.
        encodings: What the hardware class declares that it can apply.
    """

    bases: Mapping[str, bytes]
    encodings: Sequence[PatchEncoding]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDelta:
    """A delta that was made and proved, whether it is published or not.

    Attributes:
        base_version: Version of the release that it starts from, for people.
        delta: The patch.
    """

    base_version: str
    delta: Delta


def make_release_deltas(
    bundle: Bundle, plan: DeltaPlan, trust: TrustRecord
) -> tuple[ReleaseDelta, ...]:
    """Return a delta from each base, proved; of two bases with the same application, one.

    Args:
        bundle: The verified release.
        plan: Its bases.
        trust: The product's trust record, which the bases must verify by, too.

    Raises:
        SigningError, FirmwareImageError: A base is refused, or no patch can be made.
        RepositoryError: A base is no earlier release for the same hardware, or there are too many.
    """
    bases: dict[bytes, Bundle] = {}
    for name, untrusted_bytes in plan.bases.items():
        base = verify_bundle(untrusted_bytes, trust, where=name)
        _refuse_other_line(base, bundle, name)
        bases.setdefault(base.app, base)
    if len(bases) > DELTAS_MAX:
        raise RepositoryError(
            "a release has too many deltas",
            expected=f"at most {DELTAS_MAX}",
            got=len(bases),
            where="bases",
            hint="keep those that most devices run; the others take the full image",
        )
    made = []
    for app, base in bases.items():
        version = base.statement.version
        with refusing_in(f"delta from {version}"):
            delta = create_delta(app, bundle.app, plan.encodings)
            prove_for_publication(delta, app, bundle.app)
        made.append(ReleaseDelta(base_version=version, delta=delta))
    return tuple(made)


def describe_deltas(deltas: Sequence[ReleaseDelta]) -> tuple[DeltaFacts, ...]:
    """Return what a manifest says of those that are worth it, in ascending order of bases."""
    facts = (
        DeltaFacts(
            base_size_bytes=delta.base_size_bytes,
            base_sha256=delta.base_sha256,
            patch_size_bytes=len(delta.patch),
            patch_sha256=delta.patch_sha256,
            encoding=delta.encoding,
        )
        for delta in (one.delta for one in deltas if one.delta.is_worthwhile)
    )
    return tuple(sorted(facts, key=lambda one: one.base_sha256))


def build_delta_files(
    deltas: Sequence[ReleaseDelta], custom: Mapping[str, object]
) -> tuple[NewFile, ...]:
    """Return the patches that are worth it as artifacts, each under its digest.

    Args:
        deltas: The release's.
        custom: What the targets metadata says of each of the release's files.
    """
    return tuple(
        NewFile(
            path=f"artifacts/{delta.patch_sha256.hex()}",
            content=delta.patch,
            custom={
                "kind": "delta",
                "base_sha256": delta.base_sha256.hex(),
                "result_sha256": delta.result_sha256.hex(),
                **custom,
            },
            device_path=f"device/artifacts/{delta.patch_sha256.hex()}",
        )
        for delta in (one.delta for one in deltas)
        if delta.is_worthwhile
    )


def refuse_missing_deltas(deltas: Sequence[ReleaseDelta], manifest: Manifest) -> None:
    """Refuse deltas that a manifest, which is signed and published already, does not name.

    Raises:
        RepositoryError: One that is worth it is not in the manifest.
    """
    named = {facts.base_sha256 for facts in manifest.deltas}
    for one in deltas:
        if one.delta.is_worthwhile and one.delta.base_sha256 not in named:
            raise RepositoryError(
                "the release is published already, and its signed manifest names no such delta",
                expected=f"a delta from {one.base_version}",
                got=f"{len(named)} other" if named else "none",
                where=f"manifest of release {manifest.version}",
                hint="give all --delta-from when a release is first published; devices take the "
                "full image meanwhile",
            )


def _refuse_other_line(base: Bundle, bundle: Bundle, name: str) -> None:
    if base.statement.hardware_class != bundle.statement.hardware_class:
        raise RepositoryError(
            "the base of a delta is for other hardware",
            expected=bundle.statement.hardware_class,
            got=base.statement.hardware_class,
            where=name,
        )
    if base.statement.release_counter >= bundle.statement.release_counter:
        raise RepositoryError(
            "the base of a delta is not an earlier release: no device goes back",
            expected=f"a release counter below {bundle.statement.release_counter}",
            got=f"{base.statement.release_counter} (version {base.statement.version})",
            where=name,
            hint="give the bundle that devices run now as --delta-from",
        )
