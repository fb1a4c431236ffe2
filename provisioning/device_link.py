"""Talks to a board's application: SMP requests on a UART that also carries log text.

One request at a time. A bad frame, silence, or the answer to an earlier request costs one attempt;
only requests that are safe to repeat are repeated (docs/spec/serial-link.md §2: all of group 64,
and every read). What the board prints in between is passed on as log lines. Nothing here is
trusted: what the board claims is verified by whoever asked.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import cbor2
from pydantic import ValidationError
from smp import error as smp_error
from smp import header as smp_header
from smp import message as smp_message
from smp.exceptions import SMPException

from provisioning.board_reset import reset_into_application
from provisioning.errors import BoardRefusalError, LinkAnswerError, LinkTimeoutError
from provisioning.link_frames import BadFrame, Frame, LineAssembler, LogLine, serialize_frame
from provisioning.link_messages import (
    BOARD_BUFFER_BYTES,
    BOARD_GROUP_ID,
    BoardErrorCode,
    InfoReadRequest,
    InfoReadResponse,
)
from provisioning.serial_port import translated_port_errors
from signing.validation_words import describe_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioning.serial_port import BoardPort

Answer = TypeVar("Answer", bound=smp_message.Response)

ANSWER_TIMEOUT_S: Final = 2.0
REPEATABLE_ATTEMPTS: Final = 3
READY_TIMEOUT_S: Final = 4.0
_READY_ATTEMPT_S: Final = 0.4
_POLL_S: Final = 0.2
_REASON_PREFIX: Final = "E "


class DeviceLink:
    """One board's application on an open port. Not safe to use from two threads at once.

    Args:
        port: The open port; the caller closes it.
        where: What to name in an error: the port's URL.
        on_log: Receives each line that the board prints.
        clock_s: Monotonic clock, in seconds.
        sleep: Waits for some seconds; only the reset pulse uses it.
    """

    def __init__(
        self,
        port: BoardPort,
        *,
        where: str,
        on_log: Callable[[str], None] = lambda _line: None,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._port = port
        self._where = where
        self._on_log = on_log
        self._clock_s = clock_s
        self._sleep = sleep
        self._sequence = 0
        self._assembler = LineAssembler(max_message_bytes=BOARD_BUFFER_BYTES)
        self._reason: str | None = None

    @property
    def where(self) -> str:
        """The port's URL, as errors name it."""
        return self._where

    def reset_board(self) -> None:
        """Pulse the EN line: the board starts again as after a power cut, into its application.

        Raises:
            PortError: The port died.
        """
        with translated_port_errors(self._where):
            reset_into_application(self._port, clock_s=self._clock_s, sleep=self._sleep)
        self._assembler = LineAssembler(max_message_bytes=BOARD_BUFFER_BYTES)

    def wait_until_ready(self, *, timeout_s: float = READY_TIMEOUT_S) -> InfoReadResponse:
        """Ask for info until the application answers.

        Args:
            timeout_s: How long the board may take to boot, in seconds.

        Raises:
            LinkTimeoutError: The application stayed silent.
            PortError: The port died.
        """
        deadline_s = self._clock_s() + timeout_s
        while True:
            try:
                return self.request(
                    InfoReadRequest,
                    InfoReadResponse,
                    attempts=1,
                    timeout_s=min(timeout_s, _READY_ATTEMPT_S),
                )
            except (LinkTimeoutError, LinkAnswerError) as error:
                if self._clock_s() >= deadline_s:
                    raise LinkTimeoutError(
                        "the application does not answer",
                        expected=f"an answer to `info` within {timeout_s:g} s after the reset",
                        got=error.what,
                        where=self._where,
                        hint="this image does not speak the factory link: flash one that does, "
                        "or look at what it prints on its UART",
                    ) from error

    def read_info(self) -> InfoReadResponse:
        """Ask who the board is and what it runs."""
        return self.request(InfoReadRequest, InfoReadResponse)

    def request(
        self,
        request_type: type[smp_message.Request],
        answer_type: type[Answer],
        *,
        attempts: int = REPEATABLE_ATTEMPTS,
        timeout_s: float = ANSWER_TIMEOUT_S,
        **fields: Any,
    ) -> Answer:
        """Send a request and return its answer.

        Args:
            request_type: Class of the request.
            answer_type: Class of its answer.
            attempts: How often it may be sent; more than 1 only for what is safe to repeat.
            timeout_s: How long each attempt waits, in seconds.
            **fields: Fields of the request.

        Raises:
            BoardRefusalError: The board understood and refused.
            LinkTimeoutError: No answer came, in any attempt.
            LinkAnswerError: An answer came that is not one, in the last attempt.
            PortError: The port died.
        """
        for attempt in range(attempts):
            try:
                return self._request_once(
                    request_type(sequence=self._next(), **fields), answer_type, timeout_s
                )
            except (LinkTimeoutError, LinkAnswerError):
                if attempt == attempts - 1:
                    raise
        raise AssertionError("attempts is at least 1")

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) % 256
        return self._sequence

    def _request_once(
        self, request: smp_message.Request, answer_type: type[Answer], timeout_s: float
    ) -> Answer:
        self._reason = None
        with translated_port_errors(self._where):
            self._port.write(serialize_frame(bytes(request)))
        deadline_s = self._clock_s() + timeout_s
        damage: Exception | None = None
        while True:
            remaining_s = deadline_s - self._clock_s()
            if remaining_s <= 0:
                raise LinkTimeoutError(
                    "the board does not answer",
                    expected=f"an answer to {type(request).__name__} within {timeout_s:g} s",
                    got="silence" if damage is None else str(damage),
                    where=self._where,
                    hint="check that the board is powered and its application runs",
                ) from damage
            for item in self._receive(min(remaining_s, _POLL_S)):
                match item:
                    case LogLine(text=text):
                        self._take_log(text)
                    case BadFrame(error=error):
                        damage = error
                    case Frame(message_bytes=message_bytes):
                        if self._is_answer(message_bytes, request):
                            return self._parse_answer(message_bytes, answer_type)

    def _receive(self, timeout_s: float) -> list[Frame | LogLine | BadFrame]:
        with translated_port_errors(self._where):
            self._port.timeout = timeout_s
            piece = self._port.read(max(1, self._port.in_waiting))
        return self._assembler.feed(piece)

    def _take_log(self, text: str) -> None:
        if text.startswith(_REASON_PREFIX):
            self._reason = text.removeprefix(_REASON_PREFIX)
        self._on_log(text)

    def _is_answer(self, message_bytes: bytes, request: smp_message.Request) -> bool:
        """Whether a message answers this request; the answer to an earlier one is dropped."""
        if len(message_bytes) < smp_header.Header.SIZE:
            raise self._not_an_answer("an SMP header of 8 bytes", f"{len(message_bytes)} bytes")
        try:
            header = smp_header.Header.loads(message_bytes[: smp_header.Header.SIZE])
        except (ValueError, TypeError, SMPException) as error:
            raise self._not_an_answer("an SMP header", str(error)) from error
        asked = request.header
        return (header.sequence, header.group_id, header.command_id, header.op) == (
            asked.sequence, asked.group_id, asked.command_id, asked.op + 1,
        )  # fmt: skip

    def _parse_answer(self, message_bytes: bytes, answer_type: type[Answer]) -> Answer:
        header = smp_header.Header.loads(message_bytes[: smp_header.Header.SIZE])
        body = message_bytes[smp_header.Header.SIZE :]
        if header.length != len(body):
            raise self._not_an_answer(f"a map of {header.length} bytes", f"{len(body)} bytes")
        try:
            fields = cbor2.loads(body)
        except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise self._not_an_answer("a CBOR map", str(error)) from error
        if not isinstance(fields, dict):
            raise self._not_an_answer("a CBOR map", type(fields).__name__)
        self._raise_refusal(fields)
        try:
            return answer_type.loads(message_bytes)
        except ValidationError as error:
            got = describe_problem(error.errors()[0])
            raise self._not_an_answer(answer_type.__name__, got) from error
        except (ValueError, TypeError, SMPException) as error:
            raise self._not_an_answer(answer_type.__name__, str(error)) from error

    def _raise_refusal(self, fields: dict[object, object]) -> None:
        match fields:
            case {"err": {"group": group, "rc": int(code)}} if code != 0:
                code_name = (
                    _name_of(BoardErrorCode, code)
                    if group == BOARD_GROUP_ID
                    else f"group {group}, code {code}"
                )
            case {"rc": int(code)} if code != 0:
                code_name = _name_of(smp_error.MGMT_ERR, code)
            case _:
                return
        reason = (
            "the board refused" if self._reason is None else f"the board refused: {self._reason}"
        )
        raise BoardRefusalError(
            reason,
            code_name=code_name,
            where=self._where,
            hint="docs/spec/serial-link.md §4.10 lists the codes",
        )

    def _not_an_answer(self, expected: str, got: str) -> LinkAnswerError:
        return LinkAnswerError(
            "the board's answer cannot be read",
            expected=expected,
            got=got,
            where=self._where,
            hint="check the cable and the firmware's version",
        )


def _name_of(codes: type[BoardErrorCode | smp_error.MGMT_ERR], code: int) -> str:
    try:
        return codes(code).name
    except ValueError:
        return f"code {code}"
