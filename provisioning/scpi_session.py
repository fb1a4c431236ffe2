"""One SCPI dialogue over PyVISA: whole lines, a deadline for each answer, the error queue.

The only importer of `pyvisa`. After a timeout or a damaged answer nobody knows which answer comes
next, so the session is closed and every later call refuses. This module knows no instrument.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from provisioning.errors import InstrumentError, InstrumentTimeoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER_MAX_BYTES: Final = 65_536
ERROR_QUEUE_MAX: Final = 32
_ERROR = re.compile(r'\s*([+-]?\d{1,6})\s*,\s*"?(.{0,255}?)"?\s*', re.DOTALL)
# PyVISA keeps one resource manager for each backend, and four slots open instruments at once.
_OPEN_LOCK = threading.Lock()
_CHUNK_BYTES: Final = 16
"""Small, so that the deadline of an answer is looked at while it trickles in."""


class _Deadline:
    """Ends an answer that goes on for too long: PyVISA's own timeout begins anew at each byte."""

    def __init__(self, timeout_s: float, *, where: str) -> None:
        self._timeout_s = timeout_s
        self._where = where
        self._ends_at_s = time.monotonic() + timeout_s

    def update(self, _received_bytes: int) -> None:
        """Called by PyVISA after each piece of the answer."""
        if time.monotonic() > self._ends_at_s:
            raise InstrumentTimeoutError(
                "the instrument's answer does not end",
                expected=f"a whole line within {self._timeout_s:g} s",
                got="a byte now and then",
                where=self._where,
                hint="check the cable and the line settings, then open it again",
            )


class ScpiSession:
    """A dialogue with one instrument.

    Args:
        resource: An open PyVISA message-based resource.
        where: Its address, for errors.
        timeout_s: Time to answer.
        error_query: Asks for the oldest entry of the error queue.
    """

    def __init__(
        self, resource: Any, *, where: str, timeout_s: float, error_query: str = "SYST:ERR?"
    ) -> None:
        self._resource: Any = resource
        self.where = where
        self._timeout_s = timeout_s
        self._error_query = error_query
        # PyVISA-py cannot set TCP_NODELAY on a raw socket: several small writes before a read would
        # wait 40 ms for a delayed acknowledgement, one write does not.
        self._is_stream = where.upper().endswith("::SOCKET")
        resource.read_termination = "\n"
        resource.write_termination = "\n"

    @property
    def is_open(self) -> bool:
        """Whether anything can be asked."""
        return self._resource is not None

    def close(self, *, last: Sequence[str] = ()) -> None:
        """Send the last lines if the instrument still answers, and end the session."""
        if self._resource is None:
            return
        if last:
            with suppress(InstrumentError):
                self.check_errors(after=last)
        self.give_up()

    def check_errors(self, *, after: Sequence[str] = ()) -> None:
        """Read the error queue; `after` goes out in the same write as the first question.

        Raises:
            InstrumentError: It is not empty, or cannot be read.
        """
        faults: list[str] = []
        for _ in range(ERROR_QUEUE_MAX):
            answer = self.ask(*after, self._error_query)
            after = ()
            match = _ERROR.fullmatch(answer)
            if match is None:
                self.give_up()
                raise InstrumentError(
                    "the instrument's error queue cannot be read",
                    expected='a code and a text such as 0,"No error"',
                    got=repr(answer[:80]),
                    where=self.where,
                    hint="check that nothing else talks to the instrument",
                )
            if int(match[1]) == 0:
                break
            faults.append(f"{int(match[1])} {match[2]}")
        if faults:
            raise InstrumentError(
                "the instrument reports an error",
                got="; ".join(faults),
                where=self.where,
                hint="look the code up in the instrument's manual",
            )

    def _tell(self, *lines: str) -> None:
        from pyvisa import Error

        if self._resource is None:
            raise InstrumentError(
                "the session with the instrument has ended",
                where=self.where,
                hint="open the instrument again",
            )
        try:
            if self._is_stream:
                self._resource.write("\n".join(lines))
            else:
                for line in lines:
                    self._resource.write(line)
        except (Error, OSError) as error:
            self.give_up()
            raise self._translate(error) from error

    def ask(self, *lines: str, wait_s: float = 0.0) -> str:
        """Send lines, the last of them a question, and return the one line of the answer.

        Args:
            lines: Sent in one piece where the bus can.
            wait_s: Time to answer, on top of the session's own.

        Raises:
            InstrumentTimeoutError: No whole answer in time.
            InstrumentError: The connection failed, or the answer is damaged.
        """
        from pyvisa import Error

        self._tell(*lines)
        resource: Any = self._resource
        try:
            resource.timeout = 1_000 * (self._timeout_s + wait_s)
            answer: bytes = resource.read_bytes(
                ANSWER_MAX_BYTES,
                chunk_size=_CHUNK_BYTES,
                break_on_termchar=True,
                monitoring_interface=_Deadline(self._timeout_s + wait_s, where=self.where),
            )
        except (Error, OSError) as error:
            self.give_up()
            raise self._translate(error) from error
        except InstrumentTimeoutError:
            self.give_up()
            raise
        if not answer.endswith(b"\n") or not answer.isascii():
            self.give_up()
            raise InstrumentError(
                "the instrument's answer is cut off or damaged",
                expected="one line of ASCII",
                got=repr(answer[:80]),
                where=self.where,
                hint="check the cable and the line settings",
            )
        return answer.decode("ascii").strip()

    def give_up(self) -> None:
        """End the session without a word."""
        from pyvisa import Error

        resource: Any = self._resource
        self._resource = None
        if resource is not None:
            with suppress(Error, OSError):
                resource.close()

    def _translate(self, error: Exception) -> InstrumentError:
        from pyvisa.constants import StatusCode
        from pyvisa.errors import VisaIOError

        code = error.error_code if isinstance(error, VisaIOError) else None
        if code == StatusCode.error_timeout:
            return InstrumentTimeoutError(
                "the instrument does not answer",
                expected=f"an answer within {self._timeout_s:g} s",
                got="none",
                where=self.where,
                hint="check power, cable and address, then open it again",
            )
        return InstrumentError(
            "the connection to the instrument failed",
            got=str(error),
            where=self.where,
            hint="check power, cable and address, then open it again",
        )


def open_session(
    address: str,
    *,
    backend: str,
    timeout_s: float,
    error_query: str = "SYST:ERR?",
    serial_baud: int = 9_600,
) -> ScpiSession:
    """Open an instrument by its VISA address.

    Args:
        address: Such as `TCPIP0::127.0.0.1::5025::SOCKET`.
        backend: PyVISA's backend; `@py` is PyVISA-py.
        timeout_s: Time to connect, and to answer.
        error_query: Asks for the oldest entry of the error queue.
        serial_baud: Rate of a serial port, baud.

    Raises:
        InstrumentError: It cannot be opened.
    """
    from pyvisa import Error, ResourceManager

    # A serial port has a rate; asked for elsewhere, PyVISA calls it unknown.
    options: dict[str, Any] = {"baud_rate": serial_baud} if _is_serial(address) else {}
    try:
        with _OPEN_LOCK:
            resource = ResourceManager(backend).open_resource(
                address, open_timeout=int(timeout_s * 1_000), **options
            )
    except (Error, OSError, ValueError) as error:
        raise _cannot_open(address, error) from error
    except Exception as error:
        # PyVISA-py raises the bare Exception class, and nothing else does, when it cannot connect.
        if type(error) is not Exception:
            raise
        raise _cannot_open(address, error) from error
    return ScpiSession(resource, where=address, timeout_s=timeout_s, error_query=error_query)


def _is_serial(address: str) -> bool:
    return address.upper().startswith("ASRL")


def _cannot_open(address: str, error: Exception) -> InstrumentError:
    said = str(error) or type(error).__name__
    return InstrumentError(
        "the instrument cannot be opened",
        expected="a VISA address that answers, such as TCPIP0::HOST::5025::SOCKET",
        got=" ".join(said.split()),
        where=address,
        hint=_what_to_do(address.upper(), said),
    )


def _what_to_do(address: str, said: str) -> str:
    if "VI_ERROR_INV_RSRC_NAME" in said:
        return (
            "write it as TCPIP0::HOST::5025::SOCKET, USB0::VENDOR::MODEL::SERIAL::INSTR or "
            "ASRL/dev/ttyUSB0::INSTR"
        )
    is_missing_library = said.startswith("Please install")
    if address.startswith("USB"):
        if is_missing_library:
            return "USB needs one package more: `pip install 'ampforge[usbtmc]'`"
        return (
            "check power, cable and the three numbers in the address; let this user write to USB "
            "devices (on Linux a udev rule)"
        )
    if is_missing_library:
        return "that bus needs software of its own: use the instrument's LAN, USB or serial port"
    return "check power, cable and address"
