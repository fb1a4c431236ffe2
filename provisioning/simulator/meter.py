"""A switching multimeter with a load fixture, as SCPI lines: what it measures is real physics.

Channels (@100) to (@104) put a load across the board's electrodes, (@105) is a check standard of
500 µA in its place; the current is read on a DC current range. The instrument has its own hidden
error, constant per range and inside its one-year specification, and it is honest about overload
(9.9E37). Errors go to the queue of `SYST:ERR?`, as IEEE 488.2 and SCPI-1999 have it. No I/O here:
see `meter_server`.

| command | meaning |
|---|---|
| `*IDN? *RST *CLS *OPC? *ESR? *STB? *TST? *WAI *OPC *ESE *SRE` | IEEE 488.2 |
| `CONFigure:CURRent[:DC] [range]`, `CONF?` | DC current, range in amperes or AUTO, MIN, MAX, DEF |
| `[SENSe:]CURRent[:DC]:RANGe`, `:RANGe:AUTO`, `:NPLC`, `:APERture` | and the same with `?` |
| `CONFigure:VOLTage[:DC] [range]`, `[SENSe:]VOLTage[:DC]:NPLC`, `:APERture` | volts, 10 MΩ |
| `SAMPle:COUNt n`, `READ?`, `MEASure:CURRent[:DC]?` | amperes, comma separated |
| `ROUTe:CLOSe (@n)`, `ROUT:CLOS? (@n)`, `ROUT:OPEN (@n)`, `ROUT:OPEN:ALL` | the fixture |
| `SYSTem:ERRor[:NEXT]?`, `SYST:VERS?` | error queue |
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.instruments import SIMULATED_MANUFACTURER
from provisioning.simulator.scpi import (
    ERROR_TEXTS,
    ScpiError,
    format_number,
    ignore_number,
    is_match,
    parse_channels,
    parse_header,
    parse_number,
    without_parameter,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioning.simulator.analog import OutputStage

LOADS_OHM: Final[Mapping[int, float]] = {
    100: 5_000.0,
    101: 1_000.0,
    102: 10_000.0,
    103: 500.0,
    104: 20_000.0,
}
CHECK_STANDARD_CHANNEL: Final = 105
"""A source of its own on the fixture, in place of the board's output."""
CHECK_STANDARD_NA: Final = 500_000.0
_CHANNELS: Final = (*LOADS_OHM, CHECK_STANDARD_CHANNEL)
OVERLOAD: Final = 9.9e37
_LINE_FREQUENCY_HZ: Final = 50.0
_OVERRANGE: Final = 1.2
_RANGES_A: Final = (100e-6, 1e-3, 10e-3, 100e-3)
_NPLC: Final = (0.02, 0.2, 1.0, 10.0, 100.0)
_APERTURE_MIN_S: Final = 20e-6
_APERTURE_MAX_S: Final = 100.0
_COUNT_MAX: Final = 10_000
_QUEUE_MAX: Final = 20
_LINE_MAX_CHARACTERS: Final = 1024
_SPEC_READING_PPM: Final = 500.0
_SPEC_RANGE_PPM: Final = {100e-6: 250.0, 1e-3: 50.0, 10e-3: 200.0, 100e-3: 50.0}
"""Accuracy of a 6½-digit meter over one year: 0.05 % of reading plus this part of range."""
_NOISE_RANGE_PPM: Final = 1.0
_RANGES_V: Final = (0.1, 1.0, 10.0, 100.0)
_INPUT_OHM: Final = 10e6
_VOLTAGE_READING_PPM: Final = 35.0
_VOLTAGE_RANGE_PPM: Final = 7.0

_NO_ERROR: Final = '+0,"No error"'


@dataclass(frozen=True, slots=True, kw_only=True)
class _RangeError:
    gain: float
    offset_a: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _VoltageError:
    gain: float
    offset: float


def _draw_voltage_error(serial: str, share: float) -> _VoltageError:
    draw = random.Random(hashlib.sha256(f"volts {serial}".encode()).digest())
    return _VoltageError(
        gain=1 + draw.uniform(-share, share) * _VOLTAGE_READING_PPM * 1e-6,
        offset=draw.uniform(-share, share) * _VOLTAGE_RANGE_PPM * 1e-6,
    )


def _draw_errors(serial: str, share: float) -> dict[float, _RangeError]:
    draw = random.Random(hashlib.sha256(f"meter {serial}".encode()).digest())
    return {
        range_a: _RangeError(
            gain=1 + draw.uniform(-share, share) * _SPEC_READING_PPM * 1e-6,
            offset_a=draw.uniform(-share, share) * _SPEC_RANGE_PPM[range_a] * 1e-6 * range_a,
        )
        for range_a in _RANGES_A
    }


class SimulatedMeter:
    """One instrument and its fixture.

    Args:
        output: The board's output that the fixture is connected to.
        serial: Serial number in `*IDN?`; the hidden error is drawn from it.
        error_share: How much of its specification the hidden error may use; 1 is an instrument
            that its maker would still call good.
    """

    def __init__(self, output: OutputStage, *, serial: str, error_share: float = 0.6) -> None:
        self.identity = f"{SIMULATED_MANUFACTURER},SM-6500,{serial},1.0"
        self._output = output
        self._errors_of_range = _draw_errors(serial, error_share)
        self._voltage_error = _draw_voltage_error(serial, error_share)
        self._range_v: float | None = None
        self._noise = random.Random(f"meter noise {serial}")
        self._queue: list[str] = []
        self._closed: set[int] = set()
        self._range_a = 1e-3
        self._is_auto = True
        self._aperture_s = 10 / _LINE_FREQUENCY_HZ
        self._count = 1
        self._commands = self._table()

    def execute(self, untrusted_line: str) -> str | None:
        """Carry out one line, which may hold several commands.

        Returns:
            The answers of its queries, joined by semicolons, or `None` if there are none.
        """
        if len(untrusted_line) > _LINE_MAX_CHARACTERS:
            self._raise_later(-102)
            return None
        answers = []
        for command in untrusted_line.strip().split(";"):
            if not command.strip():
                continue
            try:
                answer = self._execute_one(command.strip())
            except ScpiError as error:
                self._raise_later(error.number)
                break
            if answer is not None:
                answers.append(answer)
        return ";".join(answers) if answers else None

    def _execute_one(self, command: str) -> str | None:
        header, _, text = command.partition(" ")
        mnemonics = parse_header(header)
        for pattern, act in self._commands:
            if is_match(pattern, mnemonics):
                return act(text.strip())
        raise ScpiError(-113)

    def _table(self) -> list[tuple[tuple[str, ...], Callable[[str], str | None]]]:
        sources: dict[str, Callable[[str], str | None]] = {
            "*IDN?": without_parameter(lambda: self.identity),
            "*OPC?": without_parameter(lambda: "1"),
            "*TST?": without_parameter(lambda: "+0"),
            "*ESR?": without_parameter(lambda: "+0"),
            "*STB?": without_parameter(lambda: "+4" if self._queue else "+0"),
            "*RST": without_parameter(self._reset),
            "*CLS": without_parameter(self._queue.clear),
            "*WAI": without_parameter(lambda: None),
            "*OPC": without_parameter(lambda: None),
            "*ESE": ignore_number,
            "*SRE": ignore_number,
            "CONFigure:CURRent:DC": self._configure,
            "CONFigure:CURRent": self._configure,
            "CONFigure:VOLTage:DC": self._configure_voltage,
            "CONFigure:VOLTage": self._configure_voltage,
            "CONFigure?": without_parameter(self._configuration),
            "MEASure:CURRent:DC?": self._measure,
            "MEASure:CURRent?": self._measure,
            "SAMPle:COUNt": self._set_count,
            "SAMPle:COUNt?": without_parameter(lambda: f"+{self._count}"),
            "READ?": without_parameter(self._read),
            "ROUTe:CLOSe": self._close,
            "ROUTe:CLOSe?": self._closed_state,
            "ROUTe:OPEN": self._open,
            "ROUTe:OPEN:ALL": without_parameter(self._closed.clear),
            "SYSTem:ERRor?": without_parameter(self._next_error),
            "SYSTem:ERRor:NEXT?": without_parameter(self._next_error),
            "SYSTem:VERSion?": without_parameter(lambda: "1999.0"),
        }
        for prefix in ("SENSe:CURRent:DC", "SENSe:CURRent", "CURRent:DC", "CURRent"):
            sources |= {
                f"{prefix}:RANGe": self._set_range,
                f"{prefix}:RANGe?": without_parameter(lambda: format_number(self._range_a)),
                f"{prefix}:RANGe:AUTO": self._set_auto,
                f"{prefix}:NPLC": self._set_nplc,
                f"{prefix}:NPLC?": without_parameter(
                    lambda: format_number(self._aperture_s * _LINE_FREQUENCY_HZ)
                ),
                f"{prefix}:APERture": self._set_aperture,
                f"{prefix}:APERture?": without_parameter(lambda: format_number(self._aperture_s)),
            }
        for prefix in ("SENSe:VOLTage:DC", "SENSe:VOLTage", "VOLTage:DC", "VOLTage"):
            sources |= {f"{prefix}:NPLC": self._set_nplc, f"{prefix}:APERture": self._set_aperture}
        return [(tuple(source.split(":")), act) for source, act in sources.items()]

    def _reset(self) -> None:
        self._range_a, self._range_v, self._is_auto = 1e-3, None, True
        self._aperture_s = 10 / _LINE_FREQUENCY_HZ
        self._count = 1
        self._closed.clear()

    def _configure_voltage(self, text: str) -> None:
        wanted_v = parse_number(text, lowest=0.0, highest=_RANGES_V[-1])
        self._configure("DEF")
        self._range_v = next(step for step in _RANGES_V if wanted_v <= step * (1 + 1e-9))

    def _configure(self, text: str) -> None:
        self._range_v = None
        self._aperture_s = 10 / _LINE_FREQUENCY_HZ
        self._count = 1
        self._set_range(text.split(",", maxsplit=1)[0] if text else "AUTO")

    def _configuration(self) -> str:
        if self._range_v is not None:
            return f'"VOLT:DC {format_number(self._range_v)}"'
        return f'"CURR:DC {format_number(self._range_a)}"'

    def _measure(self, text: str) -> str:
        self._configure(text)
        return self._read()

    def _set_range(self, text: str) -> None:
        if text.upper() in {"AUTO", "DEF"}:
            self._is_auto = True
            return
        wanted_a = parse_number(text, lowest=0.0, highest=_RANGES_A[-1])
        self._range_a = next(range_a for range_a in _RANGES_A if wanted_a <= range_a * (1 + 1e-9))
        self._is_auto = False

    def _set_auto(self, text: str) -> None:
        if text.upper() not in {"0", "1", "ON", "OFF"}:
            raise ScpiError(-224 if text else -109)
        self._is_auto = text.upper() in {"1", "ON"}

    def _set_nplc(self, text: str) -> None:
        wanted = parse_number(text, lowest=_NPLC[0], highest=_NPLC[-1])
        nplc = next(step for step in _NPLC if wanted <= step * (1 + 1e-9))
        self._aperture_s = nplc / _LINE_FREQUENCY_HZ

    def _set_aperture(self, text: str) -> None:
        self._aperture_s = parse_number(text, lowest=_APERTURE_MIN_S, highest=_APERTURE_MAX_S)

    def _set_count(self, text: str) -> None:
        self._count = round(parse_number(text, lowest=1, highest=_COUNT_MAX))

    def _close(self, text: str) -> None:
        self._closed.update(parse_channels(text, _CHANNELS))

    def _open(self, text: str) -> None:
        self._closed.difference_update(parse_channels(text, _CHANNELS))

    def _closed_state(self, text: str) -> str:
        return ",".join(
            str(int(channel in self._closed)) for channel in parse_channels(text, _CHANNELS)
        )

    def _read(self) -> str:
        return ",".join(format_number(self._measure_once()) for _ in range(self._count))

    def _measure_once(self) -> float:
        loads = [LOADS_OHM[channel] for channel in self._closed if channel in LOADS_OHM]
        conductance = sum(1 / load_ohm for load_ohm in loads)
        if self._range_v is not None:
            return self._measure_voltage(self._range_v, 1 / (conductance + 1 / _INPUT_OHM))
        load_ohm = 1 / conductance if conductance else math.inf
        true_a = 1e-9 * self._output.measure_mean_na(load_ohm, aperture_s=self._aperture_s)
        if CHECK_STANDARD_CHANNEL in self._closed:
            true_a += 1e-9 * CHECK_STANDARD_NA * self._output.fixture_factor
        if self._is_auto:
            self._range_a = next(
                (step for step in _RANGES_A if abs(true_a) <= step * _OVERRANGE), _RANGES_A[-1]
            )
        if abs(true_a) > self._range_a * _OVERRANGE:
            return math.copysign(OVERLOAD, true_a)
        error = self._errors_of_range[self._range_a]
        noise_a = self._noise.gauss(0, _NOISE_RANGE_PPM * 1e-6 * self._range_a)
        return true_a * error.gain + error.offset_a + noise_a

    def _measure_voltage(self, range_v: float, seen_ohm: float) -> float:
        current_a = 1e-9 * self._output.measure_mean_na(seen_ohm, aperture_s=self._aperture_s)
        true_v = current_a * seen_ohm
        if abs(true_v) > range_v * _OVERRANGE:
            return math.copysign(OVERLOAD, true_v)
        error = self._voltage_error
        noise_v = self._noise.gauss(0, _NOISE_RANGE_PPM * 1e-6 * range_v)
        return true_v * error.gain + error.offset * range_v + noise_v

    def _raise_later(self, number: int) -> None:
        if len(self._queue) == _QUEUE_MAX:
            number = -350
            self._queue.pop()
        self._queue.append(f'{number},"{ERROR_TEXTS[number]}"')

    def _next_error(self) -> str:
        return self._queue.pop(0) if self._queue else _NO_ERROR
