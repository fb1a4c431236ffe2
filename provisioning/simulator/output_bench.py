"""One output stage on one meter, without flash, firmware, serial link or socket.

For studies of thousands of units: the physics, the waveform engine, the SCPI dialogue and the
driver are those of the simulated line; what carries bytes between them is left out. A
`SimulatedBench` implements `OutputPort`. The board's own record is two figures that are set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from firmware_images.calibration_record import round_half_away
from provisioning.errors import BoardRestartError
from provisioning.scpi_meter import ScpiMeter
from provisioning.scpi_session import ScpiSession
from provisioning.simulator.analog import DAC_CODES, LSB_NA, MID_CODE, AnalogTruth, OutputStage
from provisioning.simulator.faults import NO_FAULTS, FaultPlan
from provisioning.simulator.meter import SimulatedMeter
from provisioning.simulator.waveform_engine import WaveformEngine

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from firmware_images.waveform import WaveformTable
    from provisioning.measurement_settings import MetrologySettings

IDENTITY_PPM: Final = 1_000_000
_FULL_SCALE_NA: Final = 1_000_000


class SimulatedBench:
    """A unit under test and its instrument, in this process.

    Args:
        truth: The unit's hidden figures.
        seed: What noise and the instrument's hidden error are drawn from.
        settings: Load channels and mains frequency.
        table: What the unit plays.
        clock: Returns the time now, UTC.
        faults: What is wrong with the unit.
        meter_error_share: How much of its specification the instrument's hidden error may use.
    """

    def __init__(
        self,
        truth: AnalogTruth,
        *,
        seed: str,
        settings: MetrologySettings,
        table: WaveformTable,
        clock: Callable[[], datetime],
        faults: FaultPlan = NO_FAULTS,
        meter_error_share: float = 1.0,
    ) -> None:
        self.stage = OutputStage(truth, noise_seed=seed.encode(), faults=faults)
        self.gain_ppm = IDENTITY_PPM
        self.offset_na = 0
        self._table = table
        self._brown_out_above_na = faults.brown_out_above_na
        self.meter = ScpiMeter(
            ScpiSession(
                _DirectResource(
                    SimulatedMeter(self.stage, serial=f"SIM-{seed}", error_share=meter_error_share)
                ),
                where="the simulated bench",
                timeout_s=1.0,
            ),
            load_channels={entry.load_ohm: entry.channel for entry in settings.load_channels},
            line_frequency_hz=settings.line_frequency_hz,
            clock=clock,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.meter.close()

    def set_output_code(self, code: int) -> None:
        """Drive a raw DAC code.

        Raises:
            BoardRestartError: The supply browns out under it, by plan.
        """
        limit_na = self._brown_out_above_na
        if limit_na is not None and abs(code - MID_CODE) * LSB_NA > limit_na:
            self.stage.switch_off()
            raise BoardRestartError(
                "the simulated supply browns out",
                expected=f"at most {limit_na} nA",
                got=f"code {code}",
            )
        self.stage.set_code(code)

    def set_output_current_na(self, current_na: int) -> int:
        """Drive a current, nA, through the unit's record; return the code it chose."""
        code = self._code_for_na(current_na)
        self.stage.set_code(code)
        return code

    def output_off(self) -> None:
        """Stop whatever is driven and disconnect."""
        self.stage.switch_off()

    def run_waveform(self, mode: str, level_index: int) -> int:
        """Play a level (from 0) of a mode; return the whole repeat period, µs."""
        return self.run_waveform_from(mode, level_index, 0)

    def run_waveform_from(self, mode: str, level_index: int, start_us: int) -> int:
        """Play it as if its session had begun so many µs ago."""
        chosen = self._table.mode(mode)
        engine = WaveformEngine(
            self._table,
            chosen,
            chosen.levels[level_index],
            start_s=self.stage.time_s - start_us * 1e-6,
            code_for_na=self._code_for_na,
        )
        self.stage.play(engine.pieces)
        return engine.period_us

    def _code_for_na(self, current_na: int) -> int:
        return MID_CODE + round_half_away(
            (current_na - self.offset_na) * DAC_CODES * IDENTITY_PPM,
            self.gain_ppm * 2 * _FULL_SCALE_NA,
        )


class _DirectResource:
    # What `ScpiMeter` uses of a PyVISA resource, on the instrument itself.

    def __init__(self, meter: SimulatedMeter) -> None:
        self.read_termination = ""
        self.write_termination = ""
        self.timeout = 0.0
        self._meter = meter
        self._answers: list[str] = []

    def write(self, line: str) -> None:
        answer = self._meter.execute(line)
        if answer is not None:
            self._answers.append(answer)

    def read_bytes(self, _byte_count: int, **_options: Any) -> bytes:
        return f"{self._answers.pop(0)}\n".encode("ascii")

    def close(self) -> None:
        self._answers.clear()
