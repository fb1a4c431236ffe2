"""An older copy of a repository is put back: what clients and boards need to go on with it.

The way of docs/how-to/publish-releases.md: new keys for timestamp, snapshot and campaign, with
which everybody begins to count anew.
"""

from __future__ import annotations

import shutil

import pytest

from manifests.errors import RepositoryError
from manifests.folder_client import FolderClient
from manifests.publication import AssignmentPlan
from manifests.repository_audit import audit_repository
from manifests.update_outcome import UpdateResult
from signing.refusal import Refusal
from signing.roles import Role
from tests.manifests.test_trust_renewal import run, serve
from tests.manifests.trust_steps import first_step, next_step
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    bundle,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
)

ASSIGNMENT = f"campaigns/{HARDWARE_CLASS}/assignment.cose"


@pytest.fixture
def restored(tmp_path):
    """A repository that is younger than what a client and a board have seen of it."""
    folder = tmp_path / "repository"
    publisher = make_publisher(folder)
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    shutil.copytree(folder, tmp_path / "backup")
    for name in ("a", "b", "c"):
        publisher.publish_bundle(new_bundle(), AssignmentPlan(campaign=name), now=NOW)
    client = FolderClient((folder / "metadata/1.root.json").read_bytes(), tmp_path / "client")
    client.read_target(folder, ASSIGNMENT)
    device = make_device()
    assert run(device, serve(folder)).result is UpdateResult.REBOOT_NEEDED
    device.board.boot()
    run(device, serve(folder))
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    return folder, client, device


def test_what_went_back_is_refused_by_all_who_saw_more(restored):
    folder, client, device = restored
    with pytest.raises(RepositoryError, match="does not verify"):
        client.read_target(folder, ASSIGNMENT)
    with pytest.raises(Refusal, match="older than one that the device accepted"):
        run(device, serve(folder))


def test_with_new_online_keys_everybody_goes_on_from_the_copy(restored):
    folder, client, device = restored
    step = first_step()
    for role, old in (
        (Role.TIMESTAMP, "timestamp-1-ed"),
        (Role.SNAPSHOT, "snapshot-1"),
        (Role.CAMPAIGN, "campaign-1"),
    ):
        step = next_step(step, role, old, f"{role}-after")
    step.publish(folder)
    assert audit_repository(step.publisher(folder).store, step.record, now=NOW).is_sound
    client.read_target(folder, ASSIGNMENT)
    # What was published after the copy was made is published anew, above what boards have.
    again = bundle(release_counter=3, is_newer_app=True)
    step.publisher(folder).publish_bundle(again, None, now=NOW)
    client.read_target(folder, ASSIGNMENT)
    outcome = run(device, serve(folder, step.record))
    assert outcome.result is UpdateResult.UP_TO_DATE
    assert outcome.release_counter == 3
