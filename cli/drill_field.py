"""A drill's fielded device, and the wire that the thief owns: the product's own updater on both."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from firmware_images.bundle import verify_bundle
from firmware_images.calibration_record import CalibrationRecord, sign_calibration_record
from firmware_images.device_record import IdentityRecord
from firmware_images.flash_medium import MemoryFlash
from manifests.assignment import (
    ALL_DEVICES_PPM,
    ASSIGNMENT_CONTENT_TYPE,
    Assignment,
    parse_assignment,
    serialize_assignment,
)
from manifests.errors import TransportError, UpdateRefusedError
from manifests.freshness import Freshness, parse_freshness_request, sign_freshness
from manifests.manifest import MANIFEST_CONTENT_TYPE, message_digest, serialize_manifest
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.release_files import derive_manifest
from manifests.transfer import run_session
from manifests.update_checks import table_peak_na
from manifests.update_device import UpdateDevice
from manifests.update_outcome import UpdateResult, UpdateRules
from manifests.update_sources import FRESHNESS_PATH, assignment_path, manifest_path
from manifests.updater import update_device
from signing.certificate_issuing import issue_certificate
from signing.certificate_requests import create_csr
from signing.cose import sign_many, sign_one
from signing.cose_message import parse_message
from signing.roles import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cli.drill_world import DrillWorld
    from manifests.transfer import Fetch
    from signing.signers import Signer, SoftwareSigner
    from signing.trust_record import TrustRecord

SERIAL = "DRILL0001"
MAC = bytes.fromhex("02005e000001")
JOB = "drill"
_FULL_BATTERY = 100


class DrillBoard:
    """What the updater asks of a board that lies idle and charged on a table."""

    def __init__(self, world: DrillWorld) -> None:
        self.hardware_class = world.product.hardware_class
        self.hardware_revision = world.product.hardware_revision_min
        self.mac = MAC
        self.running_slot = 0
        self.running_app_sha256 = hashlib.sha256(world.parts.app).digest()
        self.secure_version = 0

    def in_session(self) -> bool:
        """No waveform runs."""
        return False

    def battery_percent(self) -> int:
        """It is charged."""
        return _FULL_BATTERY

    def electrodes_off(self) -> None:
        """There are none."""

    def electrodes_allowed(self) -> None:
        """There are none."""

    def raise_secure_version(self) -> None:
        """There are no eFuses."""

    def self_test(self) -> str | None:
        """It is in order."""
        return None

    def draw_nonce(self, size_bytes: int) -> bytes:
        """Return unpredictable bytes."""
        return secrets.token_bytes(size_bytes)


class Wire:
    """A `manifests.transfer.Transport`: the scratch repository, with what the thief put over it.

    Args:
        repository: The repository's folder.
        over: Files by path that are shown instead.
        freshness: Signs the answers to nonces.
        time_s: What the answers say the time is.
    """

    def __init__(
        self, repository: Path, over: Mapping[str, bytes], *, freshness: Signer, time_s: int
    ) -> None:
        self._repository, self._over = repository, over
        self._freshness, self._time_s = freshness, time_s

    def fetch(self, fetch: Fetch) -> bytes:
        """Return the bytes of a file, or the signed answer to a nonce.

        Raises:
            TransportError: There is no such file.
        """
        if fetch.body is not None:
            if fetch.path != FRESHNESS_PATH:
                raise TransportError("the drill takes no reports", where=fetch.path)
            return self._answer(fetch.body)
        content = self._read(fetch.path)
        return content[fetch.offset_bytes : fetch.offset_bytes + fetch.max_bytes]

    def _read(self, path: str) -> bytes:
        if path in self._over:
            return self._over[path]
        try:
            return (self._repository / path).read_bytes()
        except OSError as error:
            raise TransportError(
                "the repository has no such file", got=error.strerror, where=path
            ) from error

    def _answer(self, body: bytes) -> bytes:
        request = parse_freshness_request(body)
        assignment = read_unverified(self._read(assignment_path(request.hardware_class)))
        return sign_freshness(
            Freshness(
                nonce=request.nonce,
                sequence=self._time_s,
                time_s=self._time_s,
                hardware_class=request.hardware_class,
                assignment_sequence=assignment.sequence,
            ),
            self._freshness,
        )


def read_unverified(message: bytes) -> Assignment:
    """Return what an assignment says, whoever signed it: a server does not judge what it serves."""
    return parse_assignment(parse_message(message, max_bytes=MESSAGE_MAX_BYTES).payload)


def try_update(
    world: DrillWorld,
    signed_record: bytes,
    over: Mapping[str, bytes] | None = None,
    *,
    freshness: Signer,
    time_s: int | None = None,
    installs: bool = True,
) -> None:
    """Let a device that runs release 1 update itself over the wire.

    Args:
        world: The scratch copy.
        signed_record: The trust record that the device holds.
        over: What the thief shows instead of the repository's files.
        freshness: Who answers nonces.
        time_s: The time that the answers say; the drill's present if `None`.
        installs: Whether it is to install; otherwise it must take the assignment and hold back.

    Raises:
        Refusal: The device refused.
    """
    device = make_device(world, signed_record)
    wire = Wire(
        world.repository,
        over or {},
        freshness=freshness,
        time_s=int(world.now.timestamp()) if time_s is None else time_s,
    )
    outcome = run_session(update_device(device, UpdateRules()), wire)
    expected = UpdateResult.REBOOT_NEEDED if installs else UpdateResult.HALTED
    if outcome.result is not expected:
        raise UpdateRefusedError(
            "the device did something else", expected=expected, got=outcome.message
        )


def make_device(world: DrillWorld, signed_record: bytes) -> UpdateDevice:
    """Return a finished unit that runs release 1 and holds this trust record."""
    flash = MemoryFlash(world.product.flash_size_bytes)
    if not world.flash_content:
        release = world.release(
            1, policy=world.enough(Role.POLICY), release=world.enough(Role.RELEASE)
        )
        for region in verify_bundle(release, world.record).flash_regions():
            flash.write(region.offset_bytes, region.content)
        world.flash_content.extend(flash.content)
    flash.content = bytearray(world.flash_content)
    device = UpdateDevice(
        medium=flash, partitions=world.parts.partition_table, board=DrillBoard(world)
    )
    factory = world.factory
    key = world.device_key
    csr = create_csr(key, serial_number=SERIAL, mac=MAC.hex(":"), job_id=JOB)
    device.record.save_identity(
        IdentityRecord(
            serial=SERIAL,
            mac=MAC,
            job_id=JOB,
            private_key_der=key.to_pkcs8_der(),
            certificate_der=issue_certificate(
                factory.ca,
                factory.ca_der,
                csr,
                expected_serial_number=SERIAL,
                expected_mac=MAC.hex(":"),
                expected_job_id=JOB,
                not_before=world.now,
            ),
            confirmed=True,
        )
    )
    device.record.trust.save(signed_record)
    device.record.calibration.save(sign_calibration(world, factory.station, factory.station_der))
    return device


def sign_calibration(world: DrillWorld, station: SoftwareSigner, certificate_der: bytes) -> bytes:
    """Return a calibration record of the drill's device, signed by a station."""
    peak_na = table_peak_na(world.parts.table)
    record = CalibrationRecord(
        serial=SERIAL,
        mac=MAC,
        job_id=JOB,
        generation=1,
        full_scale_na=2 * peak_na,
        dac_bits=12,
        gain_ppm=1_000_000,
        offset_na=0,
        reference_load_ohm=5000,
        output_impedance_ohm=1_000_000,
        verified_min_na=-peak_na,
        verified_max_na=peak_na,
        verified_load_min_ohm=world.product.claim_load_min_ohm,
        verified_load_max_ohm=world.product.claim_load_max_ohm,
        temperature_centi_c=2300,
        instrument="DRILL",
        fit_digest=bytes(32),
        created_at=world.now,
    )
    return sign_calibration_record(record, station, certificate_der)


def forge_release(
    world: DrillWorld,
    bundle_bytes: bytes,
    trust: TrustRecord,
    *,
    release: Sequence[Signer],
    campaign: Signer,
) -> dict[str, bytes]:
    """Return the files that make devices see a bundle as what they are to install.

    Args:
        world: The scratch copy.
        bundle_bytes: The bundle; by the record that the thief knew it is in order.
        trust: That record.
        release: Keys that sign the manifest.
        campaign: Key that signs the assignment: the thief has the server.
    """
    bundle = verify_bundle(bundle_bytes, trust)
    expires_at = world.expires
    manifest = sign_many(
        serialize_manifest(derive_manifest(bundle, issued_at=world.now, expires_at=expires_at)),
        release,
        content_type=MANIFEST_CONTENT_TYPE,
    )
    digest = message_digest(manifest)
    return {
        manifest_path(digest): manifest,
        **{
            f"device/artifacts/{hashlib.sha256(content).hexdigest()}": content
            for content in (bundle.app, bundle.waveform_slot_image)
        },
        **forge_assignment(world, manifest_sha256=digest, campaign=campaign),
    }


def forge_assignment(
    world: DrillWorld,
    *,
    campaign: Signer,
    manifest_sha256: bytes | None = None,
    is_halted: bool = False,
) -> dict[str, bytes]:
    """Return an assignment above all others, signed by a key."""
    path = assignment_path(world.product.hardware_class)
    current = read_unverified((world.repository / path).read_bytes())
    assignment = Assignment(
        product=world.product.name,
        hardware_class=world.product.hardware_class,
        sequence=current.sequence + 100,
        manifest_sha256=manifest_sha256 or current.manifest_sha256,
        campaign="the thief's",
        salt=bytes(16),
        drawn_ppm=ALL_DEVICES_PPM,
        pinned_serial_numbers=(),
        is_halted=is_halted,
        issued_at_s=int(world.now.timestamp()),
        expires_at_s=int(world.expires.timestamp()),
    )
    message = sign_one(
        serialize_assignment(assignment), campaign, content_type=ASSIGNMENT_CONTENT_TYPE
    )
    return {path: message}
