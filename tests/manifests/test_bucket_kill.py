"""SIGKILL of a real publisher at its uploads to a bucket, while clients read over HTTP."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3

from manifests.assignment import verify_assignment
from manifests.errors import RepositoryError
from manifests.manifest import verify_manifest
from manifests.repository import init_repository
from manifests.repository_audit import Severity, audit_repository
from manifests.repository_reading import load_repository
from manifests.withdrawal import list_withdrawals
from tests.conftest import IS_SOAK
from tests.manifests.bucket_publisher import onto_bucket, pack, publish, withdraw
from tests.manifests.s3_server import serve_bucket
from tests.manifests.test_repository import client
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    new_bundle,
    old_bundle,
    open_publisher,
    trust,
    trust_bytes,
)

TARGET = f"campaigns/{HARDWARE_CLASS}/assignment.cose"
SAMPLE = 1


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A bucket with one release, to be copied."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "flare").mkdir()
    with pytest.MonkeyPatch.context() as patch, serve_bucket(folder) as (endpoint, _):
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        publisher = publisher_on(endpoint)
        init_repository(publisher.store, trust(), publisher.signers, publisher.settings, now=NOW)
        publisher.publish_bundle(old_bundle(), None, now=NOW)
    return folder


def publisher_on(endpoint, **options):
    return onto_bucket(open_publisher(Path("nowhere")), endpoint, **options)


def count_uploads(act, published, folder):
    shutil.copytree(published, folder)
    with serve_bucket(folder) as (endpoint, puts):
        act(publisher_on(endpoint), new_bundle())
        return len(puts)


class Readers:
    """python-tuf's client, one that is kept and a new one each time, and what a device does."""

    def __init__(self, endpoint, folder, root):
        self.url, self.folder, self.root = f"{endpoint}/flare/prod", folder, root
        self.pool, self.reads = urllib3.PoolManager(), 0

    def read(self):
        for name in ("kept", f"new-{self.reads}"):
            reader = client(self.url, self.folder / name, self.root)
            info = reader.get_targetinfo(TARGET)
            assert info is not None
            verify_assignment(Path(reader.download_target(info)).read_bytes(), trust())
        shown = verify_assignment(self.get(f"device/{HARDWARE_CLASS}/assignment.cose"), trust())
        named = self.get(f"device/manifests/{shown.manifest_sha256.hex()}.cose")
        manifest = verify_manifest(named, trust())
        for digest in (manifest.app.sha256, manifest.waveform.sha256):
            content = self.get(f"device/artifacts/{digest.hex()}")
            assert hashlib.sha256(content).digest() == digest
        self.reads += 1

    def get(self, path):
        answer = self.pool.request("GET", f"{self.url}/{path}", retries=False)
        assert answer.status == 200, path
        return answer.data


@pytest.mark.parametrize("act", [publish, withdraw])
def test_a_publisher_killed_at_any_upload_leaves_a_bucket_that_verifies(tmp_path, published, act):
    uploads = count_uploads(act, published, tmp_path / "counted")
    assert uploads > 6
    kills = [(number, edge) for number in range(uploads) for edge in ("before", "after")]
    if not IS_SOAK:
        # The last ones decide what is seen: assignment, timestamp.
        kills = random.Random(f"bucket {act.__name__}").sample(kills[-8:], SAMPLE)
    for kill_at in kills:
        # From the first upload, which takes the lease, to the last one, which gives it back.
        holds_lease = kill_at[0] < uploads - 1 and kill_at != (0, "before")
        holds_lease |= kill_at == (uploads - 1, "before")
        folder = tmp_path / f"{kill_at[1]}-{kill_at[0]}"
        kill_and_finish(kill_at, act, published, folder, holds_lease=holds_lease)


def kill_and_finish(kill_at, act, published, folder, *, holds_lease):
    shutil.copytree(published, folder / "buckets")
    root = (folder / "buckets/flare/prod/metadata/1.root.json").read_bytes()
    processes = []

    def kill(number, edge):
        if (number, edge) == kill_at:
            processes[0].kill()
            processes[0].wait()
        return bool(processes) and (number, edge) == kill_at

    with serve_bucket(folder / "buckets", around_put=kill) as (endpoint, _):
        readers = Readers(endpoint, folder, root)
        readers.read()
        words = [sys.executable, "-m", "tests.manifests.bucket_publisher", endpoint, act.__name__]
        given = pack(open_publisher(Path("nowhere")), trust_bytes(), new_bundle())
        processes.append(subprocess.Popen(words, stdin=subprocess.PIPE))
        with processes[0].stdin as stdin:
            stdin.write(given)
        while processes[0].poll() is None:
            readers.read()
        assert processes[0].returncode == -9, kill_at
        readers.read()
        assert readers.reads > 2
    with serve_bucket(folder / "buckets") as (endpoint, _):
        readers = Readers(endpoint, folder, root)
        later = publisher_on(endpoint, is_later=True)
        found = audit_repository(later.store, trust(), now=NOW)
        ahead = [one for one in found.findings if one.severity is Severity.ERROR]
        # Devices may be one assignment ahead of the timestamp, which was to come next.
        assert all(one.where == f"device/{HARDWARE_CLASS}/assignment.cose" for one in ahead), ahead
        if holds_lease:
            with pytest.raises(RepositoryError, match="somebody else publishes"):
                act(publisher_on(endpoint), new_bundle())
        if act is publish or not list_withdrawals(load_repository(later.store)):
            act(later, new_bundle())
        assert audit_repository(later.store, trust(), now=NOW).is_sound
        readers.read()
