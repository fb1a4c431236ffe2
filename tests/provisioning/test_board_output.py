"""A mode begins in the middle of its session, or not at all on a board that cannot do so."""

from __future__ import annotations

import pytest

from provisioning.board_output import BoardOutput
from provisioning.errors import BoardRefusalError
from provisioning.link_frames import serialize_frame
from provisioning.link_messages import BoardCommand, BoardErrorCode
from provisioning.link_output import RunWriteRequest, RunWriteResponse
from tests.provisioning.test_device_link import linked, message

PERIOD_US = 5_000_000
START_US = 2_270_000


def refuse(code):
    return {"err": {"group": 64, "rc": int(code)}}


def play(fields):
    """A board that knows starts."""
    return {key: fields[key] for key in ("start_us",) if key in fields} | {"period_us": PERIOD_US}


def play_and_ignore(_fields):
    """An older board that does not look at what it does not know."""
    return {"period_us": PERIOD_US}


def play_strictly(fields):
    """An older board that refuses keys that it does not know."""
    return refuse(BoardErrorCode.BAD_VALUE) if "start_us" in fields else {"period_us": PERIOD_US}


def output_on(board):
    def answer(header):
        fields = port.requests[-1][1]
        assert header.command_id == BoardCommand.RUN
        return serialize_frame(
            message(board(fields), sequence=header.sequence, command=BoardCommand.RUN, op=3)
        )

    link, port = linked(answer)
    return BoardOutput(link), port


def sent(port):
    return [(fields["en"], fields.get("start_us")) for _, fields in port.requests]


def test_a_board_that_knows_starts_plays_and_is_stopped_before_the_next():
    output, port = output_on(play)
    assert output.run_waveform_from("LIFT", 4, START_US) == PERIOD_US
    assert output.run_waveform_from("LIFT", 4, 0) == PERIOD_US
    assert sent(port) == [(True, START_US), (False, None), (True, 0)]


def test_a_board_that_ignores_the_start_is_recognised_and_stopped():
    output, port = output_on(play_and_ignore)
    assert output.run_waveform_from("LIFT", 4, START_US) is None
    assert sent(port) == [(True, START_US), (False, None)]
    assert output.run_waveform("LIFT", 4) == PERIOD_US
    assert sent(port)[2:] == [(True, None)]


def test_a_board_that_refuses_the_start_is_recognised():
    output, port = output_on(play_strictly)
    assert output.run_waveform_from("LIFT", 4, START_US) is None
    assert output.run_waveform("LIFT", 4) == PERIOD_US
    assert sent(port) == [(True, START_US), (True, None)]


def test_a_mode_whose_answer_was_lost_is_begun_again():
    """What plays since the first request began at an unknown time, so it is stopped first."""
    is_playing = True

    def board(fields):
        nonlocal is_playing
        if fields["en"] and is_playing:
            return refuse(BoardErrorCode.IN_SESSION)
        is_playing = fields["en"]
        return play(fields)

    output, port = output_on(board)
    assert output.run_waveform_from("LIFT", 4, START_US) == PERIOD_US
    assert sent(port) == [(True, START_US), (False, None), (True, START_US)]


def test_a_board_that_stays_in_a_session_is_told():
    output, port = output_on(
        lambda fields: refuse(BoardErrorCode.IN_SESSION) if fields["en"] else play(fields)
    )
    with pytest.raises(BoardRefusalError, match="IN_SESSION"):
        output.run_waveform("LIFT", 4)
    assert sent(port) == [(True, None), (False, None), (True, None)]


@pytest.mark.parametrize("code", [BoardErrorCode.NOT_CALIBRATED, BoardErrorCode.OUT_OF_SPAN])
def test_any_other_refusal_is_told(code):
    output, port = output_on(lambda _fields: refuse(code))
    with pytest.raises(BoardRefusalError, match=code.name):
        output.run_waveform_from("LIFT", 4, START_US)
    assert sent(port) == [(True, START_US)]


def test_the_golden_messages_of_the_specification():
    """docs/spec/serial-link.md §4.7."""
    request = RunWriteRequest(mode="LIFT", level=4, en=True, start_us=START_US, sequence=1)
    assert request.BYTES.hex() == (
        "0a00002400400106a462656ef5646d6f6465644c494654656c6576656c046873746172745f75731a0022a330"
    )
    answer = RunWriteResponse(period_us=PERIOD_US, start_us=START_US, sequence=1)
    assert answer.BYTES.hex() == (
        "0b00001e00400106a26873746172745f75731a0022a33069706572696f645f75731a004c4b40"
    )
    plain = RunWriteRequest(mode="LIFT", level=4, en=True, sequence=2)
    assert plain.BYTES.hex() == "0a00001600400206a362656ef5646d6f6465644c494654656c6576656c04"
