"""Deltas from publication to the slot: published, used, resumed, and left when anything is off."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.delta_format import PatchCompression, PatchEncoding
from firmware_images.errors import BundleError, DeltaError
from manifests.errors import RepositoryError, UpdateRefusedError
from manifests.release_deltas import DeltaPlan
from manifests.repository_reading import load_repository
from manifests.server_app import RepositoryApp
from manifests.service_parts import ServiceParts
from manifests.transfer import run_session
from manifests.update_outcome import UpdateResult
from manifests.updater import update_device
from signing.errors import SigningError
from tests.conftest import IS_SOAK
from tests.firmware_images.power_cut import CuttableFlash, PowerCutError
from tests.firmware_images.release_parts import (
    APP_1_4_0,
    APP_1_5_0,
    FOREIGN_APP,
    HEATSHRINK,
    build_inputs,
    build_parts,
    signer,
)
from tests.manifests.world import (
    FLASH_BYTES,
    NOW,
    PARTITIONS,
    RULES,
    AppTransport,
    bundle,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
    trust,
)
from tests.reliability_page import figures

if TYPE_CHECKING:
    from manifests.publishing import Publisher

OLD, NEW = APP_1_4_0.read_bytes(), APP_1_5_0.read_bytes()
NEW_SHA256 = hashlib.sha256(NEW).digest()
SAMPLED_CUTS = 16
PLAIN = PatchEncoding(compression=PatchCompression.NONE)
SHELF_BYTES = PARTITIONS.find("ota_1").offset_bytes + -(-len(NEW) // 4096) * 4096


def from_old(*bases: bytes, encodings=(HEATSHRINK,)) -> DeltaPlan:
    named = {f"base-{number}": base for number, base in enumerate(bases or (old_bundle(),))}
    return DeltaPlan(bases=named, encodings=encodings)


@pytest.fixture
def publisher(tmp_path) -> Publisher:
    return make_publisher(tmp_path / "repository")


def serve(publisher: Publisher) -> AppTransport:
    return AppTransport(
        RepositoryApp(
            publisher.store.root,
            ServiceParts(trust=trust(), freshness_signer=signer("freshness-1"), clock=lambda: NOW),
        )
    )


def run(device, transport):
    return run_session(update_device(device, RULES), transport)


def asked_bytes(transport, path: str) -> int:
    return sum(path in asked for asked in transport.paths)


def test_the_patch_is_an_artifact_that_manifest_and_targets_name(publisher):
    done = publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=from_old())
    (facts,) = done.manifest.deltas
    (made,) = done.deltas
    assert facts.base_sha256 == hashlib.sha256(OLD).digest()
    assert (facts.base_size_bytes, facts.encoding) == (len(OLD), HEATSHRINK)
    patch = (publisher.store.root / f"device/artifacts/{facts.patch_sha256.hex()}").read_bytes()
    assert hashlib.sha256(patch).digest() == facts.patch_sha256
    assert len(patch) == facts.patch_size_bytes < 2000
    target = load_repository(publisher.store).targets.signed.targets[
        f"artifacts/{facts.patch_sha256.hex()}"
    ]
    assert target.custom["kind"] == "delta"
    assert target.custom["result_sha256"] == NEW_SHA256.hex() == made.delta.result_sha256.hex()
    assert target.length == len(patch)


def test_a_device_that_runs_the_base_fetches_the_patch_and_not_the_image(publisher):
    done = publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=from_old())
    transport, device = serve(publisher), make_device()
    assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
    assert asked_bytes(transport, done.manifest.deltas[0].patch_sha256.hex()) == 1
    assert asked_bytes(transport, NEW_SHA256.hex()) == 0
    device.board.boot()
    assert device.board.running_app_sha256 == NEW_SHA256
    assert run(device, transport).result is UpdateResult.INSTALLED


def test_a_device_that_runs_something_else_takes_the_full_image(publisher):
    foreign = sign_bundle(
        build_bundle(build_inputs(build_parts(app=FOREIGN_APP), release_counter=1)),
        [signer("release-1"), signer("release-2-ed")],
    )
    done = publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=from_old(foreign))
    assert len(done.manifest.deltas) == 1
    transport, device = serve(publisher), make_device()
    assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
    assert asked_bytes(transport, done.manifest.deltas[0].patch_sha256.hex()) == 0
    assert asked_bytes(transport, NEW_SHA256.hex()) > 1


@pytest.mark.parametrize("change", ["flip", "cut", "long"])
def test_a_patch_that_the_server_changed_costs_its_download_only(publisher, change):
    done = publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=from_old())
    name, transport, device = done.manifest.deltas[0].patch_sha256.hex(), serve(publisher), None

    class Hostile:
        def fetch(self, fetch):
            content = transport.fetch(fetch)
            if name in fetch.path:
                flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
                return {"flip": flipped, "cut": content[:-1], "long": content + b"\0"}[change]
            return content

    device = make_device()
    assert run(device, Hostile()).result is UpdateResult.REBOOT_NEEDED
    assert asked_bytes(transport, NEW_SHA256.hex()) > 1
    device.board.boot()
    assert device.board.running_app_sha256 == NEW_SHA256


def test_a_device_that_is_taken_into_use_refuses_and_does_not_begin_the_full_image(publisher):
    done = publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=from_old())
    name, transport, device = done.manifest.deltas[0].patch_sha256.hex(), serve(publisher), None
    device = make_device()

    class Picked:
        def fetch(self, fetch):
            device.board.session = name in fetch.path
            return transport.fetch(fetch)

    before = device.medium.read(PARTITIONS.find("ota_1").offset_bytes, len(NEW))
    with pytest.raises(UpdateRefusedError, match="in a session"):
        run(device, Picked())
    assert device.medium.read(PARTITIONS.find("ota_1").offset_bytes, len(NEW)) == before
    assert asked_bytes(transport, NEW_SHA256.hex()) == 0
    device.board.session = False
    assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
    assert asked_bytes(transport, NEW_SHA256.hex()) == 0


def test_without_room_behind_the_image_the_full_image_is_taken(publisher):
    publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=from_old())
    transport, device = serve(publisher), make_device()
    tight = replace(PARTITIONS.find("ota_1"), size_bytes=-(-len(NEW) // 4096) * 4096)
    partitions = tuple(tight if p.name == "ota_1" else p for p in PARTITIONS.partitions)
    device = replace(device, partitions=replace(PARTITIONS, partitions=partitions))
    assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
    assert asked_bytes(transport, NEW_SHA256.hex()) > 1


def test_a_cut_at_any_operation_ends_with_the_new_image(publisher):
    publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=from_old())
    transport = serve(publisher)
    factory = bytes(make_device().medium.content)

    def fresh():
        flash = CuttableFlash(FLASH_BYTES)
        device = make_device(flash)
        flash.content[:] = factory
        flash.operations = 0
        device.board.boot()
        return device, flash

    device, flash = fresh()
    run(device, transport)
    count = flash.operations
    points = figures("power cut of a publication's delta, as far as the switch")
    assert points == (str(count), str(SAMPLED_CUTS), "all")
    draw = random.Random(20_260_101)
    chosen = range(count) if IS_SOAK else sorted(draw.sample(range(count), SAMPLED_CUTS))
    for cut_at in chosen:
        device, flash = fresh()
        flash.cut_at, flash.done_bytes = cut_at, draw.choice((0, 1, 30, 2048))
        with pytest.raises(PowerCutError):
            run(device, transport)
        flash.cut_at = None
        device.board.boot()
        while run(device, transport).result is UpdateResult.REBOOT_NEEDED:
            device.board.boot()
        assert device.board.running_app_sha256 == NEW_SHA256, f"cut at {cut_at} of {count}"
    assert asked_bytes(transport, NEW_SHA256.hex()) == 0


def test_above_sixty_percent_the_full_image_is_published_alone(publisher):
    """A patch that is not compressed is as large as its image."""
    done = publisher.publish_bundle(
        new_bundle(), None, now=NOW, delta_plan=from_old(encodings=(PLAIN,))
    )
    (made,) = done.deltas
    assert not made.delta.is_worthwhile
    assert done.manifest.deltas == ()
    assert len(list((publisher.store.root / "device/artifacts").iterdir())) == 2


def test_publishing_again_with_the_same_delta_changes_nothing_and_with_another_is_refused(
    publisher,
):
    first = publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=from_old())
    second = publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=from_old())
    assert first.manifest_sha256 == second.manifest_sha256
    publisher.publish_bundle(bundle(release_counter=3, is_newer_app=True), None, now=NOW)
    before = sorted(publisher.store.root.rglob("*"))
    with pytest.raises(RepositoryError, match="its signed manifest names no such delta"):
        publisher.publish_bundle(
            bundle(release_counter=3, is_newer_app=True), None, now=NOW, delta_plan=from_old()
        )
    assert sorted(publisher.store.root.rglob("*")) == before


def test_two_bases_with_the_same_application_make_one_delta(publisher):
    done = publisher.publish_bundle(
        bundle(release_counter=3, is_newer_app=True),
        None,
        now=NOW,
        delta_plan=from_old(old_bundle(), bundle(release_counter=2, peak_na=200_000)),
    )
    assert len(done.deltas) == len(done.manifest.deltas) == 1


WRONG_BASES = {
    "the-new-release-itself": (new_bundle, RepositoryError, "not an earlier release"),
    "of-other-hardware": (
        lambda: bundle(hardware_class="glow-c3"),
        RepositoryError,
        "for other hardware",
    ),
    "with-the-same-app": (lambda: bundle(is_newer_app=True), DeltaError, "are the same"),
    "torn": (lambda: old_bundle()[:-40], BundleError, "not exactly as it was built"),
    "signed-by-one-of-two": (
        lambda: sign_bundle(build_bundle(build_inputs(build_parts())), [signer("release-1")]),
        SigningError,
        "release",
    ),
    "not-a-bundle": (lambda: b"PK", BundleError, "bundle"),
}


@pytest.mark.parametrize("name", WRONG_BASES)
def test_a_wrong_base_is_refused_and_nothing_is_published(publisher, name):
    base, error, message = WRONG_BASES[name]
    before = sorted(publisher.store.root.rglob("*"))
    with pytest.raises(error, match=message):
        publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=from_old(base()))
    assert sorted(publisher.store.root.rglob("*")) == before
