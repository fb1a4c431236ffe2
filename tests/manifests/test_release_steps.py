"""Whatever is published: every device comes to the newest release that it may run, or is told.

Releases ask for steps, are for some hardware revisions, and are withdrawn; the publisher, the
updater and, where it can be built, the C verifier are compared with a search of the graph that
knows none of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.publication_output import describe_publication, format_publication
from firmware_images.device_record import UpdateState
from firmware_images.release_constraints import ReleaseConstraints
from manifests.assignment import STEPS_MAX_COUNT
from manifests.errors import RepositoryError, UpdateRefusedError
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.publication import AssignmentPlan
from manifests.published_releases import list_releases, read_listed_assignment
from manifests.release_life import withdraw_release
from manifests.release_steps import list_unled, plan_steps
from manifests.repository_audit import audit_repository
from manifests.repository_reading import load_repository
from manifests.repository_status import describe_repository
from manifests.status_words import format_status
from manifests.transfer import run_session
from manifests.update_outcome import UpdateResult
from manifests.updater import update_device
from tests.c_verifier.witness import Recording, Witness
from tests.conftest import IS_SOAK
from tests.manifests.test_update_attacks import assert_refused, serve
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    RULES,
    bundle,
    make_device,
    make_publisher,
    put_in_force,
    trust,
)

REVISIONS = range(1, 4)


@dataclass(frozen=True)
class Node:
    """A release as the search knows it."""

    counter: int
    least: int
    low: int
    high: int

    def takes(self, revision: int, counter: int) -> bool:
        fits = self.low <= revision <= self.high
        return fits and counter < self.counter and counter >= self.least


def comes_to(nodes, target, revision, counter) -> bool:
    """Whether a device comes to a release, by trying every way."""
    if target.takes(revision, counter):
        return True
    return any(
        comes_to(nodes, target, revision, node.counter)
        for node in nodes
        if node.counter < target.counter and node.takes(revision, counter)
    )


def content_of(node: Node) -> bytes:
    return bundle(
        release_counter=node.counter,
        peak_na=50_000 + 1000 * node.counter,
        hardware_revision_min=node.low,
        hardware_revision_max=node.high,
        constraints=ReleaseConstraints(minimum_current_counter=node.least),
    )


@st.composite
def nodes(draw) -> list[Node]:
    made = []
    for counter in range(1, draw(st.integers(2, 6)) + 1):
        low = draw(st.sampled_from([1, 1, 1, 2, 3]))
        high = draw(st.sampled_from([one for one in (3, 3, 2, 1) if one >= low]))
        least = draw(st.sampled_from([0, counter - 1, draw(st.integers(0, counter - 1))]))
        made.append(Node(counter, least, low, high))
    return made


def device_at(revision: int, counter: int):
    device = make_device()
    device.board.hardware_revision = revision
    device.record.save_update_state(UpdateState(release_counter=counter))
    return device


def sessions(device, publisher, verifier):
    """Sessions until nothing changes; the counters that the device took, and how the last ended."""
    taken = []
    for _ in range(12):
        recording = Recording(serve(publisher))
        witness = verifier and Witness(verifier, device)
        try:
            ending = run_session(update_device(device, RULES), recording)
        except UpdateRefusedError as refusal:
            ending = refusal
        if witness:
            witness.compare(recording, ending)
        if getattr(ending, "result", None) is not UpdateResult.REBOOT_NEEDED:
            return taken, ending
        device.board.boot()
        run_session(update_device(device, RULES), serve(publisher))
        taken.append(device.record.load_update_state().release_counter)
    raise AssertionError(f"the device never comes to rest: {taken}")


def missing_release(refusal) -> tuple[int, int]:
    """The hardware revision, and the counter of one release, that a refusal asks for."""
    told = re.search(r"for hardware revision (\d+) with counter (\d+)", str(refusal.hint))
    assert told, refusal.hint
    return int(told[1]), int(told[2])


@settings(
    max_examples=150 if IS_SOAK else 6,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(graph=nodes(), data=st.data())
def test_every_device_comes_to_the_release_or_is_told_which_one_is_missing(
    graph, data, tmp_path_factory, c_verifier_if_any
):
    publisher = make_publisher(tmp_path_factory.mktemp("graph") / "repository")
    published: list[Node] = []
    for node in graph:
        stuck = {
            (revision, older.counter)
            for older in published
            for revision in range(max(older.low, node.low), min(older.high, node.high) + 1)
            if not comes_to(published, node, revision, older.counter)
        }
        is_led = not node.least or any(node.least <= one.counter for one in published)
        if stuck or not is_led:
            with pytest.raises(RepositoryError, match="leads to release"):
                publisher.publish_bundle(content_of(node), None, now=NOW)
        else:
            publisher.publish_bundle(content_of(node), None, now=NOW)
            published.append(node)
    if not published:
        return
    target = published[-1]
    lost = data.draw(st.sets(st.sampled_from(published), max_size=2)) - {target}
    for node in lost:
        withdraw_release(publisher, "1.4.0", reason="drawn", release_counter=node.counter, now=NOW)
    left = [node for node in published if node not in lost]
    revision = data.draw(st.sampled_from(REVISIONS))
    counter = data.draw(st.integers(0, target.counter - 1))
    taken, ending = sessions(device_at(revision, counter), publisher, c_verifier_if_any)
    by_counter = {node.counter: node for node in left}
    for before, after in zip([counter, *taken], taken, strict=False):
        assert by_counter[after].takes(revision, before), "a step was skipped, or is not for it"
    if not target.low <= revision <= target.high:
        assert "not for this hardware revision" in str(ending)
        assert taken == []
    elif comes_to(left, target, revision, counter):
        assert taken[-1] == target.counter
        assert ending.result is UpdateResult.UP_TO_DATE
    else:
        assert "must take a step before this release" in str(ending)
        assert taken == []
        told_revision, told_counter = missing_release(ending)
        assert told_revision == revision
        mended = [*left, Node(told_counter, 0, revision, revision)]
        assert comes_to(mended, target, revision, counter)
    assert audit_repository(publisher.store, trust(), now=NOW).is_sound


@pytest.fixture
def publisher(tmp_path):
    return make_publisher(tmp_path / "repository")


def publish(publisher, *graph):
    return [publisher.publish_bundle(content_of(Node(*node)), None, now=NOW) for node in graph]


def test_a_chain_of_steps_is_taken_by_itself_under_one_assignment(publisher, c_verifier_if_any):
    *_, last = publish(publisher, (1, 0, 1, 3), (2, 1, 1, 3), (3, 2, 1, 3), (4, 3, 1, 3))
    assert [step.release_counter for step in last.way.steps] == [1, 2, 3]
    assert [one["release_counter"] for one in describe_publication(last)["steps"]] == [1, 2, 3]
    assert "others take 1.4.0 (counter 1), then 1.4.0 (counter 2), then" in format_publication(last)
    assert len(last.assignment.steps_sha256) == 3
    for counter in range(4):
        taken, ending = sessions(device_at(2, counter), publisher, c_verifier_if_any)
        assert taken == list(range(counter + 1, 5))
        assert ending.result is UpdateResult.UP_TO_DATE


def test_a_release_is_refused_that_a_hardware_revision_could_never_come_to(publisher):
    """A step that was published for other boards does not lead these."""
    publish(publisher, (1, 0, 1, 3), (2, 0, 1, 2))
    with pytest.raises(RepositoryError, match="leads to release") as refused:
        publish(publisher, (4, 2, 1, 3))
    assert "devices with a release counter below 2 and hardware revision 3" in str(refused.value)
    assert "boards of hardware revision 3 still take, with counter 2 to 3" in str(refused.value)
    publish(publisher, (3, 0, 3, 3))
    (last,) = publish(publisher, (4, 2, 1, 3))
    assert [step.release_counter for step in last.way.steps] == [2, 3]
    assert sessions(device_at(3, 1), publisher, None)[0] == [3, 4]
    assert sessions(device_at(1, 1), publisher, None)[0] == [2, 4]


def test_boards_that_begin_with_a_release_need_no_step_to_it(publisher):
    """Hardware revision 3 begins with the release that asks for a step: none of it is behind."""
    publish(publisher, (1, 0, 1, 2), (2, 0, 1, 2), (3, 2, 1, 3))
    assert list_unled(publisher.store, load_repository(publisher.store), trust(), now=NOW) == ()


def test_a_step_that_is_withdrawn_leaves_the_assignment(publisher):
    publish(publisher, (1, 0, 1, 3), (2, 0, 1, 3), (3, 2, 1, 3))
    _, is_halted = withdraw_release(publisher, "1.4.0", release_counter=2, reason="drawn", now=NOW)
    assert not is_halted
    current = load_repository(publisher.store)
    running = read_listed_assignment(publisher.store, current, HARDWARE_CLASS)
    assert (running.steps_sha256, running.is_halted) == ((), False)
    assert "must take a step" in str(sessions(device_at(1, 1), publisher, None)[1])
    assert sessions(device_at(1, 2), publisher, None)[0] == [3]
    text = format_status(describe_repository(publisher.store, trust(), now=NOW))
    assert "NOTHING PUBLISHED LEADS TO IT for devices with a release counter below 2" in text


def test_another_step_takes_the_place_of_one_that_is_withdrawn(publisher):
    publish(publisher, (1, 0, 1, 3), (2, 0, 1, 3), (3, 1, 1, 3))
    withdraw_release(publisher, "1.4.0", release_counter=2, reason="drawn", now=NOW)
    current = load_repository(publisher.store)
    running = read_listed_assignment(publisher.store, current, HARDWARE_CLASS)
    first, *_ = list_releases(current)
    assert running.steps_sha256 == (first.manifest_sha256,)
    assert sessions(device_at(1, 0), publisher, None)[0] == [1, 3]
    text = format_status(describe_repository(publisher.store, trust(), now=NOW))
    assert "other steps lead" not in text


def test_a_step_is_withdrawn_where_the_way_around_it_has_no_room(publisher):
    """Many steps instead of one, and an assignment that has no room for them."""
    last = STEPS_MAX_COUNT
    graph = [(counter, counter - 1, 1, 3) for counter in range(1, last + 1)]
    publish(publisher, *graph, (last + 1, 0, 1, 3), (last + 2, last, 1, 3))
    current = load_repository(publisher.store)
    running = read_listed_assignment(publisher.store, current, HARDWARE_CLASS)
    assert len(running.steps_sha256) == 1
    pins = tuple(f"FL1-{number:016}" for number in range(24))
    full = replace(running, campaign="p" * 48, pinned_serial_numbers=pins)
    put_in_force(publisher, full)
    withdraw_release(publisher, "1.4.0", release_counter=last + 1, reason="drawn", now=NOW)
    current = load_repository(publisher.store)
    after = read_listed_assignment(publisher.store, current, HARDWARE_CLASS)
    assert (after.steps_sha256, after.pinned_serial_numbers) == ((), pins)
    text = format_status(describe_repository(publisher.store, trust(), now=NOW))
    assert "other steps lead" in text


def test_status_says_when_other_steps_lead_to_the_release_than_are_assigned(publisher):
    publish(publisher, (1, 0, 1, 3), (2, 0, 1, 3), (3, 2, 1, 3))
    plan = AssignmentPlan(campaign="all")

    def told():
        return format_status(describe_repository(publisher.store, trust(), now=NOW))

    assert "other steps lead" not in told()
    late = NOW.replace(year=NOW.year + 3)
    document = describe_repository(publisher.store, trust(), now=late)
    assert "other steps lead" in format_status(document), "the step's manifest has expired"
    publisher.publish_plan("1.4.0", plan, now=NOW)
    assert "other steps lead" not in told()


def test_nobody_names_more_steps_than_a_message_has_room_for(publisher):
    graph = [(counter, counter - 1, 1, 3) for counter in range(1, STEPS_MAX_COUNT + 2)]
    publish(publisher, *graph)
    with pytest.raises(RepositoryError, match="too many releases lead to this one"):
        publish(publisher, (STEPS_MAX_COUNT + 2, STEPS_MAX_COUNT + 1, 1, 3))


def files(publisher):
    root = publisher.store.root
    return {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_an_assignment_that_is_too_long_is_refused_with_what_to_leave_out(publisher):
    """The refusal says how many pins suffice: one less does not, and nothing is written."""
    graph = [(counter, counter - 1, 1, 3) for counter in range(1, STEPS_MAX_COUNT + 2)]
    publish(publisher, *graph)
    before = files(publisher)
    pins = tuple(f"FL1-{number:016}" for number in range(24))

    def plan(count):
        return AssignmentPlan(campaign="p" * 48, drawn_ppm=0, pinned_serial_numbers=pins[:count])

    with pytest.raises(RepositoryError, match="does not fit into a device message") as refused:
        publisher.publish_plan("1.4.0", plan(24), now=NOW)
    assert "for steps by 1.4.0 (1), 1.4.0 (2)," in refused.value.got
    assert f"for 24 pinned: {pins[0]}, " in refused.value.got
    fewer = int(re.search(r"pin (\d+) fewer", refused.value.hint)[1])
    with pytest.raises(RepositoryError, match="does not fit") as refused:
        publisher.publish_plan("1.4.0", plan(24 - fewer + 1), now=NOW)
    assert "pin 1 fewer" in refused.value.hint
    assert files(publisher) == before
    publisher.publish_plan("1.4.0", plan(24 - fewer), now=NOW)


def test_a_release_whose_campaign_fills_its_message_is_withdrawn_all_the_same(publisher):
    """Its next sequence takes two bytes more; the halt has room, for it names nobody."""
    graph = [(counter, counter - 1, 1, 3) for counter in range(1, STEPS_MAX_COUNT + 2)]
    publish(publisher, *graph)
    current = load_repository(publisher.store)
    running = read_listed_assignment(publisher.store, current, HARDWARE_CLASS)
    pins = tuple(f"FL1-{number:016}" for number in range(23))
    full = replace(running, sequence=0xFFFF, campaign="p" * 30, pinned_serial_numbers=pins)
    left = MESSAGE_MAX_BYTES - len(publisher.assignment_file(full, current).content)
    full = replace(full, campaign="p" * (30 + left))
    file = publisher.assignment_file(full, current)
    assert len(file.content) == MESSAGE_MAX_BYTES
    put_in_force(publisher, full)
    current = load_repository(publisher.store)
    with pytest.raises(RepositoryError, match="does not fit"):
        publisher.assignment_file(replace(full, sequence=0x10000), current)
    _, is_halted = withdraw_release(publisher, "1.4.0", release_counter=9, reason="drawn", now=NOW)
    assert is_halted
    current = load_repository(publisher.store)
    last = read_listed_assignment(publisher.store, current, HARDWARE_CLASS)
    assert (last.sequence, last.is_halted, last.steps_sha256) == (0x10000, True, ())


def test_a_step_that_was_given_up_is_not_tried_again(publisher, c_verifier_if_any):
    publish(publisher, (1, 0, 1, 3), (2, 0, 1, 3), (3, 2, 1, 3))
    device = device_at(1, 1)
    device.board.failure = "output does not switch"
    run_session(update_device(device, RULES), serve(publisher))
    device.board.boot()
    run_session(update_device(device, RULES), serve(publisher))
    device.board.boot()
    recording = Recording(serve(publisher))
    witness = c_verifier_if_any and Witness(c_verifier_if_any, device)
    refusal = assert_refused(device, recording, "tried this release before")
    if witness:
        assert witness.compare(recording, refusal) == "given-up"


def test_a_step_whose_content_runs_already_costs_no_installation(publisher, c_verifier_if_any):
    publish(publisher, (1, 0, 1, 3), (2, 0, 1, 3), (3, 2, 1, 3))
    device = make_device(release=content_of(Node(2, 0, 1, 3)))
    recording = Recording(serve(publisher))
    witness = c_verifier_if_any and Witness(c_verifier_if_any, device)
    outcome = run_session(update_device(device, RULES), recording)
    assert (outcome.result, outcome.release_counter) == (UpdateResult.UP_TO_DATE, 2)
    if witness:
        assert witness.compare(recording, outcome) == "up-to-date"
    assert sessions(device, publisher, c_verifier_if_any)[0] == [3]


def test_the_steps_of_a_plan_are_those_that_devices_still_take(publisher):
    publish(publisher, (1, 0, 1, 3), (2, 0, 1, 3), (3, 2, 1, 3))
    current = load_repository(publisher.store)
    releases = list_releases(current)
    late = NOW.replace(year=NOW.year + 3)
    for now, counters in ((NOW, [2]), (late, [])):
        way = plan_steps(publisher.store, current, trust(), releases, releases[-1], now=now)
        assert [step.release_counter for step in way.steps] == counters
        assert bool(way.gaps) is not bool(counters)
