"""Every attack on an update is refused, and what lies in flash is what lay there before.

Where the C verifier can be built, it is shown the same bytes and has to refuse them, too, for the
same reason.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta

import pytest

from firmware_images.device_record import UpdateState
from manifests.assignment import ASSIGNMENT_CONTENT_TYPE, serialize_assignment, verify_assignment
from manifests.errors import ManifestError, TransportError, UpdateRefusedError
from manifests.publication import AssignmentPlan
from manifests.server_app import RepositoryApp
from manifests.service_parts import ServiceParts
from manifests.transfer import run_session
from manifests.update_outcome import UpdateResult, UpdateRules
from manifests.updater import update_device
from signing.cose import sign_one
from signing.refusal import Refusal
from tests.c_verifier.witness import witnessed
from tests.firmware_images.release_parts import signer
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    PARTITIONS,
    RULES,
    SERIAL,
    AppTransport,
    bundle,
    calibration,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
    trust,
)

ASSIGNMENT_PATH = f"device/{HARDWARE_CLASS}/assignment.cose"


def serve(publisher, *, now=NOW, freshness="freshness-1"):
    return AppTransport(
        RepositoryApp(
            publisher.store.root,
            ServiceParts(trust=trust(), freshness_signer=signer(freshness), clock=lambda: now),
        )
    )


@pytest.fixture
def publisher(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    return publisher


@pytest.fixture(autouse=True)
def _ask_the_c_verifier_too(c_verifier_if_any, monkeypatch):
    if c_verifier_if_any is not None:
        both = witnessed(assert_refused, c_verifier_if_any)
        monkeypatch.setattr(sys.modules[__name__], "assert_refused", both)


class Tampering:
    """A hostile carrier: changes what comes for a path, and what is sent to it."""

    def __init__(self, inner, where, change):
        self.inner, self.where, self.change = inner, where, change

    def fetch(self, fetch):
        content = self.inner.fetch(fetch)
        return self.change(content) if self.where in fetch.path else content


def assert_refused(device, transport, match, rules=RULES):
    before = bytes(device.medium.content)
    with pytest.raises(Refusal, match=match) as refused:
        run_session(update_device(device, rules), transport)
    assert bytes(device.medium.content) == before
    return refused.value


def flip(content):
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def test_an_older_release_is_refused_even_when_the_campaign_key_assigns_it(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    transport = serve(publisher)
    run_session(update_device(device, RULES), transport)
    device.board.boot()
    assert run_session(update_device(device, RULES), transport).release_counter == 2
    publisher.publish_plan("1.4.0", AssignmentPlan(campaign="stolen key"), now=NOW)
    error = assert_refused(device, transport, "older than what the device has")
    assert "release counter 2 or later" in error.expected


def test_a_replayed_assignment_is_refused(publisher):
    device = make_device()
    device.record.save_update_state(UpdateState(assignment_sequence=2))
    assert_refused(device, serve(publisher), "older than one that the device accepted")


def test_a_superseded_assignment_is_refused_by_the_signed_present(publisher):
    stale = (publisher.store.root / ASSIGNMENT_PATH).read_bytes()
    publisher.publish_plan("1.5.0", AssignmentPlan(campaign="halt", is_halted=True), now=NOW)
    frozen = Tampering(serve(publisher), "assignment", lambda _: stale)
    assert_refused(make_device(), frozen, "another assignment is in force")


def test_an_assignment_of_a_manifest_that_release_never_signed_is_refused(publisher):
    path = publisher.store.root / ASSIGNMENT_PATH
    assignment = verify_assignment(path.read_bytes(), trust())
    invented = publisher.store.root / "device/manifests" / ("0" * 64 + ".cose")
    message = sign_one(b"\xa0", signer("campaign-1"), content_type=ASSIGNMENT_CONTENT_TYPE)
    invented.write_bytes(message)
    import hashlib

    digest = hashlib.sha256(message).digest()
    invented.rename(invented.with_name(f"{digest.hex()}.cose"))
    path.write_bytes(
        sign_one(
            serialize_assignment(replace(assignment, manifest_sha256=digest)),
            signer("campaign-1"),
            content_type=ASSIGNMENT_CONTENT_TYPE,
        )
    )
    assert_refused(make_device(), serve(publisher), "another kind")


def test_an_assignment_by_another_role_is_refused(publisher):
    path = publisher.store.root / ASSIGNMENT_PATH
    assignment = verify_assignment(path.read_bytes(), trust())
    path.write_bytes(
        sign_one(
            serialize_assignment(assignment),
            signer("freshness-1"),
            content_type=ASSIGNMENT_CONTENT_TYPE,
        )
    )
    assert_refused(make_device(), serve(publisher), "no key of the role campaign")


@pytest.mark.parametrize("where", ["assignment", "manifests", "freshness"])
def test_a_flipped_bit_in_a_message_is_refused(publisher, where):
    attack = Tampering(serve(publisher), where, flip)
    assert_refused(make_device(), attack, "signature|not the one that the assignment names")


@pytest.mark.parametrize("where", ["assignment", "manifests", "freshness"])
@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: c[:40], lambda _: b""], ids=["1 short", "40", "empty"]
)
def test_a_truncated_message_is_refused(publisher, where, change):
    assert_refused(
        make_device(),
        Tampering(serve(publisher), where, change),
        "length|CBOR|COSE|message|not the one",
    )


@pytest.mark.parametrize("where", ["assignment", "manifests", "freshness"])
def test_an_endless_message_is_refused(publisher, where):
    attack = Tampering(serve(publisher), where, lambda c: c + b"\0" * 5000)
    assert_refused(make_device(), attack, "length|not the one")


def test_another_manifest_than_the_assigned_one_is_refused(publisher):
    publisher.publish_bundle(bundle(release_counter=3, is_newer_app=True), None, now=NOW)
    manifests = sorted((publisher.store.root / "device/manifests").iterdir())
    swapped = {path.name: manifests[1 - i].read_bytes() for i, path in enumerate(manifests)}
    for path in manifests:
        path.unlink()
        path.write_bytes(swapped[path.name])
    assert_refused(make_device(), serve(publisher), "not the one that the assignment names")


def test_a_release_for_other_hardware_is_refused(publisher):
    device = make_device()
    device.board.hardware_revision = 3
    assert_refused(device, serve(publisher), "not for this hardware revision")
    device.board.hardware_revision = 1
    device.board.hardware_class = "glow-c3"
    assert_refused(device, serve(publisher), "refuses the request")
    stolen = (publisher.store.root / ASSIGNMENT_PATH).read_bytes()
    (publisher.store.root / "device/glow-c3").mkdir()
    (publisher.store.root / "device/glow-c3/assignment.cose").write_bytes(stolen)
    assert_refused(device, serve(publisher), "assignment is for other hardware")


def test_a_manifest_for_other_hardware_under_a_true_assignment_is_refused(publisher):
    publisher.publish_bundle(bundle(release_counter=3, hardware_class="glow-c3"), None, now=NOW)
    theirs = (publisher.store.root / "device/glow-c3/assignment.cose").read_bytes()
    ours = replace(verify_assignment(theirs, trust()), hardware_class=HARDWARE_CLASS)
    message = sign_one(
        serialize_assignment(ours), signer("campaign-1"), content_type=ASSIGNMENT_CONTENT_TYPE
    )
    attack = Tampering(serve(publisher), "assignment", lambda _: message)
    assert_refused(make_device(), attack, "manifest is for other hardware")


@pytest.mark.parametrize("early_s", [1, 3 * 365 * 86_400, int(NOW.timestamp()) - 86_400])
def test_a_time_from_before_the_assignment_is_refused(publisher, early_s):
    """A clock at 1970, say: nothing would ever expire."""
    present = NOW - timedelta(days=1, seconds=early_s)
    refused = assert_refused(make_device(), serve(publisher, now=present), "before the assignment")
    assert refused.where == "freshness, field 4"
    assert "clock" in refused.hint


def test_clocks_may_be_a_day_apart(publisher):
    """Seen with a calibration that is valid at that time."""
    transport = serve(publisher, now=NOW - timedelta(days=1))
    outcome = run_session(update_device(make_device(), RULES), transport)
    assert outcome.result is UpdateResult.REBOOT_NEEDED


def test_an_expired_assignment_is_refused_by_the_signed_present(publisher):
    late = NOW + timedelta(days=91)
    publisher.renew(now=late)
    assert_refused(make_device(), serve(publisher, now=late), "assignment has expired")


def test_an_expired_manifest_is_refused_by_the_signed_present(publisher):
    last, later = NOW + timedelta(days=729), NOW + timedelta(days=731)
    publisher.publish_plan("1.5.0", AssignmentPlan(campaign="late"), now=last)
    assert_refused(make_device(), serve(publisher, now=later), "manifest has expired")


def test_a_freshness_answer_from_the_past_is_refused(publisher):
    device = make_device()
    device.record.save_update_state(UpdateState(freshness_sequence=int(NOW.timestamp()) + 9))
    assert_refused(device, serve(publisher), "freshness answer is older")


def test_a_replayed_freshness_answer_is_refused(publisher):
    transport = serve(publisher)
    device = make_device()
    answers = []
    recording = Tampering(transport, "freshness", lambda c: answers.append(c) or c)
    with pytest.raises(ManifestError):
        run_session(update_device(device, RULES), Tampering(recording, "artifacts", lambda _: b""))
    attack = Tampering(transport, "freshness", lambda _: answers[0])
    assert_refused(device, attack, "not for this request")


def test_a_freshness_answer_by_the_campaign_key_is_refused(publisher):
    assert_refused(make_device(), serve(publisher, freshness="campaign-1"), "role freshness")


def test_a_table_beyond_the_units_verified_span_is_refused(publisher):
    device = make_device(span_na=90_000)
    assert_refused(device, serve(publisher), "more current than was verified on this board")


def test_a_unit_without_calibration_or_with_a_cloned_one_is_refused(publisher):
    device = make_device()
    device.record.calibration.save(calibration(span_na=400_000, serial="FL26A000025"))
    assert_refused(device, serve(publisher), "FL26A000025|another")
    device.record.calibration.erase()
    assert_refused(device, serve(publisher), "never calibrated")


def test_an_unfinished_unit_is_refused(publisher):
    device = make_device()
    device.record.trust.erase()
    assert_refused(device, serve(publisher), "no trust record")
    device.record.identity.erase()
    assert_refused(device, serve(publisher), "no identity yet")


def test_a_policy_version_below_the_devices_floor_is_refused(publisher):
    device = make_device()
    device.record.save_update_state(UpdateState(policy_version_floor=2))
    assert_refused(device, serve(publisher), "policy version would go back")


def test_a_secure_version_below_the_chips_is_refused(publisher):
    device = make_device()
    device.board.secure_version = 1
    assert_refused(device, serve(publisher), "secure version would go back")


def test_other_content_under_the_same_release_counter_is_refused(publisher):
    device = make_device()
    device.record.save_update_state(UpdateState(release_counter=2))
    assert_refused(device, serve(publisher), "another content has the release counter")


@pytest.mark.parametrize(
    "change", [flip, lambda c: c[:-1], lambda c: c + b"x"], ids=["flip", "short", "long"]
)
def test_a_damaged_waveform_image_is_refused_before_anything_is_written(publisher, change):
    first = Tampering(serve(publisher), "artifacts", change)
    assert_refused(make_device(), first, "not the one that the manifest names|another number")


def test_a_release_that_does_not_fit_its_slot_is_refused(publisher):
    device = make_device()
    small = tuple(
        replace(p, size_bytes=0x10000) if p.name.startswith("ota_") else p
        for p in PARTITIONS.partitions
    )
    device = replace(device, partitions=replace(PARTITIONS, partitions=small))
    assert_refused(device, serve(publisher), "does not fit its slot")


def test_nothing_is_installed_in_a_session_or_on_a_low_battery(publisher):
    device = make_device()
    device.board.session = True
    transport = serve(publisher)
    assert_refused(device, transport, "in a session")
    device.board.session = False
    device.board.battery = 29
    assert_refused(device, transport, "battery is too low")
    assert transport.paths == []


def test_a_halted_campaign_and_an_unselected_device_change_nothing(publisher):
    device = make_device()
    before = bytes(device.medium.content)
    plan = AssignmentPlan(campaign="pilot", drawn_ppm=0, pinned_serial_numbers=("FL26A000025",))
    publisher.publish_plan("1.5.0", plan, now=NOW)
    outcome = run_session(update_device(device, RULES), serve(publisher))
    assert outcome.result is UpdateResult.NOT_SELECTED
    publisher.publish_plan("1.5.0", replace(plan, is_halted=True), now=NOW)
    outcome = run_session(update_device(device, RULES), serve(publisher))
    assert outcome.result is UpdateResult.HALTED
    assert bytes(device.medium.content) == before
    pinned = replace(plan, pinned_serial_numbers=(SERIAL,))
    publisher.publish_plan("1.5.0", pinned, now=NOW)
    outcome = run_session(update_device(device, RULES), serve(publisher))
    assert outcome.result is UpdateResult.REBOOT_NEEDED


def regions(device):
    """What must survive a bad download: the running slot, otadata, identity, trust, calibration."""
    kept = [PARTITIONS.find(name) for name in ("otadata", "ota_0", "wave_0")]
    devrec = PARTITIONS.find("devrec")
    return [
        *(device.medium.read(p.offset_bytes, p.size_bytes) for p in kept),
        device.medium.read(devrec.offset_bytes, 6 * 4096),
    ]


@pytest.mark.parametrize(
    "change",
    [flip, lambda c: c[:-1], lambda c: c + b"x", lambda _: b"", lambda c: c[::-1]],
    ids=["flip", "short", "long", "empty", "reversed"],
)
def test_a_damaged_application_is_never_switched_to(publisher, change):
    device = make_device()
    before = regions(device)
    app_name = max(
        (publisher.store.root / "device/artifacts").iterdir(), key=lambda p: p.stat().st_size
    ).name
    attack = Tampering(serve(publisher), app_name, change)
    with pytest.raises(UpdateRefusedError, match=r"number of bytes|not the one"):
        run_session(update_device(device, RULES), attack)
    assert regions(device) == before
    device.board.boot()
    assert device.board.running_slot == 0
    # And the honest server then succeeds, over what the attacker left in the slot.
    outcome = run_session(update_device(device, RULES), serve(publisher))
    assert outcome.result is UpdateResult.REBOOT_NEEDED
    device.board.boot()
    assert device.board.running_slot == 1


def test_a_session_that_begins_during_the_download_stops_it(publisher):
    device = make_device()

    def begin_session(content):
        device.board.session = True
        return content

    attack = Tampering(serve(publisher), "artifacts", begin_session)
    with pytest.raises(UpdateRefusedError, match="in a session"):
        run_session(update_device(device, UpdateRules(chunk_bytes=4096)), attack)
    device.board.session = False
    outcome = run_session(update_device(device, RULES), serve(publisher))
    assert outcome.result is UpdateResult.REBOOT_NEEDED


def test_a_dead_flash_sector_is_noticed_and_nothing_switches(publisher):
    device = make_device()
    slot = PARTITIONS.find("ota_1")
    write = device.medium.write

    def write_badly(offset_bytes, content):
        if offset_bytes == slot.offset_bytes:
            content = b"\0" + content[1:]
        write(offset_bytes, content)

    device.medium.write = write_badly
    before = regions(device)
    with pytest.raises(UpdateRefusedError, match="did not keep"):
        run_session(update_device(device, RULES), serve(publisher))
    assert regions(device) == before


def test_a_server_that_does_not_answer_changes_nothing(publisher):
    class Silent:
        def fetch(self, fetch):
            raise TransportError("silence", where=fetch.path)

    assert_refused(make_device(), Silent(), "silence")
