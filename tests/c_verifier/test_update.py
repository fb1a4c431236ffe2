"""The C verifier ends a session as our updater does.

The attacks are in `tests/manifests/test_update_attacks.py`, where the C verifier is shown what each
of them showed to the updater.
"""

from __future__ import annotations

from datetime import timedelta

from firmware_images.device_record import UpdateState
from manifests.publication import AssignmentPlan
from manifests.transfer import run_session
from manifests.updater import update_device
from tests.c_verifier.witness import Recording, Witness
from tests.manifests import test_update_attacks as attacks
from tests.manifests.test_update_attacks import publisher, serve  # noqa: F401 - a fixture
from tests.manifests.world import (
    NOW,
    RULES,
    SERIAL,
    bundle,
    make_device,
    make_publisher,
    old_bundle,
)


def run(c_verifier, device, transport):
    recording = Recording(transport)
    witness = Witness(c_verifier, device)
    return witness.compare(recording, run_session(update_device(device, RULES), recording))


def test_a_session_without_an_attack_ends_alike(c_verifier, publisher):  # noqa: F811 - the fixture
    device = make_device()
    plan = AssignmentPlan(campaign="pilot", drawn_ppm=0)
    publisher.publish_plan("1.5.0", plan, now=NOW)
    assert run(c_verifier, device, serve(publisher)) == "not-selected"
    halted = AssignmentPlan(campaign="pilot", is_halted=True)
    publisher.publish_plan("1.5.0", halted, now=NOW)
    assert run(c_verifier, device, serve(publisher)) == "halted"
    pinned = AssignmentPlan(campaign="pilot", drawn_ppm=0, pinned_serial_numbers=(SERIAL,))
    publisher.publish_plan("1.5.0", pinned, now=NOW)
    assert run(c_verifier, device, serve(publisher)) == "ok"
    device.board.boot()
    run_session(update_device(device, RULES), serve(publisher))
    assert run(c_verifier, device, serve(publisher)) == "up-to-date"


def test_a_release_that_was_given_up_is_refused_alike(c_verifier, publisher):  # noqa: F811
    device = make_device()
    transport = serve(publisher)
    run_session(update_device(device, RULES), transport)
    device.board.failure = "output does not switch"
    device.board.boot()
    run_session(update_device(device, RULES), transport)
    device.board.boot()
    recording, witness = Recording(transport), Witness(c_verifier, device)
    refusal = attacks.assert_refused(device, recording, "tried this release before")
    assert witness.compare(recording, refusal) == "given-up"


def test_an_older_policy_than_root_allows_is_refused_alike(c_verifier, tmp_path):
    publisher_ = make_publisher(tmp_path / "repository")
    publisher_.publish_bundle(old_bundle(), None, now=NOW)
    publisher_.publish_bundle(
        bundle(release_counter=2, policy_version=2, is_newer_app=True), None, now=NOW
    )
    device = make_device()
    device.record.save_update_state(UpdateState(policy_version_floor=3))
    recording, witness = Recording(serve(publisher_)), Witness(c_verifier, device)
    refusal = attacks.assert_refused(device, recording, "policy version would go back")
    assert witness.compare(recording, refusal) == "policy-version"
    publisher_.renew(now=NOW + timedelta(days=91))
    late = Recording(serve(publisher_, now=NOW + timedelta(days=91)))
    device = make_device()
    witness = Witness(c_verifier, device)
    assert witness.compare(late, attacks.assert_refused(device, late, "has expired")) == (
        "assignment-expired"
    )
