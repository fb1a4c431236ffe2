"""Boards that live through an update of each kind while their flash is cut, torn or worn.

A `Kind` is one update: what the board holds before, what the server shows, and what the board must
come to. `Life` is one board: it boots and runs sessions until the update is settled. After each cut
`judge` asks of the flash at rest what the board may never lose. While it lives, its electrodes stay
off and its counters down as long as the new release has not passed its self-test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from firmware_images.bundle import verify_bundle
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.device_record import DeviceRecord
from firmware_images.flash_medium import MemoryFlash
from firmware_images.otadata import begin_boot, read_otadata
from firmware_images.unproven import is_unproven
from manifests.errors import UpdateRefusedError
from manifests.fleet import FleetStore
from manifests.release_deltas import DeltaPlan
from manifests.server_app import RepositoryApp
from manifests.service_parts import ServiceParts
from manifests.transfer import run_session
from manifests.update_device import UpdateDevice
from manifests.update_outcome import Remembered, UpdateResult, remembered_word
from manifests.updater import update_device
from signing.roles import Role
from tests.firmware_images.power_cut import PowerCutError
from tests.firmware_images.release_parts import (
    APP_1_4_0,
    APP_1_5_0,
    build_inputs,
    build_parts,
    signer,
)
from tests.manifests.test_update_delta import HEATSHRINK
from tests.manifests.trust_steps import first_step, next_step
from tests.manifests.world import (
    FLASH_BYTES,
    NOW,
    PARTITIONS,
    RULES,
    AppTransport,
    Board,
    bundle,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
    open_publisher,
    trust,
)

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.flash_medium import FlashMedium
    from manifests.update_outcome import UpdateOutcome
    from signing.trust_record import TrustRecord

OLD_APP, NEW_APP = APP_1_4_0.read_bytes(), APP_1_5_0.read_bytes()
APPS = (OLD_APP, NEW_APP)
SESSIONS_MAX = 24
FIRST_KINDS = ("full", "delta", "waveform-only", "key-rotation", "revert", "crash")
LATER_KINDS = {"second": "full", "after-revert": "revert", "after-crash": "crash"}
"""A further release, for a board that went through one of the others."""
KINDS = (*FIRST_KINDS, *LATER_KINDS)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One update.

    Attributes:
        name: What it is.
        transport: The server.
        factory: The flash before it.
        pairs: Release counter to the application and waveform image that belong together.
        final_counter: The release that the board must end with.
        trust_version: The trust record that it must end with.
        failure: What the self-test of the new release says.
        crashes: Whether the new release never gets to a session.
        first_slot: The slot that runs before it.
    """

    name: str
    transport: AppTransport
    factory: bytes
    pairs: dict[int, tuple[bytes, bytes]]
    final_counter: int
    trust_version: int = 1
    failure: str | None = None
    crashes: bool = False
    first_slot: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether the board ends with the new release."""
        return self.final_counter == max(self.pairs)


class QuickBoard(Board):
    """A board that knows the two applications by their bytes, and whose electrodes are watched."""

    has_passed = False

    def boot(self) -> None:
        super().boot()
        record = DeviceRecord(self.flash, PARTITIONS.find("devrec"))
        otadata = PARTITIONS.find("otadata")
        is_off = is_unproven(self.flash, otadata, record, slot=self.running_slot)
        self.is_output_on = not is_off

    def self_test(self) -> str | None:
        assert not self.is_output_on, "the electrodes are on in the self-test"
        self.has_passed = self.failure is None
        return self.failure

    @property
    def running_app(self) -> bytes | None:
        offset_bytes = PARTITIONS.find(f"ota_{self.running_slot}").offset_bytes
        for app in APPS:
            if self.flash.read(offset_bytes, len(app)) == app:
                return app
        return None

    @property
    def running_app_sha256(self) -> bytes:
        app = self.running_app
        assert app is not None, "what runs is no release"
        return hashlib.sha256(app).digest()


@dataclass(kw_only=True)
class Life:
    """One board and its flash."""

    kind: Kind
    flash: FlashMedium
    factory: bytes = b""
    floors: tuple[int, ...] = (0, 0, 0, 0, 0)
    has_passed: bool = False
    device: UpdateDevice = field(init=False)

    def __post_init__(self) -> None:
        self.flash.content[:] = self.factory or self.kind.factory
        self.reset()

    def reset(self) -> None:
        """Power on: nothing is left but the flash."""
        board = QuickBoard(self.flash)
        self.device = UpdateDevice(medium=self.flash, partitions=PARTITIONS, board=board)

    def live(self) -> None:
        """Boot, and run sessions until the update is settled.

        Raises:
            PowerCutError: The power fails.
        """
        board = self._boot()
        for _ in range(SESSIONS_MAX):
            is_new = board.running_slot != self.kind.first_slot
            if self.kind.crashes and is_new:
                board = self._boot()
                continue
            board.failure = self.kind.failure if is_new else None
            try:
                outcome = self._run_session()
            except UpdateRefusedError as error:
                if "tried this release before" not in error.what:
                    raise
                return
            if outcome.result is UpdateResult.REBOOT_NEEDED:
                self.reset()
                board = self._boot()
            elif not outcome.is_report_due:
                return
        raise AssertionError("the update never settles")

    def _boot(self) -> QuickBoard:
        board = self.device.board
        board.boot()
        self._watch_electrodes()
        return board

    def _run_session(self) -> UpdateOutcome:
        try:
            return run_session(update_device(self.device, RULES), self.kind.transport)
        finally:
            self.has_passed |= self.device.board.has_passed
            self._watch_electrodes()

    def _watch_electrodes(self) -> None:
        board = self.device.board
        is_proven = board.running_slot == self.kind.first_slot or self.has_passed
        assert is_proven or not board.is_output_on, "the electrodes are on before the self-test"

    def judge(self, where: str) -> None:
        """Require what a board may never lose, of the flash at rest."""
        device = self.device
        _, choice = begin_boot(read_otadata(self.flash, device.otadata))
        app = device.app_partition(choice.slot)
        wave = device.waveform_partition(choice.slot)
        booted = [
            counter
            for counter, (app_image, wave_image) in self.kind.pairs.items()
            if self.flash.read(app.offset_bytes, len(app_image)) == app_image
            and self.flash.read(wave.offset_bytes, len(wave_image)) == wave_image
        ]
        assert booted, f"{where}: slot {choice.slot} holds no application with its own table"
        state = device.record.load_update_state()
        floors = (
            state.release_counter,
            state.policy_version_floor,
            state.assignment_sequence,
            state.freshness_sequence,
            device.load_trust().version,
        )
        assert all(now >= before for now, before in zip(floors, self.floors, strict=True)), where
        assert max(booted) >= state.release_counter, f"{where}: it boots an older release"
        is_raised = state.release_counter == max(self.kind.pairs)
        assert self.has_passed or not is_raised, f"{where}: counted before its self-test"
        self.floors = floors

    def judge_end(self, where: str) -> None:
        """Require that the update came to what it must come to."""
        self.judge(where)
        state = self.device.record.load_update_state()
        is_new = self.device.board.running_slot != self.kind.first_slot
        assert is_new == self.kind.is_kept, where
        assert state.pending is None, where
        if self.kind.is_kept:
            assert state.release_counter == self.kind.final_counter, where
            assert remembered_word(state) is Remembered.INSTALLED, where
        else:
            assert state.release_counter < max(self.kind.pairs), where
            assert remembered_word(state) is Remembered.REVERTED, where
        assert self.device.load_trust().version == self.kind.trust_version, where


def survive(life: Life, where: str) -> bool:
    """Live on until the end or a cut; whether there was a cut."""
    try:
        life.live()
    except PowerCutError:
        life.flash.power_on()
        life.judge(where)
        life.reset()
        return True
    return False


@cache
def factory_content() -> bytes:
    return bytes(make_device(MemoryFlash(FLASH_BYTES)).medium.content)


def pair_of(bundle_bytes: bytes, record: TrustRecord) -> tuple[bytes, bytes]:
    """The application and the waveform image of a release, as they lie in slot 0."""
    flash = MemoryFlash(FLASH_BYTES)
    for region in verify_bundle(bundle_bytes, record).flash_regions():
        flash.write(region.offset_bytes, region.content)
    wave = PARTITIONS.find("wave_0")
    app = next(
        app for app in APPS if flash.read(PARTITIONS.find("ota_0").offset_bytes, len(app)) == app
    )
    return app, flash.read(wave.offset_bytes, wave.size_bytes).rstrip(b"\xff")


def make_kind(name: str, folder: Path, *, takes_reports: bool = True) -> Kind:
    """Publish what the update needs, and serve it."""
    if name in LATER_KINDS:
        return make_later_kind(name, folder)
    folder.mkdir(exist_ok=True)
    publisher = make_publisher(folder / "repository")
    record, version, release = trust(), 1, new_bundle()
    plan = None
    if name == "waveform-only":
        release = bundle(release_counter=2, peak_na=200_000)
    if name == "delta":
        plan = DeltaPlan(bases={"base": old_bundle()}, encodings=(HEATSHRINK,))
    if name == "key-rotation":
        # Two records, so that the second root key follows the first: then a release by new keys.
        step = next_step(first_step(), Role.ROOT, "root-1", "root-3")
        step.publish(publisher.store.root, old_root=(signer("root-2"),))
        step = next_step(step, Role.RELEASE, "release-1", "release-4")
        step.publish(publisher.store.root)
        publisher, record, version = (
            step.publisher(publisher.store.root),
            step.record,
            step.record.version,
        )
        release = release_signed_by(step.keys[Role.RELEASE])
    publisher.publish_bundle(release, None, now=NOW, delta_plan=plan)
    fleet = FleetStore(folder / "reports.sqlite") if takes_reports else None
    app = RepositoryApp(
        publisher.store.root,
        ServiceParts(
            trust=record, freshness_signer=signer("freshness-1"), fleet=fleet, clock=lambda: NOW
        ),
    )
    is_kept = name not in {"revert", "crash"}
    return Kind(
        name=name,
        transport=AppTransport(app),
        factory=factory_content(),
        pairs={1: pair_of(old_bundle(), trust()), 2: pair_of(release, record)},
        final_counter=2 if is_kept else 1,
        trust_version=version,
        failure="the DAC does not answer" if name == "revert" else None,
        crashes=name == "crash",
    )


def make_later_kind(name: str, folder: Path) -> Kind:
    """A further release: otadata has two entries by then, both slots and records are in use."""
    before = make_kind(LATER_KINDS[name], folder)
    life = Life(kind=before, flash=MemoryFlash(FLASH_BYTES))
    life.live()
    first_slot = life.device.board.running_slot
    later = bundle(release_counter=3, is_newer_app=first_slot == 0, peak_na=90_000)
    open_publisher(folder / "repository").publish_bundle(later, None, now=NOW)
    running = 2 if before.is_kept else 1
    return replace(
        before,
        name=name,
        factory=bytes(life.flash.content),
        pairs={running: before.pairs[running], 3: pair_of(later, trust())},
        final_counter=3,
        failure=None,
        crashes=False,
        first_slot=first_slot,
    )


def release_signed_by(signers) -> bytes:
    inputs = build_inputs(build_parts(app=APP_1_5_0), release_counter=2)
    return sign_bundle(build_bundle(inputs), signers)
