"""What TUF shows of a repository and what devices read of it agree, whatever was published.

Drawn lives of a repository: releases for two hardware classes, with deltas, steps, ends of support
and secure versions; assignments to all, to one, to nobody, halted; withdrawals and extensions; and
days between them, so that some of it has expired. Then python-tuf's client and a device look at the
result through the real server, and a board is updated by itself and through a gateway.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from firmware_images.delta_format import PatchCompression, PatchEncoding
from firmware_images.device_record import UpdateState
from firmware_images.release_constraints import ReleaseConstraints, constraints_from_document
from manifests.assignment import verify_assignment
from manifests.errors import RepositoryError
from manifests.gateway import Gateway, target_path_of
from manifests.http_transport import HttpTransport
from manifests.manifest import verify_manifest
from manifests.manifests_settings import RepositorySettings
from manifests.publication import AssignmentPlan
from manifests.published_releases import list_releases
from manifests.release_deltas import DeltaPlan
from manifests.release_extension import extend_release
from manifests.release_life import withdraw_release
from manifests.repository import init_repository
from manifests.repository_audit import Severity, audit_repository
from manifests.repository_reading import load_repository
from manifests.server import ServerPlan, serve_in_background
from manifests.transfer import run_session
from manifests.update_outcome import UpdateResult
from manifests.updater import update_device
from manifests.withdrawal import list_withdrawals
from signing.refusal import Refusal
from tests.conftest import IS_SOAK
from tests.manifests.test_repository import client, root_bytes
from tests.manifests.world import (
    NOW,
    RULES,
    SERIAL,
    bundle,
    make_device,
    open_publisher,
    signer,
    trust,
    trust_bytes,
)

DAY = timedelta(days=1)
CLASSES = ("flare-c3", "flare-s3")
LIFETIMES = RepositorySettings(
    root_expires_days=3650,
    targets_expires_days=3650,
    campaign_expires_days=60,
    manifest_expires_days=150,
)
ENCODINGS = (PatchEncoding(compression=PatchCompression.NONE),)


@dataclass(frozen=True, kw_only=True)
class Publish:
    """A release, with the counter that is next."""

    hardware_class: str
    is_newer_app: bool = False
    revisions: tuple[int, int] = (0, 3)
    raised: int = 0
    step_below: int = 0  # how far below its own counter its step lies; 0 for none
    support_days: int | None = None
    has_delta: bool = False
    plan: AssignmentPlan = AssignmentPlan()  # noqa: RUF009 - frozen


@dataclass(frozen=True, kw_only=True)
class Assign:
    release: int
    plan: AssignmentPlan


@dataclass(frozen=True, kw_only=True)
class Withdraw:
    release: int


@dataclass(frozen=True, kw_only=True)
class Extend:
    release: int


@dataclass(frozen=True, kw_only=True)
class Wait:
    days: int


PLANS = st.builds(
    AssignmentPlan,
    campaign=st.sampled_from(["", "a", "b"]),
    drawn_ppm=st.sampled_from([0, 1_000_000]),
    pinned_serial_numbers=st.sampled_from([(), (SERIAL,), ("OTHER",)]),
    is_halted=st.sampled_from([False, False, True]),
)
PUBLISHED = st.builds(
    Publish,
    hardware_class=st.sampled_from([CLASSES[0], *CLASSES]),
    is_newer_app=st.booleans(),
    revisions=st.sampled_from([(0, 3), (0, 3), (1, 1), (2, 4)]),
    raised=st.integers(0, 2),
    step_below=st.sampled_from([0, 0, 1, 2]),
    support_days=st.none() | st.sampled_from([10, 80, 1000]),
    has_delta=st.sampled_from([True, True, False]),
    plan=PLANS,
)
INDICES = st.integers(0, 5)
LATER = st.one_of(
    PUBLISHED,
    PUBLISHED,
    st.builds(Assign, release=INDICES, plan=PLANS),
    st.builds(Withdraw, release=INDICES),
    st.builds(Extend, release=INDICES),
    st.builds(Wait, days=st.sampled_from([1, 20, 70, 160])),
)
LIVES = st.builds(lambda first, later: [first, *later], PUBLISHED, st.lists(LATER, max_size=6))


class Life:
    """A repository that lives through drawn acts, up to the present of this machine."""

    def __init__(self, folder, acts):
        self.publisher = replace(open_publisher(folder), settings=LIFETIMES)
        self.now = NOW - sum((one.days for one in acts if isinstance(one, Wait)), 0) * DAY
        self.secure_version = 0
        self.bundles = []
        init_repository(
            self.publisher.store, trust(), self.publisher.signers, LIFETIMES, now=self.now
        )
        for act in acts:
            before = self.files()
            try:
                self.do(act)
            except RepositoryError:
                assert self.files() == before
                event(f"refused: {type(act).__name__}")
        self.publisher.renew(now=NOW)

    def files(self):
        root = self.publisher.store.root
        return {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}

    def do(self, act):
        match act:
            case Wait():
                self.now += act.days * DAY
            case Publish():
                self.publish(act)
            case Assign() if act.release < len(self.bundles):
                plan = replace(act.plan, campaign=act.plan.campaign or "a")
                self.publisher.publish_plan(plan=plan, **self.name(act.release))
            case Withdraw() if act.release < len(self.bundles):
                withdraw_release(self.publisher, reason="drawn", **self.name(act.release))
            case Extend() if act.release < len(self.bundles):
                extend_release(self.publisher, **self.name(act.release))
                event("a manifest was extended")

    def name(self, index):
        release = self.bundles[index]
        return {
            "version": "1.5.0" if release["is_newer_app"] else "1.4.0",
            "now": self.now,
            "hardware_class": release["hardware_class"],
            "release_counter": release["release_counter"],
        }

    def publish(self, act):
        counter = len(self.bundles) + 1
        ends_at = self.now + (act.support_days or 0) * DAY
        facts = {
            "release_counter": counter,
            "hardware_class": act.hardware_class,
            "is_newer_app": act.is_newer_app,
            "hardware_revision_min": act.revisions[0],
            "hardware_revision_max": act.revisions[1],
            "secure_version": self.secure_version + act.raised,
            "peak_na": 80_000 + 1000 * counter,
            "constraints": ReleaseConstraints(
                minimum_current_counter=max(counter - act.step_below, 0) if act.step_below else 0,
                support_ends_at_s=int(ends_at.timestamp()) if act.support_days else 0,
            ),
        }
        bases = {
            f"base {base['release_counter']}": bundle(**base)
            for base in self.bundles
            if act.has_delta
            and base["hardware_class"] == act.hardware_class
            and base["is_newer_app"] != act.is_newer_app
        }
        delta_plan = DeltaPlan(bases=dict(list(bases.items())[:3]), encodings=ENCODINGS)
        self.publisher.publish_bundle(
            bundle(**facts), act.plan, now=self.now, delta_plan=delta_plan if bases else None
        )
        self.bundles.append(facts)
        self.secure_version += act.raised


def open_client(life, url, folder):
    updater = client(url, folder, root_bytes(life.publisher))
    updater.refresh()
    return updater


def download(updater, path):
    entry = updater.get_targetinfo(path)
    if entry is None:
        return None, None
    with open(updater.download_target(entry), "rb") as file:  # noqa: PTH123
        return entry, file.read()


def assert_every_file_agrees(life, updater):
    """Each file for devices is a TUF target with the same bytes, or was taken back."""
    metadata = load_repository(life.publisher.store)
    withdrawn = {one.manifest_sha256.hex(): one for one in list_withdrawals(metadata)}
    ends = (*list_releases(metadata), *withdrawn.values())
    extended = {digest.hex(): one for one in ends for digest in one.replaces}
    root = life.publisher.store.root
    shown = [path for path in (root / "device").rglob("*") if path.is_file()]
    for path in shown:
        _, content = download(updater, target_path_of(path.relative_to(root).as_posix()))
        if content is None:
            assert path.parent.name == "manifests"
            if (after := extended.pop(path.stem, None)) is not None:
                manifest = verify_manifest(path.read_bytes(), trust())
                assert manifest.release_counter == after.release_counter
                continue
            _, told = download(updater, f"withdrawals/{path.stem}.json")
            manifest = verify_manifest(path.read_bytes(), trust())
            assert json.loads(told)["release_counter"] == manifest.release_counter
            assert withdrawn.pop(path.stem).hardware_class == manifest.hardware_class
        else:
            assert content == path.read_bytes(), path
    assert not withdrawn
    assert not extended
    listed = {*metadata.targets.signed.targets, *metadata.campaign.signed.targets}
    for_devices = {one for one in listed if not one.startswith(("bundles/", "withdrawals/"))}
    assert for_devices <= {target_path_of(p.relative_to(root).as_posix()) for p in shown}


def assert_every_release_agrees(life, updater):
    """What TUF says of a release and of its artifacts is what its manifest tells a device."""
    for release in list_releases(load_repository(life.publisher.store)):
        entry, message = download(updater, release.target_path)
        manifest, custom = verify_manifest(message, trust()), entry.custom
        assert constraints_from_document(custom, where="custom") == manifest.constraints
        assert custom["secure_version"] == manifest.app.secure_version
        assert custom["hardware_revision_min"] == manifest.hardware_revision_min
        assert custom["hardware_revision_max"] == manifest.hardware_revision_max
        assert custom["release_counter"] == manifest.release_counter
        assert custom["hardware_class"] == manifest.hardware_class
        assert custom["version"] == manifest.version
        assert custom["bundle_sha256"] == manifest.bundle_sha256.hex()
        ends_at_s = manifest.constraints.support_ends_at_s
        assert not ends_at_s or manifest.expires_at_s <= ends_at_s
        artifacts = [
            (manifest.app.sha256, manifest.app.size_bytes, "application", None),
            (manifest.waveform.sha256, manifest.waveform.size_bytes, "waveform slot image", None),
        ]
        artifacts += [
            (delta.patch_sha256, delta.patch_size_bytes, "delta", delta.base_sha256)
            for delta in manifest.deltas
        ]
        for digest, size_bytes, kind, base in artifacts:
            entry = updater.get_targetinfo(f"artifacts/{digest.hex()}")
            assert (entry.hashes["sha256"], entry.length) == (digest.hex(), size_bytes)
            assert entry.custom["kind"] == kind
            if base is not None:
                event("a delta was published")
                assert entry.custom["base_sha256"] == base.hex()
                assert entry.custom["result_sha256"] == manifest.app.sha256.hex()


def assert_every_assignment_agrees(life, updater):
    """An assignment names a manifest that TUF lists for its class; one taken back only halted."""
    metadata = load_repository(life.publisher.store)
    listed = {one.manifest_sha256: one for one in list_releases(metadata)}
    for hardware_class in CLASSES:
        path = life.publisher.store.root / f"device/{hardware_class}/assignment.cose"
        if not path.exists():
            assert updater.get_targetinfo(f"campaigns/{hardware_class}/assignment.cose") is None
            continue
        assignment = verify_assignment(path.read_bytes(), trust())
        entry, _ = download(updater, f"campaigns/{hardware_class}/assignment.cose")
        assert entry.custom["sequence"] == assignment.sequence
        assert entry.custom["campaign"] == assignment.campaign
        named = listed.get(assignment.manifest_sha256)
        if named is None:
            event("the release in force was withdrawn")
            assert assignment.is_halted
        else:
            assert named.hardware_class == hardware_class


def session(hardware_class, counter, transport):
    """Return how a board's session ended, and what then lies in its slots."""
    device = make_device(release=bundle(hardware_class=hardware_class))
    device.board.hardware_class = hardware_class
    device.record.save_update_state(UpdateState(release_counter=counter))
    try:
        outcome = run_session(update_device(device, RULES), transport)
    except Refusal as refusal:
        return refusal, None
    slots = ("ota_0", "ota_1", "wave_0", "wave_1", "otadata")
    found = [device.partitions.find(name) for name in slots]
    return outcome, [device.medium.read(one.offset_bytes, one.size_bytes) for one in found]


def assert_boards_end_alike(life, url, folder):
    """A board installs by itself exactly what it installs through a gateway, and only that."""
    for hardware_class in CLASSES:
        for counter in range(len(life.bundles) + 1):
            with closing(HttpTransport(url)) as direct:
                alone, slots = session(hardware_class, counter, direct)
            with closing(
                Gateway(url, trusted_root=root_bytes(life.publisher), cache=folder / "cache")
            ) as gateway:
                led, slots_led = session(hardware_class, counter, gateway)
            if isinstance(led, Refusal):
                # With its clock a gateway refuses more, but nothing that a board would install.
                is_installed = not isinstance(alone, Refusal) and (
                    alone.result is UpdateResult.REBOOT_NEEDED
                )
                assert not is_installed, (alone, led)
                event(f"refused at the gateway: {led.what[:50]}")
            else:
                assert alone == led
                assert slots == slots_led
                event(f"board: {led.result}")
                if led.result is UpdateResult.REBOOT_NEEDED:
                    assert_may_be_installed(life, hardware_class, counter)


def assert_may_be_installed(life, hardware_class, counter):
    """The release in force, or an assigned step, is listed, supported, and for this counter."""
    root = life.publisher.store.root
    assignment = verify_assignment(
        (root / f"device/{hardware_class}/assignment.cose").read_bytes(), trust()
    )
    assert not assignment.is_halted
    assert assignment.drawn_ppm or SERIAL in assignment.pinned_serial_numbers
    listed = {
        one.manifest_sha256: one for one in list_releases(load_repository(life.publisher.store))
    }
    named = [listed[one] for one in (*assignment.steps_sha256, assignment.manifest_sha256)]
    assert {one.hardware_class for one in named} == {hardware_class}
    assert named[-1].constraints.is_supported(NOW)
    taken = [
        one
        for one in named
        if one.constraints.minimum_current_counter <= counter < one.release_counter
    ]
    assert taken
    event("a release was installed" if taken[-1] is named[-1] else "a step was installed")
    counter_taken = taken[-1].release_counter
    (facts,) = (one for one in life.bundles if one["release_counter"] == counter_taken)
    assert facts["hardware_class"] == hardware_class


@settings(
    max_examples=60 if IS_SOAK else 6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(acts=LIVES)
@example(
    acts=[
        Publish(hardware_class=CLASSES[0]),
        Publish(hardware_class=CLASSES[1], support_days=10),
        Publish(hardware_class=CLASSES[0], is_newer_app=True, has_delta=True, step_below=2),
        Wait(days=20),
        Publish(hardware_class=CLASSES[1], is_newer_app=True, step_below=1),
        Withdraw(release=0),
        Assign(release=2, plan=AssignmentPlan(drawn_ppm=0, pinned_serial_numbers=(SERIAL,))),
    ]
)
@example(
    acts=[
        Publish(hardware_class=CLASSES[0], is_newer_app=True, raised=1),
        Publish(hardware_class=CLASSES[1], support_days=80),
        Wait(days=70),
        Assign(release=1, plan=AssignmentPlan(drawn_ppm=0)),
        Wait(days=20),
        Withdraw(release=0),
    ]
)
@example(
    acts=[
        Publish(hardware_class=CLASSES[0]),
        Publish(hardware_class=CLASSES[1]),
        Publish(hardware_class=CLASSES[0], is_newer_app=True, has_delta=True, step_below=2),
        Wait(days=160),
        Extend(release=0),
        Extend(release=2),
        Extend(release=1),
        Withdraw(release=1),
        Assign(release=2, plan=AssignmentPlan()),
    ]
)
def test_what_tuf_shows_and_what_devices_do_agree(tmp_path_factory, acts):
    folder = tmp_path_factory.mktemp("views")
    life = Life(folder / "repository", acts)
    plan = ServerPlan(
        folder=life.publisher.store.root,
        trust_record=trust_bytes(),
        freshness_key_der=signer("freshness-1").to_pkcs8_der(),
    )
    with serve_in_background(plan) as url:
        assert_boards_end_alike(life, url, folder)
        audit = audit_repository(life.publisher.store, trust(), now=NOW)
        errors = [one.what for one in audit.findings if one.severity is Severity.ERROR]
        if load_repository(life.publisher.store).campaign.signed.expires <= NOW:
            # Nobody has assigned anything for long: clients refuse until somebody does.
            assert [error[:16] for error in errors] == ["campaign expired"]
            return
        assert errors == []
        updater = open_client(life, url, folder / "client")
        assert_every_file_agrees(life, updater)
        assert_every_release_agrees(life, updater)
        assert_every_assignment_agrees(life, updater)


@pytest.mark.parametrize("shown", ["manifests", "assignment", "artifacts"])
def test_the_comparison_finds_a_device_tree_that_was_changed(tmp_path, shown):
    life = Life(tmp_path / "repository", [Publish(hardware_class=CLASSES[0])])
    root = life.publisher.store.root
    path = next(p for p in (root / "device").rglob("*") if p.is_file() and shown in str(p))
    content = path.read_bytes()
    path.unlink()  # artifacts are hard links to their targets
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with serve_in_background(ServerPlan(folder=root)) as url:
        updater = open_client(life, url, tmp_path / "client")
        with pytest.raises(AssertionError):
            assert_every_file_agrees(life, updater)
