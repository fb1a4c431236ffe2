"""The status says who must act, most of all when a key was lost."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from firmware_images.bundle_building import build_bundle, sign_bundle
from manifests.errors import RepositoryError
from manifests.publication import AssignmentPlan
from manifests.release_life import withdraw_release
from manifests.repository_audit import Severity, audit_repository
from manifests.repository_reading import load_repository
from manifests.repository_status import describe_repository
from manifests.status_words import format_status
from manifests.withdrawal import list_withdrawals
from signing.refusal import Refusal
from signing.roles import Role
from tests.firmware_images.release_parts import build_inputs, build_parts
from tests.manifests.test_trust_renewal import run, serve
from tests.manifests.trust_steps import first_step, next_step
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
    trust,
)

ASSIGNMENT = f"campaigns/{HARDWARE_CLASS}/assignment.cose"


@pytest.fixture
def publisher(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    return publisher


def status_of(publisher, record=None, now=NOW) -> dict[str, Any]:
    return describe_repository(publisher.store, record or trust(), now=now)


def test_each_line_says_who_must_act_long_before_it_expires(publisher):
    lines = format_status(status_of(publisher)).splitlines()
    for name, who in (
        ("root", "root key holders"),
        ("targets", "release key holders"),
        ("campaign", "campaign key"),
        ("snapshot", "snapshot and timestamp keys"),
        ("timestamp", "snapshot and timestamp keys"),
        ("flare-c3:", "campaign key"),
    ):
        (line,) = (line for line in lines if line.strip().startswith(name))
        assert who in line
        assert "ampforge" in line


def test_a_repository_in_force_has_nothing_that_devices_refuse(publisher):
    status = status_of(publisher)
    assert status["superseded_keys"] == []
    assert [entry["refused"] for entry in status["releases"] + status["assignments"]] == [None] * 2


@pytest.mark.parametrize(
    ("role", "names", "telling"),
    [
        (Role.TIMESTAMP, ("timestamp-1-ed", "timestamp-2"), "the keys of timestamp are not those"),
        (Role.CAMPAIGN, ("campaign-1", "campaign-2"), "the keys of campaign are not those"),
        (Role.RELEASE, ("release-1", "release-4"), "the keys of targets are not those"),
    ],
)
def test_after_a_key_was_rotated_the_status_says_what_is_left_to_do(
    publisher, role, names, telling
):
    before = first_step()
    revoked = next_step(before, role, *names).record
    status = status_of(publisher, revoked)
    (words,) = status["superseded_keys"]
    assert telling in words
    assert "root key holders must run `ampforge repo rotate`" in words
    assert words in format_status(status)


def test_a_trust_record_that_boards_were_never_given_is_told(publisher):
    """A new freshness key, or a later policy: TUF has nothing to do with either."""
    for step in (
        next_step(first_step(), Role.FRESHNESS, "freshness-1", "freshness-2"),
        next_step(first_step(), minimum_policy_version=1),
    ):
        status = status_of(publisher, step.record)
        assert status["superseded_keys"] == []
        assert status["trust_words"].startswith("boards cannot follow to trust record 2: 1 is")
        assert "must run `ampforge repo publish-trust`" in status["trust_words"]
        assert status["trust_words"] in format_status(status)
        (finding,) = audit_repository(publisher.store, step.record, now=NOW).findings
        assert (finding.severity, finding.hint) == (
            Severity.NOTICE,
            "run `ampforge repo publish-trust`",
        )
    step.publish_record(publisher.store.root)
    assert status_of(publisher, step.record)["trust_words"] == ""
    assert audit_repository(publisher.store, step.record, now=NOW).findings == []


def test_what_a_repository_does_not_say_of_its_first_record_is_not_guessed(publisher):
    """One that was made by an earlier version."""
    path = publisher.store.root / "repository.json"
    description = json.loads(path.read_text())
    assert description.pop("trust_record_version") == 1
    path.write_text(json.dumps(description))
    step = next_step(first_step(), Role.FRESHNESS, "freshness-1", "freshness-2")
    assert status_of(publisher, step.record)["trust_words"] == ""
    assert status_of(publisher)["trust_words"] == ""


def test_an_assignment_by_a_revoked_key_is_shown_and_said_to_be_refused(publisher):
    step = next_step(first_step(), Role.CAMPAIGN, "campaign-1", "campaign-2")
    status = status_of(publisher, step.record)
    (assignment,) = status["assignments"]
    assert assignment["version"] == "1.4.0"
    assert "REFUSED by devices" in assignment["refused"]
    assert assignment["refused"] in format_status(status)
    step.publish(publisher.store.root)
    assert status_of(publisher, step.record)["assignments"][0]["refused"] is None


POLICY_STEPS = {
    "a policy key was revoked": lambda: next_step(first_step(), Role.POLICY, "policy-1", "new"),
    "the policy is too old": lambda: next_step(first_step(), minimum_policy_version=2),
}


@pytest.mark.parametrize("step", POLICY_STEPS.values(), ids=POLICY_STEPS)
def test_a_release_whose_table_no_longer_counts_is_told_and_given_to_nobody(publisher, step):
    """Nothing is wrong with its manifest: the approval lies behind that, in the slot image."""
    step = step()
    mine = step.publisher(publisher.store.root)
    assert step.publish_record(publisher.store.root).refused_versions == ("1.4.0",)
    with pytest.raises(Refusal, match=r"role policy|no longer counts"):
        run(make_device(release=new_bundle()), serve(publisher.store.root, step.record))
    (release,) = status_of(publisher, step.record)["releases"]
    assert "REFUSED by devices" in release["refused"]
    assert "the policy key holders must approve its table again" in release["refused"]
    found = audit_repository(publisher.store, step.record, now=NOW).findings
    withdrawal = "`ampforge repo withdraw 1.4.0 --release-counter 1 --reason TEXT`"
    assert all(withdrawal in one.hint for one in found if one.severity is Severity.ERROR)
    before = load_repository(publisher.store).timestamp.signed.version
    plan = AssignmentPlan(campaign="again")
    with pytest.raises(Refusal, match=r"role policy|no longer counts") as refused:
        mine.publish_plan("1.4.0", plan, now=NOW)
    assert "release 1.4.0" in str(refused.value.where)
    assert load_repository(publisher.store).timestamp.signed.version == before
    halt = mine.publish_plan("1.4.0", replace(plan, is_halted=True), now=NOW)
    assert halt.assignment.is_halted


def test_what_devices_refuse_has_a_name_and_is_not_said_to_be_removable(publisher):
    """Its copy is what a thief would change: it is compared, too."""
    step = next_step(first_step(), Role.CAMPAIGN, "campaign-1", "campaign-2")
    step = next_step(step, Role.RELEASE, "release-1", "release-4")
    found = audit_repository(publisher.store, step.record, now=NOW).findings
    assert sum("devices refuse" in finding.what for finding in found) == 2
    assert not [finding for finding in found if "nothing names" in finding.what]
    device = publisher.store.root / "device"
    (manifest,) = (device / "manifests").iterdir()
    for copy in (manifest, device / HARDWARE_CLASS / "assignment.cose"):
        copy.unlink()
        copy.write_bytes(b"another")
    found = audit_repository(publisher.store, step.record, now=NOW).findings
    assert sum("shown something else" in finding.what for finding in found) == 2


def test_after_a_lost_release_key_the_same_version_is_published_anew_and_the_old_one_taken_back(
    publisher,
):
    """The way of docs/how-to/rotate-a-lost-key.md ends in a repository that is sound."""
    step = next_step(first_step(), Role.RELEASE, "release-1", "release-4")
    step.publish(publisher.store.root)
    mine = step.publisher(publisher.store.root)
    status = status_of(publisher, step.record)
    assert "the release key holders must publish" in status["releases"][0]["refused"]
    inputs = build_inputs(build_parts(), release_counter=2)
    again = sign_bundle(build_bundle(inputs), step.keys[Role.RELEASE])
    mine.publish_bundle(again, None, now=NOW)
    found = audit_repository(publisher.store, step.record, now=NOW)
    (finding,) = (one for one in found.findings if one.severity is Severity.ERROR)
    assert "`ampforge repo withdraw 1.4.0 --release-counter 1 --reason TEXT`" in finding.hint
    before = load_repository(publisher.store).timestamp.signed.version
    with pytest.raises(RepositoryError, match="several counters") as refused:
        withdraw_release(mine, "1.4.0", reason="a lost key", now=NOW)
    assert "--release-counter" in (refused.value.hint or "")
    with pytest.raises(RepositoryError, match="not published"):
        withdraw_release(mine, "1.4.0", reason="a lost key", release_counter=3, now=NOW)
    assert load_repository(publisher.store).timestamp.signed.version == before
    _, is_halted = withdraw_release(mine, "1.4.0", reason="a lost key", release_counter=1, now=NOW)
    assert not is_halted
    (withdrawal,) = list_withdrawals(load_repository(publisher.store))
    assert withdrawal.release_counter == 1
    assert audit_repository(publisher.store, step.record, now=NOW).is_sound


def test_a_manifest_that_expires_is_told_before_it_does(publisher):
    soon = NOW + publisher.settings.lifetime("manifest") - timedelta(days=10)
    text = format_status(status_of(publisher, now=soon))
    assert "manifest expires in 10 days" in text
    assert "the release key holders must run `ampforge repo extend 1.4.0 " in text
    assert "manifest expires" not in format_status(status_of(publisher))
    late = format_status(status_of(publisher, now=soon + timedelta(days=10)))
    assert "manifest EXPIRED" in late


def test_what_nobody_can_do_is_asked_of_nobody(publisher):
    """With every release withdrawn `campaign create` is refused, and would change nothing."""
    withdraw_release(publisher, "1.4.0", reason="stops early", now=NOW)
    late = NOW + publisher.settings.lifetime("campaign")
    for now in (NOW, late):
        status = status_of(publisher, now=now)
        (assignment,) = status["assignments"]
        assert assignment["expiry"].endswith("UTC: nobody has to act")
        (campaign,) = (one for one in status["documents"] if one["name"] == "campaign")
        assert "the release key holders must publish a release" in campaign["expiry"]
        assert "campaign create" not in format_status(status)
    found = audit_repository(publisher.store, trust(), now=late).findings
    assert not [one for one in found if "assignment" in one.what]


def test_a_plan_without_a_name_is_called_after_its_release(publisher):
    done = publisher.publish_bundle(new_bundle(), AssignmentPlan(drawn_ppm=50_000), now=NOW)
    assert done.assignment.campaign == "release 1.5.0"
    again = publisher.publish_bundle(new_bundle(), AssignmentPlan(drawn_ppm=40_000), now=NOW)
    assert again.assignment.salt == done.assignment.salt
    renamed = AssignmentPlan(campaign="pilot", drawn_ppm=0)
    assert publisher.publish_bundle(new_bundle(), renamed, now=NOW).assignment.campaign == "pilot"
