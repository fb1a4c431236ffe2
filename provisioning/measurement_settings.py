"""Section `[station.metrology]`: the converter, the instrument, the fixture, the limits, the rule.

The defaults are the reference product `flare` measured with a 6½-digit multimeter. Every figure
that decides about a unit stands here and is copied into the results, so that a stored result can be
recomputed without this file. This module measures nothing.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Self, assert_never

from pydantic import BaseModel, ConfigDict, Field, model_validator

from provisioning.bounded_figures import NonNegativeFloat, PositiveFloat, PositiveInt
from provisioning.errors import MetrologySettingsError
from provisioning.measurement_choices import (
    ONE_SIDED_95_SIGMAS,
    CoverageRule,
    DecisionRule,
    LevelChoice,
    SweepPlan,
    WaveformCheck,
)
from provisioning.meter_accuracy import AccuracyRange, InstrumentCalibration


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class LoadChannel(_Section):
    """Which relay of the fixture connects which load.

    Attributes:
        load_ohm: Load resistance, Ω.
        channel: Number in `ROUT:CLOS (@n)`.
    """

    load_ohm: PositiveInt
    channel: PositiveInt


class MetrologySettings(_Section):
    """Everything that measuring and judging a unit depends on.

    Attributes:
        full_scale_na: Current at the ends of the converter for an ideal unit, nA.
        dac_bits: Resolution of the converter.
        working_span_na: The fit covers nominal currents from minus to plus this, nA.
        linearity_span_na: Linearity is judged over this nominal span, nA.
        loads_ohm: The two loads of the fit, Ω.
        reference_load_ohm: Load at which gain and offset are stated, Ω.
        claim_loads_ohm: Loads at which the claim limit is verified for every chosen level, Ω.
        claim_end_load_ohm: Load at which each mode's highest level is verified in addition, Ω.
        compliance_load_ohm: Load of the compliance test, Ω.
        compliance_current_na: Current of the compliance test, nA.
        compliance_shortfall_percent: How far the current may fall short there, percent.
        load_channels: Relay of each load.
        load_tolerance_percent: Tolerance of each load resistor, contacts included, percent.
        leakage_na: Bound of the fixture's leakage, nA.
        loading_ohm: Bound of what is in series with a load and not counted in it, Ω: burden of the
            ammeter, leads, contacts.
        temperature_span_c: How far the temperature may be from the one that is recorded, °C.
        load_temperature_ppm_per_c: Temperature coefficient of the loads, ppm/°C.
        unit_gain_drift_ppm_per_c: Standard deviation of the units' gain drift, ppm/°C.
        unit_offset_drift_na_per_c: Standard deviation of the units' offset drift, nA/°C.
        accuracy: The instrument's specification by range.
        accuracy_days: The specification holds for so many days after calibration.
        accuracy_temperature_min_c: The specification holds from this temperature on, °C.
        accuracy_temperature_max_c: Up to this one, °C.
        accuracy_source: Where the specification was read.
        instruments: Certificates on file, as the station took them from the ledger's register;
            when there is any, no other instrument is accepted.
        line_frequency_hz: Mains frequency, which the integration time is counted in.
        nplc: Integration time of one sample, mains periods.
        sample_count: Samples per reading in an `outward` calibration; at most these in
            verification, which takes as many as the budget needs.
        sample_count_max: A calibration takes as many samples as its budget needs, at most these.
        repeatability_share_max: Repeatability over the root of the other terms' sum of squares, at
            most, of the fit and of a verified point as far as the counts allow. `None`, which
            results of the first format have: always `sample_count`.
        sweep: In which directions calibration visits the codes.
        levels: Which levels of a mode are verified as static currents: lowest, middle and top, or
            all.
        waveform_check: Windows around the events of the repeat period, or the whole period.
        aperture_max_s: Longest integration of one sample that the instrument offers, s.
        start_delay_max_s: Longest time from the start of a mode to the first sample, s.
        start_jitter_max_s: How far that time may differ from one window of a mode to another, s.
        shape_limit_percent: Limit of a capture's deviation from the table, percent of the peak.
        calibration_limit_percent: Calibration limit, percent of the target.
        calibration_limit_na: Calibration limit, floor, nA.
        claim_limit_percent: Claim limit, percent of the target.
        claim_limit_na: Claim limit, floor, nA.
        idle_limit_na: Limit of the direct current at level 0 and of a balanced mode's mean, nA.
        timing_limit_percent: How far a reported period may be from the table's, percent.
        gain_limit_percent: Largest gain error that calibration corrects, percent.
        offset_limit_na: Largest offset that calibration corrects, nA.
        inl_limit_lsb: Largest integral nonlinearity, LSB.
        inl_allowance_lsb: Standard deviation granted to nonlinearity in the fit's weights, LSB.
        drift_limit_ppm: Largest change of the gain from the way out to the way back, ppm.
        hysteresis_limit_lsb: Largest difference of a code on both ways, drift apart, LSB.
        output_impedance_min_ohm: Smallest acceptable output impedance, Ω.
        coverage: Where the coverage factor comes from.
        decision_rule: How wide the guard band is.
        guard_factor: r in the guard band w = r·U of the rule `ilac-g8`.
        test_uncertainty_ratio_min: Smallest limit/U that a station may verify with.
    """

    full_scale_na: PositiveInt = 1_000_000
    dac_bits: Annotated[int, Field(ge=6, le=20)] = 12
    working_span_na: PositiveInt = 650_000
    linearity_span_na: PositiveInt = 920_000

    loads_ohm: tuple[PositiveInt, PositiveInt] = (1_000, 10_000)
    reference_load_ohm: PositiveInt = 5_000
    claim_loads_ohm: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1_000, 10_000)
    claim_end_load_ohm: PositiveInt = 500
    compliance_load_ohm: PositiveInt = 20_000
    compliance_current_na: PositiveInt = 500_000
    compliance_shortfall_percent: PositiveFloat = 1.0
    load_channels: tuple[LoadChannel, ...] = (
        LoadChannel(load_ohm=5_000, channel=100),
        LoadChannel(load_ohm=1_000, channel=101),
        LoadChannel(load_ohm=10_000, channel=102),
        LoadChannel(load_ohm=500, channel=103),
        LoadChannel(load_ohm=20_000, channel=104),
    )
    load_tolerance_percent: NonNegativeFloat = 0.1
    leakage_na: NonNegativeFloat = 5.0
    loading_ohm: NonNegativeFloat = 50.0
    temperature_span_c: NonNegativeFloat = 1.0
    load_temperature_ppm_per_c: NonNegativeFloat = 25.0
    unit_gain_drift_ppm_per_c: NonNegativeFloat = 60.0
    unit_offset_drift_na_per_c: NonNegativeFloat = 20.0

    accuracy: Annotated[tuple[AccuracyRange, ...], Field(min_length=1)] = (
        AccuracyRange(range_ua=100, reading_percent=0.05, range_percent=0.025),
        AccuracyRange(range_ua=1_000, reading_percent=0.05, range_percent=0.005),
        AccuracyRange(range_ua=10_000, reading_percent=0.05, range_percent=0.02),
    )
    accuracy_days: PositiveInt = 365
    accuracy_temperature_min_c: Annotated[float, Field(allow_inf_nan=False)] = 18.0
    accuracy_temperature_max_c: Annotated[float, Field(allow_inf_nan=False)] = 28.0
    accuracy_source: str = "6½-digit multimeter, DC current, 1 year, 23 °C ± 5 °C"
    instruments: tuple[InstrumentCalibration, ...] = ()
    line_frequency_hz: Annotated[int, Field(ge=40, le=400)] = 50
    nplc: PositiveFloat = 1.0
    sample_count: Annotated[int, Field(ge=2, le=100)] = 4
    sample_count_max: Annotated[int, Field(ge=2, le=100)] = 16
    repeatability_share_max: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    sweep: Annotated[SweepPlan, Field(strict=False)] = SweepPlan.BOTH_WAYS
    levels: Annotated[LevelChoice, Field(strict=False)] = LevelChoice.THREE
    waveform_check: Annotated[WaveformCheck, Field(strict=False)] = WaveformCheck.WINDOWS
    aperture_max_s: PositiveFloat = 1.0
    start_delay_max_s: Annotated[float, Field(gt=0, le=2)] = 0.1
    start_jitter_max_s: PositiveFloat = 0.01
    shape_limit_percent: PositiveFloat = 5.0

    calibration_limit_percent: PositiveFloat = 1.0
    calibration_limit_na: PositiveInt = 1_500
    claim_limit_percent: PositiveFloat = 10.0
    claim_limit_na: PositiveInt = 8_000
    idle_limit_na: PositiveInt = 2_000
    timing_limit_percent: PositiveFloat = 0.5

    gain_limit_percent: PositiveFloat = 4.0
    offset_limit_na: PositiveInt = 6_000
    inl_limit_lsb: PositiveFloat = 3.0
    inl_allowance_lsb: PositiveFloat = 0.5
    drift_limit_ppm: PositiveFloat = 500.0
    hysteresis_limit_lsb: PositiveFloat = 1.0
    output_impedance_min_ohm: PositiveInt = 200_000

    coverage: Annotated[CoverageRule, Field(strict=False)] = CoverageRule.STUDENT
    decision_rule: Annotated[DecisionRule, Field(strict=False)] = DecisionRule.ILAC_G8
    guard_factor: Annotated[float, Field(ge=0, le=3, allow_inf_nan=False)] = 1.0
    test_uncertainty_ratio_min: NonNegativeFloat = 4.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.loads_ohm[0] >= self.loads_ohm[1]:
            raise ValueError("loads_ohm: the first load must be the smaller one")
        if not self.working_span_na < self.linearity_span_na < self.full_scale_na:
            raise ValueError("working_span_na < linearity_span_na < full_scale_na does not hold")
        ranges = [entry.range_ua for entry in self.accuracy]
        if ranges != sorted(set(ranges)):
            raise ValueError("accuracy: ranges must be distinct and ascending")
        for entry in self.accuracy:
            days = [column.days for column in entry.younger] + [self.accuracy_days]
            if any(first >= second for first, second in pairwise(days)):
                raise ValueError("accuracy: days must ascend, and end below accuracy_days")
        if self.decision_rule is not DecisionRule.ILAC_G8 and self.guard_factor != 1:
            raise ValueError(f"guard_factor: the rule {self.decision_rule} has none")
        known = [entry.load_ohm for entry in self.load_channels]
        if len(set(known)) != len(known):
            raise ValueError("load_channels: a load is named twice")
        if missing := self.needed_loads_ohm - set(known):
            raise ValueError(f"load_channels: no channel for {sorted(missing)} ohm")
        return self

    @property
    def needed_loads_ohm(self) -> frozenset[int]:
        """Every load that calibration and verification connect, Ω."""
        return frozenset(
            (
                *self.loads_ohm,
                *self.claim_loads_ohm,
                self.reference_load_ohm,
                self.claim_end_load_ohm,
                self.compliance_load_ohm,
            )
        )

    @property
    def mid_code(self) -> int:
        """The code of nominally zero current."""
        return 1 << (self.dac_bits - 1)

    @property
    def max_code(self) -> int:
        """The largest code of the converter."""
        return (1 << self.dac_bits) - 1

    @property
    def lsb_na(self) -> float:
        """One code of an ideal unit, nA (docs/spec/calibration.md §1)."""
        return 2 * self.full_scale_na / (1 << self.dac_bits)

    @property
    def sample_aperture_s(self) -> float:
        """Integration time of one sample, s."""
        return self.nplc / self.line_frequency_hz

    def nominal_code(self, current_na: float) -> int:
        """Return the code at which an ideal unit gives a current, kept inside the converter."""
        code = self.mid_code + math.floor(current_na / self.lsb_na + 0.5)
        return min(max(code, 0), self.max_code)

    def accuracy_for(self, current_na: float) -> AccuracyRange:
        """Return the smallest range that holds a current.

        Raises:
            MetrologySettingsError: No range of the instrument does.
        """
        for entry in self.accuracy:
            if abs(current_na) <= entry.range_ua * 1_000:
                return entry
        raise MetrologySettingsError(
            "no range of the instrument holds this current",
            expected=f"at most {self.accuracy[-1].range_ua} µA",
            got=f"{current_na / 1_000:.3f} µA",
            where="[station.metrology] accuracy",
            hint="add the range that the instrument has, or lower the span",
        )

    def accuracy_of_range(self, range_ua: int) -> AccuracyRange:
        """Return the specification of one range, µA.

        Raises:
            MetrologySettingsError: The range is not in the table.
        """
        for entry in self.accuracy:
            if entry.range_ua == range_ua:
                return entry
        raise MetrologySettingsError(
            "the instrument's specification has no such range",
            expected=", ".join(str(entry.range_ua) for entry in self.accuracy),
            got=range_ua,
            where="[station.metrology] accuracy",
            hint="add the range that the reading was taken on",
        )

    def calibration_limit_at(self, target_na: int) -> float:
        """Return the calibration limit at a target, nA (docs/spec/calibration.md §6.1)."""
        return max(abs(target_na) * self.calibration_limit_percent / 100, self.calibration_limit_na)

    def claim_limit_at(self, target_na: int) -> float:
        """Return the claim limit at a target, nA (docs/spec/calibration.md §6.1)."""
        return max(abs(target_na) * self.claim_limit_percent / 100, self.claim_limit_na)

    def guard_share(self, coverage_factor: float) -> float:
        """Return the guard band of the decision rule in expanded uncertainties, w/U.

        Args:
            coverage_factor: k in U = k·u.
        """
        match self.decision_rule:
            case DecisionRule.SIMPLE:
                return 0.0
            case DecisionRule.ILAC_G8:
                return self.guard_factor
            case DecisionRule.ONE_SIDED_95:
                return ONE_SIDED_95_SIGMAS / coverage_factor
            case _:
                assert_never(self.decision_rule)
