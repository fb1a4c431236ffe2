"""The audit finds whatever is wrong with a published repository, and says where."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from manifests.audit_client import SecondOpinion, second_opinion
from manifests.errors import RepositoryError
from manifests.publication import AssignmentPlan
from manifests.published_releases import list_releases
from manifests.repository import NewFile, publish_files
from manifests.repository_audit import Severity, audit_repository
from manifests.repository_reading import load_repository, read_target
from manifests.server import ServerPlan, serve_in_background
from manifests.store import FolderStore
from manifests.url_store import UrlStore
from signing.key_life import rotate_key
from signing.roles import Role
from tests.firmware_images.release_parts import signer
from tests.manifests.trust_steps import first_step, next_step
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    make_publisher,
    new_bundle,
    old_bundle,
    trust,
)


@pytest.fixture
def publisher(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    publisher.publish_bundle(new_bundle(), AssignmentPlan(campaign="pilot"), now=NOW)
    publisher.renew(now=NOW)
    return publisher


def audit(publisher, **changes):
    return audit_repository(publisher.store, trust(), **({"now": NOW} | changes))


def test_a_sound_repository_has_no_finding(publisher):
    found = audit(publisher)
    assert found.findings == []
    assert found.counts == {
        "documents": 5,
        "targets": 8,  # two apps, one slot image, two manifests, two bundles, one assignment
        "releases": 2,
        "assignments": 1,
        "withdrawn": 0,
        "files": len([p for p in publisher.store.root.rglob("*") if p.is_file()]),
    }


def test_every_file_that_clients_read_is_looked_at(publisher):
    """Each in turn flipped in one bit, or removed, is an error that names it."""
    metadata = load_repository(publisher.store)
    current = {
        f"metadata/{metadata.targets.signed.version}.targets.json",
        f"metadata/{metadata.campaign.signed.version}.campaign.json",
        f"metadata/{metadata.snapshot.signed.version}.snapshot.json",
        "metadata/timestamp.json",
    }
    history = {f"targets/campaigns/{HARDWARE_CLASS}"}
    listed = metadata.campaign.signed.targets.values()
    named = {f"targets/{entry.get_prefixed_paths()[0]}" for entry in listed}
    root, seen = publisher.store.root, 0
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        is_old = name.startswith("metadata/") and name not in current
        is_old |= name.rpartition("/")[0] in history and name not in named
        if is_old or name in {"repository.json", ".publishing.lock"}:
            continue
        content = path.read_bytes()
        for damage in (content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], None):
            path.unlink()  # the device tree shares its files with the targets by hard links
            if damage is not None:
                path.write_bytes(damage)
            found = audit(publisher)
            assert not found.is_sound, name
            path.write_bytes(content)
        seen += 1
    assert seen == 4 + 8 + 6
    assert audit(publisher).is_sound


def test_each_artifact_is_read_once_and_each_copy_of_it_once(publisher):
    """Also for python-tuf's client: over a network an artifact is what costs."""
    reads = Counter()

    class Counting(FolderStore):
        def read(self, path, *, max_bytes):
            reads[path] += 1
            return super().read(path, max_bytes=max_bytes)

    store = Counting(publisher.store.root)
    assert audit_repository(store, trust(), now=NOW).findings == []
    large = {path: count for path, count in reads.items() if "artifacts/" in path}
    large |= {path: count for path, count in reads.items() if path.startswith("targets/bundles/")}
    assert len(large) == 3 + 3 + 2
    assert set(large.values()) == {1}


def test_the_second_opinion_is_of_its_own(publisher):
    """It refuses what it is handed by itself, keeps to its first refusal, and needs no audit."""
    metadata = load_repository(publisher.store)
    root = (publisher.store.root / "metadata/1.root.json").read_bytes()
    contents = {
        path: (f"targets/{entry.get_prefixed_paths()[0]}", read_target(publisher.store, entry))
        for path, entry in metadata.targets.signed.targets.items()
    }
    with second_opinion(publisher.store, root) as opinion:
        for path, (file_path, content) in contents.items():
            opinion.look_at(path, file_path, content)
        assert opinion.problem is None
        path, (file_path, content) = next(iter(contents.items()))
        opinion.look_at(path, file_path, content[:-1] + bytes([content[-1] ^ 1]))
        assert "LengthOrHashMismatch" in opinion.problem
        first = opinion.problem
        opinion.look_at("manifests/unknown.cose", "x", b"")
        assert opinion.problem == first
    with second_opinion(publisher.store, root) as opinion:
        opinion.look_at("manifests/unknown.cose", "x", b"")
        assert opinion.problem == "it finds no target manifests/unknown.cose"
    with second_opinion(publisher.store, root.replace(b'"version":1', b'"version":2')) as opinion:
        assert "UnsignedMetadataError" in opinion.problem


def test_what_the_second_opinion_refuses_is_an_error(publisher, monkeypatch):
    monkeypatch.setattr(SecondOpinion, "look_at", lambda self, *_: self._refused(ValueError("no")))
    (finding,) = audit(publisher).findings
    assert finding.what == "python-tuf's client refuses the repository: ValueError: no"


@pytest.mark.parametrize(
    ("told", "telling"),
    [
        ({"hardware_revision_max": 9}, "than the manifest"),
        ({"secure_version": 9}, "than the manifest"),
        ({"release_counter": 9}, "than the manifest"),
        ({"waivers": [{"rule": "PEAK"}]}, "than the bundle"),
    ],
)
def test_what_the_list_says_of_a_release_is_compared_with_what_was_signed(publisher, told, telling):
    """TUF clients decide by the list alone."""
    metadata = load_repository(publisher.store)
    release = list_releases(metadata)[-1]
    entry = metadata.targets.signed.targets[release.target_path]
    assert entry.custom["hardware_revision_min"] == 1
    publish_files(
        publisher.store,
        publisher.signers,
        publisher.settings,
        releases=(
            NewFile(
                path=release.target_path,
                content=read_target(publisher.store, entry),
                custom=entry.custom | told,
            ),
        ),
        now=NOW,
    )
    whats = [finding.what for finding in audit(publisher).findings]
    assert any("the list of releases says something else" in what for what in whats)
    assert any(telling in what for what in whats)


def test_an_expired_document_is_told_with_who_must_act(publisher):
    found = audit(publisher, now=NOW + timedelta(days=8))
    (finding,) = found.findings
    assert "timestamp expired" in finding.what
    later = audit(publisher, now=NOW + timedelta(days=100))
    assert {f.where for f in later.findings if f.severity is Severity.NOTICE} == {
        f"campaigns/{HARDWARE_CLASS}/assignment.cose"
    }


def test_keys_that_the_trust_record_no_longer_names_are_an_error(publisher):
    record = rotate_key(
        trust(), signer("timestamp-1-ed").public_key.key_id, signer("new").public_key
    )
    found = audit_repository(publisher.store, record, now=NOW)
    (finding,) = found.findings
    assert "keys of timestamp are not those of trust record version 2" in finding.what
    assert "repo rotate" in finding.hint


def test_a_policy_that_no_longer_counts_is_a_notice(publisher):
    found = audit_repository(publisher.store, replace(trust(), minimum_policy_version=2), now=NOW)
    told = [f.what for f in found.findings]
    assert any("below the least that counts" in what for what in told), told


def test_what_nothing_names_is_a_notice(publisher):
    root = publisher.store.root
    (root / "targets/stray").write_bytes(b"x")
    (root / "metadata/9.targets.json").write_bytes(b"{}")
    found = audit(publisher)
    assert found.is_sound
    assert {(f.severity, f.where) for f in found.findings} == {
        (Severity.NOTICE, "targets/stray"),
        (Severity.NOTICE, "metadata/9.targets.json"),
    }


@pytest.mark.parametrize("name", ["glow-c3/assignment.cose", "trust/after-7.cose"])
def test_what_devices_ask_for_by_its_place_and_tuf_does_not_list_is_an_error(publisher, name):
    path = publisher.store.root / "device" / name
    path.parent.mkdir()
    path.write_bytes(b"stray")
    (finding,) = audit(publisher).findings
    assert (finding.severity, finding.where) == (Severity.ERROR, f"device/{name}")
    assert "remove it" in finding.hint


@pytest.mark.parametrize("content", ["{}", "{", None])
def test_a_description_without_which_nobody_publishes_is_an_error(publisher, content):
    path = publisher.store.root / "repository.json"
    path.unlink() if content is None else path.write_text(content)
    (finding,) = audit(publisher).findings
    assert (finding.severity, finding.where) == (Severity.ERROR, "repository.json")
    assert finding.what.startswith("nothing can be published: ")


def test_a_first_root_that_was_replaced_is_an_error(publisher):
    first = (publisher.store.root / "metadata/1.root.json").read_bytes()
    assert audit(publisher, trusted_root=first).is_sound
    found = audit(publisher, trusted_root=first + b" ")
    assert "not the one that was handed out" in found.findings[0].what


def test_a_delegation_over_releases_is_an_error(publisher, monkeypatch):
    """Signed by the release keys themselves: whoever signed it gave an online key a release."""
    from manifests import tuf_metadata
    from manifests.root_rotation import rotate_root

    monkeypatch.setattr(tuf_metadata, "CAMPAIGN_PATHS", ("campaigns/*/*", "manifests/*"))
    rotate_root(publisher.store, trust(), publisher.signers, publisher.settings, now=NOW)
    found = audit(publisher)
    assert any("delegates something else" in f.what for f in found.findings)


def test_an_assignment_for_the_device_that_tuf_does_not_list_is_an_error(publisher):
    path = publisher.store.root / "device" / HARDWARE_CLASS / "assignment.cose"
    older = sorted((publisher.store.root / f"targets/campaigns/{HARDWARE_CLASS}").iterdir())
    other = next(p.read_bytes() for p in older if p.read_bytes() != path.read_bytes())
    path.write_bytes(other)
    (finding,) = audit(publisher).findings
    assert "devices are shown something else" in finding.what


def test_a_server_is_audited_from_outside(publisher):
    with serve_in_background(ServerPlan(folder=publisher.store.root)) as url:
        found = audit_repository(UrlStore(url), trust(), now=NOW, lists=False)
        assert found.findings == []
        assert found.counts["releases"] == 2
        store = UrlStore(url)
        assert store.read("metadata/9.root.json", max_bytes=9) is None
        with pytest.raises(RepositoryError, match="cannot be fetched"):
            store.read("metadata/1.root.json", max_bytes=9)
        for act in (
            lambda: store.write("x", b""),
            lambda: store.copy("x", "y"),
            store.list_paths,
            lambda: store.exclusively().__enter__(),
        ):
            with pytest.raises(RepositoryError, match="only read from"):
                act()
    with pytest.raises(RepositoryError, match="cannot be fetched"):
        store.read("x", max_bytes=1)


def test_where_there_is_no_repository_nothing_is_audited(publisher, tmp_path):
    from manifests.store import FolderStore

    with pytest.raises(RepositoryError, match="no repository here"):
        audit_repository(FolderStore(tmp_path / "none"), trust(), now=NOW)
    description = json.loads((publisher.store.root / "repository.json").read_text())
    assert description["product"] == "flare"


class TestTrustRecords:
    """What `repo publish-trust` gives to boards is a part of the repository like any other."""

    def publish(self, publisher):
        first = first_step()
        step = next_step(first, Role.CAMPAIGN, "campaign-1", "campaign-2")
        step.publish(publisher.store.root)
        return step

    def test_published_records_are_sound_for_who_holds_the_record_in_force(self, publisher):
        step = self.publish(publisher)
        found = audit_repository(publisher.store, step.record, now=NOW)
        assert [f for f in found.findings if f.severity is Severity.ERROR] == []
        assert not [f for f in found.findings if "after-1" in f.where]

    @pytest.mark.parametrize("change", ["flip", "remove", "lengthen"])
    def test_a_board_that_is_given_another_record_is_an_error(self, publisher, change):
        step = self.publish(publisher)
        path = publisher.store.root / "device" / "trust" / "after-1.cose"
        content = path.read_bytes()
        path.unlink()  # it may be a link to the target
        if change == "flip":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif change == "lengthen":
            path.write_bytes(content + bytes(8192))
        found = audit_repository(publisher.store, step.record, now=NOW)
        assert [(f.what, f.where) for f in found.findings if f.severity is Severity.ERROR] == [
            ("boards get another trust record than gateways, or none", "device/trust/after-1.cose")
        ]

    @pytest.mark.parametrize("is_served", [False, True])
    def test_a_record_that_tuf_does_not_list_is_an_error(self, publisher, is_served):
        """Boards ask for it by its place; one that they refuse ends each session of theirs."""
        folder = publisher.store.root
        (folder / "device" / "trust").mkdir()
        (folder / "device" / "trust" / "after-1.cose").write_bytes(b"stray")
        if is_served:
            with serve_in_background(ServerPlan(folder=folder)) as url:
                found = audit_repository(UrlStore(url), trust(), now=NOW, lists=False)
        else:
            found = audit(publisher)
        (finding,) = found.findings
        assert (finding.severity, finding.where) == (
            Severity.ERROR,
            "device/trust/after-1.cose",
        )

    def test_a_record_that_is_not_published_to_boards_is_a_notice(self, publisher):
        step = self.publish(publisher)
        newer = replace(step.record, version=step.record.version + 1)
        found = audit_repository(publisher.store, newer, now=NOW)
        assert "boards cannot follow to trust record 3" in [
            f.what.split(":")[0] for f in found.findings
        ]
