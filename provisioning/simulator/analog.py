"""The current that really flows: DAC, output stage, load, and everything wrong with them.

`AnalogTruth` holds the hidden figures of one board; `draw_truth` draws them from the board's MAC,
with the distributions of a 12-bit DAC that drives a ±1000 µA current source. `OutputStage` applies
them. Time is virtual: it moves only when something is measured or switched, so that a drift of an
hour costs no waiting.

With I0 the current into a short circuit, in nanoamps:
`I0 = gain · lsb · (code - 2048 + inl(code)) + offset`, then
`I(R) = I0 · Zout / (Zout + R)`, limited to ± compliance / R.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from provisioning.simulator.faults import NO_FAULTS, AnalogFault, FaultPlan

if TYPE_CHECKING:
    from collections.abc import Callable

DAC_CODES: Final = 4096
MID_CODE: Final = DAC_CODES // 2
LSB_NA: Final = 2_000_000 / DAC_CODES
REFERENCE_TEMPERATURE_C: Final = 23.0
NOISE_BANDWIDTH_HZ: Final = 1000.0
NOISE_RMS_NA: Final = 500.0
SETTLING_S: Final = 6e-6
_STUCK_BIT: Final = 1 << 4
_FAULT_OFFSET_NA: Final = 9_000.0
_FAULT_INL_CODES: Final = 8.0
_ONE_UNIT_IN: Final = 50
_CARRY_BITS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalogTruth:
    """The hidden figures of one output stage; the defaults are an ideal one.

    Attributes:
        gain: Current out over current asked for.
        offset_na: Current at mid-code.
        inl_sine_codes: Amplitudes a1, a2, b of the nonlinearity, in LSB.
        carry_codes: Error of each of the four upper DAC bits, in LSB, lowest first.
        output_impedance_ohm: Of the current source.
        compliance_v: Highest voltage it drives.
        gain_drift_ppm_per_c: Against 23 °C.
        offset_drift_na_per_c: Against 23 °C.
        noise_rms_na: In 1 kHz.
        contact_ohm: In series with the load.
    """

    gain: float = 1.0
    offset_na: float = 0.0
    inl_sine_codes: tuple[float, float, float] = (0.0, 0.0, 0.0)
    carry_codes: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    output_impedance_ohm: float = math.inf
    compliance_v: float = 12.0
    gain_drift_ppm_per_c: float = 0.0
    offset_drift_na_per_c: float = 0.0
    noise_rms_na: float = 0.0
    contact_ohm: float = 0.0

    def nonlinearity_codes(self, code: int) -> float:
        """Return the integral nonlinearity at a code, in LSB; 0 at mid-code."""
        first, second, bow = self.inl_sine_codes
        angle = 2 * math.pi * code / DAC_CODES
        smooth = first * math.sin(angle) + second * math.sin(2 * angle)
        steps = sum(
            error * ((code >> bit & 1) - (MID_CODE >> bit & 1))
            for bit, error in enumerate(self.carry_codes, start=12 - _CARRY_BITS)
        )
        return smooth + bow * (math.cos(angle) + 1) + steps


def draw_truth(mac: bytes) -> AnalogTruth:
    """Draw the figures of the board with this MAC; the same MAC always gets the same ones."""
    draw = random.Random(hashlib.sha256(b"analog truth" + mac).digest())
    shape = [draw.gauss(0, 1) for _ in range(3)]
    peak_codes = _FAULT_INL_CODES if draw.randrange(_ONE_UNIT_IN) == 0 else draw.uniform(0.3, 2.0)
    carry = [draw.gauss(0, 0.08) for _ in range(_CARRY_BITS)]
    truth = AnalogTruth(
        gain=1 + _draw_within(draw, 0.012, 0.03),
        offset_na=_draw_within(draw, 2_000, 5_000),
        output_impedance_ohm=math.exp(draw.uniform(math.log(250e3), math.log(4e6))),
        compliance_v=12 * draw.uniform(0.95, 1.05),
        gain_drift_ppm_per_c=draw.gauss(0, 60),
        offset_drift_na_per_c=draw.gauss(0, 20),
        noise_rms_na=NOISE_RMS_NA,
        contact_ohm=draw.uniform(5, 50),
        carry_codes=(carry[0], carry[1], carry[2], carry[3]),
    )
    return _with_peak(truth, shape, peak_codes)


def _draw_within(draw: random.Random, sigma: float, limit: float) -> float:
    while True:
        value = draw.gauss(0, sigma)
        if abs(value) <= limit:
            return value


def _with_peak(truth: AnalogTruth, shape: list[float], peak_codes: float) -> AnalogTruth:
    unscaled = AnalogTruth(inl_sine_codes=(shape[0], shape[1], shape[2]))
    peak = max(abs(unscaled.nonlinearity_codes(code)) for code in range(0, DAC_CODES, 16))
    first, second, bow = (amplitude * peak_codes / peak for amplitude in shape)
    return replace(truth, inl_sine_codes=(first, second, bow))


def _with_faults(truth: AnalogTruth, faults: frozenset[AnalogFault]) -> AnalogTruth:
    if AnalogFault.LOW_COMPLIANCE in faults:
        truth = replace(truth, compliance_v=5.0)
    if AnalogFault.GAIN_TIMES_10 in faults:
        truth = replace(truth, gain=truth.gain * 10)
    if AnalogFault.HIGH_OFFSET in faults:
        truth = replace(truth, offset_na=_FAULT_OFFSET_NA)
    if AnalogFault.HIGH_NONLINEARITY in faults:
        truth = _with_peak(truth, [1.0, 0.6, 0.0], _FAULT_INL_CODES)
    return truth


class OutputStage:
    """The output of one board, seen from its load.

    Args:
        truth: The hidden figures.
        noise_seed: What the noise is drawn from.
        faults: What is wrong.
    """

    def __init__(
        self, truth: AnalogTruth, *, noise_seed: bytes = b"", faults: FaultPlan = NO_FAULTS
    ) -> None:
        self.truth = _with_faults(truth, faults.analog)
        self.temperature_c = REFERENCE_TEMPERATURE_C
        self.time_s = 0.0
        self._faults = faults.analog
        self.has_open_lead = faults.has_open_lead
        self._noise = random.Random(noise_seed)
        self._source: Callable[[float, float], list[tuple[int, float]]] | None = None
        self._code = MID_CODE
        self._is_enabled = False

    @property
    def is_enabled(self) -> bool:
        """Whether the output drives anything."""
        return self._is_enabled

    def set_code(self, code: int) -> None:
        """Drive one DAC code."""
        self._source = None
        self._code = code
        self._is_enabled = True
        self.time_s += SETTLING_S

    def play(self, source: Callable[[float, float], list[tuple[int, float]]]) -> None:
        """Drive what a waveform engine says.

        Args:
            source: From a start and an end, in virtual seconds, to pairs of DAC code and the
                seconds for which it is driven between them; time that is missing is off.
        """
        self._source = source
        self._is_enabled = True

    def switch_off(self) -> None:
        """Disconnect the load."""
        self._source = None
        self._code = MID_CODE
        self._is_enabled = False

    @property
    def fixture_factor(self) -> float:
        """What the fixture's shunt makes of any current now; 1 unless it drifts."""
        if AnalogFault.FIXTURE_DRIFT in self._faults:
            return 1 + 0.01 * self.time_s / 3600
        return 1.0

    def measure_mean_na(self, load_ohm: float, *, aperture_s: float) -> float:
        """Return the mean current through a load over an aperture, and let that time pass.

        Args:
            load_ohm: The load, without the contact; infinite for an open fixture.
            aperture_s: Integration time.
        """
        start_s, self.time_s = self.time_s, self.time_s + aperture_s
        if not self._is_enabled or math.isinf(load_ohm) or self.has_open_lead:
            return 0.0
        if self._source is None:
            mean_na = self.current_na(self._code, load_ohm)
        else:
            pieces = self._source(start_s, self.time_s)
            charge = sum(self.current_na(code, load_ohm) * spent_s for code, spent_s in pieces)
            mean_na = charge / aperture_s
        noise_na = self.truth.noise_rms_na / math.sqrt(
            max(1.0, 2 * NOISE_BANDWIDTH_HZ * aperture_s)
        )
        return mean_na * self.fixture_factor + self._noise.gauss(0, noise_na)

    def current_na(self, code: int, load_ohm: float) -> float:
        """Return the noiseless current at a code through a load, now."""
        truth = self.truth
        resistance_ohm = load_ohm + truth.contact_ohm
        limit_na = truth.compliance_v / resistance_ohm * 1e9 if resistance_ohm else math.inf
        if AnalogFault.OPEN_SENSE in self._faults:
            return limit_na if code >= MID_CODE else -limit_na
        if AnalogFault.STUCK_BIT in self._faults:
            code |= _STUCK_BIT
        excess_c = self.temperature_c - REFERENCE_TEMPERATURE_C
        steps = code - MID_CODE + truth.nonlinearity_codes(code)
        gain = truth.gain * (1 + truth.gain_drift_ppm_per_c * 1e-6 * excess_c)
        short_na = gain * LSB_NA * steps + truth.offset_na + truth.offset_drift_na_per_c * excess_c
        if AnalogFault.SWAPPED_POLARITY in self._faults:
            short_na = -short_na
        divider = 1 / (1 + resistance_ohm / truth.output_impedance_ohm)
        return max(-limit_na, min(limit_na, short_na * divider))
