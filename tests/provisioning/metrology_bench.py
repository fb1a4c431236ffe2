"""A board's output and a meter on TCP, without flash, firmware and serial link.

The output stage, the waveform engine and the multimeter are the simulator's own; only the serial
link is left out, because it is tested elsewhere and costs time.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from firmware_images.calibration_record import round_half_away
from firmware_images.waveform import Balance, Level, Mode, Regulation, Segment, WaveformTable
from provisioning.measurement_settings import MetrologySettings
from provisioning.scpi_meter import ScpiMeter, open_meter
from provisioning.simulator.analog import MID_CODE, AnalogTruth, OutputStage, draw_truth
from provisioning.simulator.faults import NO_FAULTS, AnalogFault, FaultPlan
from provisioning.simulator.meter import SimulatedMeter
from provisioning.simulator.meter_server import MeterServer
from provisioning.simulator.waveform_engine import WaveformEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioning.calibration_result import CalibrationResult

SETTINGS = MetrologySettings()
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PYVISA_SIM = Path(__file__).with_name("multimeter.pyvisa-sim.yaml")


class SteppingClock:
    """A clock that advances by a second whenever it is read."""

    def __init__(self) -> None:
        self._now = NOON

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


def ignore_progress(step: str, fraction: float) -> None:
    assert step
    assert 0 <= fraction <= 1


def segments(*parts: tuple[int, int, int]) -> tuple[Segment, ...]:
    return tuple(
        Segment(duration_ticks=duration, start_na=start, end_na=end)
        for duration, start, end in parts
    )


def lift_level(peak: int) -> Level:
    up = ((100, 0, peak), (300, peak, peak), (100, peak, 0))
    down = tuple((duration, -start, -end) for duration, start, end in up)
    return Level(peak_na=peak, segments=segments(*up, *down, (250, 0, 0)))


def tighten_level(peak: int) -> Level:
    return Level(
        peak_na=peak,
        segments=segments((20, peak, peak), (5, 0, 0), (20, -peak, -peak), (288, 0, 0)),
    )


def infuse_level(peak: int) -> Level:
    return Level(
        peak_na=peak,
        segments=segments((20_000, 0, peak), (560_000, peak, peak), (20_000, peak, 0)),
    )


def build_table(**changes: object) -> WaveformTable:
    def mode(name: str, balance: Balance, levels: tuple[Level, ...], **rest: int) -> Mode:
        return Mode(
            name=name,
            balance=balance,
            regulation=Regulation.CURRENT,
            levels=levels,
            flips_each_burst=True,
            **rest,
        )

    values: dict[str, object] = {
        "hardware_class": "flare-c3",
        "tick_us": 100,
        "clamp_na": 600_000,
        "hard_stop_ticks": 12_000_000,
        "contact_area_mm2": 50,
        "policy_digest": bytes(32),
        "policy_version": 1,
        "modes": (
            mode(
                "LIFT",
                Balance.BALANCED,
                tuple(lift_level(peak * 1_000) for peak in (80, 160, 240, 320, 400)),
                pulses_per_burst=20,
                burst_off_ticks=0,
                session_ticks=3_000_000,
            ),
            mode(
                "TIGHTEN",
                Balance.BALANCED,
                tuple(tighten_level(peak * 1_000) for peak in (50, 100, 150, 200, 250)),
                pulses_per_burst=60,
                burst_off_ticks=9_990,
                session_ticks=3_000_000,
            ),
            mode(
                "INFUSE",
                Balance.GALVANIC,
                tuple(infuse_level(peak * 1_000) for peak in (50, 100, 150, 200)),
                pulses_per_burst=2,
                burst_off_ticks=0,
                session_ticks=2_400_000,
            ),
        ),
    }
    return WaveformTable(**(values | changes))  # type: ignore[arg-type]


TABLE = build_table()


class MetrologyBench:
    """One output stage with its meter; implements `OutputPort`.

    Args:
        truth: The hidden figures; drawn from `index` when not given.
        faults: What is wrong with the output.
        index: Which board.
    """

    def __init__(
        self, truth: AnalogTruth | None = None, *faults: AnalogFault, index: int = 0
    ) -> None:
        mac = bytes.fromhex("24dcc3a10000")[:5] + bytes([index])
        plan = FaultPlan(analog=frozenset(faults)) if faults else NO_FAULTS
        self.truth = truth or draw_truth(mac)
        self.stage = OutputStage(self.truth, noise_seed=mac, faults=plan)
        self.gain_ppm = 1_000_000
        self.offset_na = 0
        self.codes: list[int] = []
        self.period_factor = 1.0
        self.table = TABLE
        self.knows_starts = True
        self.next_delay_s: Callable[[], float] = lambda: 0.0
        self._server = MeterServer(
            SimulatedMeter(self.stage, serial=f"SM{index:04d}"),
            lock=threading.RLock(),
            host="127.0.0.1",
            port=0,
        )
        self.address = f"TCPIP0::127.0.0.1::{self._server.port}::SOCKET"
        self.meter: ScpiMeter

    def __enter__(self) -> Self:
        self._server.start()
        self.meter = open_meter(self.address, SETTINGS, clock=lambda: NOON)
        return self

    def __exit__(self, *_: object) -> None:
        self.meter.close()
        self._server.stop()

    def write_record(self, result: CalibrationResult) -> None:
        self.gain_ppm, self.offset_na = result.gain_ppm, result.offset_na

    def set_output_code(self, code: int) -> None:
        self.codes.append(code)
        self.stage.set_code(code)

    def set_output_current_na(self, current_na: int) -> int:
        code = self._code_for_na(current_na)
        self.stage.set_code(code)
        return code

    def output_off(self) -> None:
        self.stage.switch_off()

    def run_waveform(self, mode: str, level_index: int) -> int:
        return self.play(self.table, mode, level_index, 0)

    def run_waveform_from(self, mode: str, level_index: int, start_us: int) -> int | None:
        if not self.knows_starts:
            return None
        return self.play(self.table, mode, level_index, start_us)

    def play(self, table: WaveformTable, mode: str, level_index: int, start_us: int) -> int:
        chosen = table.mode(mode)
        engine = WaveformEngine(
            table,
            chosen,
            chosen.levels[level_index],
            start_s=self.stage.time_s - start_us * 1e-6,
            code_for_na=self._code_for_na,
        )
        self.stage.play(engine.pieces)
        self.stage.time_s += self.next_delay_s()
        return round(engine.period_us * self.period_factor)

    def _code_for_na(self, current_na: int) -> int:
        return MID_CODE + round_half_away(
            (current_na - self.offset_na) * 4_096 * 1_000_000, self.gain_ppm * 2_000_000
        )
