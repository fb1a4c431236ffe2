"""No two assignments of a hardware class ever share a sequence, whatever was cut off between."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from manifests.assignment import verify_assignment
from manifests.folder_client import FolderClient
from manifests.publication import AssignmentPlan
from manifests.release_extension import extend_release
from manifests.release_life import promote_release, withdraw_release
from manifests.repository_audit import audit_repository
from manifests.repository_reading import load_repository
from manifests.root_rotation import rotate_root
from manifests.trust_publication import publish_trust
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import signer
from tests.manifests.test_repository import CutStore
from tests.manifests.test_update_attacks import ASSIGNMENT_PATH, Tampering, assert_refused, serve
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    bundle,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
    trust,
)

LATER = NOW + timedelta(hours=1)
EVERYBODY = AssignmentPlan(campaign="spring")
HALT = AssignmentPlan(campaign="spring", is_halted=True)


@pytest.fixture
def publisher(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    plan = AssignmentPlan(campaign="spring", drawn_ppm=10_000)
    publisher.publish_bundle(old_bundle(), plan, now=NOW)
    return publisher


def publish_trust_2(publisher, now):
    record = replace(trust(), version=2)
    content = sign_trust_record(record, [signer("root-1")])
    publish_trust(replace(publisher, trust=record), content, now=now)


ACTS = {
    "publish": lambda p, now: p.publish_bundle(new_bundle(), EVERYBODY, now=now),
    "assign": lambda p, now: p.publish_plan("1.4.0", EVERYBODY, now=now),
    "promote": lambda p, now: promote_release(p, "1.4.0", now=now),
    "extend": lambda p, now: extend_release(p, "1.4.0", now=now),
    "publish-trust": publish_trust_2,
    "withdraw": lambda p, now: withdraw_release(p, "1.4.0", reason="stops early", now=now),
}


def cut_at_each_write(publisher, act):
    """Let a publication die at each of its writes, each on top of what the last one left.

    Each time a second later, so that each signs something else.
    """
    for cut_at in range(40):
        store = CutStore(publisher.store.root, cut_at)
        try:
            act(replace(publisher, store=store), LATER + timedelta(seconds=cut_at))
        except KeyboardInterrupt:
            yield cut_at
        else:
            return
    raise AssertionError("the publication never finished")


def every_message(publisher, hardware_class=HARDWARE_CLASS):
    """Every assignment for a class that lies anywhere, listed or not."""
    found = publisher.store.root.rglob(f"{hardware_class}/*assignment.cose")
    return {path.read_bytes() for path in found}


def sequences(messages):
    return Counter(verify_assignment(message, trust()).sequence for message in messages)


@pytest.mark.parametrize("act", ACTS)
def test_what_a_cut_publication_signed_keeps_its_sequence_to_itself(publisher, act):
    cuts = list(cut_at_each_write(publisher, ACTS[act]))
    assert len(cuts) >= 6
    seen = sequences(every_message(publisher))
    assert set(seen.values()) == {1}, seen
    shown = verify_assignment((publisher.store.root / ASSIGNMENT_PATH).read_bytes(), trust())
    assert shown.sequence == max(seen)


def test_a_halt_is_not_undone_by_what_a_cut_publication_had_shown(publisher):
    cuts = cut_at_each_write(publisher, ACTS["assign"])
    path = publisher.store.root / ASSIGNMENT_PATH
    before = path.read_bytes()
    while path.read_bytes() == before:
        next(cuts)
    shown = path.read_bytes()
    assert not verify_assignment(shown, trust()).is_halted
    publisher.publish_plan("1.4.0", HALT, now=NOW)
    carrier = Tampering(serve(publisher), "assignment", lambda _: shown)
    # A device that runs another application, which the cut campaign would have given 1.4.0.
    assert_refused(make_device(release=new_bundle()), carrier, "another assignment is in force")


def rotate(publisher):
    rotate_root(publisher.store, trust(), publisher.signers, publisher.settings, now=LATER)


def assign_another_class(publisher):
    other = bundle(release_counter=2, hardware_class="glow-c3")
    publisher.publish_bundle(other, AssignmentPlan(campaign="glow"), now=LATER)


def read_a_target(publisher):
    root = publisher.store.root
    client = FolderClient((root / "metadata/1.root.json").read_bytes(), root.parent / "client")
    client.read_target(root, f"campaigns/{HARDWARE_CLASS}/assignment.cose")


@pytest.mark.parametrize("between", [rotate, assign_another_class])
def test_what_was_cut_off_is_remembered_whatever_comes_between(publisher, between):
    """A rotation and an assignment of another class list the old one of this class again."""
    for cut_at in cut_at_each_write(publisher, ACTS["assign"]):
        if cut_at == 5:  # the last file but the timestamp: devices were shown it
            break
    before = set(sequences(every_message(publisher)))
    between(publisher)
    between(publisher)
    read_a_target(publisher)
    same = {"now": LATER, "hardware_class": HARDWARE_CLASS}
    done = publisher.publish_plan("1.4.0", HALT, **same)
    assert done.assignment.sequence == max(before) + 1
    assert audit_repository(publisher.store, trust(), now=LATER).is_sound
    campaign = load_repository(publisher.store).campaign.signed
    assert campaign.unrecognized_fields == {}  # told for as long as it must be
    assert publisher.publish_plan("1.4.0", HALT, **same).assignment.sequence == max(before) + 2


def test_the_first_assignment_of_a_class_is_counted_though_it_was_cut_off(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    list(cut_at_each_write(publisher, ACTS["publish"]))
    seen = sequences(every_message(publisher))
    assert set(seen.values()) == {1}, seen


def test_a_document_that_campaign_did_not_sign_drives_no_sequence(publisher):
    """Whoever can write to the store, and has no key, could end the counting otherwise."""
    folder = publisher.store.root / "metadata"
    forged = (folder / "2.campaign.json").read_bytes().replace(b'"sequence":1', b'"sequence":9')
    assert b'"sequence":9' in forged
    (folder / "3.campaign.json").write_bytes(forged)
    (folder / "4.campaign.json").write_bytes(b"{")
    done = publisher.publish_plan("1.4.0", EVERYBODY, now=LATER)
    assert done.assignment.sequence == 2
    assert (folder / "5.campaign.json").exists()
    (folder / "3.campaign.json").unlink()
    (folder / "4.campaign.json").unlink()
    assert audit_repository(publisher.store, trust(), now=LATER).is_sound
