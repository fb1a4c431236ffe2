"""Tries the settings of a station on simulated units whose true figures are known.

Three questions, each with an answer that can be held against the hidden truth:

1. Of units as they come from production, how many pass, and is every one that does not rightly
   refused (`run_unit`)?
2. Is each fault found, and by its own name (`run_fault` and the others)?
3. Does a unit pass that works without its own calibration record (`run_unit`, too)?

The answers are counted by `simulation_counts`; how often a decision is wrong is
`simulation_decisions`. The measuring, fitting and judging are the station's own
(docs/spec/calibration.md §4 and §6); what stands in for the factory is the output stage and the
instrument alone. The same seed gives the same study.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import TYPE_CHECKING, Final

from provisioning.calibration import calibrate_unit
from provisioning.calibration_plan import PROBE_NA
from provisioning.calibration_result import FindingName
from provisioning.calibration_sampling import NOISE_SAMPLES
from provisioning.control_charts import chart_ewma
from provisioning.report_figures import build_risk_figures
from provisioning.simulation_counts import UnitTrial
from provisioning.simulator.analog import NOISE_RMS_NA, AnalogTruth, draw_truth
from provisioning.simulator.faults import NO_FAULTS, AnalogFault, FaultPlan
from provisioning.simulator.output_bench import SimulatedBench
from provisioning.uncertainty import Outcome
from provisioning.verification import verify_unit

if TYPE_CHECKING:
    from firmware_images.waveform import WaveformTable
    from provisioning.calibration_result import CalibrationResult
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.verification_result import VerificationResult

GOOD_NONLINEARITY_LSB: Final = 2.0
"""A unit of the simulated production is good when its nonlinearity is within this."""
FAULT_NAMES: Final = {
    AnalogFault.STUCK_BIT: FindingName.STUCK_BIT,
    AnalogFault.SWAPPED_POLARITY: FindingName.SWAPPED_POLARITY,
    AnalogFault.OPEN_SENSE: FindingName.OPEN_SENSE,
    AnalogFault.LOW_COMPLIANCE: FindingName.COMPLIANCE,
    AnalogFault.GAIN_TIMES_10: FindingName.GAIN_TIMES_TEN,
    AnalogFault.HIGH_OFFSET: FindingName.OFFSET,
    AnalogFault.HIGH_NONLINEARITY: FindingName.INL,
}
"""The name under which each fault of the output must be found."""
FOREIGN_RECORD: Final = "foreign-record"
BROWN_OUT: Final = FindingName.BROWN_OUT.value
CHECK_STANDARD: Final = "check-standard"
_STANDARD_NA: Final = 400_000
_CHECKS_FIRST: Final = 10
_CHECKS_PER_SHIFT: Final = 48
_CHECK_INTERVAL_S: Final = 600.0
_MAC_BYTES: Final = 6
_BEGIN: Final = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """What is studied.

    Attributes:
        settings: The station's, unchanged.
        table: The released waveform table.
        seed: What all units, instruments and noises are drawn from.
    """

    settings: MetrologySettings
    table: WaveformTable
    seed: int

    def unit_name(self, kind: str, index: int) -> str:
        """Return what one unit, its instrument and its noise are drawn from."""
        return f"{self.seed}-{kind}-{index}"

    def draw_truth(self, name: str) -> AnalogTruth:
        """Return the hidden figures of one unit."""
        return draw_truth(hashlib.sha256(name.encode()).digest()[:_MAC_BYTES])


class _Clock:
    # A second at each look: results have different times, and the same ones in each run.

    def __init__(self) -> None:
        self._now = _BEGIN

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


def run_unit(plan: StudyPlan, index: int) -> UnitTrial:
    """Calibrate and verify one unit of the simulated production.

    Args:
        plan: What is studied.
        index: Which unit, from 0.
    """
    name = plan.unit_name("unit", index)
    truth = plan.draw_truth(name)
    is_good = is_within_design(truth)
    with _bench(plan, truth, name) as bench:
        calibration = _calibrate(bench, plan)
        if not calibration.is_accepted:
            return UnitTrial(name=name, is_good=is_good, verdict=_refusal(calibration))
        without = _verify(bench, plan, calibration)
        bench.gain_ppm, bench.offset_na = calibration.gain_ppm, calibration.offset_na
        result = _verify(bench, plan, calibration)
        passed = result.outcome is Outcome.PASS
        return UnitTrial(
            name=name,
            is_good=is_good,
            verdict=result.outcome.value,
            wrong_points=_count_wrong_points(bench, result),
            stated_risk=build_risk_figures(result).unit_bound if passed else None,
            verdict_without_record=without.outcome.value,
            claim_without_record=all(
                abs(point.error_na) <= point.claim_limit_na for point in without.points
            ),
            calibration_without_record=all(
                abs(point.error_na) <= point.deciding_limit_na for point in without.points
            ),
        )


def run_fault(plan: StudyPlan, fault: AnalogFault, index: int) -> str:
    """Calibrate one unit that has a fault, and return the first finding, or the outcome.

    Args:
        plan: What is studied.
        fault: What is wrong with it.
        index: Which unit, from 0.
    """
    name = plan.unit_name(fault.value, index)
    plan_of_faults = FaultPlan(analog=frozenset({fault}))
    with _bench(plan, _draw_good(plan, name), name, faults=plan_of_faults) as bench:
        calibration = _calibrate(bench, plan)
        if not calibration.is_accepted:
            return calibration.findings[0].name.value
        bench.gain_ppm, bench.offset_na = calibration.gain_ppm, calibration.offset_na
        return _verify(bench, plan, calibration).outcome.value


def run_foreign_record(plan: StudyPlan, index: int) -> str:
    """Verify a unit that works with the record of another one.

    Returns:
        `foreign-record` when that was among the reasons of a FAIL, else the outcome.
    """
    name = plan.unit_name("record-of", index)
    with _bench(plan, _draw_good(plan, name), name) as other:
        foreign = _calibrate(other, plan)
    name = plan.unit_name("cloned-record", index)
    with _bench(plan, _draw_good(plan, name), name) as bench:
        calibration = _calibrate(bench, plan)
        bench.gain_ppm, bench.offset_na = foreign.gain_ppm, foreign.offset_na
        result = _verify(bench, plan, calibration)
        is_named = any("own calibration record" in reason for reason in result.reasons)
        return FOREIGN_RECORD if is_named else result.outcome.value


def run_brown_out(plan: StudyPlan, index: int) -> str:
    """Calibrate one unit whose supply gives way at a drawn current; return the first finding."""
    name = plan.unit_name(BROWN_OUT, index)
    above_na = random.Random(name).randrange(PROBE_NA, plan.settings.linearity_span_na - 1)
    faults = FaultPlan(brown_out_above_na=above_na)
    with _bench(plan, _draw_good(plan, name), name, faults=faults) as bench:
        calibration = _calibrate(bench, plan)
        return calibration.findings[0].name.value if calibration.findings else Outcome.PASS.value


def run_fixture_drift(plan: StudyPlan, index: int, *, is_drifting: bool = True) -> str:
    """Measure a check standard through a shift in which the fixture drifts by 1 % an hour.

    Units calibrated and verified on such a fixture agree with themselves: only a current that does
    not change shows it.

    Args:
        plan: What is studied.
        index: Which fixture, from 0.
        is_drifting: Whether it drifts.

    Returns:
        `check-standard` when its EWMA chart left its limits before the drift was half the
        calibration limit; `late` afterwards, `none` when it never did.
    """
    name = plan.unit_name(AnalogFault.FIXTURE_DRIFT.value, index)
    settings = plan.settings
    drift = {AnalogFault.FIXTURE_DRIFT} if is_drifting else set()
    standard = AnalogTruth(noise_rms_na=NOISE_RMS_NA)
    code = settings.nominal_code(_STANDARD_NA)
    values_na, sds_na = [], []
    with _bench(plan, standard, name, faults=FaultPlan(analog=frozenset(drift))) as bench:
        bench.meter.select_load(settings.reference_load_ohm)
        range_ua = settings.accuracy_for(_STANDARD_NA * 1.1).range_ua
        for number in range(_CHECKS_FIRST + _CHECKS_PER_SHIFT):
            bench.set_output_code(code)
            reading = bench.meter.read_current(
                range_ua=range_ua, nplc=settings.nplc, count=NOISE_SAMPLES
            )
            values_na.append(reading.mean_na)
            sds_na.append(reading.sd_na)
            if number >= _CHECKS_FIRST:
                bench.stage.time_s += _CHECK_INTERVAL_S
    # The first readings, one after the other, say what the standard reads and how it scatters.
    sd_na = math.sqrt(fmean(sd**2 for sd in sds_na[:_CHECKS_FIRST]) / NOISE_SAMPLES)
    chart = chart_ewma(values_na[_CHECKS_FIRST:], center=fmean(values_na[:_CHECKS_FIRST]), sd=sd_na)
    if not chart.signals:
        return "none"
    drift_percent = chart.signals[0] * _CHECK_INTERVAL_S / 3_600
    is_early = drift_percent <= settings.calibration_limit_percent / 2
    return CHECK_STANDARD if is_early else "late"


def is_within_design(truth: AnalogTruth) -> bool:
    """Whether a unit is one that should pass: its smooth nonlinearity is within the design's."""
    smooth = AnalogTruth(inl_sine_codes=truth.inl_sine_codes)
    largest = max(abs(smooth.nonlinearity_codes(code)) for code in range(0, 4_096, 16))
    return largest <= GOOD_NONLINEARITY_LSB + 1e-9


def _draw_good(plan: StudyPlan, name: str) -> AnalogTruth:
    # A fault is injected into a unit that would pass without it.
    attempt = 0
    while not is_within_design(truth := plan.draw_truth(f"{name}/{attempt}")):
        attempt += 1
    return truth


def _bench(
    plan: StudyPlan, truth: AnalogTruth, name: str, *, faults: FaultPlan = NO_FAULTS
) -> SimulatedBench:
    return SimulatedBench(
        truth, seed=name, settings=plan.settings, table=plan.table, clock=_Clock(), faults=faults
    )


def _calibrate(bench: SimulatedBench, plan: StudyPlan) -> CalibrationResult:
    return calibrate_unit(
        bench, bench.meter, plan.settings, progress=_ignore_progress, clock=_Clock()
    )


def _verify(
    bench: SimulatedBench, plan: StudyPlan, calibration: CalibrationResult
) -> VerificationResult:
    return verify_unit(
        bench,
        bench.meter,
        plan.table,
        plan.settings,
        progress=_ignore_progress,
        clock=_Clock(),
        calibration=calibration,
    )


def _count_wrong_points(bench: SimulatedBench, result: VerificationResult) -> int:
    # By the noiseless current of the unit, which no station ever sees.
    return sum(
        abs(bench.stage.current_na(point.code, point.load_ohm) - point.target_na)
        > point.deciding_limit_na
        for point in (*result.points, *result.idle)
    )


def _refusal(calibration: CalibrationResult) -> str:
    return f"refused: {', '.join(finding.name.value for finding in calibration.findings)}"


def _ignore_progress(_step: str, _fraction: float) -> None:
    pass
