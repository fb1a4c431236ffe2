"""A session in question-and-answer form, and what a gateway makes of its answers."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

import pytest

from cli.gateway_relay import relay_update
from manifests.errors import TransportError, UpdateRefusedError
from manifests.relay import RelayedUpdate
from manifests.server import ServerPlan, _receive_plan, _send_plan
from manifests.transfer import Fetch
from manifests.update_outcome import (
    Remembered,
    UpdateOutcome,
    UpdateResult,
    remembered_reason,
    remembered_word,
    reverted_text,
)
from provisioning.errors import LinkAnswerError
from provisioning.link_messages import InfoReadResponse
from provisioning.link_release import UpdateWriteRequest, UpdateWriteResponse
from signing.refusal import Refusal

OUTCOME = UpdateOutcome(result=UpdateResult.UP_TO_DATE, message="1.5.0 runs", release_counter=2)


def session():
    first = yield Fetch(path="device/a", max_bytes=4)
    if first == b"no":
        raise Refusal("that is not it", expected="yes")
    try:
        yield Fetch(path="api/x", max_bytes=9, body=b"post")
    except TransportError:
        yield Fetch(path="device/b", offset_bytes=7, max_bytes=4)
    return OUTCOME


def test_questions_are_answered_to_the_end():
    ended = []
    relayed = RelayedUpdate(session, on_end=ended.append)
    assert relayed.answer(None) == {"path": "device/a", "off": 0, "len": 4}
    assert relayed.answer(b"yes") == {"path": "api/x", "off": 0, "len": 9, "post": b"post"}
    assert relayed.answer(b"ok") == {"done": True, "result": "up to date: 1.5.0 runs"}
    assert ended == [OUTCOME]


def test_an_empty_answer_says_that_the_gateway_could_not():
    relayed = RelayedUpdate(session)
    relayed.answer(None)
    relayed.answer(b"yes")
    assert relayed.answer(b"") == {"path": "device/b", "off": 7, "len": 4}
    assert relayed.answer(b"x")["done"] is True


def test_a_refusal_ends_in_words_and_a_new_session_may_start():
    relayed = RelayedUpdate(session)
    relayed.answer(None)
    assert relayed.answer(b"no") == {
        "done": True,
        "result": "refused: that is not it: expected yes",
    }
    assert "no update session" in str(relayed.answer(b"yes")["result"])
    assert relayed.answer(None)["path"] == "device/a"


class Link:
    """A board at the end of a link, as `DeviceLink` presents one."""

    where = "a test"

    def __init__(self, answer):
        self.answer = answer

    def read_info(self):
        return InfoReadResponse.model_construct(ver="1.4.0")

    def wait_until_ready(self, *, timeout_s):
        del timeout_s

    def request(self, request_type, answer_type, *, attempts, timeout_s, **fields):
        del attempts, timeout_s
        assert request_type is UpdateWriteRequest
        return answer_type(**self.answer(None if fields.get("start") else fields["data"]))


class Source:
    def __init__(self, failing=""):
        self.failing = failing

    def fetch(self, fetch):
        if fetch.path == self.failing:
            raise TransportError("the server is away", where=fetch.path)
        return b"yes"


def test_a_gateway_serves_a_session_to_its_end():
    document = relay_update(Link(RelayedUpdate(session).answer), Source())
    assert (document["result"], document["message"]) == ("up to date", "1.5.0 runs")
    kept = relay_update(Link(RelayedUpdate(session).answer), Source(failing="api/x"))
    assert kept["result"] == "up to date"


def test_a_gateway_says_why_it_could_not_get_something():
    with pytest.raises(TransportError, match="away"):
        relay_update(Link(RelayedUpdate(session).answer), Source(failing="device/a"))

    def needs_an_answer():
        yield Fetch(path="api/x", max_bytes=9, body=b"post")

    with pytest.raises(TransportError, match="away"):
        relay_update(Link(RelayedUpdate(needs_an_answer).answer), Source(failing="api/x"))


def test_what_the_board_refuses_is_told_and_not_what_was_missing_before():
    """Most boards ask for a trust record that is not there, and then judge the assignment."""

    def refuses():
        try:
            yield Fetch(path="device/a", max_bytes=4)
        except TransportError:
            raise Refusal("older than what the device has") from None

    with pytest.raises(UpdateRefusedError, match="older than"):
        relay_update(Link(RelayedUpdate(refuses).answer), Source(failing="device/a"))


def test_a_gateway_passes_a_boards_refusal_on():
    def refuses():
        yield Fetch(path="device/a", max_bytes=4)
        raise Refusal("older than what the device has")

    with pytest.raises(UpdateRefusedError, match="older than") as refused:
        relay_update(Link(RelayedUpdate(refuses).answer), Source())
    assert refused.value.where == "a test"


def test_a_board_that_asks_for_nothing_is_an_error_of_the_link():
    with pytest.raises(LinkAnswerError, match="asks for nothing"):
        relay_update(Link(lambda _: {"path": "x"}), Source())
    assert UpdateWriteResponse(done=True).done


def test_a_board_that_always_reboots_is_not_followed_for_ever():
    again = {"done": True, "result": "reboot needed: once more"}
    assert relay_update(Link(lambda _: again), Source())["result"] == "reboot needed"


def test_a_reason_is_cut_to_what_the_flash_record_holds():
    from firmware_images.device_record import UpdateState

    text = reverted_text(Remembered.REVERTED_REPORT_DUE, "the DAC\nis \u00fc" + "x" * 90)
    assert len(text) == 64
    state = UpdateState(last_outcome=text)
    assert remembered_word(state) is Remembered.REVERTED_REPORT_DUE
    assert remembered_reason(state).startswith("the DAC?is ?x")
    assert remembered_word(UpdateState(last_outcome="what?")) is Remembered.NOTHING


def test_a_plan_reaches_the_child_process_as_it_is(tmp_path):
    plan = ServerPlan(
        folder=tmp_path.resolve(),
        trust_record=b"t" * 5000,
        freshness_key_der=b"k",
        reports_path=Path(tmp_path.resolve() / "r"),
        port=1,
    )
    assert "freshness_key_der" not in repr(plan)
    for sent in (plan, ServerPlan(folder=tmp_path.resolve())):
        read, write = os.pipe()
        with FileIO(read) as reader, FileIO(write, "w") as writer:
            _send_plan(writer, sent)
            assert _receive_plan(reader) == sent
