from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from firmware_images.device_record import UPDATE_STATE_SECTORS, DeviceRecord, PendingUpdate
from firmware_images.otadata import OtaState, mark_state
from provisioning.errors import SimulatorError
from provisioning.link_messages import BoardErrorCode
from provisioning.link_output import (
    CalibrationWriteRequest,
    CalibrationWriteResponse,
    OutputWriteRequest,
)
from provisioning.link_release import UpdateWriteRequest, UpdateWriteResponse
from provisioning.simulator.faults import FaultPlan
from tests.provisioning.simulator.parts import (
    TABLE,
    BoardLink,
    calibration_record,
    finish_identity,
    make_running_board,
)

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.simulator.application import Application
    from provisioning.simulator.board import SimulatedBoard


class ScriptedSession:
    """Asks for what it was told to ask for, and remembers what it got."""

    def __init__(self, board: SimulatedBoard) -> None:
        self.board = board
        self.received: list[bytes | None] = []
        self.questions: list[dict[str, object]] = [
            {"path": "a", "off": 0, "len": 4},
            {"path": "b", "off": 8, "len": 4, "post": b"nonce"},
            {"done": True, "result": "installed"},
        ]

    def answer(self, data: bytes | None) -> dict[str, object]:
        self.received.append(data)
        question = self.questions.pop(0)
        if question.get("done"):
            self.board.request_reset()
        elif "fail" in question:
            raise SimulatorError("the updater refuses")
        return question


@pytest.fixture
def unit(tmp_path: Path) -> BoardLink:
    return make_running_board(tmp_path, update_session_factory=ScriptedSession)


def session_of(unit: BoardLink) -> ScriptedSession:
    assert unit.board.application is not None
    session = unit.board.application._updates._session
    assert isinstance(session, ScriptedSession)
    return session


def running(unit: BoardLink) -> Application:
    assert unit.board.application is not None
    return unit.board.application


def send(unit: BoardLink, **fields: object) -> UpdateWriteResponse:
    return unit.ask(UpdateWriteRequest(**fields), UpdateWriteResponse)


def refuse(unit: BoardLink, **fields: object) -> int:
    return unit.refusal(UpdateWriteRequest(**fields))


def test_questions_and_answers_alternate_and_the_board_restarts_after_its_last_word(unit):
    session, boots = session_of(unit), unit.board.boot_count
    first = send(unit, start=True)
    assert (first.path, first.off, first.len) == ("a", 0, 4)
    second = send(unit, data=b"1234", off=0)
    assert second.post == b"nonce"
    last = send(unit, data=b"", off=8)
    assert (last.done, last.result) == (True, "installed")
    assert session.received == [None, b"1234", b""]
    assert unit.board.boot_count == boots + 1


def test_an_answer_that_was_not_asked_for_is_refused_and_not_passed_on(unit):
    session = session_of(unit)
    assert refuse(unit, data=b"x") == BoardErrorCode.BAD_STATE
    send(unit, start=True)
    assert refuse(unit, data=b"x", off=4) == BoardErrorCode.BAD_VALUE
    assert refuse(unit, data=b"12345", off=0) == BoardErrorCode.BAD_VALUE
    assert refuse(unit, off=0) == BoardErrorCode.BAD_VALUE
    assert session.received == [None]


@pytest.mark.parametrize("question", [{"fail": 1}, {"path": "x" * 999}, {"unknown": 1}])
def test_an_updater_that_refuses_or_misbehaves_ends_the_relay(unit, question):
    session_of(unit).questions = [question]
    assert refuse(unit, start=True) == BoardErrorCode.BAD_STATE
    assert refuse(unit, data=b"x", off=0) == BoardErrorCode.BAD_STATE


def test_electrodes_stay_off_until_the_next_boot(unit):
    running(unit).lock_output()
    request = OutputWriteRequest(en=True, code=2100)
    assert unit.refusal(request) == BoardErrorCode.BAD_STATE
    assert not unit.board.output.is_enabled
    unit.board.power_cycle()
    assert unit.send(request.BYTES) is not None
    assert unit.board.output.is_enabled


@pytest.mark.parametrize("state", [OtaState.NEW, OtaState.PENDING_VERIFY])
def test_electrodes_stay_off_while_a_release_has_not_proved_itself(unit, state):
    """Before the updater runs, too: the rule is what otadata says."""
    mark_state(unit.board.flash, TABLE.find("otadata"), state)
    request = OutputWriteRequest(en=True, code=2100)
    assert unit.refusal(request) == BoardErrorCode.BAD_STATE
    assert not unit.board.output.is_enabled
    mark_state(unit.board.flash, TABLE.find("otadata"), OtaState.VALID)
    assert unit.send(request.BYTES) is not None
    assert unit.board.output.is_enabled


def test_electrodes_stay_off_while_an_update_of_the_running_slot_is_pending(unit):
    """Whatever otadata says: a torn write may leave VALID there, which nobody said."""
    record = DeviceRecord(unit.board.flash, TABLE.find("devrec"))
    before = record.load_update_state()
    pending = PendingUpdate(
        manifest_digest=bytes(32), release_counter=9, policy_version=1, slot=0, app_sha256=bytes(32)
    )
    record.save_update_state(replace(before, pending=pending))
    mark_state(unit.board.flash, TABLE.find("otadata"), OtaState.VALID)
    request = OutputWriteRequest(en=True, code=2100)
    assert unit.refusal(request) == BoardErrorCode.BAD_STATE
    assert not unit.board.output.is_enabled
    record.save_update_state(replace(before, pending=replace(pending, slot=1)))
    assert unit.send(request.BYTES) is not None
    assert unit.board.output.is_enabled


def test_electrodes_stay_off_where_nobody_can_tell_what_is_pending(unit):
    offset_bytes = TABLE.find("devrec").offset_bytes
    for sector in UPDATE_STATE_SECTORS:
        unit.board.flash.write(offset_bytes + sector * 4096, bytes(16))
    request = OutputWriteRequest(en=True, code=2100)
    assert unit.refusal(request) == BoardErrorCode.BAD_STATE
    assert not unit.board.output.is_enabled


def test_an_unlocked_output_may_be_switched_on_again(unit):
    running(unit).lock_output()
    running(unit).unlock_output()
    assert unit.send(OutputWriteRequest(en=True, code=2100).BYTES) is not None
    assert unit.board.output.is_enabled


def test_the_secure_version_of_what_runs_is_burned_once_and_never_falls(unit):
    board = unit.board
    for version, burned in ((0, 0), (2, 2), (1, 2), (2, 2)):
        board.running = replace(board.running, secure_version=version)
        board.raise_secure_version()
        assert board.secure_version() == burned
    board.running = replace(board.running, secure_version=17)
    with pytest.raises(SimulatorError, match="no bits left"):
        board.raise_secure_version()
    assert board.secure_version() == 2


def test_the_self_test_needs_an_approved_table_that_the_calibration_covers(unit):
    assert "no trust record" in str(running(unit).self_test())
    finish_identity(unit)
    assert "no valid calibration" in str(running(unit).self_test())
    narrow = calibration_record(unit.board.mac, verified_max_na=300_000)
    unit.ask(CalibrationWriteRequest(rec=narrow), CalibrationWriteResponse)
    assert "more current than was verified" in str(running(unit).self_test())
    wide = calibration_record(unit.board.mac, generation=2)
    unit.ask(CalibrationWriteRequest(rec=wide), CalibrationWriteResponse)
    assert running(unit).self_test() is None


def test_a_self_test_can_fail_by_plan(tmp_path):
    faults = FaultPlan(failing_self_tests=frozenset({"1.4.0"}))
    unit = make_running_board(tmp_path, faults=faults)
    assert "by plan" in str(running(unit).self_test())
