"""A product, its keys, a repository and a finished board: the real parts, with time passed in."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.calibration_record import CalibrationRecord, sign_calibration_record
from firmware_images.device_record import DeviceRecord, IdentityRecord
from firmware_images.flash_medium import MemoryFlash
from firmware_images.otadata import write_boot
from firmware_images.partitions import load_partition_table
from firmware_images.release_constraints import NO_CONSTRAINTS, ReleaseConstraints
from manifests.errors import TransportError
from manifests.manifests_settings import RepositorySettings
from manifests.publishing import Publisher
from manifests.repository import init_repository, publish_files
from manifests.repository_reading import load_repository
from manifests.slot_writer import READ_BYTES
from manifests.store import FolderStore
from manifests.update_device import UpdateDevice
from manifests.update_outcome import UpdateRules
from signing.certificate_issuing import (
    create_ca_certificate,
    issue_certificate,
    issue_station_certificate,
)
from signing.certificate_requests import create_csr
from signing.roles import Role, RoleKeys
from signing.trust import sign_trust_record, verify_trust_record
from signing.trust_record import TrustRecord
from tests.firmware_images.release_parts import (
    APP_1_4_0,
    APP_1_5_0,
    FLARE,
    build_inputs,
    build_parts,
    signer,
    with_secure_version,
)

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.flash_medium import FlashMedium
    from manifests.assignment import Assignment
    from manifests.server_app import RepositoryApp
    from manifests.transfer import Fetch
    from signing.signers import SoftwareSigner

NOW = datetime.now(UTC).replace(microsecond=0)
BEFORE = NOW - timedelta(days=1)
FLASH_BYTES = 4 << 20
HARDWARE_CLASS = "flare-c3"
SERIAL = "FL26A000017"
MAC = bytes.fromhex("02a1b2c3d4e5")
JOB = "job-1"
PARTITIONS = load_partition_table(FLARE / "partitions.csv")
RULES = UpdateRules(chunk_bytes=4096)

ROLE_NAMES = {
    Role.ROOT: (1, "root-1", "root-2"),
    Role.POLICY: (1, "policy-1"),
    Role.RELEASE: (2, "release-1", "release-2-ed", "release-3"),
    Role.CAMPAIGN: (1, "campaign-1"),
    Role.FRESHNESS: (1, "freshness-1"),
    Role.SNAPSHOT: (1, "snapshot-1"),
    Role.TIMESTAMP: (1, "timestamp-1-ed"),
}


@cache
def ca_certificate() -> bytes:
    return create_ca_certificate(signer("factory-ca"), common_name="Flare CA", not_before=BEFORE)


@cache
def station_certificate() -> bytes:
    return issue_station_certificate(
        signer("factory-ca"),
        ca_certificate(),
        signer("station-1").public_key,
        station_name="station 1",
        not_before=BEFORE,
    )


def signers() -> dict[Role, tuple[SoftwareSigner, ...]]:
    """The private keys of every role, as many as its threshold asks for and root's all."""
    return {
        role: tuple(signer(name) for name in (names if role is Role.ROOT else names[:threshold]))
        for role, (threshold, *names) in ROLE_NAMES.items()
    }


@cache
def trust() -> TrustRecord:
    return verify_trust_record(trust_bytes(), current=None)


@cache
def trust_bytes() -> bytes:
    record = TrustRecord(
        product="flare",
        version=1,
        roles={
            role: RoleKeys(
                threshold=threshold, keys=tuple(signer(name).public_key for name in names)
            )
            for role, (threshold, *names) in ROLE_NAMES.items()
        },
        minimum_policy_version=1,
        factory_ca_der=ca_certificate(),
    )
    return sign_trust_record(record, [signer("root-1")])


@cache
def bundle(
    *,
    release_counter: int = 1,
    policy_version: int = 1,
    peak_na: int = 100_000,
    hardware_revision_min: int = 1,
    hardware_revision_max: int = 2,
    hardware_class: str = HARDWARE_CLASS,
    is_newer_app: bool = False,
    secure_version: int = 0,
    constraints: ReleaseConstraints = NO_CONSTRAINTS,
) -> bytes:
    parts = build_parts(
        app=APP_1_5_0 if is_newer_app else APP_1_4_0,
        policy_version=policy_version,
        peak_na=peak_na,
        hardware_class=hardware_class,
    )
    if secure_version:
        parts = replace(parts, app=with_secure_version(parts.app, secure_version))
    inputs = build_inputs(
        parts,
        release_counter=release_counter,
        hardware_class=hardware_class,
        hardware_revision_min=hardware_revision_min,
        hardware_revision_max=hardware_revision_max,
        constraints=constraints,
    )
    return sign_bundle(build_bundle(inputs), [signer("release-1"), signer("release-2-ed")])


def old_bundle() -> bytes:
    return bundle(release_counter=1)


def new_bundle() -> bytes:
    return bundle(release_counter=2, is_newer_app=True)


def make_publisher(folder: Path, *, now: datetime = NOW) -> Publisher:
    """An empty repository in a folder."""
    publisher = open_publisher(folder)
    init_repository(publisher.store, trust(), publisher.signers, publisher.settings, now=now)
    return publisher


def open_publisher(folder: Path) -> Publisher:
    return Publisher(
        store=FolderStore(folder),
        trust=trust(),
        signers=signers(),
        settings=RepositorySettings(),
        draw_bytes=lambda size_bytes: bytes(range(size_bytes)),
    )


class Board:
    """A board's other half: what `BoardControl` asks, over a real otadata and bootloader rule."""

    def __init__(self, flash: FlashMedium) -> None:
        self.flash = flash
        self.hardware_class = HARDWARE_CLASS
        self.hardware_revision = 1
        self.mac = MAC
        self.secure_version = 0
        self.running_slot = 0
        self.session = False
        self.battery = 80
        self.failure: str | None = None
        self.is_output_on = True
        self.nonces = 0

    @property
    def running_app_sha256(self) -> bytes:
        from esptool.bin_image import LoadFirmwareImage

        partition = PARTITIONS.find(f"ota_{self.running_slot}")
        content = self.flash.read(partition.offset_bytes, partition.size_bytes)
        image = LoadFirmwareImage("esp32c3", content)
        import hashlib

        return hashlib.sha256(content[: image.data_length + 32]).digest()

    def raise_secure_version(self) -> None:
        # The descriptor follows the headers of image and first segment: magic, secure version.
        offset = PARTITIONS.find(f"ota_{self.running_slot}").offset_bytes + 24 + 8 + 4
        version = int.from_bytes(self.flash.read(offset, 4), "little")
        self.secure_version = max(self.secure_version, version)

    def in_session(self) -> bool:
        return self.session

    def battery_percent(self) -> int:
        return self.battery

    def electrodes_off(self) -> None:
        self.is_output_on = False

    def electrodes_allowed(self) -> None:
        self.is_output_on = True

    def self_test(self) -> str | None:
        return self.failure

    def draw_nonce(self, size_bytes: int) -> bytes:
        self.nonces += 1
        return self.nonces.to_bytes(size_bytes, "big")

    def boot(self) -> None:
        """Reset: the bootloader follows otadata and marks what it must."""
        self.running_slot = write_boot(self.flash, PARTITIONS.find("otadata")).slot


def put_in_force(publisher: Publisher, assignment: Assignment) -> None:
    """Sign and publish an assignment as it stands, whatever a publisher would have made of it."""
    with publisher.store.exclusively():
        current = load_repository(publisher.store)
        publish_files(
            publisher.store,
            publisher.signers,
            publisher.settings,
            before=current,
            assignments=(publisher.assignment_file(assignment, current),),
            now=NOW,
        )


def make_device(
    flash: FlashMedium | None = None, *, release: bytes | None = None, span_na: int = 400_000
) -> UpdateDevice:
    """A finished unit: flashed as the factory does, with identity, trust and calibration."""
    from firmware_images.bundle import verify_bundle

    flash = flash if flash is not None else MemoryFlash(FLASH_BYTES)
    verified = verify_bundle(release or old_bundle(), trust())
    for region in verified.flash_regions():
        flash.write(region.offset_bytes, region.content)
    device = UpdateDevice(medium=flash, partitions=PARTITIONS, board=Board(flash))
    save_records(device.record, span_na=span_na)
    return device


def fill_other_slots(flash: FlashMedium) -> None:
    """Leave bytes in the slots that do not run: they have to be erased first, and cuts show it."""
    for name in ("ota_1", "wave_1"):
        partition = PARTITIONS.find(name)
        content = random.Random(name).randbytes(partition.size_bytes)
        flash.write(partition.offset_bytes, content)


def save_records(record: DeviceRecord, *, span_na: int) -> None:
    key = signer("device-key")
    csr = create_csr(key, serial_number=SERIAL, mac=MAC.hex(":"), job_id=JOB)
    certificate = issue_certificate(
        signer("factory-ca"),
        ca_certificate(),
        csr,
        expected_serial_number=SERIAL,
        expected_mac=MAC.hex(":"),
        expected_job_id=JOB,
        not_before=BEFORE,
    )
    record.save_identity(
        IdentityRecord(
            serial=SERIAL,
            mac=MAC,
            job_id=JOB,
            private_key_der=key.to_pkcs8_der(),
            certificate_der=certificate,
            confirmed=True,
        )
    )
    record.trust.save(trust_bytes())
    record.calibration.save(calibration(span_na=span_na))


def calibration(*, span_na: int, serial: str = SERIAL, lowest_na: int | None = None) -> bytes:
    record = CalibrationRecord(
        serial=serial,
        mac=MAC,
        job_id=JOB,
        generation=1,
        full_scale_na=1_000_000,
        dac_bits=12,
        gain_ppm=1_021_000,
        offset_na=4200,
        reference_load_ohm=5000,
        output_impedance_ohm=1_000_000,
        verified_min_na=-span_na if lowest_na is None else lowest_na,
        verified_max_na=span_na,
        verified_load_min_ohm=500,
        verified_load_max_ohm=10_000,
        temperature_centi_c=2300,
        instrument="AMPFORGE,SIM,1,1",
        fit_digest=bytes(32),
        created_at=BEFORE,
    )
    return sign_calibration_record(record, signer("station-1"), station_certificate())


class Headers:
    """Request headers as RSGI gives them: by lower-case name."""

    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    def get(self, name: str, default: object = None) -> object:
        return self._fields.get(name, default)


class Request:
    """An RSGI scope and protocol in memory: the interface that the application is served by."""

    def __init__(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.proto = "http"
        self.client = "192.0.2.7"
        self.method = method
        self.path = path
        self.headers = Headers(
            ({"content-length": str(len(body))} if method == "POST" else {}) | (headers or {})
        )
        self._body = body
        self.status = 0
        self.fields: dict[str, str] = {}
        self.content = b""

    async def __aiter__(self):
        for start in range(0, len(self._body), 1000):
            yield self._body[start : start + 1000]
        yield b""

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        assert self.status == 0, "answered twice"
        self.status, self.fields, self.content = status, dict(headers), content

    def response_empty(self, status, headers):
        self._answer(status, headers, b"")

    def response_bytes(self, status, headers, body):
        self._answer(status, headers, body)

    def response_file(self, status, headers, file):
        with open(file, "rb") as stream:  # noqa: PTH123 - as granian does
            self._answer(status, headers, stream.read())

    def response_file_range(self, status, headers, file, start, end):
        with open(file, "rb") as stream:  # noqa: PTH123 - as granian does
            self._answer(status, headers, stream.read()[start:end])


def ask(app: RepositoryApp, request: Request) -> Request:
    asyncio.run(app.__rsgi__(request, request))
    return request


class AppTransport:
    """The server's application without a socket; remembers what was asked."""

    def __init__(self, app: RepositoryApp) -> None:
        self._app = app
        self.paths: list[str] = []

    def fetch(self, fetch: Fetch) -> bytes:
        self.paths.append(fetch.path)
        assert fetch.max_bytes <= READ_BYTES
        if fetch.body is not None:
            request = Request("POST", f"/{fetch.path}", body=fetch.body)
        elif fetch.is_part:
            last = fetch.offset_bytes + fetch.max_bytes - 1
            span = {"range": f"bytes={fetch.offset_bytes}-{last}"}
            request = Request("GET", f"/{fetch.path}", span)
        else:
            request = Request("GET", f"/{fetch.path}")
        ask(self._app, request)
        if request.status >= 300 or len(request.content) > fetch.max_bytes:
            raise TransportError(
                "the server refuses the request",
                got=f"{request.status} {request.content[:80]!r}",
                where=fetch.path,
            )
        return request.content
