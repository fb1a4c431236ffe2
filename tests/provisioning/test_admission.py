"""What lies on the fixture, and the ways out of quarantine, on simulated boards."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_images.device_record import DeviceRecord
from provisioning.classification import (
    IDENTITY_RECORD_BYTES,
    BoardClass,
    BoardIdentity,
    LedgerView,
    RecordCondition,
    classify_board,
    parse_board_identity,
)
from provisioning.errors import (
    FlashError,
    LedgerError,
    QuarantineError,
    StationError,
    SupervisionError,
)
from provisioning.ledger_quarantine import find_quarantine, list_quarantines
from provisioning.ledger_queries import list_jobs, list_serials
from provisioning.ledger_supervision import carry_out, prepare_order
from provisioning.ledger_units import find_unit
from provisioning.ledger_values import JobState, SerialState, UnitRecord, UnitState
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_values import Step
from provisioning.supervision import Act, parse_act, serialize_act, sign_act, verify_act
from provisioning.unit_states import TRANSITIONS, Cause, draw_states, next_state
from signing.errors import SigningError
from tests.firmware_images.release_parts import signer
from tests.provisioning.station_bench import SEED, make_bench, open_bench, slot_configs

START = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
MAC, OTHER_MAC = bytes.fromhex("7cdfa1000001"), bytes.fromhex("7cdfa1000002")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("admission")
    make_bench(folder)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    return shutil.copytree(template, tmp_path / "bench")


@pytest.fixture
def station(folder):
    station = open_bench(folder)
    yield station
    station.ledger.verify_chains()
    station.close()


def run(station, line, **options):
    return run_slots(station, slot_configs(line), **options)


def work_through(step):
    """Options that stop a run after one step."""
    import threading

    stop = threading.Event()

    def on_progress(progress):
        if progress.step is step:
            stop.set()

    return {"on_progress": on_progress, "stop": stop}


def order(station, act, mac, *, key="supervisor-1", new_mac=b""):
    """Let a supervisor order something, all the way from the question to the ledger."""
    wish = prepare_order(
        station.ledger, station.writer, act=act, mac=mac, reason="looked at it", new_mac=new_mac
    )
    signed = sign_act(wish, [signer(key)])
    verified = verify_act(signed, station.trust, ledger_uuid=station.ledger.identity.uuid)
    carry_out(station.ledger, station.writer, verified, signed)
    return signed


def record_of(station, slot):
    partition = station.bundle.partition_table.find("devrec")
    return DeviceRecord(slot.board.flash, partition)


def present(serial, mac):
    return BoardIdentity(
        condition=RecordCondition.PRESENT, serial=serial, mac=mac, digest=bytes(32)
    )


BLANK = BoardIdentity(condition=RecordCondition.BLANK, digest=bytes(32))
LOCKED = BoardIdentity(condition=RecordCondition.UNREADABLE)


class TestClassification:
    @pytest.fixture
    def unit(self):
        return UnitRecord(
            serial="AMPFL1264800001A", mac=MAC, state=UnitState.PASS, bundle_digest=bytes(32),
            last_job="job-1", first_seen_at=START, changed_at=START,
        )  # fmt: skip

    @pytest.mark.parametrize("state", list(UnitState))
    @pytest.mark.parametrize("has_open_job", [True, False])
    @pytest.mark.parametrize("is_erasable", [True, False])
    @pytest.mark.parametrize("identity_of", ["blank", "locked", "own", "other mac", "other serial"])
    def test_a_known_chip_is_worked_on_only_with_its_own_identity(
        self, unit, state, has_open_job, is_erasable, identity_of
    ):
        identity = {
            "blank": BLANK,
            "locked": LOCKED,
            "own": present(unit.serial, MAC),
            "other mac": present(unit.serial, OTHER_MAC),
            "other serial": present("XYZ", MAC),
        }[identity_of]
        view = LedgerView(
            unit=replace(unit, state=state),
            has_open_job=has_open_job,
            named_unit=unit if identity.serial == unit.serial else None,
            is_erasable=is_erasable,
        )
        found = classify_board(MAC, identity, view)
        is_stranger = identity_of.startswith("other")
        is_lost = state is UnitState.PASS and not has_open_job
        is_let_in = is_stranger and is_erasable and not is_lost
        assert found.must_erase_record is is_let_in
        if is_stranger and not is_let_in:
            expected = BoardClass.CLONE if identity_of == "other mac" else BoardClass.FOREIGN
            assert (found.board_class, found.is_quarantined) == (expected, True)
            return
        if state is UnitState.REWORK:
            assert found.board_class is BoardClass.REWORK
        else:
            expected = BoardClass.RESUME if has_open_job else BoardClass.RE_ENTRY
            assert found.board_class is expected
        # A unit that passed and has no identity any more is no unit that passed.
        assert found.is_quarantined is (is_lost and identity_of == "blank")

    def test_an_unknown_chip_is_new_only_without_an_identity(self, unit):
        assert classify_board(OTHER_MAC, BLANK, LedgerView()).board_class is BoardClass.NEW
        assert classify_board(OTHER_MAC, LOCKED, LedgerView()).board_class is BoardClass.NEW
        foreign = classify_board(OTHER_MAC, present("XYZ", OTHER_MAC), LedgerView())
        assert (foreign.board_class, foreign.is_quarantined) == (BoardClass.FOREIGN, True)
        taken = LedgerView(named_unit=unit)
        clone = classify_board(OTHER_MAC, present(unit.serial, OTHER_MAC), taken)
        assert (clone.board_class, clone.is_quarantined) == (BoardClass.CLONE, True)
        allowed = LedgerView(named_unit=unit, is_erasable=True)
        again = classify_board(OTHER_MAC, present(unit.serial, OTHER_MAC), allowed)
        assert (again.board_class, again.must_erase_record) == (BoardClass.NEW, True)

    def test_a_module_that_was_replaced_never_comes_back(self):
        view = LedgerView(replaced_in="S", is_erasable=True)
        assert classify_board(MAC, BLANK, view).is_quarantined

    def test_what_is_no_record_says_nothing(self):
        for content in (b"", b"\x00" * IDENTITY_RECORD_BYTES, b"\xff" * 10):
            assert parse_board_identity(content).condition is RecordCondition.UNREADABLE
        blank = parse_board_identity(b"\xff" * IDENTITY_RECORD_BYTES)
        assert blank.condition is RecordCondition.BLANK


def test_a_copied_flash_is_a_clone_until_a_supervisor_has_it_erased(station, folder):
    with SimulatedLine(folder / "line", board_count=2, seed=SEED) as line:
        original, copy = line.slots
        run_slots(station, slot_configs(line)[:1])
        copy.board.flash.erase(0, copy.board.flash.size_bytes)
        copy.board.flash.write(0, original.board.flash.read(0, copy.board.flash.size_bytes))
        before = copy.board.flash.read(0, copy.board.flash.size_bytes)
        for _ in range(2):
            (result,) = run_slots(station, slot_configs(line)[1:])
            assert isinstance(result.error, QuarantineError)
            assert original.board.mac.hex(":") in str(result.error)
        assert copy.board.flash.read(0, copy.board.flash.size_bytes) == before
        assert len(list_serials(station.ledger.database)) == 1, "no number was spent on it"
        (quarantine,) = list_quarantines(station.ledger)
        assert (quarantine.mac, quarantine.board_class) == (copy.board.mac, "clone")

        order(station, Act.RELEASE, copy.board.mac)
        assert list_quarantines(station.ledger) == ()
        (result,) = run_slots(station, slot_configs(line)[1:])
        assert result.report.is_passed
        assert record_of(station, copy).load_identity().serial == result.report.serial
        first, second = run(station, line)
        assert {first.report.state, second.report.state} == {UnitState.PASS}
        assert first.report.serial != second.report.serial


def test_an_erased_record_is_erased_for_one_content_only(station, folder):
    """The order names the very bytes that were found: another copy is another case."""
    with SimulatedLine(folder / "line", board_count=2, seed=SEED) as line:
        original, copy = line.slots
        run_slots(station, slot_configs(line)[:1])
        record = record_of(station, copy)
        identity = record_of(station, original).load_identity()
        record.save_identity(identity)
        run_slots(station, slot_configs(line)[1:])
        order(station, Act.RELEASE, copy.board.mac)
        record.save_identity(replace(identity, job_id="another"))
        (result,) = run_slots(station, slot_configs(line)[1:])
        assert isinstance(result.error, QuarantineError)


def test_a_unit_that_passed_and_lost_its_identity_is_not_left_alone(station, folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (passed,) = run(station, line)
        record_of(station, line.slots[0]).identity.erase()
        (result,) = run(station, line)
        assert isinstance(result.error, QuarantineError)
        assert "identity is gone" in str(result.error)
        order(station, Act.RELEASE, passed.report.mac)
        unit = find_unit(station.ledger.database, serial=passed.report.serial)
        assert unit.state is UnitState.REWORK
        (serial,) = list_serials(station.ledger.database)
        assert serial.state is SerialState.ASSIGNED, "what is worked on again is not released"
        (result,) = run(station, line)
        assert result.report.is_passed
        assert result.report.serial == passed.report.serial


def test_two_boards_with_one_mac_stop_both_places(station, folder):
    """The second is met while the first is being measured; neither is judged."""
    import threading

    with (
        SimulatedLine(folder / "one", board_count=1, seed=SEED) as one,
        SimulatedLine(folder / "two", board_count=1, seed=SEED) as two,
    ):
        assert one.slots[0].board.mac == two.slots[0].board.mac
        (first,) = slot_configs(one)
        second = replace(slot_configs(two)[0], name="2")
        found = []
        met = threading.Event()

        def meet(progress):
            if progress.step is Step.CALIBRATE and not met.is_set():
                met.set()
                found.extend(run_slots(station, [second]))

        (stopped,) = run_slots(station, [first], on_progress=meet)
        (twin,) = found
    assert isinstance(twin.error, QuarantineError)
    assert "slot 1 works on a chip with the same MAC" in str(twin.error)
    assert isinstance(stopped.error, QuarantineError)
    (serial,) = list_serials(station.ledger.database)
    assert serial.state is not SerialState.RELEASED


def test_boards_that_are_swapped_while_they_are_measured_are_not_judged(station, folder):
    with SimulatedLine(folder / "line", board_count=2, seed=SEED) as line:
        first, second = line.slots
        run_slots(station, slot_configs(line)[1:], **work_through(Step.IDENTITY))

        def swap(progress):
            if progress.step is Step.VERIFY:
                first.uart._board = second.board

        (result,) = run_slots(station, slot_configs(line)[:1], on_progress=swap)
        assert isinstance(result.error, StationError)
        assert "another board is in the slot" in str(result.error)
        unit = find_unit(station.ledger.database, mac=first.board.mac)
        assert [job.state for job in list_jobs(station.ledger.database, unit.serial)] == [
            JobState.OPEN
        ]
        first.uart._board = first.board
        assert all(result.report.is_passed for result in run(station, line))


def test_a_second_station_that_meets_a_half_done_board_takes_the_job_over(station, folder):
    other = replace(station, writer=replace(station.writer, station="station-2"))
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        reports = []

        def take_over(progress):
            if progress.step is Step.RECORD and not reports:
                reports.append(None)
                found = other.ledger.reserve(
                    other.writer, mac=line.slots[0].board.mac, prefix="AMP", model="FL1",
                    bundle_digest=station.bundle.digest, again=False,
                )  # fmt: skip
                assert found.is_resumed

        (stopped,) = run(station, line, on_progress=take_over)
        assert isinstance(stopped.error, LedgerError)
        assert "another station works on this board now" in str(stopped.error)
        (result,) = run(other, line)
    assert result.report.is_passed
    (job,) = list_jobs(station.ledger.database, result.report.serial)
    assert (job.station, job.state) == ("station-2", JobState.CLOSED)


def test_rework_is_ordered_once_and_makes_the_next_job(station, folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (passed,) = run(station, line)
        mac, serial = passed.report.mac, passed.report.serial
        signed = order(station, Act.REWORK, mac)
        with pytest.raises(SupervisionError, match="not finished"):
            order(station, Act.REWORK, mac)
        (result,) = run(station, line)
        assert (result.report.serial, result.report.is_passed) == (serial, True)
        jobs = list_jobs(station.ledger.database, serial)
        assert [job.number for job in jobs] == [1, 2]
        replayed = verify_act(signed, station.trust, ledger_uuid=station.ledger.identity.uuid)
        before = station.ledger.events(serial=serial)
        with pytest.raises(SupervisionError, match="changed since"):
            carry_out(station.ledger, station.writer, replayed, signed)
        assert station.ledger.events(serial=serial) == before


def test_a_replaced_module_gets_the_number_and_the_old_one_never_comes_back(station, folder):
    with SimulatedLine(folder / "line", board_count=2, seed=SEED) as line:
        old, new = line.slots
        (first,) = run_slots(station, slot_configs(line)[:1], **work_through(Step.POWER_CYCLE))
        assert first.error is not None
        unit = find_unit(station.ledger.database, mac=old.board.mac)
        order(station, Act.REBIND, old.board.mac, new_mac=new.board.mac)
        (result,) = run_slots(station, slot_configs(line)[1:])
        assert result.report.is_passed
        assert (result.report.serial, result.report.mac) == (unit.serial, new.board.mac)
        jobs = list_jobs(station.ledger.database, unit.serial)
        assert [job.state for job in jobs] == [JobState.ABANDONED, JobState.CLOSED]
        (result,) = run_slots(station, slot_configs(line)[:1])
        assert isinstance(result.error, QuarantineError)
        assert "taken out of unit" in str(result.error)
        with pytest.raises(SupervisionError, match="new module cannot be used"):
            order(station, Act.REBIND, new.board.mac, new_mac=old.board.mac)
        with pytest.raises(SupervisionError, match="new module cannot be used"):
            order(station, Act.REBIND, new.board.mac, new_mac=new.board.mac)
    assert len(list_serials(station.ledger.database)) == 1


def test_only_a_supervisor_s_signature_for_this_ledger_counts(station, folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (passed,) = run(station, line)
    events = station.ledger.events(serial=passed.report.serial)
    with pytest.raises(SigningError):
        order(station, Act.REWORK, passed.report.mac, key="release-1")
    wish = prepare_order(
        station.ledger, station.writer, act=Act.REWORK, mac=passed.report.mac, reason="x"
    )
    with pytest.raises(SupervisionError, match="another ledger"):
        verify_act(sign_act(wish, [signer("supervisor-1")]), station.trust, ledger_uuid="other")
    for reason in ("", "x" * 401, "bell\a"):
        with pytest.raises(SupervisionError, match="needs a reason"):
            serialize_act(replace(wish, reason=reason))
    assert parse_act(serialize_act(wish)) == wish
    for act, mac in ((Act.RELEASE, passed.report.mac), (Act.REWORK, bytes(6))):
        with pytest.raises(SupervisionError):
            prepare_order(station.ledger, station.writer, act=act, mac=mac, reason="x")
    assert station.ledger.events(serial=passed.report.serial) == events
    assert find_quarantine(station.ledger, passed.report.mac) is None


def test_the_picture_of_the_states_is_the_table_of_the_code():
    specification = Path(__file__).parents[2] / "docs" / "spec" / "provisioning.md"
    assert f"```mermaid\n{draw_states()}\n```" in specification.read_text()


@pytest.mark.parametrize("state", [None, *UnitState])
@pytest.mark.parametrize("cause", list(Cause))
def test_a_unit_moves_only_as_the_table_says(state, cause):
    if (state, cause) in TRANSITIONS:
        assert next_state(state, cause, where="a unit") is TRANSITIONS[state, cause]
    else:
        with pytest.raises(LedgerError, match="cannot go there"):
            next_state(state, cause, where="a unit")


def test_a_twin_that_is_met_at_the_last_step_still_stops_the_release(station, folder):
    import threading

    with (
        SimulatedLine(folder / "one", board_count=1, seed=SEED) as one,
        SimulatedLine(folder / "two", board_count=1, seed=SEED) as two,
    ):
        second = replace(slot_configs(two)[0], name="2")
        met = threading.Event()

        def meet(progress):
            if progress.step is Step.VERIFY and not met.is_set():
                met.set()
                run_slots(station, [second])

        (stopped,) = run_slots(station, slot_configs(one), on_progress=meet)
    assert isinstance(stopped.error, QuarantineError)
    (serial,) = list_serials(station.ledger.database)
    assert serial.state is not SerialState.RELEASED


def test_a_module_is_replaced_twice_while_a_job_is_open_and_the_ledger_stays_honest(
    station, folder
):
    with SimulatedLine(folder / "line", board_count=3, seed=SEED) as line:
        first, second, third = (slot.board.mac for slot in line.slots)
        run_slots(station, slot_configs(line)[:1], **work_through(Step.IDENTITY))
        unit = find_unit(station.ledger.database, mac=first)
        order(station, Act.REBIND, first, new_mac=second)
        order(station, Act.REBIND, second, new_mac=third)
        station.ledger.verify_chains()
        (result,) = run_slots(station, slot_configs(line)[2:])
    assert (result.report.serial, result.report.is_passed) == (unit.serial, True)


def test_an_order_does_not_fit_what_happened_after_it_whatever_the_clock_says(station, folder):
    """A clock that was ahead once must not make later events invisible to an order."""
    ahead = replace(station.writer, now=lambda: dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (passed,) = run(replace(station, writer=ahead), line)
        mac = passed.report.mac
        wish = prepare_order(
            station.ledger, station.writer, act=Act.REWORK, mac=mac, reason="looked at it"
        )
        signed = sign_act(wish, [signer("supervisor-1")])
        order(station, Act.REWORK, mac)
        run(station, line)
    before = station.ledger.events(serial=passed.report.serial)
    with pytest.raises(SupervisionError, match="changed since"):
        carry_out(station.ledger, station.writer, wish, signed)
    assert station.ledger.events(serial=passed.report.serial) == before


def test_a_station_with_another_clock_resumes_a_job_and_the_ledger_stays_honest(station, folder):
    behind = replace(
        station.writer,
        station="station-2",
        now=lambda: dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5),
    )
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        run(station, line, **work_through(Step.IDENTITY))
        (result,) = run(replace(station, writer=behind), line)
    assert result.report.is_passed


def test_a_record_of_other_roots_makes_nobody_a_supervisor(station, folder):
    from provisioning.station_trust import SEEN_NAME, accept_trust_record
    from signing.roles import Role
    from signing.trust import sign_trust_record
    from tests.firmware_images.release_parts import role_keys

    own = {Role.ROOT: role_keys(1, "mine-1", "mine-2"), Role.SUPERVISOR: role_keys(1, "mine-3")}
    forged = replace(station.trust, version=2, roles={**station.trust.roles, **own})
    seen = (folder / "station" / SEEN_NAME).read_bytes()
    with pytest.raises(SigningError):
        accept_trust_record(folder / "station", sign_trust_record(forged, [signer("mine-1")]))
    assert (folder / "station" / SEEN_NAME).read_bytes() == seen


def test_a_power_cut_in_the_middle_of_an_erasure_is_another_erasure_later(station, folder):
    from provisioning.esptool_flasher import EsptoolFlasher

    with SimulatedLine(folder / "line", board_count=2, seed=SEED) as line:
        original, copy = line.slots
        run_slots(station, slot_configs(line)[:1])
        size_bytes = copy.board.flash.size_bytes
        copy.board.flash.erase(0, size_bytes)
        copy.board.flash.write(0, original.board.flash.read(0, size_bytes))
        run_slots(station, slot_configs(line)[1:])
        order(station, Act.RELEASE, copy.board.mac)
        erase, calls = EsptoolFlasher.erase, []

        def cut(flasher, offset_bytes, size_bytes):
            calls.append(offset_bytes)
            if len(calls) > 1:
                raise FlashError("the power fails here")
            erase(flasher, offset_bytes, size_bytes)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EsptoolFlasher, "erase", cut)
            (result,) = run_slots(station, slot_configs(line)[1:])
        assert isinstance(result.error, FlashError)
        (result,) = run_slots(station, slot_configs(line)[1:])
        assert result.report.is_passed
