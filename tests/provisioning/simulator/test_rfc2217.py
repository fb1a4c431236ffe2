from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.simulator.rfc2217 import Event, EventKind, Rfc2217Session, serialize_data


def option(code: int, value: bytes) -> bytes:
    return b"\xff\xfa\x2c" + bytes([code]) + value.replace(b"\xff", b"\xff\xff") + b"\xff\xf0"


def feed(content: bytes, session: Rfc2217Session | None = None) -> list[Event]:
    return list((session or Rfc2217Session()).feed(content))


def test_bytes_pass_and_a_doubled_mark_is_one():
    (event,) = feed(b"ab\xff\xffcd")
    assert (event.kind, event.data) == (EventKind.DATA, b"ab\xffcd")
    assert serialize_data(b"ab\xffcd") == b"ab\xff\xffcd"


def test_the_order_of_data_and_line_changes_is_kept():
    events = feed(b"one" + option(5, b"\x08") + b"two" + option(5, b"\x0c"))
    assert [(event.kind, event.data, event.value) for event in events] == [
        (EventKind.DATA, b"one", 0),
        (EventKind.DTR, b"", 1),
        (EventKind.DATA, b"two", 0),
        (EventKind.RTS, b"", 0),
    ]


@pytest.mark.parametrize("value", range(1, 13))
def test_every_control_request_is_answered(value):
    (event,) = feed(option(5, bytes([value])))
    assert event.reply[:4] == b"\xff\xfa\x2c\x69"


def test_line_states_can_be_asked_for():
    session = Rfc2217Session()
    feed(option(5, b"\x08"), session)
    (dtr,) = feed(option(5, b"\x07"), session)
    (rts,) = feed(option(5, b"\x0a"), session)
    assert (dtr.reply, rts.reply) == (option(105, b"\x08"), option(105, b"\x0c"))


def test_a_baud_rate_is_set_counted_and_told():
    session = Rfc2217Session()
    rate = struct.pack("!I", 460800)
    (event,) = feed(option(1, rate), session)
    assert (event.kind, event.value, event.reply) == (EventKind.BAUD, 460800, option(101, rate))
    (asked,) = feed(option(1, bytes(4)), session)
    assert asked.reply == option(101, rate)
    assert session.negotiation_count == 1


def test_settings_are_kept_and_told():
    session = Rfc2217Session()
    assert feed(option(2, b"\x07"), session)[0].reply == option(102, b"\x07")
    assert feed(option(2, b"\x00"), session)[0].reply == option(102, b"\x07")
    assert feed(option(3, b"\x00"), session)[0].reply == option(103, b"\x01")
    assert feed(option(0, b"x"), session)[0].reply == option(100, b"ampforge")
    assert feed(option(11, b"\xff"), session)[0].reply == option(111, b"\xff")
    assert feed(option(99, b"x"), session)[0].reply == b""


def test_a_purge_of_what_the_client_would_receive_is_told_apart():
    assert [feed(option(12, bytes([value])))[0].kind for value in (1, 2, 3)] == [
        EventKind.PURGE,
        EventKind.REPLY,
        EventKind.PURGE,
    ]


def test_options_are_agreed_once_and_unknown_ones_declined():
    session = Rfc2217Session()
    session.greet()
    replies = [
        feed(bytes([255, verb, code]), session)[0].reply
        for verb, code in ((251, 0), (253, 44), (253, 44), (253, 1), (251, 24), (254, 0), (252, 0))
    ]
    assert replies[0] == b""
    assert replies[1].startswith(b"\xff\xfb\x2c")
    assert replies[2:] == [
        b"",
        b"\xff\xfc\x01",
        b"\xff\xfe\x18",
        b"\xff\xfc\x00",
        b"\xff\xfe\x00",
    ]


def test_a_command_that_never_ends_is_given_up():
    session = Rfc2217Session()
    assert feed(b"\xff\xfa\x2c" + b"x" * 50, session) == []
    events = feed(b"y" * 300, session)
    assert events[-1].kind is EventKind.DATA


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_no_bytes_break_the_codec(chunks):
    session = Rfc2217Session()
    for chunk in chunks:
        feed(chunk, session)


@given(st.binary(max_size=200), st.integers(1, 20))
def test_data_arrives_whole_in_any_division(data, step):
    session = Rfc2217Session()
    wire = serialize_data(data) + option(5, b"\x0b")
    events = [
        event
        for start in range(0, len(wire), step)
        for event in feed(wire[start : start + step], session)
    ]
    assert b"".join(event.data for event in events) == data
    assert events[-1].kind is EventKind.RTS
