"""SIGKILL of a real publisher at its durable steps, while python-tuf's client reads."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from datetime import timedelta
from itertools import count

import pytest

from manifests.assignment import verify_assignment
from manifests.folder_client import FolderClient
from manifests.manifest import verify_manifest
from manifests.publication import AssignmentPlan
from manifests.published_releases import list_releases
from manifests.release_extension import extend_release
from manifests.release_life import withdraw_release
from manifests.repository_audit import Severity, audit_repository
from manifests.repository_reading import load_repository
from manifests.withdrawal import list_withdrawals
from tests.conftest import IS_SOAK
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    make_publisher,
    new_bundle,
    old_bundle,
    open_publisher,
    trust,
)

TARGET = f"campaigns/{HARDWARE_CLASS}/assignment.cose"
STEPS = ("replace", "link", "fsync")
SAMPLE = 3


def publish(folder):
    open_publisher(folder).publish_bundle(new_bundle(), None, now=NOW)


def withdraw(folder):
    withdraw_release(open_publisher(folder), "1.4.0", reason="stops early", now=NOW)


def extend(folder):
    extend_release(open_publisher(folder), "1.4.0", now=NOW + timedelta(hours=1))


def assign(folder):
    plan = AssignmentPlan(campaign="another", drawn_ppm=1)
    open_publisher(folder).publish_plan("1.4.0", plan, now=NOW)


def refresh(folder):
    open_publisher(folder).renew(now=NOW + timedelta(hours=1))


def start(act, folder, kill_at):
    """Fork a publisher that kills itself right before its durable step `kill_at`, or after it."""
    process = os.fork()
    if process:
        return process
    steps = count()
    edge, number = kill_at

    def counted(real):
        def step(*arguments, **options):
            here = next(steps)
            if edge == "before" and here == number:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*arguments, **options)
            finally:  # a link whose name is taken raises, and is a step, too
                if edge == "after" and here == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        return step

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    code = 1
    try:
        act(folder)
        code = 0
    finally:
        os._exit(code)


def read_while_it_runs(process, folder, clients):
    """Read both views until the publisher ended, at least once after; its exit status."""
    reads, status = 0, None
    while True:
        if status is None:
            ended, value = os.waitpid(process, os.WNOHANG)
            status = value if ended else None
            is_last = status is not None
        for client in clients:
            verify_assignment(client.read_target(folder, TARGET), trust())
        read_as_a_device(folder)
        reads += 1
        if is_last:
            return os.waitstatus_to_exitcode(status), reads


def read_as_a_device(folder):
    device = folder / "device"
    shown = verify_assignment((device / HARDWARE_CLASS / "assignment.cose").read_bytes(), trust())
    named = (device / "manifests" / f"{shown.manifest_sha256.hex()}.cose").read_bytes()
    manifest = verify_manifest(named, trust())
    for digest in (manifest.app.sha256, manifest.waveform.sha256):
        content = (device / "artifacts" / digest.hex()).read_bytes()
        assert hashlib.sha256(content).digest() == digest


def make(folder):
    publisher = make_publisher(folder)
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    return (folder / "metadata/1.root.json").read_bytes()


def count_steps(act, folder):
    """How many durable steps there are: the number at which nothing is killed any more."""
    steps, real = 0, {name: getattr(os, name) for name in STEPS}

    def counted(call):
        def step(*arguments, **options):
            nonlocal steps
            steps += 1
            return call(*arguments, **options)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for name, call in real.items():
            patch.setattr(os, name, counted(call))
        act(folder)
    return steps


@pytest.mark.parametrize("act", [publish, withdraw, extend, assign, refresh])
def test_a_publisher_killed_at_any_step_leaves_a_repository_that_verifies(tmp_path, act):
    make(tmp_path / "counted")
    steps = count_steps(act, tmp_path / "counted")
    assert steps > (10 if act is refresh else 15)
    kills = [(edge, number) for number in range(steps) for edge in ("before", "after")]
    if not IS_SOAK:
        kills = random.Random(f"kill {act.__name__}").sample(kills, SAMPLE)
    for edge, number in kills:
        folder = tmp_path / f"{edge}-{number}"
        root = make(folder)
        clients = [FolderClient(root, tmp_path / f"c-{edge}-{number}")]
        clients[0].read_target(folder, TARGET)
        fresh = FolderClient(root, tmp_path / f"f-{edge}-{number}")
        code, _ = read_while_it_runs(start(act, folder, (edge, number)), folder, [*clients, fresh])
        assert code == -signal.SIGKILL, (edge, number, steps)
        found = audit_repository(open_publisher(folder).store, trust(), now=NOW)
        ahead = [f for f in found.findings if f.severity is Severity.ERROR]
        # Devices may be one assignment ahead of the timestamp, which was to come next.
        assert all(f.where == f"device/{HARDWARE_CLASS}/assignment.cose" for f in ahead), ahead
        finish(act, folder)
        after = audit_repository(open_publisher(folder).store, trust(), now=NOW)
        assert after.is_sound, after.findings
        for client in clients:
            client.read_target(folder, TARGET)


def finish(act, folder):
    """Do again what was cut off; a withdrawal or extension that was done already says so."""
    metadata = load_repository(open_publisher(folder).store)
    is_done = list_withdrawals(metadata) or any(one.replaces for one in list_releases(metadata))
    if act in {publish, assign, refresh} or not is_done:
        act(folder)


def test_readers_of_an_undisturbed_publisher_never_see_a_mixture(tmp_path):
    folder = tmp_path / "repository"
    root = make(folder)
    kept = FolderClient(root, tmp_path / "kept")
    kept.read_target(folder, TARGET)

    def many(folder):
        publish(folder)
        for _ in range(5):
            open_publisher(folder).publish_bundle(new_bundle(), None, now=NOW)

    fresh = FolderClient(root, tmp_path / "fresh")
    code, reads = read_while_it_runs(start(many, folder, ("never", -1)), folder, [kept, fresh])
    assert code == 0
    assert reads > 3
