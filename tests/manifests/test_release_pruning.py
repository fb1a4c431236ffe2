"""What no published release names leaves the list, and devices come to where they came before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firmware_images.release_constraints import ReleaseConstraints
from manifests.errors import RepositoryError
from manifests.folder_client import FolderClient
from manifests.metadata_room import METADATA_VALUES_MAX
from manifests.published_releases import list_artifacts, list_releases, read_listed_manifest
from manifests.release_life import withdraw_release
from manifests.release_pruning import prune_releases
from manifests.repository import NewFile, publish_files
from manifests.repository_audit import audit_repository
from manifests.repository_reading import load_repository
from manifests.transfer import run_session
from manifests.update_outcome import UpdateResult
from manifests.updater import update_device
from manifests.withdrawal import list_withdrawals
from signing.roles import Role
from tests.manifests.test_update_attacks import serve
from tests.manifests.test_update_delta import from_old
from tests.manifests.world import (
    NOW,
    RULES,
    bundle,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
    trust,
)

STEP = bundle(release_counter=3, is_newer_app=True)
BEHIND_STEP = bundle(
    release_counter=4,
    peak_na=120_000,
    constraints=ReleaseConstraints(minimum_current_counter=3),
)


@pytest.fixture
def publisher(tmp_path):
    """Releases 1 and 2, the later with a patch; both with one waveform slot."""
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=from_old())
    return publisher


def files(publisher):
    return {p: p.read_bytes() for p in publisher.store.root.rglob("*") if p.is_file()}


def refuse_unsound(publisher):
    """An audit finds no more than files that may be removed."""
    audit = audit_repository(publisher.store, trust(), now=NOW)
    assert {finding.what for finding in audit.findings} <= {"nothing names this file"}
    assert audit.is_sound


def artifacts(publisher, *, counter=None):
    """Paths of what is listed, or of what one release names."""
    metadata = load_repository(publisher.store)
    if counter is None:
        return {path for path in metadata.targets.signed.targets if path.startswith("artifacts/")}
    (release,) = (one for one in list_releases(metadata) if one.release_counter == counter)
    manifest = read_listed_manifest(publisher.store, metadata, release)
    return {f"artifacts/{digest.hex()}" for digest, _ in list_artifacts(manifest)}


def withdraw(publisher, version, counter=None):
    withdraw_release(publisher, version, reason="nobody needs it", now=NOW, release_counter=counter)


def test_what_a_withdrawn_release_alone_named_leaves_the_list_and_its_files_stay(
    publisher, tmp_path
):
    kept, before = artifacts(publisher, counter=1), artifacts(publisher)
    assert len(before - kept) == 2  # the image and the patch; the slot is that of both
    withdraw(publisher, "1.5.0")
    written = files(publisher)
    pruned = prune_releases(publisher, now=NOW)
    assert set(pruned.paths) == before - kept
    assert pruned.fill_after < pruned.fill_before
    assert artifacts(publisher) == kept
    timestamp = publisher.store.root / "metadata/timestamp.json"
    assert {**files(publisher), timestamp: written[timestamp]}.items() >= written.items()
    refuse_unsound(publisher)
    root = publisher.store.root
    client = FolderClient((root / "metadata/1.root.json").read_bytes(), tmp_path / "client")
    for path in kept:
        assert client.read_target(root, path)
    with pytest.raises(RepositoryError, match="lists no such target"):
        client.read_target(root, pruned.paths[0])


def test_where_published_releases_name_everything_nothing_is_signed(publisher):
    before = files(publisher)
    pruned = prune_releases(publisher, now=NOW)
    assert (pruned.paths, pruned.fill_after) == ((), pruned.fill_before)
    assert files(publisher) == before


def test_a_device_still_comes_to_the_release_by_its_step_after_others_were_dropped(publisher):
    publisher.publish_bundle(STEP, None, now=NOW)
    publisher.publish_bundle(BEHIND_STEP, None, now=NOW)
    withdraw(publisher, "1.5.0", 2)
    assert len(prune_releases(publisher, now=NOW).paths) == 1  # the patch
    device, transport = make_device(), serve(publisher)
    came = []
    for _ in range(5):
        came.append(run_session(update_device(device, RULES), transport).result)
        device.board.boot()
    assert came == [
        *(UpdateResult.REBOOT_NEEDED, UpdateResult.INSTALLED),
        *(UpdateResult.REBOOT_NEEDED, UpdateResult.INSTALLED),
        UpdateResult.UP_TO_DATE,
    ]


def test_a_dropped_image_is_listed_again_with_the_next_release_that_names_it(publisher):
    withdraw(publisher, "1.5.0")
    dropped = prune_releases(publisher, now=NOW).paths
    publisher.publish_bundle(STEP, None, now=NOW)
    assert set(dropped) & artifacts(publisher) == artifacts(publisher, counter=3) - artifacts(
        publisher, counter=1
    )
    refuse_unsound(publisher)


def test_what_was_withdrawn_is_known_for_ever(publisher):
    withdraw(publisher, "1.5.0")
    known = list_withdrawals(load_repository(publisher.store))
    prune_releases(publisher, now=NOW)
    assert list_withdrawals(load_repository(publisher.store)) == known
    for again, words in ((new_bundle(), "withdrawn"), (bundle(release_counter=2), "counter")):
        with pytest.raises(RepositoryError, match=words):
            publisher.publish_bundle(again, None, now=NOW)


def test_a_full_list_takes_releases_again(publisher):
    words = {"values": [0] * int(0.94 * METADATA_VALUES_MAX)}
    publish_files(
        publisher.store,
        publisher.signers,
        publisher.settings,
        releases=(NewFile(path="artifacts/many", content=b"many", custom=words),),
        now=NOW,
    )
    with pytest.raises(RepositoryError, match="list of releases is full") as refused:
        publisher.publish_bundle(STEP, None, now=NOW)
    assert "ampforge repo prune" in refused.value.hint
    assert prune_releases(publisher, now=NOW).paths == ("artifacts/many",)
    assert publisher.publish_bundle(STEP, None, now=NOW).is_new_release


def test_while_a_manifest_cannot_be_read_nothing_is_dropped(publisher):
    withdraw(publisher, "1.5.0")
    (manifest,) = (
        path
        for path in (publisher.store.root / "targets/manifests").iterdir()
        if list_releases(load_repository(publisher.store))[0].manifest_sha256.hex() in path.name
    )
    manifest.write_bytes(b"damaged")
    before = files(publisher)
    with pytest.raises(RepositoryError):
        prune_releases(publisher, now=NOW)
    assert files(publisher) == before


@pytest.mark.parametrize("role", [Role.RELEASE, Role.SNAPSHOT, Role.TIMESTAMP])
def test_without_a_key_nothing_changes(publisher, role):
    withdraw(publisher, "1.5.0")
    before = files(publisher)
    others = {one: held for one, held in publisher.signers.items() if one is not role}
    with pytest.raises(RepositoryError, match=str(role)):
        prune_releases(replace(publisher, signers=others), now=NOW)
    assert files(publisher) == before


def test_a_clock_beyond_the_root_signs_nothing(publisher):
    withdraw(publisher, "1.5.0")
    before = files(publisher)
    later = load_repository(publisher.store).root.signed.expires
    with pytest.raises(RepositoryError, match="root has expired"):
        prune_releases(publisher, now=later)
    assert files(publisher) == before
