"""Boards follow the trust record by themselves, before they believe anything else."""

from __future__ import annotations

import itertools
from contextlib import closing, suppress
from dataclasses import replace

import pytest

from cli.gateway_relay import relay_update
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.device_record import UpdateState
from firmware_images.errors import ApprovalError, RecordError
from firmware_images.flash_medium import SECTOR_BYTES
from manifests.errors import RepositoryError, TransportError, UpdateRefusedError
from manifests.fleet import FleetStore
from manifests.folder_client import FolderClient
from manifests.gateway import Gateway
from manifests.poll_memory import PollMemory
from manifests.published_releases import read_listed_assignment
from manifests.relay import RelayedUpdate
from manifests.release_life import withdraw_release
from manifests.repository_audit import audit_repository
from manifests.repository_reading import load_repository
from manifests.server import ServerPlan, serve_in_background
from manifests.server_app import RepositoryApp
from manifests.service_parts import ServiceParts
from manifests.store import FolderStore
from manifests.transfer import run_session
from manifests.trust_publication import publish_trust
from manifests.trust_renewal import STEPS_MAX, trust_path
from manifests.update_outcome import UpdateResult
from manifests.updater import update_device
from signing.cose import sign_many
from signing.cose_message import parse_message
from signing.errors import (
    RevokedKeyError,
    RollbackError,
    SigningError,
    TrustError,
    UnknownKeyError,
)
from signing.roles import Role
from signing.trust import (
    MAX_TRUST_RECORD_BYTES,
    TRUST_RECORD_CONTENT_TYPE,
    serialize_trust_record,
    sign_trust_record,
)
from tests.firmware_images.power_cut import PowerCutError, Tear, TornFlash
from tests.firmware_images.release_parts import (
    APP_1_5_0,
    build_inputs,
    build_parts,
    role_keys,
    signer,
)
from tests.manifests.test_relay import Link
from tests.manifests.trust_steps import first_step, next_step
from tests.manifests.world import (
    FLASH_BYTES,
    HARDWARE_CLASS,
    NOW,
    PARTITIONS,
    RULES,
    AppTransport,
    Board,
    bundle,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
    open_publisher,
    trust,
    trust_bytes,
)

CAMPAIGN_2 = (Role.CAMPAIGN, "campaign-1", "campaign-2")
ROOT_3 = (Role.ROOT, "root-1", "root-3")
ASSIGNMENT_PATH = f"device/{HARDWARE_CLASS}/assignment.cose"


@pytest.fixture
def folder(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    return publisher.store.root


def serve(folder, record=None, fleet=None):
    return AppTransport(
        RepositoryApp(
            folder,
            ServiceParts(
                trust=record or trust(),
                freshness_signer=signer("freshness-1"),
                fleet=fleet,
                clock=lambda: NOW,
            ),
        )
    )


def run(device, transport):
    return run_session(update_device(device, RULES), transport)


class Showing:
    """A server that shows something else under some paths; `None` is nothing."""

    def __init__(self, inner, shown):
        self.inner, self.shown, self.paths = inner, shown, inner.paths

    def fetch(self, fetch):
        if fetch.path in self.shown:
            self.paths.append(fetch.path)
            if self.shown[fetch.path] is None:
                raise TransportError("there is no such file here", where=fetch.path)
            return self.shown[fetch.path]
        return self.inner.fetch(fetch)


def test_a_board_takes_the_next_record_before_it_believes_the_assignment(folder):
    """The campaign key was stolen: without the new record the new assignment would be refused."""
    step = next_step(first_step(), *CAMPAIGN_2)
    step.publish(folder)
    device, transport = make_device(), serve(folder, step.record)
    before = device.record.trust.load()
    assert run(device, transport).result is UpdateResult.UP_TO_DATE
    assert transport.paths[:3] == [ASSIGNMENT_PATH, trust_path(1), trust_path(2)]
    assert device.load_trust() == step.record
    stored = device.record.trust.load()
    assert stored.slot == 1 - before.slot
    assert stored.generation == before.generation + 1


def test_after_that_a_board_refuses_what_the_revoked_key_signs(folder):
    stolen = (folder / ASSIGNMENT_PATH).read_bytes()
    step = next_step(first_step(), *CAMPAIGN_2)
    step.publish(folder)
    device = make_device()
    run(device, serve(folder, step.record))
    before = bytes(device.medium.content)
    with pytest.raises(RevokedKeyError, match="role campaign"):
        run(device, Showing(serve(folder, step.record), {ASSIGNMENT_PATH: stolen}))
    assert bytes(device.medium.content) == before


FRESHNESS_2 = (Role.FRESHNESS, "freshness-1", "freshness-2")
DRIVEN = UpdateState(release_counter=1, assignment_sequence=2**32 - 1, freshness_sequence=2**32 - 1)


@pytest.mark.parametrize(
    ("change", "assignment_sequence", "freshness_sequence"),
    [
        (CAMPAIGN_2, 0, DRIVEN.freshness_sequence),
        (FRESHNESS_2, DRIVEN.assignment_sequence, 0),
        (ROOT_3, DRIVEN.assignment_sequence, DRIVEN.freshness_sequence),
    ],
    ids=["campaign", "freshness", "root"],
)
def test_a_sequence_begins_anew_with_the_key_that_counts_it(
    folder, change, assignment_sequence, freshness_sequence
):
    """A thief had driven it to its end: no later assignment, or answer, would ever be heard."""
    step = next_step(first_step(), *change)
    step.publish(folder, old_root=(signer("root-2"),))
    device = make_device()
    device.record.save_update_state(DRIVEN)
    with suppress(UpdateRefusedError):  # the other sequence is still at its end
        run(device, serve(folder, step.record))
    state = device.record.load_update_state()
    assert device.load_trust() == step.record
    assert (state.assignment_sequence, state.freshness_sequence) == (
        assignment_sequence,
        freshness_sequence,
    )


def test_a_sequence_goes_on_with_a_key_that_joins_and_ends_with_one_that_goes(folder):
    both = replace(
        trust(),
        version=2,
        roles=dict(trust().roles) | {Role.CAMPAIGN: role_keys(1, "campaign-1", "campaign-2")},
    )
    second = sign_trust_record(both, [signer("root-1")])
    alone = replace(
        both, version=3, roles=dict(both.roles) | {Role.CAMPAIGN: role_keys(1, "campaign-2")}
    )
    third = sign_trust_record(alone, [signer("root-1")])
    device = make_device()
    device.record.save_update_state(DRIVEN)
    shown = {trust_path(1): second}
    with pytest.raises(UpdateRefusedError, match="older than one"):
        run(device, Showing(serve(folder), shown))
    assert device.record.load_update_state() == DRIVEN
    with pytest.raises(UnknownKeyError, match="role campaign"):
        run(device, Showing(serve(folder), {**shown, trust_path(2): third}))
    assert device.record.load_update_state() == replace(DRIVEN, assignment_sequence=0)


def test_a_cut_anywhere_in_the_change_of_keys_leaves_a_board_that_hears_the_new_ones(folder):
    step = next_step(first_step(), *CAMPAIGN_2)
    step.publish(folder)
    driven = make_device()
    driven.record.save_update_state(DRIVEN)
    content = bytes(driven.medium.content)
    for cut_at in itertools.count():
        flash = TornFlash(FLASH_BYTES)
        flash.content[:] = content
        device = replace(driven, medium=flash, board=Board(flash), memory=PollMemory())
        flash.cut_after(cut_at, Tear.PREFIX, seed=cut_at)
        try:
            run(device, serve(folder, step.record))
        except PowerCutError:
            is_cut = True
        else:
            is_cut = False
        flash.power_on()
        device = replace(device, memory=PollMemory())
        assert run(device, serve(folder, step.record)).result is UpdateResult.UP_TO_DATE
        assert device.load_trust() == step.record
        assert device.record.load_update_state() == replace(DRIVEN, assignment_sequence=0)
        if not is_cut:
            break
    assert cut_at == 6  # two records, each an erase and two writes


def test_a_board_that_was_away_follows_record_by_record(folder):
    """The root keys of the first record signed nothing of the third."""
    second = next_step(first_step(), *ROOT_3)
    second.publish(folder, old_root=(signer("root-2"),))
    third = next_step(second, Role.ROOT, "root-2", "root-4")
    third.publish(folder, old_root=(signer("root-3"),))
    message = parse_message(third.signed, max_bytes=MAX_TRUST_RECORD_BYTES)
    with pytest.raises(TrustError):
        trust().verify_message(message, Role.ROOT)
    device = make_device()
    run(device, serve(folder, third.record))
    assert device.load_trust() == third.record
    assert device.record.trust.load().generation == 3


def test_a_record_that_raises_the_policy_version_stops_tables_under_older_ones(folder):
    step = next_step(first_step(), minimum_policy_version=2)
    step.publish(folder)
    step.publisher(folder).publish_bundle(
        bundle(release_counter=2, policy_version=2, is_newer_app=True), None, now=NOW
    )
    laxer = Showing(serve(folder, step.record), {})
    device = make_device()
    assert run(device, laxer).result is UpdateResult.REBOOT_NEEDED
    other = make_device()
    folder_2 = folder.parent / "second"
    make_publisher(folder_2).publish_bundle(new_bundle(), None, now=NOW)
    step.publish(folder_2)
    with pytest.raises(ApprovalError, match="no longer counts"):
        run(other, serve(folder_2, step.record))
    assert other.load_trust() == step.record
    assert other.board.running_slot == 0


def _refused_records():
    one = first_step()
    two = next_step(one, *CAMPAIGN_2)
    other_root = [signer("other-root-1"), signer("other-root-2")]
    own_roots = replace(
        two.record,
        roles=dict(two.record.roles)
        | {
            Role.ROOT: replace(
                two.record.roles[Role.ROOT], keys=tuple(key.public_key for key in other_root)
            )
        },
    )
    payload = serialize_trust_record(two.record)
    return {
        "signed-by-its-own-root-alone": (sign_trust_record(own_roots, other_root), TrustError),
        "signed-by-the-old-root-alone": (
            sign_many(
                serialize_trust_record(own_roots),
                [signer("root-1")],
                content_type=TRUST_RECORD_CONTENT_TYPE,
            ),
            TrustError,
        ),
        "the-same-again": (trust_bytes(), RollbackError),
        "of-another-product": (
            sign_trust_record(replace(two.record, product="glow"), [signer("root-1")]),
            RollbackError,
        ),
        "with-an-older-policy": (
            sign_trust_record(replace(two.record, minimum_policy_version=0), [signer("root-1")]),
            RollbackError,
        ),
        "changed": (two.signed[:-1] + bytes([two.signed[-1] ^ 1]), SigningError),
        "cut": (two.signed[:-1], SigningError),
        "of-another-type": (
            sign_many(payload, [signer("root-1")], content_type="application/x"),
            SigningError,
        ),
        "endless": (bytes(3840), SigningError),
    }


@pytest.mark.parametrize("name", _refused_records())
def test_a_record_that_does_not_follow_is_refused_and_nothing_changes(folder, name):
    shown, error = _refused_records()[name]
    device = make_device()
    before = bytes(device.medium.content)
    with pytest.raises(error):
        run(device, Showing(serve(folder), {trust_path(1): shown}))
    assert bytes(device.medium.content) == before


def test_an_older_record_is_refused_once_a_newer_one_is_there(folder):
    """Both records follow the first; a board that has the later one never takes the other."""
    two, three = next_step(first_step(), *CAMPAIGN_2), None
    three = next_step(two, Role.FRESHNESS, "freshness-1", "freshness-2")
    device = make_device()
    device.record.trust.save(three.signed)
    before = bytes(device.medium.content)
    with pytest.raises(RollbackError, match="not newer"):
        run(device, Showing(serve(folder), {trust_path(3): two.signed}))
    assert bytes(device.medium.content) == before


def test_a_record_that_is_held_back_leaves_the_board_as_it_was(folder):
    step = next_step(first_step(), Role.FRESHNESS, "freshness-1", "freshness-2")
    step.publish(folder)
    device = make_device()
    assert run(device, Showing(serve(folder, step.record), {trust_path(1): None})).result is (
        UpdateResult.UP_TO_DATE
    )
    assert device.load_trust() == trust()


def test_a_flash_that_does_not_keep_the_record_leaves_the_old_one_in_force(folder):
    step = next_step(first_step(), *CAMPAIGN_2)
    step.publish(folder)
    device = make_device()
    place = PARTITIONS.find("devrec").offset_bytes + 5 * SECTOR_BYTES
    write = device.medium.write
    device.medium.write = lambda offset, content: (
        None if place <= offset < place + SECTOR_BYTES else write(offset, content)
    )
    with pytest.raises(RecordError, match="did not keep the trust record"):
        run(device, serve(folder, step.record))
    del device.medium.write
    assert device.load_trust() == trust()
    run(device, serve(folder, step.record))
    assert device.load_trust() == step.record


def test_a_server_cannot_keep_a_board_at_trust_records_for_ever(folder):
    """Records are signed, so a chain of them ends; the bound keeps one session short."""
    steps = [first_step()]
    for number in range(STEPS_MAX + 1):
        steps.append(next_step(steps[-1], minimum_policy_version=number + 1))
    shown = {trust_path(n): step.signed for n, step in enumerate(steps[1:], start=1)}
    device, transport = make_device(), Showing(serve(folder), shown)
    run(device, transport)
    assert device.load_trust().version == STEPS_MAX + 1
    assert transport.paths.count(trust_path(STEPS_MAX + 1)) == 0


def test_publishing_signs_assignments_again_so_that_idle_boards_look(folder):
    device, transport = make_device(), serve(folder)
    run(device, transport)
    transport.paths.clear()
    run(device, transport)
    assert trust_path(1) not in transport.paths
    step = next_step(first_step(), Role.FRESHNESS, "freshness-1", "freshness-2")
    before = read_listed_assignment(*_state(folder), HARDWARE_CLASS)
    done = step.publish_record(folder)
    after = read_listed_assignment(*_state(folder), HARDWARE_CLASS)
    assert (done.follows, done.hardware_classes) == ((1,), (HARDWARE_CLASS,))
    assert after == replace(before, sequence=before.sequence + 1, issued_at_s=after.issued_at_s)
    run(device, transport)
    assert device.load_trust() == step.record


def test_boards_whose_releases_were_all_withdrawn_look_for_the_record_too(folder):
    """Their assignment is halted, by a key that was revoked: it is signed again by the next."""
    withdraw_release(open_publisher(folder), "1.4.0", reason="drawn", now=NOW)
    device, transport = make_device(), serve(folder)
    assert run(device, transport).result is UpdateResult.HALTED
    step = next_step(first_step(), *CAMPAIGN_2)
    step.publish(folder)
    assert audit_repository(FolderStore(folder), step.record, now=NOW).is_sound
    assert run(device, serve(folder, step.record)).result is UpdateResult.HALTED
    assert device.load_trust() == step.record


def _state(folder):
    store = FolderStore(folder)
    return store, load_repository(store)


def test_publishing_the_same_record_again_changes_nothing(folder):
    step = next_step(first_step(), Role.FRESHNESS, "freshness-1", "freshness-2")
    step.publish_record(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert step.publish_record(folder).follows == ()
    assert first_published_is_nothing(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def first_published_is_nothing(folder):
    empty = folder.parent / "empty"
    make_publisher(empty)
    return first_step().publish_record(empty).follows == ()


def test_records_that_do_not_follow_what_was_published_are_refused(folder):
    two = next_step(first_step(), Role.FRESHNESS, "freshness-1", "freshness-2")
    other = next_step(first_step(), Role.FRESHNESS, "freshness-1", "freshness-3")
    two.publish_record(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(RepositoryError, match="another trust record of this version"):
        other.publish_record(folder)
    with pytest.raises(RollbackError, match="not newer"):
        publish_trust(first_step().publisher(folder), trust_bytes(), now=NOW)
    with pytest.raises(RepositoryError, match="not the one in force"):
        publish_trust(two.publisher(folder), other.signed, now=NOW)
    far = replace(two.record, version=100)
    skipping = replace(two, record=far, signed=sign_trust_record(far, [signer("root-1")]))
    with pytest.raises(RepositoryError, match="too many versions"):
        skipping.publish_record(folder)
    assert sorted(folder.rglob("*")) == before


def test_a_record_that_was_skipped_is_followed_from_each_version_below(folder):
    two = next_step(first_step(), Role.FRESHNESS, "freshness-1", "freshness-2")
    three = next_step(two, *CAMPAIGN_2)
    three.publish(folder)
    device, behind = make_device(), make_device()
    behind.record.trust.save(two.signed)
    for board in (device, behind):
        run(board, serve(folder, three.record))
        assert board.load_trust() == three.record


def test_a_gateway_finds_the_same_record_among_the_targets(folder, tmp_path):
    step = next_step(first_step(), Role.FRESHNESS, "freshness-1", "freshness-2")
    step.publish(folder)
    client = FolderClient((folder / "metadata/1.root.json").read_bytes(), tmp_path / "cache")
    path = trust_path(1)
    assert client.read_target(folder, path.removeprefix("device/")) == step.signed
    assert (folder / path).read_bytes() == step.signed


def test_a_release_by_a_revoked_key_is_named_and_published_anew(folder, tmp_path):
    step = next_step(first_step(), Role.RELEASE, "release-1", "release-4")
    publisher = step.publisher(folder)
    step.publish(folder)
    assert step.publish_record(folder).refused_versions == ("1.4.0",)
    again = sign_bundle(
        build_bundle(build_inputs(build_parts(app=APP_1_5_0), release_counter=2)),
        step.keys[Role.RELEASE],
    )
    device, fleet = make_device(), FleetStore(tmp_path / "reports.sqlite")
    with pytest.raises(RevokedKeyError, match="role release"):
        run(device, serve(folder, step.record))
    publisher.publish_bundle(again, None, now=NOW)
    transport = serve(folder, step.record, fleet)
    assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
    device.board.boot()
    assert run(device, transport).result is UpdateResult.INSTALLED
    fleet.close()


def test_a_board_without_a_network_gets_the_record_through_a_gateway(folder, tmp_path):
    """The gateway finds no record after the last one, and the board lives with that."""
    step = next_step(first_step(), *ROOT_3)
    step.publish(folder, old_root=(signer("root-2"),))
    device = make_device()
    plan = ServerPlan(folder=folder, trust_record=step.signed, port=0)
    root = (folder / "metadata/1.root.json").read_bytes()
    with (
        serve_in_background(plan) as url,
        closing(Gateway(url, trusted_root=root, cache=tmp_path / "cache")) as gateway,
    ):
        link = Link(RelayedUpdate(lambda: update_device(device, RULES)).answer)
        assert relay_update(link, gateway)["result"] == "up to date"
    assert device.load_trust() == step.record
