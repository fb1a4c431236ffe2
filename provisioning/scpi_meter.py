"""A SCPI multimeter over PyVISA, which also switches the loads of the fixture.

The only importer of `pyvisa`. A SCPI block is sent in one piece (configuration, then at most one
query), so that a reading costs two round trips: `READ?` and `SYST:ERR?`. Nothing that the
instrument said is used before its error queue was empty. Implements docs/spec/calibration.md §3.

After a timeout or a damaged answer nobody knows which answer comes next, so the session is closed
and every later call refuses. This module does not decide which range to use, and corrects nothing.
"""

from __future__ import annotations

import math
import re
import statistics
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from provisioning.errors import InstrumentError, InstrumentTimeoutError
from provisioning.instruments import Reading, parse_identity, parse_samples_na

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from provisioning.instruments import InstrumentIdentity
    from provisioning.measurement_settings import MetrologySettings

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


class ScpiMeter:
    """A SCPI multimeter that also switches the fixture's loads; implements `Meter`.

    Args:
        resource: An open PyVISA message-based resource.
        where: Its address, for errors.
        load_channels: Relay channel of each load, Ω → channel.
        line_frequency_hz: Mains frequency that NPLC counts in.
        clock: Returns the time now, UTC.
        timeout_s: Time to answer, on top of the integration itself.
    """

    def __init__(
        self,
        resource: Any,
        *,
        where: str,
        load_channels: Mapping[int, int],
        line_frequency_hz: int,
        clock: Callable[[], datetime],
        timeout_s: float = 5.0,
    ) -> None:
        self._resource: Any = resource
        self._where = where
        self._load_channels = dict(load_channels)
        self._line_frequency_hz = line_frequency_hz
        self._clock = clock
        self._timeout_s = timeout_s
        self._load_ohm: int | None = None
        self._configuration: tuple[str, ...] = ()
        # PyVISA-py cannot set TCP_NODELAY on a raw socket: several small writes before a read would
        # wait 40 ms for a delayed acknowledgement, one write does not.
        self._is_stream = where.upper().endswith("::SOCKET")
        resource.read_termination = "\n"
        resource.write_termination = "\n"
        self._identity = parse_identity(self._ask("*IDN?"), where=where)
        self._check_errors(after=("*RST", "*CLS"))

    @property
    def identity(self) -> InstrumentIdentity:
        """Who the instrument is."""
        return self._identity

    def select_load(self, load_ohm: int) -> None:
        """Connect exactly one load.

        Raises:
            InstrumentError: The fixture has no such load, or the instrument refuses.
        """
        if load_ohm == self._load_ohm:
            return
        channel = self._load_channels.get(load_ohm)
        if channel is None:
            raise InstrumentError(
                "the fixture has no such load",
                expected=", ".join(f"{load} Ω" for load in sorted(self._load_channels)),
                got=f"{load_ohm} Ω",
                where=self._where,
                hint="name its relay in [station.metrology] load_channels",
            )
        self._load_ohm = None
        self._check_errors(after=("ROUT:OPEN:ALL", f"ROUT:CLOS (@{channel})"))
        self._load_ohm = load_ohm

    def read_current(self, *, range_ua: int, nplc: float, count: int) -> Reading:
        """Take samples of the direct current.

        Args:
            range_ua: Range, µA.
            nplc: Integration time of one sample, mains periods.
            count: Samples.

        Raises:
            InstrumentOverloadError: The current is larger than the range.
            InstrumentTimeoutError: No answer in time.
            InstrumentError: No load is connected, or the answer cannot be used.
        """
        return self._read(
            (f"SENS:CURR:DC:NPLC {nplc:g}",), range_ua, nplc / self._line_frequency_hz, count
        )

    def read_aperture(self, *, range_ua: int, aperture_s: float, count: int) -> Reading:
        """Take samples back to back, each integrated over a stated aperture.

        Args:
            range_ua: Range, µA.
            aperture_s: Integration time of one sample, s.
            count: Samples.

        Raises:
            InstrumentError: As `read_current`.
        """
        return self._read((f"SENS:CURR:DC:APER {aperture_s:.9g}",), range_ua, aperture_s, count)

    def close(self) -> None:
        """Open the relays if the instrument still answers, and end the session."""
        from pyvisa import Error

        if self._resource is None:
            return
        with suppress(InstrumentError):
            self._check_errors(after=("ROUT:OPEN:ALL",))
        if self._resource is not None:
            with suppress(Error, OSError):
                self._resource.close()
            self._resource = None

    def _read(
        self, integration: tuple[str, ...], range_ua: int, aperture_s: float, count: int
    ) -> Reading:
        if self._load_ohm is None:
            raise InstrumentError("no load is connected", where=self._where, hint="select a load")
        wanted = (f"CONF:CURR:DC {range_ua * 1e-6:.9g}", *integration, f"SAMP:COUN {count}")
        changes = () if wanted == self._configuration else wanted
        self._configuration = ()
        # A real instrument integrates for so long; autozero doubles it.
        answer = self._ask(*changes, "READ?", wait_s=2 * aperture_s * count)
        self._check_errors()
        self._configuration = wanted
        samples = parse_samples_na(answer, count=count, where=self._where)
        return Reading(
            mean_na=math.fsum(samples) / count,
            sd_na=statistics.stdev(samples) if count > 1 else 0.0,
            count=count,
            samples_na=samples,
            range_ua=range_ua,
            aperture_s=aperture_s,
            load_ohm=self._load_ohm,
            at=self._clock(),
        )

    def _check_errors(self, *, after: tuple[str, ...] = ()) -> None:
        """Read the error queue; `after` goes out in the same write as the first question."""
        faults: list[str] = []
        for _ in range(ERROR_QUEUE_MAX):
            answer = self._ask(*after, "SYST:ERR?")
            after = ()
            match = _ERROR.fullmatch(answer)
            if match is None:
                self._give_up()
                raise InstrumentError(
                    "the instrument's error queue cannot be read",
                    expected='a code and a text such as 0,"No error"',
                    got=repr(answer[:80]),
                    where=self._where,
                    hint="check that nothing else talks to the instrument",
                )
            if int(match[1]) == 0:
                break
            faults.append(f"{int(match[1])} {match[2]}")
        if faults:
            raise InstrumentError(
                "the instrument reports an error",
                got="; ".join(faults),
                where=self._where,
                hint="look the code up in the instrument's manual",
            )

    def _tell(self, *lines: str) -> None:
        from pyvisa import Error

        if self._resource is None:
            raise InstrumentError(
                "the session with the instrument has ended",
                where=self._where,
                hint="open the instrument again",
            )
        try:
            if self._is_stream:
                self._resource.write("\n".join(lines))
            else:
                for line in lines:
                    self._resource.write(line)
        except (Error, OSError) as error:
            self._give_up()
            raise self._translate(error) from error

    def _ask(self, *lines: str, wait_s: float = 0.0) -> str:
        from pyvisa import Error

        self._tell(*lines)
        resource: Any = self._resource
        try:
            resource.timeout = 1_000 * (self._timeout_s + wait_s)
            answer: bytes = resource.read_bytes(
                ANSWER_MAX_BYTES,
                chunk_size=_CHUNK_BYTES,
                break_on_termchar=True,
                monitoring_interface=_Deadline(self._timeout_s + wait_s, where=self._where),
            )
        except (Error, OSError) as error:
            self._give_up()
            raise self._translate(error) from error
        except InstrumentTimeoutError:
            self._give_up()
            raise
        if not answer.endswith(b"\n") or not answer.isascii():
            self._give_up()
            raise InstrumentError(
                "the instrument's answer is cut off or damaged",
                expected="one line of ASCII",
                got=repr(answer[:80]),
                where=self._where,
                hint="check the cable and the line settings",
            )
        return answer.decode("ascii").strip()

    def _give_up(self) -> None:
        from pyvisa import Error

        resource: Any = self._resource
        self._resource = None
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
                where=self._where,
                hint="check power, cable and address, then open it again",
            )
        return InstrumentError(
            "the connection to the instrument failed",
            got=str(error),
            where=self._where,
            hint="check power, cable and address, then open it again",
        )


def open_meter(
    address: str,
    settings: MetrologySettings,
    *,
    clock: Callable[[], datetime],
    backend: str = "@py",
    timeout_s: float = 5.0,
) -> ScpiMeter:
    """Open a SCPI multimeter by its VISA address.

    Args:
        address: Such as `TCPIP0::127.0.0.1::5025::SOCKET`.
        settings: Load channels and mains frequency.
        clock: Returns the time now, UTC.
        backend: PyVISA's backend; `@py` is PyVISA-py.
        timeout_s: Time to connect, and to answer on top of the integration.

    Raises:
        InstrumentError: It cannot be opened or does not identify itself.
    """
    from pyvisa import Error, ResourceManager

    try:
        with _OPEN_LOCK:
            resource = ResourceManager(backend).open_resource(
                address, open_timeout=int(timeout_s * 1_000)
            )
    except (Error, OSError, ValueError) as error:
        raise _cannot_open(address, error) from error
    except Exception as error:
        # PyVISA-py raises the bare Exception class, and nothing else does, when it cannot connect.
        if type(error) is not Exception:
            raise
        raise _cannot_open(address, error) from error
    try:
        return ScpiMeter(
            resource,
            where=address,
            load_channels={entry.load_ohm: entry.channel for entry in settings.load_channels},
            line_frequency_hz=settings.line_frequency_hz,
            clock=clock,
            timeout_s=timeout_s,
        )
    except InstrumentError:
        with suppress(Error, OSError):
            resource.close()
        raise


def _cannot_open(address: str, error: Exception) -> InstrumentError:
    return InstrumentError(
        "the instrument cannot be opened",
        expected="a VISA address that answers, such as TCPIP0::HOST::5025::SOCKET",
        got=str(error) or type(error).__name__,
        where=address,
        hint="check power, cable and address",
    )
