"""A release's manifest is signed again under its own counter: nobody is harmed, nobody left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from firmware_images.device_record import UpdateState
from firmware_images.errors import FirmwareImageError
from manifests.assignment import verify_assignment
from manifests.errors import RepositoryError
from manifests.folder_client import FolderClient
from manifests.manifest import verify_manifest
from manifests.manifests_settings import RepositorySettings
from manifests.publication import AssignmentPlan
from manifests.published_releases import list_releases, name_extension
from manifests.release_extension import extend_release
from manifests.release_life import withdraw_release
from manifests.release_steps import list_unled
from manifests.repository import NewFile, publish_files
from manifests.repository_audit import audit_repository
from manifests.repository_reading import load_repository, read_target
from manifests.repository_status import describe_repository
from manifests.status_words import format_status
from manifests.transfer import run_session
from manifests.update_outcome import Remembered, UpdateResult, remembered_word
from manifests.updater import update_device
from signing.errors import SigningError
from signing.refusal import Refusal
from signing.roles import Role
from tests.c_verifier.witness import Recording, Witness
from tests.manifests.test_release_constraints import asks, last_release, refused, step_release
from tests.manifests.test_update_attacks import Tampering, assert_refused, serve
from tests.manifests.test_update_delta import from_old
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    RULES,
    bundle,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
    signer,
    signers,
    trust,
)

DAY = timedelta(days=1)
LATE = NOW + 10 * DAY


@pytest.fixture
def publisher(request, tmp_path):
    """Both releases, the newer one assigned; manifests hold for ten days, until `LATE`."""
    publisher = replace(
        make_publisher(tmp_path / "repository"),
        settings=RepositorySettings(manifest_expires_days=10, timestamp_expires_days=90),
    )
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    delta_plan = getattr(request, "param", from_old())
    publisher.publish_bundle(new_bundle(), None, now=NOW, delta_plan=delta_plan)
    return publisher


def shown(publisher):
    """The messages that devices are shown: assignment, and the manifest that it names."""
    device = publisher.store.root / "device"
    assignment = (device / HARDWARE_CLASS / "assignment.cose").read_bytes()
    digest = verify_assignment(assignment, trust()).manifest_sha256.hex()
    return assignment, (device / f"manifests/{digest}.cose").read_bytes()


def session(device, publisher, now):
    return run_session(update_device(device, RULES), serve(publisher, now=now))


def install(device, publisher, now):
    assert session(device, publisher, now).result is UpdateResult.REBOOT_NEEDED
    device.board.boot()
    return session(device, publisher, now)


def device_below(counter=1):
    device = make_device()
    device.record.save_update_state(UpdateState(release_counter=counter))
    return device


def test_a_device_without_the_release_takes_it_again_after_the_extension(publisher):
    device = device_below()
    assert_refused(device, serve(publisher, now=LATE), "manifest has expired")
    before = verify_manifest(shown(publisher)[1], trust())
    extension = extend_release(publisher, "1.5.0", now=LATE)
    after = verify_manifest(shown(publisher)[1], trust())
    assert after == extension.manifest
    assert after.expires_at == LATE + 10 * DAY
    assert after == replace(before, issued_at_s=after.issued_at_s, expires_at_s=after.expires_at_s)
    assert after.deltas
    assert install(device, publisher, LATE).result is UpdateResult.INSTALLED
    assert device.record.load_update_state().release_counter == 2


def test_a_device_with_the_release_does_nothing_about_the_extension(publisher, c_verifier_if_any):
    device = device_below()
    assert install(device, publisher, NOW).result is UpdateResult.INSTALLED
    extend_release(publisher, "1.5.0", now=LATE)
    run_session(update_device(device, RULES), serve(publisher, now=LATE))  # the report
    before = bytes(device.medium.content)
    recording = Recording(serve(publisher, now=LATE))
    witness = c_verifier_if_any and Witness(c_verifier_if_any, device)
    device.memory.__init__()  # as after a boot
    outcome = run_session(update_device(device, RULES), recording)
    assert outcome.result is UpdateResult.UP_TO_DATE
    assert bytes(device.medium.content) == before
    if witness:
        assert witness.compare(recording, outcome) == "up-to-date"


@pytest.mark.parametrize("publisher", [None], indirect=True)
def test_a_device_in_the_middle_of_the_old_manifest_finishes_under_the_new_one(publisher):
    writing, switched = device_below(), device_below()

    class PowerCut(Exception):  # noqa: N818 - it is no error
        pass

    class Cutting:
        def __init__(self):
            self.inner = serve(publisher)

        def fetch(self, fetch):
            if "artifacts/" in fetch.path and fetch.offset_bytes:
                raise PowerCut
            return self.inner.fetch(fetch)

    with pytest.raises(PowerCut):
        run_session(update_device(writing, RULES), Cutting())
    assert session(switched, publisher, NOW).result is UpdateResult.REBOOT_NEEDED
    extend_release(publisher, "1.5.0", now=NOW + 9 * DAY)
    assert install(writing, publisher, LATE).result is UpdateResult.INSTALLED
    switched.board.boot()
    assert session(switched, publisher, LATE).result is UpdateResult.INSTALLED
    assert session(switched, publisher, LATE).result is UpdateResult.UP_TO_DATE
    for device in (writing, switched):
        assert device.record.load_update_state().release_counter == 2


def test_a_device_that_gave_the_release_up_tries_it_once_more(publisher):
    """It knows the manifest that it gave up, and this is another one."""
    device = device_below()
    device.board.failure = "no output"
    session(device, publisher, NOW)
    device.board.boot()
    session(device, publisher, NOW)
    device.board.boot()
    assert_refused(device, serve(publisher), "tried this release before")
    extend_release(publisher, "1.5.0", now=LATE)
    assert session(device, publisher, LATE).result is UpdateResult.REBOOT_NEEDED
    device.board.boot()
    session(device, publisher, LATE)
    device.board.boot()
    state = device.record.load_update_state()
    assert (state.release_counter, device.board.running_slot) == (1, 0)
    assert remembered_word(state) in {Remembered.REVERTED, Remembered.REVERTED_REPORT_DUE}
    assert_refused(device, serve(publisher, now=LATE), "tried this release before")


def test_the_old_manifest_replayed_is_refused_as_it_was_before(publisher):
    old_assignment, old_manifest = shown(publisher)
    extend_release(publisher, "1.5.0", now=LATE)
    # A mirror shows both old messages: freshness names another assignment.
    replay = Tampering(serve(publisher, now=LATE), "assignment.cose", lambda _: old_assignment)
    assert_refused(device_below(), replay, "another assignment is in force")
    # A thief of the campaign key assigns the old manifest, which lies there still.
    named = verify_assignment(old_assignment, trust())
    last = verify_assignment(shown(publisher)[0], trust())
    stolen = replace(last, manifest_sha256=named.manifest_sha256, sequence=last.sequence + 1)
    current = load_repository(publisher.store)
    publish_files(
        publisher.store,
        publisher.signers,
        publisher.settings,
        before=current,
        assignments=(publisher.assignment_file(stolen, current),),
        now=LATE,
    )
    assert shown(publisher)[1] == old_manifest
    assert_refused(device_below(), serve(publisher, now=LATE), "manifest has expired")


def test_tuf_clients_see_the_new_manifest_alone_and_the_audit_finds_nothing(publisher, tmp_path):
    root = publisher.store.root
    client = FolderClient((root / "metadata/1.root.json").read_bytes(), tmp_path / "client")
    old = list_releases(load_repository(publisher.store))[-1]
    client.read_target(root, old.target_path)
    first = extend_release(publisher, "1.5.0", now=NOW + DAY)
    second = extend_release(publisher, "1.5.0", now=NOW + 2 * DAY)
    metadata = load_repository(publisher.store)
    release = list_releases(metadata)[-1]
    assert release.manifest_sha256 == second.manifest_sha256
    assert release.replaces == (old.manifest_sha256, first.manifest_sha256)
    assert old.target_path not in metadata.targets.signed.targets
    assert client.read_target(root, release.target_path) == shown(publisher)[1]
    assert len(list_releases(metadata)) == 2
    assert audit_repository(publisher.store, trust(), now=NOW + 2 * DAY).findings == []
    withdraw_release(publisher, "1.5.0", reason="it was a trial", now=NOW + 2 * DAY)
    assert audit_repository(publisher.store, trust(), now=NOW + 2 * DAY).findings == []


def test_a_release_of_an_earlier_publisher_is_told_with_its_hardware_revisions(publisher):
    """They were not listed: that is no error, and extending the manifest lists them."""
    metadata = load_repository(publisher.store)
    release = list_releases(metadata)[-1]
    entry = metadata.targets.signed.targets[release.target_path]
    told = {k: v for k, v in entry.custom.items() if not k.startswith("hardware_revision")}
    content = read_target(publisher.store, entry)
    publish_files(
        publisher.store,
        publisher.signers,
        publisher.settings,
        releases=(NewFile(path=release.target_path, content=content, custom=told),),
        now=NOW,
    )
    assert audit_repository(publisher.store, trust(), now=NOW).findings == []
    extend_release(publisher, "1.5.0", now=NOW + DAY)
    metadata = load_repository(publisher.store)
    path = list_releases(metadata)[-1].target_path
    custom = metadata.targets.signed.targets[path].custom
    assert (custom["hardware_revision_min"], custom["hardware_revision_max"]) == (1, 2)
    assert custom["version"] == told["version"]


def test_the_campaign_keeps_its_share_its_halt_and_its_end(publisher):
    plan = AssignmentPlan(campaign="pilot", drawn_ppm=7, is_halted=True)
    before = publisher.publish_plan("1.5.0", plan, now=NOW).assignment
    extension = extend_release(publisher, "1.5.0", now=LATE)
    assert extension.assignment == replace(
        before,
        sequence=before.sequence + 1,
        manifest_sha256=extension.manifest_sha256,
        issued_at_s=int(LATE.timestamp()),
    )
    assert verify_assignment(shown(publisher)[0], trust()) == extension.assignment


def test_an_assignment_of_another_release_is_left_alone(publisher):
    before = shown(publisher)
    extension = extend_release(publisher, "1.4.0", now=LATE)
    assert extension.assignment is None
    assert shown(publisher) == before
    assert audit_repository(publisher.store, trust(), now=NOW).findings == []


def test_a_step_that_expired_leads_again(tmp_path):
    publisher = replace(
        make_publisher(tmp_path / "repository"),
        settings=RepositorySettings(manifest_expires_days=10),
    )
    publisher.publish_bundle(step_release(), None, now=NOW)
    publisher.publish_bundle(last_release(step=2), None, now=NOW + 9 * DAY)
    store = publisher.store

    def unled():
        return list_unled(store, load_repository(store), trust(), now=LATE)

    assert [one.version for one in unled()] == ["1.5.0"]
    step = extend_release(publisher, "1.4.0", now=LATE)
    assert step.assignment.steps_sha256 == (step.manifest_sha256,)
    assert unled() == ()
    (found,) = extend_release(publisher, "1.5.0", now=LATE).way.steps
    assert found.manifest_sha256 == step.manifest_sha256


def test_the_status_and_every_refusal_name_the_command(publisher):
    command = name_extension(list_releases(load_repository(publisher.store))[-1])
    assert command == "ampforge repo extend 1.5.0 --hardware-class flare-c3 --release-counter 2"
    for now in (NOW, LATE):
        text = format_status(describe_repository(publisher.store, trust(), now=now))
        assert f"the release key holders must run `{command}`" in text
    findings = audit_repository(publisher.store, trust(), now=LATE).findings
    assert command in " ".join(one.hint for one in findings)
    with pytest.raises(RepositoryError, match="has expired") as told:
        publisher.publish_plan("1.5.0", AssignmentPlan(campaign="a"), now=LATE)
    assert command in told.value.hint
    ended = last_release(support=5 * DAY)
    publisher.publish_bundle(ended, None, now=NOW)
    status = describe_repository(publisher.store, trust(), now=NOW)
    assert "later supported_until" in status["releases"][-1]["expiry"]


def test_what_cannot_be_extended_is_refused_and_changes_nothing(publisher, tmp_path):
    def extend(version="1.5.0", now=LATE, **words):
        return lambda: extend_release(publisher, version, now=now, **words)

    refused(publisher, extend(now=NOW), "would not hold for longer")
    refused(publisher, extend("9.9.9"), "not published")
    refused(publisher, extend(release_counter=7), "not published")
    revoked = replace(trust(), revoked_key_ids=frozenset({signer("release-1").public_key.key_id}))
    strict = replace(publisher, trust=revoked)
    refused(publisher, lambda: extend_release(strict, "1.5.0", now=LATE), "release", SigningError)
    stricter = replace(publisher, trust=replace(trust(), minimum_policy_version=2))
    refused(
        publisher,
        lambda: extend_release(stricter, "1.5.0", now=LATE),
        "policy",
        (SigningError, FirmwareImageError),
    )
    few = replace(publisher, signers=signers() | {Role.RELEASE: ()})
    refused(publisher, lambda: extend_release(few, "1.5.0", now=LATE), "no private key")
    publisher.publish_bundle(bundle(release_counter=3, is_newer_app=True), None, now=NOW)
    refused(publisher, extend(), "several counters")
    withdraw_release(publisher, "1.5.0", reason="drawn", now=NOW, release_counter=2)
    withdraw_release(publisher, "1.5.0", reason="drawn", now=NOW)
    refused(publisher, extend(), "was withdrawn")
    publisher.publish_bundle(last_release(support=15 * DAY, counter=4), None, now=NOW + 9 * DAY)
    refused(publisher, extend(now=LATE), "would not hold for longer")
    refused(publisher, extend(now=NOW + 15 * DAY), "support of release 1.5.0 has ended")


def test_a_extended_manifest_ends_with_the_support(publisher):
    publisher.publish_bundle(last_release(support=15 * DAY), None, now=NOW)
    extension = extend_release(publisher, "1.5.0", now=LATE, release_counter=3)
    assert extension.manifest.constraints == asks(support=15 * DAY)
    assert extension.manifest.expires_at == NOW + 15 * DAY


def test_a_manifest_that_its_bundle_does_not_say_is_not_extended(publisher):
    """Were it listed by a thief of TUF's keys, it must not get the release role's seal."""
    entry_of = load_repository(publisher.store).targets.signed.targets
    release = list_releases(load_repository(publisher.store))[-1]
    path = next(one for one in entry_of if one.startswith("bundles/") and "1.5.0" in one)
    bundle_file = publisher.store.root / "targets" / entry_of[path].get_prefixed_paths()[0]
    content = bundle_file.read_bytes()
    bundle_file.write_bytes(content[:-1] + b"x")
    refused(publisher, lambda: extend_release(publisher, "1.5.0", now=LATE), "missing or damaged")
    bundle_file.write_bytes(content)
    manifest = verify_manifest(read_target(publisher.store, entry_of[release.target_path]), trust())
    changed = publisher.sign_manifest(replace(manifest, hardware_revision_max=9))
    from manifests.release_files import build_manifest_file

    custom = entry_of[release.target_path].custom
    publish_files(
        publisher.store,
        publisher.signers,
        publisher.settings,
        releases=(build_manifest_file(changed, custom),),
        withdrawn_paths=(release.target_path,),
        now=NOW,
    )
    told = refused(
        publisher, lambda: extend_release(publisher, "1.5.0", now=LATE), "than its bundle"
    )
    assert "another hardware_revision_max" in str(told)
    with pytest.raises(Refusal):
        extend_release(publisher, "1.5.0", now=LATE)


def test_an_assignment_names_the_extended_manifest_of_a_step(tmp_path):
    publisher = replace(
        make_publisher(tmp_path / "repository"),
        settings=RepositorySettings(manifest_expires_days=10, timestamp_expires_days=90),
    )
    publisher.publish_bundle(step_release(), None, now=NOW)
    publisher.publish_bundle(last_release(step=2), None, now=NOW)
    step, last = list_releases(load_repository(publisher.store))
    extension = extend_release(publisher, step.version, now=NOW + 5 * DAY)
    assignment = verify_assignment(shown(publisher)[0], trust())
    assert assignment == extension.assignment
    assert assignment.manifest_sha256 == last.manifest_sha256
    assert assignment.steps_sha256 == (extension.manifest_sha256,)
    assert extension.manifest_sha256 != step.manifest_sha256
    device = device_below()
    for counter in (2, 3):
        install(device, publisher, NOW + 6 * DAY)
        assert device.record.load_update_state().release_counter == counter
