"""Step, support and eFuse budget: the publisher keeps to them, and devices and gateways, too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cli.publication_output import describe_publication, format_publication
from firmware_images.device_record import UpdateState
from firmware_images.errors import BundleError, SecureVersionError
from firmware_images.release_constraints import (
    NO_CONSTRAINTS,
    ReleaseConstraints,
    constraints_from_document,
    describe_constraints,
    support_end_of,
)
from manifests.errors import RepositoryError, TransportError
from manifests.gateway import Gateway
from manifests.manifest import verify_manifest
from manifests.manifests_settings import RepositorySettings
from manifests.publication import AssignmentPlan
from manifests.published_releases import list_releases, read_listed_assignment
from manifests.release_life import promote_release, withdraw_release
from manifests.release_steps import list_unled, plan_steps
from manifests.repository import publish_files
from manifests.repository_audit import audit_repository
from manifests.repository_reading import load_repository, read_target
from manifests.repository_status import describe_repository
from manifests.server import ServerPlan, serve_in_background
from manifests.status_words import format_status
from manifests.transfer import Fetch, run_session
from manifests.update_outcome import UpdateResult, UpdateRules
from manifests.updater import update_device
from tests.c_verifier.witness import Recording, Witness
from tests.manifests.test_repository import root_bytes
from tests.manifests.test_update_attacks import assert_refused, serve
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    RULES,
    bundle,
    make_device,
    make_publisher,
    old_bundle,
    signer,
    trust,
)

DAY = timedelta(days=1)


def asks(*, step=0, support=None):
    return ReleaseConstraints(
        minimum_current_counter=step,
        support_ends_at_s=0 if support is None else int((NOW + support).timestamp()),
    )


def last_release(*, step=0, support=None, counter=3, secure_version=0):
    return bundle(
        release_counter=counter,
        is_newer_app=True,
        secure_version=secure_version,
        constraints=asks(step=step, support=support),
    )


def step_release():
    return bundle(release_counter=2, peak_na=90_000)


@pytest.fixture
def publisher(tmp_path):
    return make_publisher(tmp_path / "repository")


def snapshot(publisher):
    root = publisher.store.root
    return {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and "lock" not in p.name}


def refused(publisher, act, match, error=RepositoryError):
    before = snapshot(publisher)
    with pytest.raises(error, match=match) as told:
        act()
    assert snapshot(publisher) == before
    return told.value


def manifest_in_force(publisher):
    metadata = load_repository(publisher.store)
    release = list_releases(metadata)[-1]
    entry = metadata.targets.signed.targets[release.target_path]
    return release, verify_manifest(read_target(publisher.store, entry), trust())


def assign_without_steps(publisher):
    """Put an assignment in force that names no steps, as those of format 1 do."""
    current = load_repository(publisher.store)
    running = read_listed_assignment(publisher.store, current, HARDWARE_CLASS)
    without = replace(running, sequence=running.sequence + 1, steps_sha256=())
    publish_files(
        publisher.store,
        publisher.signers,
        publisher.settings,
        before=current,
        assignments=(publisher.assignment_file(without, current),),
        now=NOW,
    )


def test_a_device_takes_the_step_first_and_then_the_release(publisher, c_verifier_if_any):
    publisher.publish_bundle(step_release(), None, now=NOW)
    publisher.publish_bundle(last_release(step=2), None, now=NOW)
    device = make_device()
    device.record.save_update_state(UpdateState(release_counter=1))
    for counter in (2, 3):
        recording = Recording(serve(publisher))
        witness = c_verifier_if_any and Witness(c_verifier_if_any, device)
        outcome = run_session(update_device(device, RULES), recording)
        assert outcome.result is UpdateResult.REBOOT_NEEDED
        if witness:
            assert witness.compare(recording, outcome) == "ok"
        device.board.boot()
        run_session(update_device(device, RULES), serve(publisher))
        assert device.record.load_update_state().release_counter == counter
    outcome = run_session(update_device(device, RULES), serve(publisher))
    assert outcome.result is UpdateResult.UP_TO_DATE


@pytest.mark.parametrize("allows_reinstall", [False, True])
@pytest.mark.parametrize("counter", [0, 1])
def test_a_device_is_not_led_past_a_step_that_is_not_assigned(
    publisher, allows_reinstall, counter, c_verifier_if_any
):
    """Not even at a service station, which may install again what a device has or gave up."""
    publisher.publish_bundle(step_release(), None, now=NOW)
    publisher.publish_bundle(last_release(step=2), None, now=NOW)
    assign_without_steps(publisher)
    rules = UpdateRules(chunk_bytes=4096, allows_reinstall=allows_reinstall)
    device = make_device()
    device.record.save_update_state(UpdateState(release_counter=counter))
    recording = Recording(serve(publisher))
    witness = c_verifier_if_any and Witness(c_verifier_if_any, device)
    refusal = assert_refused(device, recording, "must take a step before this release", rules)
    had = "release counter 1" if counter else "a device that knows of no release counter"
    assert f"release counter 2 or later, got {had}" in str(refusal)
    assert "publish one for hardware revision 1 with counter 2" in str(refusal.hint)
    if witness:
        assert witness.compare(recording, refusal) == "step-first"
    assert "freshness" not in recording.came


def test_a_device_that_runs_the_content_already_needs_no_step(publisher, c_verifier_if_any):
    release = last_release(step=2)
    publisher.publish_bundle(step_release(), None, now=NOW)
    publisher.publish_bundle(release, None, now=NOW)
    device = make_device(release=release)
    recording = Recording(serve(publisher))
    witness = c_verifier_if_any and Witness(c_verifier_if_any, device)
    outcome = run_session(update_device(device, RULES), recording)
    assert outcome.result is UpdateResult.UP_TO_DATE
    assert device.record.load_update_state().release_counter == 3
    if witness:
        assert witness.compare(recording, outcome) == "up-to-date"


def test_a_release_that_nothing_published_leads_to_is_refused(publisher):
    publisher.publish_bundle(old_bundle(), None, now=NOW)

    def publish():
        return publisher.publish_bundle(last_release(step=2), None, now=NOW)

    refusal = refused(publisher, publish, "no published release leads to release 1.5.0")
    assert "with counter 2, got counters 1" in str(refusal)
    publisher.publish_bundle(step_release(), None, now=NOW)
    (step,) = publish().way.steps
    assert step.release_counter == 2


def test_a_withdrawn_step_is_named_by_status_and_audit(publisher):
    publisher.publish_bundle(step_release(), None, now=NOW)
    publisher.publish_bundle(last_release(step=2), None, now=NOW)
    text = format_status(describe_repository(publisher.store, trust(), now=NOW))
    assert "only for devices with release counter 2 or later; others take 1.4.0 (counter 2)" in text
    assert audit_repository(publisher.store, trust(), now=NOW).findings == []
    withdraw_release(publisher, "1.4.0", reason="draws too much", now=NOW)
    text = format_status(describe_repository(publisher.store, trust(), now=NOW))
    assert "NOTHING PUBLISHED LEADS TO IT" in text
    (finding,) = audit_repository(publisher.store, trust(), now=NOW).findings
    assert "no release that devices still take leads to release 1.5.0" in finding.what


def told_of(publisher, now, record=None):
    """What status, audit and `withdraw` say at a time."""
    store, record = publisher.store, record or trust()
    return (
        format_status(describe_repository(store, record, now=now)),
        " ".join(one.what for one in audit_repository(store, record, now=now).findings),
        [one.version for one in list_unled(store, load_repository(store), record, now=now)],
    )


def test_a_step_whose_manifest_has_expired_leads_nowhere(publisher):
    publisher = replace(publisher, settings=RepositorySettings(manifest_expires_days=10))
    publisher.publish_bundle(step_release(), None, now=NOW)
    early, late = NOW + 9 * DAY, NOW + 10 * DAY
    publisher.publish_bundle(last_release(step=2), None, now=early)
    assert told_of(publisher, early)[2] == []
    text, findings, unled = told_of(publisher, late)
    assert "NOTHING PUBLISHED LEADS TO IT" in text
    assert "no release that devices still take leads to release 1.5.0" in findings
    assert unled == ["1.5.0"]
    again = last_release(step=2, counter=4)
    refused(
        publisher,
        lambda: publisher.publish_bundle(
            bundle(
                release_counter=4,
                is_newer_app=True,
                peak_na=90_000,
                constraints=ReleaseConstraints(minimum_current_counter=2),
            ),
            None,
            now=NOW + 30 * DAY,
        ),
        "no published release leads to",
    )
    # Devices with counter 2 or later take it; no others were given anything.
    assert publisher.publish_bundle(again, None, now=late).way.steps == ()


def test_a_step_that_the_trust_record_refuses_leads_nowhere(publisher):
    publisher.publish_bundle(step_release(), None, now=NOW)
    publisher.publish_bundle(last_release(step=2), None, now=NOW)
    stricter = replace(trust(), minimum_policy_version=2)
    assert told_of(publisher, NOW, stricter)[2] == ["1.5.0"]
    revoked = replace(trust(), revoked_key_ids=frozenset({signer("release-1").public_key.key_id}))
    metadata = load_repository(publisher.store)
    releases = list_releases(metadata)
    for record, steps in ((revoked, ()), (trust(), releases[:1])):
        way = plan_steps(publisher.store, metadata, record, releases, releases[-1], now=NOW)
        assert way.steps == steps


def test_a_step_with_the_version_of_its_release_is_named_by_its_counter(publisher):
    """A change of waveforms alone keeps the version, which is the application's."""
    publisher.publish_bundle(step_release(), None, now=NOW)
    content = bundle(release_counter=3, constraints=asks(step=2))
    publisher.publish_bundle(content, None, now=NOW)
    plan = AssignmentPlan(campaign="step")
    assert publisher.publish_plan("1.4.0", plan, now=NOW).manifest.release_counter == 3
    step = publisher.publish_plan("1.4.0", plan, now=NOW, release_counter=2)
    assert step.manifest.release_counter == 2
    refusal = refused(
        publisher,
        lambda: publisher.publish_plan("1.4.0", plan, now=NOW, release_counter=1),
        "release 1.4.0 is not published",
    )
    assert "1.4.0 (counter 2), 1.4.0 (counter 3), got 1.4.0 (counter 1)" in str(refusal)


def test_of_several_steps_the_one_that_asks_least_is_named(publisher):
    """A step that has lost its own step is not where devices begin."""
    publisher.publish_bundle(step_release(), None, now=NOW)
    publisher.publish_bundle(last_release(step=2), None, now=NOW)
    withdraw_release(publisher, "1.4.0", reason="draws too much", now=NOW)
    anew = bundle(release_counter=4, peak_na=90_000)
    publisher.publish_bundle(anew, None, now=NOW)
    publication = publisher.publish_bundle(last_release(step=2, counter=5), None, now=NOW)
    assert [step.release_counter for step in publication.way.steps] == [4]


def test_an_expired_manifest_is_assigned_to_nobody_only_halted(publisher):
    manifest = publisher.publish_bundle(old_bundle(), None, now=NOW).manifest
    late = manifest.expires_at
    for act in (
        lambda: publisher.publish_plan("1.4.0", AssignmentPlan(campaign="late"), now=late),
        lambda: publisher.publish_bundle(old_bundle(), None, now=late),
    ):
        refused(publisher, act, "manifest of release 1.4.0 has expired")
    halt = AssignmentPlan(campaign="late", is_halted=True)
    assert publisher.publish_plan("1.4.0", halt, now=late).assignment.is_halted


def test_the_first_release_that_older_firmware_cannot_read_is_told(publisher):
    def publish(counter, **asked):
        content = bundle(release_counter=counter, constraints=asks(**asked))
        publication = publisher.publish_bundle(content, None, now=NOW)
        again = publisher.publish_bundle(content, None, now=NOW)
        assert not again.is_first_constrained
        text = "reads format 1 alone" in format_publication(publication)
        assert publication.is_first_constrained is text
        assert describe_publication(publication)["is_first_constrained"] is text
        return text

    assert not publish(1)
    assert publish(2, support=99 * DAY)
    assert not publish(3, step=2)


def test_a_product_that_states_support_from_the_start_is_not_warned(publisher):
    content = bundle(constraints=asks(support=99 * DAY))
    assert not publisher.publish_bundle(content, None, now=NOW).is_first_constrained


def test_an_assignment_that_ends_with_support_is_not_renewed_by_another_campaign(publisher):
    publisher.publish_bundle(last_release(support=3 * DAY), None, now=NOW)
    for now in (NOW + 2 * DAY, NOW + 4 * DAY):
        (line,) = [one for one in told_of(publisher, now)[0].splitlines() if "100 % of" in one]
        assert "publish a release with a later supported_until" in line
        assert "campaign create" not in line


def test_support_that_has_ended_is_neither_published_nor_assigned_only_halted(publisher):
    publisher.publish_bundle(last_release(support=20 * DAY), None, now=NOW)
    later = NOW + 20 * DAY
    refused(
        publisher,
        lambda: publisher.publish_bundle(
            last_release(counter=4, support=-timedelta(seconds=1)), None, now=NOW
        ),
        "support of release 1.5.0 has ended",
    )
    pilot = AssignmentPlan(campaign="pilot", drawn_ppm=10_000)
    publisher.publish_plan("1.5.0", pilot, now=later - DAY)
    for act in (
        lambda: publisher.publish_plan("1.5.0", pilot, now=later),
        lambda: promote_release(publisher, "1.5.0", now=later),
    ):
        refused(publisher, act, "support of release 1.5.0 has ended")
    halt = AssignmentPlan(campaign="pilot", is_halted=True)
    assert publisher.publish_plan("1.5.0", halt, now=later).assignment.is_halted


def test_no_message_outlives_the_support_so_a_clockless_device_stops_there(
    publisher, c_verifier_if_any
):
    publication = publisher.publish_bundle(last_release(support=20 * DAY), None, now=NOW)
    ends_at_s = int((NOW + 20 * DAY).timestamp())
    assert publication.manifest.expires_at_s == publication.assignment.expires_at_s == ends_at_s
    publisher.renew(now=NOW + 19 * DAY)
    device = make_device()
    late = Recording(serve(publisher, now=NOW + 20 * DAY))
    witness = c_verifier_if_any and Witness(c_verifier_if_any, device)
    refusal = assert_refused(device, late, "has expired")
    if witness:
        assert witness.compare(late, refusal) == "assignment-expired"
    early = serve(publisher, now=NOW + 20 * DAY - timedelta(seconds=1))
    outcome = run_session(update_device(device, RULES), early)
    assert outcome.result is UpdateResult.REBOOT_NEEDED


def test_a_gateway_relays_nothing_after_the_end_of_support(publisher, tmp_path):
    publisher.publish_bundle(last_release(support=5 * DAY), None, now=NOW)
    _, manifest = manifest_in_force(publisher)
    digest = list_releases(load_repository(publisher.store))[-1].manifest_sha256.hex()
    wish = Fetch(path=f"device/manifests/{digest}.cose", max_bytes=1024)
    with serve_in_background(ServerPlan(folder=publisher.store.root)) as url:
        for name, now in (("early", NOW + 4 * DAY), ("late", NOW + 5 * DAY)):
            gateway = Gateway(
                url,
                trusted_root=root_bytes(publisher),
                cache=tmp_path / name,
                read_clock=lambda now=now: now,
            )
            if name == "early":
                assert verify_manifest(gateway.fetch(wish), trust()) == manifest
                assert gateway.constraints == manifest.constraints
            else:
                with pytest.raises(TransportError, match="support of the release"):
                    gateway.fetch(wish)
            gateway.close()


def test_status_and_audit_speak_of_the_end_before_it_comes(publisher):
    publisher.publish_bundle(last_release(support=100 * DAY), None, now=NOW)

    def told(now):
        document = describe_repository(publisher.store, trust(), now=now)
        found = audit_repository(publisher.store, trust(), now=now).findings
        return format_status(document), [one.what for one in found if "support" in one.what]

    day = f"{NOW + 100 * DAY - timedelta(seconds=1):%Y-%m-%d}"
    text, findings = told(NOW)
    assert f"supported until {day}\n" in text
    assert findings == []
    publisher.renew(now=NOW + 20 * DAY)
    text, (finding,) = told(NOW + 20 * DAY)
    assert f"supported until {day}, which is soon" in text
    assert "ends soon" in finding
    text, _ = told(NOW + 101 * DAY)
    assert f"SUPPORT ENDED on {day}" in text


def test_a_release_beyond_the_products_efuse_budget_is_not_published(publisher):
    narrow = replace(publisher, secure_version_bits=2)
    first = narrow.publish_bundle(last_release(secure_version=1), None, now=NOW)
    assert (str(first.cost.budget), first.cost.bits) == ("secure_version 1 of 2; 1 left", 1)
    again = narrow.publish_bundle(last_release(counter=4, secure_version=1), None, now=NOW)
    assert again.cost.bits == 0
    beyond = last_release(counter=5, secure_version=3)
    refused(
        publisher,
        lambda: narrow.publish_bundle(beyond, None, now=NOW),
        "cannot count up to",
        SecureVersionError,
    )
    assert publisher.publish_bundle(beyond, None, now=NOW).cost.bits == 2
    impossible = replace(publisher, secure_version_bits=17)
    refused(
        publisher,
        lambda: impossible.publish_bundle(last_release(counter=6), None, now=NOW),
        "more eFuse bits than the esp32c3 has",
        SecureVersionError,
    )


@pytest.mark.parametrize(
    "document",
    [
        {"minimum_current_counter": -1},
        {"minimum_current_counter": True},
        {"minimum_current_counter": "2"},
        {"support_ends_at": "2031-01-01"},
        {"support_ends_at": 7},
        {"support_ends_at": "soon"},
    ],
)
def test_what_is_said_of_constraints_is_read_strictly(document):
    with pytest.raises(BundleError, match="step or support"):
        constraints_from_document(document, where="custom")


def test_what_is_said_of_constraints_reads_back():
    for constraints in (NO_CONSTRAINTS, asks(step=2), asks(step=2, support=DAY)):
        assert (
            constraints_from_document(describe_constraints(constraints), where="x") == constraints
        )


def test_support_lasts_to_the_end_of_its_last_day():
    ends_at = datetime.fromtimestamp(support_end_of("2030-12-31"), UTC)
    assert ends_at == datetime(2031, 1, 1, tzinfo=UTC)
    for wrong in ("2030-02-30", "9999-12-31", "1969-12-30", "tomorrow"):
        with pytest.raises(ValueError, match="supported_until"):
            support_end_of(wrong)
