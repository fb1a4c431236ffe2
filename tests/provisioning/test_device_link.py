"""The link: answers are found between log lines, and nothing that is not an answer gets through."""

from __future__ import annotations

import itertools

import cbor2
import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from smp import header as smp_header

from provisioning.device_link import DeviceLink
from provisioning.errors import (
    BoardRefusalError,
    LinkAnswerError,
    LinkTimeoutError,
    PortError,
    ProvisioningError,
)
from provisioning.link_frames import Frame, LineAssembler, serialize_frame
from provisioning.link_messages import (
    BOARD_BUFFER_BYTES,
    BoardCommand,
    InfoReadRequest,
    InfoReadResponse,
)
from provisioning.link_output import OutputWriteRequest, OutputWriteResponse

WHERE = "the test's port"
INFO = {
    "product": "flare", "hwclass": "flare-c3", "hwrev": 1, "chip": "ESP32-C3", "mac": bytes(6),
    "app": "flare", "ver": "1.4.0", "appsha": bytes(32), "elfsha": bytes(32), "tabsha": b"",
    "serial": "", "calgen": 0, "slot": 0, "otastate": "valid", "bat": 80, "session": False,
}  # fmt: skip


def message(fields, *, sequence, command=BoardCommand.INFO, group=64, op=1, length=None):
    body = fields if isinstance(fields, bytes) else cbor2.dumps(fields, canonical=True)
    header = smp_header.Header(
        op=smp_header.OP(op), version=smp_header.Version.V2, flags=smp_header.Flag(0),
        length=len(body) if length is None else length, group_id=group, sequence=sequence,
        command_id=command,
    )  # fmt: skip
    return bytes(header) + body


class ScriptedPort:
    """A port whose peer answers by a function of the request; time passes only when it waits."""

    is_usb_serial_jtag = False

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.lines = []
        self.pending = b""
        self.now_s = 0.0
        self.timeout = 1.0
        self.baudrate = 921_600
        self.assembler = LineAssembler(max_message_bytes=BOARD_BUFFER_BYTES)

    def __setattr__(self, name, value):
        if name in {"dtr", "rts"}:
            self.lines.append((name, value))
        super().__setattr__(name, value)

    @property
    def in_waiting(self):
        return len(self.pending)

    def read(self, size):
        if not self.pending:
            self.now_s += self.timeout
        taken, self.pending = self.pending[:size], self.pending[size:]
        return taken

    def write(self, content):
        for item in self.assembler.feed(content):
            assert isinstance(item, Frame)
            header = smp_header.Header.loads(item.message_bytes[: smp_header.Header.SIZE])
            self.requests.append((header, cbor2.loads(item.message_bytes[8:])))
            self.pending += self.answer(header)

    def reset_input_buffer(self):
        self.pending = b""


def linked(answer, **options):
    port = ScriptedPort(answer)
    link = DeviceLink(
        port, where=WHERE, clock_s=lambda: port.now_s, sleep=lambda _seconds: None, **options
    )
    return link, port


def damaged(header):
    """A good frame with one character changed in its middle."""
    frame = good(header)
    changed = b"A" if frame[40:41] != b"A" else b"B"
    return frame[:40] + changed + frame[41:]


def good(header):
    return serialize_frame(message(INFO, sequence=header.sequence))


def test_an_answer_is_found_between_log_lines():
    log = []
    link, _ = linked(
        lambda header: b"flare 1.4.0\r\nhalf a li" + good(header) + b"more\r\n", on_log=log.append
    )
    assert link.read_info().ver == "1.4.0"
    assert log == ["flare 1.4.0"]


def test_a_read_is_repeated_after_silence_and_after_a_damaged_frame():
    attempts = itertools.count()

    def answer(header):
        match next(attempts):
            case 0:
                return b""
            case 1:
                return damaged(header)
            case _:
                return good(header)

    link, port = linked(answer)
    assert link.read_info().product == "flare"
    assert len(port.requests) == 3
    assert len({header.sequence for header, _ in port.requests}) == 3


def test_what_is_not_safe_to_repeat_is_sent_once():
    link, port = linked(lambda _header: b"")
    with pytest.raises(LinkTimeoutError, match="does not answer"):
        link.request(InfoReadRequest, InfoReadResponse, attempts=1)
    assert len(port.requests) == 1


def test_the_wait_is_bounded_and_the_error_names_the_damage():
    link, port = linked(damaged)
    with pytest.raises(LinkTimeoutError) as refusal:
        link.request(InfoReadRequest, InfoReadResponse, attempts=1, timeout_s=2.0)
    assert port.now_s == pytest.approx(2.0)
    assert "CRC" in refusal.value.got
    assert refusal.value.where == WHERE


def test_a_talkative_board_does_not_stretch_the_wait():
    """Log text arrives all the time; the deadline still holds."""
    link, port = linked(lambda _header: b"")

    def chatter(size):
        del size
        port.now_s += 0.1
        return b"noise\n"

    port.read = chatter
    with pytest.raises(LinkTimeoutError):
        link.request(InfoReadRequest, InfoReadResponse, attempts=1, timeout_s=1.0)
    assert port.now_s < 1.2


def test_the_answer_to_an_earlier_request_is_dropped():
    def answer(header):
        late = message(INFO | {"ver": "0.0.1"}, sequence=(header.sequence - 1) % 256)
        other = message({"code": 1}, sequence=header.sequence, command=BoardCommand.OUTPUT, op=3)
        return serialize_frame(late) + serialize_frame(other) + good(header)

    link, _ = linked(answer)
    assert link.read_info().ver == "1.4.0"


def test_a_refusal_carries_the_code_and_the_reason_that_the_board_printed():
    def answer(header):
        refusal = message(
            {"err": {"group": 64, "rc": 3}}, sequence=header.sequence, op=3, command=4
        )
        return b"E no calibration yet\n" + serialize_frame(refusal)

    link, port = linked(answer)
    with pytest.raises(BoardRefusalError, match="no calibration yet") as refusal:
        link.request(OutputWriteRequest, OutputWriteResponse, en=True, na=1000)
    assert refusal.value.code_name == "NOT_CALIBRATED"
    assert len(port.requests) == 1, "a refusal is an answer and is not asked for again"
    assert port.requests[0][1] == {"en": True, "na": 1000}


@pytest.mark.parametrize(
    ("fields", "code_name"),
    [
        ({"rc": 8}, "ENOTSUP"),
        ({"rc": 4711}, "code 4711"),
        ({"err": {"group": 1, "rc": 2}}, "group 1, code 2"),
        ({"err": {"group": 64, "rc": 99}}, "code 99"),
    ],
)
def test_standard_and_unknown_codes_are_named(fields, code_name):
    link, _ = linked(lambda h: serialize_frame(message(fields, sequence=h.sequence)))
    with pytest.raises(BoardRefusalError) as refusal:
        link.read_info()
    assert refusal.value.code_name == code_name


@pytest.mark.parametrize(
    "fields",
    [
        {},
        INFO | {"mac": bytes(5)},
        INFO | {"extra": 1},
        INFO | {"header": None},
        {1: 2},
        [1],
        b"\xff",
        b"\x9f" * 3000,
        INFO | {"slot": 7},
    ],
)
def test_a_body_of_another_shape_is_our_error(fields):
    link, _ = linked(lambda h: serialize_frame(message(fields, sequence=h.sequence)))
    with pytest.raises(LinkAnswerError, match="cannot be read"):
        link.read_info()


def test_a_header_that_lies_about_the_length_is_our_error():
    link, _ = linked(lambda h: serialize_frame(message(INFO, sequence=h.sequence, length=3)))
    with pytest.raises(LinkAnswerError):
        link.read_info()


@given(st.binary(max_size=60))
def test_arbitrary_message_bytes_raise_only_our_errors(content):
    link, _ = linked(lambda _header: serialize_frame(content))
    with pytest.raises(ProvisioningError):
        link.request(InfoReadRequest, InfoReadResponse, attempts=1)


@given(st.binary(max_size=60))
def test_arbitrary_map_bytes_raise_only_our_errors(body):
    link, _ = linked(lambda header: serialize_frame(message(body, sequence=header.sequence)))
    with pytest.raises(ProvisioningError):
        link.request(InfoReadRequest, InfoReadResponse, attempts=1)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_on_the_line_raise_only_our_errors(noise):
    link, _ = linked(lambda _header: noise + b"\n")
    with pytest.raises(ProvisioningError):
        link.request(InfoReadRequest, InfoReadResponse, attempts=1)


def test_the_board_is_waited_for_until_it_answers():
    attempts = itertools.count()
    link, _ = linked(lambda header: good(header) if next(attempts) == 3 else b"ets boot\n")
    assert link.wait_until_ready(timeout_s=4.0).app == "flare"


def test_an_application_that_stays_silent_is_named_as_such():
    link, port = linked(lambda _header: b"hello world\n")
    with pytest.raises(LinkTimeoutError, match="application does not answer") as refusal:
        link.wait_until_ready(timeout_s=4.0)
    assert "does not speak the factory link" in refusal.value.hint
    assert port.now_s < 5.0


def test_a_reset_pulses_en_with_the_strap_released_at_the_link_rate():
    link, port = linked(good)
    port.lines.clear()
    link.reset_board()
    assert port.lines == [("dtr", False), ("rts", True), ("rts", False)]
    assert port.baudrate == 115_200


def test_a_port_that_dies_is_our_error():
    link, port = linked(good)

    def die(*_args):
        raise serial.SerialException("cable pulled")

    port.write = die
    with pytest.raises(PortError, match="cable pulled"):
        link.read_info()
