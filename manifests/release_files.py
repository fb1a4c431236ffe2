"""From a verified bundle to the files of its release: manifest, artifacts, the bundle itself."""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields
from typing import TYPE_CHECKING

from firmware_images.release_constraints import describe_constraints
from manifests.manifest import AppFacts, Manifest, WaveformFacts, message_digest
from manifests.published_releases import BUNDLE_KIND, MANIFEST_KIND
from manifests.release_deltas import build_delta_files, describe_deltas
from manifests.repository import NewFile
from manifests.update_checks import table_peak_na

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from firmware_images.bundle import Bundle
    from firmware_images.release_statement import ReleaseStatement
    from manifests.release_deltas import ReleaseDelta

_UNFIT = re.compile(r"[^A-Za-z0-9._+-]")


def derive_manifest(
    bundle: Bundle,
    *,
    issued_at: datetime,
    expires_at: datetime,
    deltas: Sequence[ReleaseDelta] = (),
) -> Manifest:
    """Return the manifest of a verified bundle, and of deltas between verified bundles.

    Nothing in it comes from anywhere else.
    """
    statement = bundle.statement
    return Manifest(
        product=statement.product,
        release_counter=statement.release_counter,
        version=statement.version,
        hardware_class=statement.hardware_class,
        hardware_revision_min=statement.hardware_revision_min,
        hardware_revision_max=statement.hardware_revision_max,
        app=AppFacts(
            size_bytes=len(bundle.app),
            sha256=hashlib.sha256(bundle.app).digest(),
            elf_sha256=statement.app.elf_sha256 or b"",
            secure_version=statement.app.secure_version or 0,
        ),
        waveform=WaveformFacts(
            size_bytes=len(bundle.waveform_slot_image),
            sha256=hashlib.sha256(bundle.waveform_slot_image).digest(),
            table_sha256=hashlib.sha256(bundle.table_bytes).digest(),
            policy_version=statement.policy_version,
            peak_na=table_peak_na(bundle.waveform_table),
        ),
        bundle_sha256=bundle.digest,
        issued_at_s=int(issued_at.timestamp()),
        expires_at_s=int(expires_at.timestamp()),
        deltas=describe_deltas(deltas),
        constraints=statement.constraints,
    )


def list_differing_facts(derived: Manifest, manifest: Manifest) -> list[str]:
    """Return what a manifest says otherwise than the one that was derived from its bundle.

    Deltas and times are no part of a bundle.
    """
    apart = {"deltas", "issued_at_s", "expires_at_s"}
    names = [field.name for field in fields(Manifest) if field.name not in apart]
    return [name for name in names if getattr(derived, name) != getattr(manifest, name)]


def build_manifest_file(message: bytes, custom: Mapping[str, object]) -> NewFile:
    """Return the target of a signed manifest, which devices find by its digest, too."""
    digest = message_digest(message).hex()
    return NewFile(
        path=f"manifests/{digest}.cose",
        content=message,
        custom=custom,
        device_path=f"device/manifests/{digest}.cose",
    )


def describe_revisions(release: ReleaseStatement | Manifest) -> dict[str, int]:
    """Return for TUF clients which hardware revisions a release is for, both inclusive."""
    return {
        "hardware_revision_min": release.hardware_revision_min,
        "hardware_revision_max": release.hardware_revision_max,
    }


def build_release_files(
    bundle: Bundle, manifest: bytes, bundle_bytes: bytes, deltas: Sequence[ReleaseDelta] = ()
) -> tuple[NewFile, ...]:
    """Return the files that the release role lists, in the order in which they are written.

    Args:
        bundle: The verified bundle.
        manifest: Its signed manifest.
        bundle_bytes: The bundle's own file.
        deltas: Its deltas; those that are worth it become artifacts.
    """
    statement = bundle.statement
    facts = {
        "version": statement.version,
        "release_counter": statement.release_counter,
        "hardware_class": statement.hardware_class,
    }
    waivers = [waiver.to_json() for waiver in bundle.waivers]
    told = {
        "bundle_sha256": bundle.digest.hex(),
        "secure_version": statement.app.secure_version or 0,
        **describe_revisions(statement),
        **({} if statement.constraints.is_empty else describe_constraints(statement.constraints)),
        **({"waivers": waivers} if waivers else {}),
    }
    artifacts = tuple(
        NewFile(
            path=f"artifacts/{digest}",
            content=content,
            custom={"kind": kind} | facts,
            device_path=f"device/artifacts/{digest}",
        )
        for kind, content in (
            ("application", bundle.app),
            ("waveform slot image", bundle.waveform_slot_image),
        )
        for digest in (hashlib.sha256(content).hexdigest(),)
    )
    name = f"{statement.product}-{statement.version}-{statement.release_counter}"
    name = f"{_UNFIT.sub('-', name)}.bundle.zip"
    return (
        *artifacts,
        *build_delta_files(deltas, facts),
        build_manifest_file(manifest, {"kind": MANIFEST_KIND} | facts | told),
        NewFile(
            path=f"bundles/{statement.hardware_class}/{name}",
            content=bundle_bytes,
            custom={"kind": BUNDLE_KIND} | facts,
        ),
    )
