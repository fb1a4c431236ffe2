"""The messages and images that an update is made of: each fetched, verified, then judged.

Steps 3 to 6 of docs/spec/manifest.md §5. Nothing here writes to flash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_images.approval import refuse_expired_approval, verify_approval
from firmware_images.calibration_record import refuse_uncovered_table, verify_calibration_record
from firmware_images.flash_medium import SECTOR_BYTES
from firmware_images.waveform_slot import parse_waveform_slot
from firmware_images.waveform_table import parse_waveform_table, table_digest
from manifests.assignment import Assignment, verify_assignment
from manifests.errors import UpdateRefusedError
from manifests.freshness import (
    NONCE_BYTES,
    Freshness,
    FreshnessRequest,
    serialize_freshness_request,
    verify_freshness,
)
from manifests.manifest import Manifest, message_digest, verify_manifest
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.slot_writer import Artifact, refuse_wrong_length
from manifests.transfer import Fetch
from manifests.update_checks import (
    judge_assignment,
    judge_freshness,
    judge_manifest,
    judge_sizes,
    judge_table,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from datetime import datetime

    from firmware_images.calibration_record import CalibrationRecord
    from manifests.update_device import UpdateDevice
    from signing.trust_record import TrustRecord

FRESHNESS_PATH = "api/freshness"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release that passed every check that needs no further bytes."""

    assignment: Assignment
    manifest: Manifest
    manifest_sha256: bytes

    @property
    def app(self) -> Artifact:
        """The application image."""
        facts = self.manifest.app
        return Artifact(size_bytes=facts.size_bytes, sha256=facts.sha256)

    @property
    def waveform(self) -> Artifact:
        """The waveform slot image."""
        facts = self.manifest.waveform
        return Artifact(size_bytes=facts.size_bytes, sha256=facts.sha256)


def assignment_path(hardware_class: str) -> str:
    """Return where the assignment of a hardware class is served."""
    return f"device/{hardware_class}/assignment.cose"


def manifest_path(manifest_sha256: bytes) -> str:
    """Return where a manifest is served: by the digest of its signed bytes."""
    return f"device/manifests/{manifest_sha256.hex()}.cose"


def fetch_assignment_bytes(device: UpdateDevice) -> Generator[Fetch, bytes, bytes]:
    """Return the assignment in force as it was shown, unverified."""
    return (
        yield Fetch(path=assignment_path(device.board.hardware_class), max_bytes=MESSAGE_MAX_BYTES)
    )


def accept_assignment(
    device: UpdateDevice, trust: TrustRecord, untrusted_bytes: bytes
) -> Assignment:
    """Return the assignment, verified and not older than the last."""
    assignment = verify_assignment(untrusted_bytes, trust)
    judge_assignment(assignment, device.board, device.record.load_update_state())
    return assignment


def fetch_manifest(
    device: UpdateDevice, trust: TrustRecord, assignment: Assignment
) -> Generator[Fetch, bytes, Release]:
    """Return the release that the assignment names, verified and fit for this board."""
    release = yield from fetch_release(trust, assignment, assignment.manifest_sha256)
    judge_release(device, release)
    return release


def fetch_release(
    trust: TrustRecord, assignment: Assignment, manifest_sha256: bytes
) -> Generator[Fetch, bytes, Release]:
    """Return a release that the assignment names, itself or as a step, verified and not judged."""
    untrusted_bytes = yield Fetch(path=manifest_path(manifest_sha256), max_bytes=MESSAGE_MAX_BYTES)
    digest = message_digest(untrusted_bytes)
    if digest != manifest_sha256:
        raise UpdateRefusedError(
            "the manifest is not the one that the assignment names",
            expected=f"SHA-256 {manifest_sha256.hex()}",
            got=digest.hex(),
            where="manifest",
        )
    manifest = verify_manifest(untrusted_bytes, trust)
    return Release(assignment=assignment, manifest=manifest, manifest_sha256=digest)


def judge_release(device: UpdateDevice, release: Release) -> None:
    """Refuse a release that is not for this board, is older than what it has, or does not fit."""
    manifest, slot = release.manifest, device.inactive_slot
    judge_manifest(manifest, device.board, device.record.load_update_state())
    judge_sizes(manifest, device.app_partition(slot), device.waveform_partition(slot))


def fetch_freshness(
    device: UpdateDevice, trust: TrustRecord, release: Release
) -> Generator[Fetch, bytes, tuple[Freshness, datetime]]:
    """Return the answer to a fresh nonce, and the time that it states."""
    request = FreshnessRequest(
        nonce=device.board.draw_nonce(NONCE_BYTES), hardware_class=device.board.hardware_class
    )
    untrusted_bytes = yield Fetch(
        path=FRESHNESS_PATH,
        max_bytes=MESSAGE_MAX_BYTES,
        body=serialize_freshness_request(request),
    )
    freshness = verify_freshness(untrusted_bytes, trust, request=request)
    now = judge_freshness(
        freshness, release.assignment, release.manifest, device.record.load_update_state()
    )
    return freshness, now


def fetch_waveform(
    device: UpdateDevice, trust: TrustRecord, release: Release, now: datetime
) -> Generator[Fetch, bytes, bytes]:
    """Return the waveform image, approved and within what this unit was verified for."""
    artifact = release.waveform
    pieces: list[bytes] = []
    for offset_bytes in range(0, artifact.size_bytes, SECTOR_BYTES):
        wanted_bytes = min(SECTOR_BYTES, artifact.size_bytes - offset_bytes)
        piece = yield Fetch(
            path=artifact.path, offset_bytes=offset_bytes, max_bytes=wanted_bytes, is_part=True
        )
        refuse_wrong_length(piece, wanted_bytes, where=f"{artifact.path}, {offset_bytes:#x}")
        pieces.append(piece)
    image = b"".join(pieces)
    digest = hashlib.sha256(image).digest()
    if digest != artifact.sha256:
        raise UpdateRefusedError(
            "the waveform image is not the one that the manifest names",
            expected=f"SHA-256 {artifact.sha256.hex()}",
            got=digest.hex(),
            where=artifact.path,
        )
    table_bytes, approval_bytes = parse_waveform_slot(image, where=artifact.path)
    approval = verify_approval(
        approval_bytes,
        trust,
        table_bytes=table_bytes,
        hardware_class=device.board.hardware_class,
    )
    refuse_expired_approval(approval, now=now)
    table = parse_waveform_table(table_bytes, where=artifact.path)
    judge_table(table, release.manifest, table_digest(table_bytes))
    refuse_uncovered_table(_load_calibration(device, trust, now), table)
    return image


def _load_calibration(device: UpdateDevice, trust: TrustRecord, now: datetime) -> CalibrationRecord:
    stored = device.record.calibration.load()
    if stored is None:
        raise UpdateRefusedError(
            "the device was never calibrated: no table may drive it",
            hint="finish the unit at a provisioning station first",
        )
    return verify_calibration_record(
        stored.payload,
        trust.factory_ca_der,
        now=now,
        serial=device.load_identity().serial,
        mac=device.board.mac,
        # It was verified when it was written, and outlives its station (docs/spec/trust.md §8).
        revoked_key_ids=frozenset(),
    )
