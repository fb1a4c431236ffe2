"""The updater's memory does not grow with the application."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from dataclasses import replace

import pytest

from firmware_images.delta import create_delta
from manifests.assignment import ASSIGNMENT_CONTENT_TYPE, serialize_assignment
from manifests.manifest import (
    MANIFEST_CONTENT_TYPE,
    DeltaFacts,
    message_digest,
    serialize_manifest,
)
from manifests.server_app import RepositoryApp
from manifests.service_parts import ServiceParts
from manifests.slot_writer import Artifact
from manifests.transfer import run_session
from manifests.update_outcome import UpdateResult, UpdateRules
from manifests.update_sources import assignment_path, manifest_path
from manifests.updater import update_device
from signing.cose import sign_many, sign_one
from signing.roles import Role
from tests.firmware_images.release_parts import HEATSHRINK, signer
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    PARTITIONS,
    AppTransport,
    Board,
    bundle,
    make_device,
    make_publisher,
    signers,
    trust,
)

KIB = 1024
SIZES_BYTES = (128 * KIB, 1024 * KIB)
PEAK_MAX_BYTES = 512 * KIB
GROWTH_MAX_BYTES = 48 * KIB


class SizedBoard(Board):
    """A board whose running application is known by its digest."""

    digest = bytes(32)

    @property
    def running_app_sha256(self) -> bytes:
        return self.digest


class Sized:
    """A server whose release has an application of any size."""

    def __init__(self, inner, done, app, deltas=(), patch=b""):
        manifest = replace(
            done.manifest,
            app=replace(
                done.manifest.app, size_bytes=len(app), sha256=hashlib.sha256(app).digest()
            ),
            deltas=deltas,
        )
        message = sign_many(
            serialize_manifest(manifest),
            signers()[Role.RELEASE],
            content_type=MANIFEST_CONTENT_TYPE,
        )
        digest = message_digest(message)
        assignment = replace(done.assignment, manifest_sha256=digest)
        self.inner = inner
        self.app_sha256 = manifest.app.sha256
        self.shown = {
            manifest_path(digest): message,
            assignment_path(HARDWARE_CLASS): sign_one(
                serialize_assignment(assignment),
                signer("campaign-1"),
                content_type=ASSIGNMENT_CONTENT_TYPE,
            ),
        }
        for content in (app, patch):
            artifact = Artifact(size_bytes=len(content), sha256=hashlib.sha256(content).digest())
            self.shown[artifact.path] = content
        self.fetched = set()

    def fetch(self, fetch):
        self.fetched.add(fetch.path)
        if fetch.path not in self.shown:
            return self.inner.fetch(fetch)
        end = fetch.offset_bytes + fetch.max_bytes
        return self.shown[fetch.path][fetch.offset_bytes : end]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    publisher = make_publisher(tmp_path_factory.mktemp("repository"))
    done = publisher.publish_bundle(
        bundle(release_counter=2, is_newer_app=True, peak_na=200_000), None, now=NOW
    )
    app = RepositoryApp(
        publisher.store.root,
        ServiceParts(trust=trust(), freshness_signer=signer("freshness-1"), clock=lambda: NOW),
    )
    return AppTransport(app), done


def content_of(size_bytes, seed):
    return random.Random(seed).randbytes(size_bytes)


def peak_bytes(published, kind, size_bytes):
    inner, done = published
    base, app = content_of(size_bytes, 1), content_of(size_bytes, 2)
    deltas, patch = (), b""
    if kind == "waveform-only":
        app = base
    if kind == "delta":
        app = base[: size_bytes // 2] + b"something else" + base[size_bytes // 2 + 14 :]
        delta = create_delta(base, app, (HEATSHRINK,))
        patch = delta.patch
        deltas = (
            DeltaFacts(
                base_size_bytes=len(base),
                base_sha256=hashlib.sha256(base).digest(),
                patch_size_bytes=len(patch),
                patch_sha256=hashlib.sha256(patch).digest(),
                encoding=HEATSHRINK,
            ),
        )
    server = Sized(inner, done, app, deltas, patch)
    device = make_device()
    board = SizedBoard(device.medium)
    board.digest = hashlib.sha256(base).digest()
    device = replace(device, board=board)
    running = PARTITIONS.find("ota_0").offset_bytes
    device.medium.content[running : running + size_bytes] = base
    app_path = Artifact(size_bytes=len(app), sha256=hashlib.sha256(app).digest()).path
    tracemalloc.start()
    try:
        outcome = run_session(update_device(device, UpdateRules()), server)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outcome.result is UpdateResult.REBOOT_NEEDED
    assert (app_path in server.fetched) == (kind == "full")
    target = PARTITIONS.find("ota_1").offset_bytes
    assert device.medium.read(target, len(app)) == app
    return peak


@pytest.mark.parametrize("kind", ["full", "delta", "waveform-only"])
def test_the_peak_of_memory_is_the_same_for_an_image_eight_times_as_large(published, kind):
    peak_bytes(published, kind, SIZES_BYTES[0])  # what is imported and cached once
    small, large = (peak_bytes(published, kind, size_bytes) for size_bytes in SIZES_BYTES)
    assert large < small + GROWTH_MAX_BYTES, (small, large)
    assert large < PEAK_MAX_BYTES, (small, large)
