"""The next root: clients follow it from the first one, at every moment, and refuse the old keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from manifests.errors import RepositoryError
from manifests.folder_client import FolderClient
from manifests.publication import AssignmentPlan
from manifests.published_releases import list_releases
from manifests.publishing import Publisher
from manifests.release_life import withdraw_release
from manifests.repository_audit import Severity, audit_repository
from manifests.repository_reading import load_repository
from manifests.repository_status import describe_repository
from manifests.root_rotation import rotate_root
from manifests.store import FolderStore
from signing.errors import RevokedKeyError
from signing.key_life import rotate_key
from signing.roles import Role, RoleKeys
from tests.firmware_images.release_parts import signer
from tests.manifests.test_repository import CutStore, assert_no_immutable_file_changed
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    ROLE_NAMES,
    make_publisher,
    new_bundle,
    open_publisher,
    signers,
    trust,
)

ASSIGNMENT = f"campaigns/{HARDWARE_CLASS}/assignment.cose"
OLD = {
    Role.ROOT: "root-1",
    Role.RELEASE: "release-1",
    Role.CAMPAIGN: "campaign-1",
    Role.SNAPSHOT: "snapshot-1",
    Role.TIMESTAMP: "timestamp-1-ed",
}


@pytest.fixture
def publisher(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    return publisher


def rotated(role):
    """The record with a new key in place of the old one, and the keys that sign under it."""
    record = rotate_key(
        trust(), signer(OLD[role]).public_key.key_id, signer("new").public_key, is_revoked=True
    )
    keys = signers()
    keys[role] = (*(key for key in keys[role] if key is not signer(OLD[role])), signer("new"))
    return record, keys


def client(publisher, cache):
    root = (publisher.store.root / "metadata/1.root.json").read_bytes()
    return FolderClient(root, cache)


@pytest.mark.parametrize("role", OLD)
def test_a_client_follows_from_the_first_root_to_the_next(publisher, tmp_path, role):
    before = client(publisher, tmp_path / "cache").read_target(publisher.store.root, ASSIGNMENT)
    record, keys = rotated(role)
    after = rotate_root(publisher.store, record, keys, publisher.settings, now=NOW)
    assert after.root.signed.version == 2
    for cache in ("cache", "fresh"):
        follower = client(publisher, tmp_path / cache)
        assert follower.read_target(publisher.store.root, ASSIGNMENT) == before
    assert [release.version for release in list_releases(load_repository(publisher.store))] == [
        "1.5.0"
    ]


@pytest.mark.parametrize("with_old_keys", [True, False])
def test_a_cut_at_every_write_leaves_what_verifies_or_is_rotated_again(
    tmp_path, publisher, with_old_keys
):
    """With the old online key at hand every moment verifies; without, one moment refuses."""
    record, keys = rotated(Role.TIMESTAMP)
    if with_old_keys:
        keys[Role.TIMESTAMP] = (*keys[Role.TIMESTAMP], signer("timestamp-1-ed"))
    root = publisher.store.root
    refused, seen = 0, {}
    for cut_at in range(10):
        store = CutStore(root, cut_at)
        try:
            now = NOW + timedelta(seconds=cut_at)
            rotate_root(store, record, keys, publisher.settings, now=now)
            break
        except KeyboardInterrupt:
            assert_no_immutable_file_changed(root, seen)
        reader = client(publisher, tmp_path / f"client-{cut_at}")
        if (root / "metadata/2.root.json").exists() and not with_old_keys:
            with pytest.raises(RepositoryError, match="does not verify"):
                reader.read_target(root, ASSIGNMENT)
            refused += 1
            published = (root / "metadata/2.root.json").read_bytes()
            rotate_root(FolderStore(root), record, keys, publisher.settings, now=NOW)
            assert (root / "metadata/2.root.json").read_bytes() == published
            assert not (root / "metadata/3.root.json").exists()
            break
        assert reader.read_target(root, ASSIGNMENT)
    assert refused == (0 if with_old_keys else 1)
    assert client(publisher, tmp_path / "end").read_target(root, ASSIGNMENT)


def cut_between_root_and_timestamp(publisher, record, keys):
    """Let a rotation die where the old online key is gone: the new root is there, and no more."""

    class Dying(FolderStore):
        def write(self, path, content):
            super().write(path, content)
            if path.endswith(".root.json"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate_root(Dying(publisher.store.root), record, keys, publisher.settings, now=NOW)


def test_a_rotation_that_was_cut_off_is_told_as_one(publisher):
    """A backup, which was the advice, would have lost the root that clients may have by then."""
    record, keys = rotated(Role.TIMESTAMP)
    cut_between_root_and_timestamp(publisher, record, keys)
    after = replace(publisher, trust=record, signers=keys)
    for act in (
        lambda: load_repository(publisher.store),
        lambda: describe_repository(publisher.store, record, now=NOW),
        lambda: after.renew(now=NOW),
    ):
        with pytest.raises(RepositoryError, match="root 2 is published") as refused:
            act()
        assert "`ampforge repo rotate` again" in refused.value.hint
        assert "backup" not in refused.value.hint
    audit = audit_repository(publisher.store, record, now=NOW)
    assert not audit.is_sound
    (finding,) = audit.findings
    assert "`ampforge repo rotate` again" in finding.hint
    assert finding.where not in finding.what


def test_a_damaged_document_is_not_told_as_a_rotation_that_was_cut_off(publisher):
    record, keys = rotated(Role.TIMESTAMP)
    rotate_root(publisher.store, record, keys, publisher.settings, now=NOW)
    path = publisher.store.root / "metadata/timestamp.json"
    path.write_bytes(path.read_bytes().replace(b'"version":3', b'"version":9'))
    with pytest.raises(RepositoryError, match="too few keys of the role timestamp") as refused:
        load_repository(publisher.store)
    assert "backup" in refused.value.hint


def test_an_older_timestamp_under_the_last_root_but_one_takes_no_withdrawal_back(publisher):
    """Put back by mistake, or by who stole the old key: the new keys would list it all again."""
    path = publisher.store.root / "metadata/timestamp.json"
    old = path.read_bytes()
    record, keys = rotated(Role.TIMESTAMP)
    rotate_root(publisher.store, record, keys, publisher.settings, now=NOW)
    after = replace(publisher, trust=record, signers=keys)
    withdraw_release(after, "1.5.0", reason="stops early", now=NOW)
    path.write_bytes(old)
    before = {p: p.read_bytes() for p in publisher.store.root.rglob("*") if p.is_file()}
    with pytest.raises(RepositoryError, match="older than what was published") as refused:
        rotate_root(publisher.store, record, keys, publisher.settings, now=NOW)
    assert "backup" in refused.value.hint
    assert {p: p.read_bytes() for p in publisher.store.root.rglob("*") if p.is_file()} == before


def test_another_key_may_be_lost_before_a_cut_rotation_is_run_again(publisher, tmp_path):
    before = client(publisher, tmp_path / "cache").read_target(publisher.store.root, ASSIGNMENT)
    record, keys = rotated(Role.TIMESTAMP)
    cut_between_root_and_timestamp(publisher, record, keys)
    published = (publisher.store.root / "metadata/2.root.json").read_bytes()
    old, new = signer(OLD[Role.SNAPSHOT]), signer("new-2")
    later = rotate_key(record, old.public_key.key_id, new.public_key, is_revoked=True)
    keys[Role.SNAPSHOT] = (new,)
    cut_between_root_and_timestamp(publisher, later, keys)
    after = rotate_root(publisher.store, later, keys, publisher.settings, now=NOW)
    assert after.root.signed.version == 3
    assert (publisher.store.root / "metadata/2.root.json").read_bytes() == published
    for cache in ("cache", "fresh"):
        follower = client(publisher, tmp_path / cache)
        assert follower.read_target(publisher.store.root, ASSIGNMENT) == before
    assert audit_repository(publisher.store, later, now=NOW).is_sound


@pytest.mark.parametrize("role", [Role.ROOT, Role.RELEASE])
def test_a_threshold_that_is_raised_counts_from_the_next_root_on(publisher, tmp_path, role):
    """And for root's own, the one before counts, too: who lowers it must still be so many."""
    shown = client(publisher, tmp_path / "cache").read_target(publisher.store.root, ASSIGNMENT)
    names = [*ROLE_NAMES[role][1:], *(["new"] if role is Role.ROOT else [])]
    keys = signers() | {role: tuple(map(signer, names))}
    public = tuple(signer(name).public_key for name in names)
    held = trust().roles[role].threshold
    high = record_with(trust(), role, threshold=held + 1, keys=public)
    low = record_with(high, role, threshold=held, keys=public)
    for record in (high, low) if role is Role.ROOT else (high,):
        before = sorted(path.name for path in publisher.store.root.rglob("*"))
        too_few = keys | {role: keys[role][:held]}
        with pytest.raises(RepositoryError, match=f"too few keys of the role {role}") as refused:
            rotate_root(publisher.store, record, too_few, publisher.settings, now=NOW)
        assert refused.value.expected == f"{held + 1} of its {len(names)} keys"
        assert sorted(path.name for path in publisher.store.root.rglob("*")) == before
        rotate_root(publisher.store, record, keys, publisher.settings, now=NOW)
        for cache in ("cache", "fresh"):
            follower = client(publisher, tmp_path / cache)
            assert follower.read_target(publisher.store.root, ASSIGNMENT) == shown
        errors = audit_repository(publisher.store, record, now=NOW).findings
        # What was signed by fewer release keys is refused by boards from then on, and named.
        errors = [one for one in errors if one.severity is Severity.ERROR]
        assert [one.where.partition("/")[0] for one in errors] == (
            [] if role is Role.ROOT else ["manifests"]
        )
        (release,) = describe_repository(publisher.store, record, now=NOW)["releases"]
        assert bool(release["refused"]) is (role is not Role.ROOT)


def record_with(record, role, *, threshold, keys):
    changed = {role: RoleKeys(threshold=threshold, keys=keys)}
    return replace(record, version=record.version + 1, roles=record.roles | changed)


def test_too_few_old_root_keys_rotate_nothing(publisher):
    record, keys = rotated(Role.ROOT)
    before = sorted(path.name for path in publisher.store.root.rglob("*"))
    with pytest.raises(RepositoryError, match="too few keys of the role root") as refused:
        rotate_root(
            publisher.store,
            record,
            keys | {Role.ROOT: (signer("new"),)},
            publisher.settings,
            now=NOW,
        )
    assert "root before" in refused.value.hint
    assert sorted(path.name for path in publisher.store.root.rglob("*")) == before


def test_campaigns_go_on_after_the_key_of_the_last_assignment_was_revoked(publisher):
    record, keys = rotated(Role.CAMPAIGN)
    rotate_root(publisher.store, record, keys, publisher.settings, now=NOW)
    again = Publisher(
        store=FolderStore(publisher.store.root),
        trust=record,
        signers=keys,
        settings=publisher.settings,
        draw_bytes=open_publisher(publisher.store.root).draw_bytes,
    )
    plan = AssignmentPlan(campaign="after the theft")
    assert again.publish_plan("1.5.0", plan, now=NOW).assignment.sequence == 2
    old = replace(again, signers=signers())
    with pytest.raises(RevokedKeyError, match="role campaign"):
        old.publish_plan("1.5.0", plan, now=NOW)


def test_a_folder_client_gives_out_what_is_listed_and_nothing_else(publisher, tmp_path):
    reader = client(publisher, tmp_path / "cache")
    with pytest.raises(RepositoryError, match="lists no such target"):
        reader.read_target(publisher.store.root, "manifests/none.cose")
    entry = load_repository(publisher.store).campaign.signed.targets[ASSIGNMENT]
    path = publisher.store.root / "targets" / entry.get_prefixed_paths()[0]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(RepositoryError, match="does not verify"):
        reader.read_target(publisher.store.root, ASSIGNMENT)
