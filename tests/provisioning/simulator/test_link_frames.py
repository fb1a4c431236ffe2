from __future__ import annotations

import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smp import packet

from provisioning.errors import LinkFrameError
from provisioning.link_frames import (
    LINE_MAX_BYTES,
    BadFrame,
    Frame,
    LineAssembler,
    LogLine,
    serialize_frame,
)

FRAMES = st.binary(max_size=700)


def feed(content: bytes, *, limit: int = 1000, step: int = 1 << 20):
    assembler = LineAssembler(max_message_bytes=limit)
    return [
        item
        for start in range(0, len(content), step)
        for item in assembler.feed(content[start : start + step])
    ]


@given(st.lists(FRAMES, max_size=4), st.integers(1, 300))
def test_frames_come_back_in_any_division_between_log_lines(messages, step):
    wire = b"".join(serialize_frame(message) + b"flare 1.4.0\r\n" for message in messages)
    items = feed(wire, step=step)
    assert [item.message_bytes for item in items if isinstance(item, Frame)] == messages
    assert [item.text for item in items if isinstance(item, LogLine)] == ["flare 1.4.0"] * len(
        messages
    )


@given(FRAMES)
def test_a_second_implementation_reads_our_frames(message):
    lines = serialize_frame(message).splitlines(keepends=True)
    assert all(len(line) <= LINE_MAX_BYTES for line in lines)
    decoder = packet.decode()
    next(decoder)
    for line in lines[:-1]:
        decoder.send(line)
    with pytest.raises(StopIteration) as stop:
        decoder.send(lines[-1])
    assert stop.value.value == message


@given(FRAMES)
def test_we_read_the_frames_of_a_second_implementation(message):
    (frame,) = feed(b"".join(packet.encode(message)))
    assert frame == Frame(message_bytes=message)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_give_text_or_bad_frames_only(content):
    for item in feed(content + b"\n"):
        assert not isinstance(item, BadFrame) or isinstance(item.error, LinkFrameError)


@given(FRAMES.filter(bool), st.integers(0, 10_000))
def test_a_flipped_bit_never_gives_another_message(message, position):
    wire = bytearray(serialize_frame(message))
    wire[position // 8 % len(wire)] ^= 1 << position % 8
    frames = [item for item in feed(bytes(wire)) if isinstance(item, Frame)]
    assert all(frame.message_bytes == message for frame in frames)


def body(content: bytes) -> bytes:
    return b"\x06\x09" + binascii.b2a_base64(content)


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        (b"\x04\x14AAAA\n", "no start"),
        (b"\x06\x09A*AA\n", "not base64"),
        (body(b"\x00"), "cut short"),
        (body(b"\x00\x01x"), "length is not acceptable"),
        (body(b"\xff\xffx"), "length is not acceptable"),
        (body(b"\x00\x03abcd"), "longer than it says"),
        (body(b"\x00\x03a\x00\x00"), "CRC is wrong"),
    ],
)
def test_a_bad_frame_is_named_and_the_next_one_is_read(wire, what):
    bad, good = feed(wire + serialize_frame(b"next"))
    assert isinstance(bad, BadFrame)
    assert what in str(bad.error)
    assert bad.error.hint
    assert good == Frame(message_bytes=b"next")


def test_a_frame_that_starts_again_drops_what_was_begun():
    first_line = serialize_frame(b"x" * 300).splitlines(keepends=True)[0]
    assert feed(first_line + serialize_frame(b"y")) == [Frame(message_bytes=b"y")]


def test_a_frame_after_text_on_the_same_line_is_found():
    assert feed(b"boot: " + serialize_frame(b"y")) == [Frame(message_bytes=b"y")]


def test_a_line_without_end_does_not_grow_for_ever():
    assembler = LineAssembler(max_message_bytes=100)
    items = [item for _ in range(100) for item in assembler.feed(b"z" * 1000)]
    assert all(isinstance(item, LogLine) for item in items)
    assert len(assembler._line) <= 5096
