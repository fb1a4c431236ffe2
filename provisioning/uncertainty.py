"""Measurement uncertainty of one reading, and the guarded decision about it.

Implements docs/spec/calibration.md §5 (budget), §6.2 (decision) and §7.1 (specific risk). Pure
functions of numbers. Effective degrees of freedom and coverage factors are in `coverage`, joint
risks in `decision_risk`, covariances between readings in `uncertainty_covariance`. This module
measures nothing and knows no unit under test.
"""

from __future__ import annotations

import math
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final

from provisioning.coverage import coverage_factor, welch_satterthwaite
from provisioning.measurement_choices import CoverageRule
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioning.measurement_settings import MetrologySettings

COVERAGE_FACTOR: Final = 2.0
"""k of the rule `k-2`: about 95 % when the combined distribution is near normal."""
_ROOT3: Final = math.sqrt(3)
_PPM: Final = 1e-6


@unique
class Outcome(StrEnum):
    """The four outcomes of a guarded decision, best first."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    CONDITIONAL_PASS = "CONDITIONAL_PASS"  # noqa: S105 - a verdict, not a password
    CONDITIONAL_FAIL = "CONDITIONAL_FAIL"
    FAIL = "FAIL"

    @property
    def severity(self) -> int:
        """0 for PASS to 3 for FAIL."""
        return list(Outcome).index(self)


@unique
class Source(StrEnum):
    """Where uncertainty comes from, in the order of a budget's lines."""

    INSTRUMENT = "instrument"
    """The maker's specification at this reading, range and age."""
    LOAD = "load"
    """Tolerance of the load, through the smallest acceptable output impedance."""
    LEAKAGE = "leakage"
    """Current that passes beside the instrument."""
    REPEATABILITY = "repeatability"
    """Scatter of the mean of the samples."""
    QUANTISATION = "quantisation"
    """The unit's own step: the point stands for the currents around it."""
    LOADING = "loading"
    """What is in series with the load and not counted in it."""
    LOAD_TEMPERATURE = "load-temperature"
    """The load at another temperature than the recorded one."""
    GAIN_TEMPERATURE = "gain-temperature"
    """The unit's gain at another temperature than the recorded one."""
    OFFSET_TEMPERATURE = "offset-temperature"
    """The unit's offset at another temperature than the recorded one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetTerm:
    """One line of a budget (JCGM 100 §4 and §5).

    Attributes:
        source: What it is.
        evaluation: `A`, from the scatter of readings, or `B`, from anything else.
        distribution: `rectangular` for limits, `normal` for a mean.
        size: What is known of the input: half the width of its limits, or the scatter of a sample.
        unit: Unit of `size`.
        divisor: From `size` to a standard uncertainty of the input.
        sensitivity_na: Current for one unit of the input, nA; signed.
        standard_na: Standard uncertainty of the reading from this source, nA.
        dof: Degrees of freedom; infinite for limits (JCGM 100 §G.4.3).
        group: Terms of one source and group, in whichever reading, are one and the same error;
            `None` is independent of everything.
    """

    source: Source
    evaluation: str
    distribution: str
    size: float
    unit: str
    divisor: float
    sensitivity_na: float
    standard_na: float
    dof: float
    group: str | None

    @property
    def signed_na(self) -> float:
        """The standard uncertainty with the sign of its sensitivity, nA."""
        return math.copysign(self.standard_na, self.sensitivity_na)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The uncertainty of one reading; its terms are independent of each other.

    Attributes:
        terms: One for each source, in the order of `Source`.
        coverage: Where the coverage factor comes from.
    """

    terms: tuple[BudgetTerm, ...]
    coverage: CoverageRule

    def of(self, source: Source) -> float:
        """Return the standard uncertainty of one source, nA."""
        return next(term.standard_na for term in self.terms if term.source is source)

    @property
    def standard_na(self) -> float:
        """Combined standard uncertainty u, nA."""
        # Added in this order, so that results of the first format come out to the last digit.
        total = 0.0
        for term in self.terms:
            total += term.standard_na**2
        return math.sqrt(total)

    @property
    def effective_dof(self) -> float:
        """Effective degrees of freedom (Welch-Satterthwaite, JCGM 100 §G.4.1); may be infinite."""
        return welch_satterthwaite((term.standard_na, term.dof) for term in self.terms)

    @property
    def coverage_factor(self) -> float:
        """The coverage factor k."""
        if self.coverage is CoverageRule.TWO:
            return COVERAGE_FACTOR
        return coverage_factor(self.effective_dof)

    @property
    def expanded_na(self) -> float:
        """Expanded uncertainty U = k·u, nA."""
        return self.coverage_factor * self.standard_na


def build_budget(
    reading_na: float,
    *,
    range_ua: int,
    load_ohm: int,
    sample_sd_na: float,
    count: int,
    settings: MetrologySettings,
    sample_dof: float = math.inf,
    age_days: int | None = None,
    code: int | None = None,
) -> Budget:
    """Return the uncertainty budget of a reading (docs/spec/calibration.md §5).

    Args:
        reading_na: The reading, nA.
        range_ua: Its range, µA.
        load_ohm: The load, Ω.
        sample_sd_na: Standard deviation of one sample, nA.
        count: Samples in the mean.
        settings: Instrument specification, fixture, unit and converter.
        sample_dof: Degrees of freedom of that standard deviation.
        age_days: Days since the instrument's calibration; `None` is the longest time.
        code: The unit's code, which readings of one current share.
    """
    reading_percent, range_percent = settings.accuracy_of_range(range_ua).at_age(age_days)
    size_na = abs(reading_na)
    sign = math.copysign(1.0, reading_na)
    specification = size_na * reading_percent / 100 + range_ua * 1_000 * range_percent / 100
    source_ohm = settings.output_impedance_min_ohm + load_ohm
    divider = load_ohm / source_ohm
    # A series resistance that is not known changes the divider with the output impedance.
    per_ohm_na = -reading_na / source_ohm
    span_c = settings.temperature_span_c
    load_per_c_ohm = load_ohm * settings.load_temperature_ppm_per_c * _PPM
    gain_per_c_na = reading_na * settings.unit_gain_drift_ppm_per_c * _PPM
    polarity = "positive" if sign > 0 else "negative"

    def limits(
        source: Source,
        size: float,
        unit: str,
        *,
        sensitivity_na: float = 1.0,
        group: str | None,
        standard_na: float | None = None,
    ) -> BudgetTerm:
        return BudgetTerm(
            source=source,
            evaluation="B",
            distribution="rectangular",
            size=size,
            unit=unit,
            divisor=_ROOT3,
            sensitivity_na=sensitivity_na,
            standard_na=(
                abs(sensitivity_na) * size / _ROOT3 if standard_na is None else standard_na
            ),
            dof=math.inf,
            group=group,
        )

    return Budget(
        terms=(
            limits(
                Source.INSTRUMENT,
                specification,
                "nA",
                group=f"{range_ua} µA, {polarity}",
                standard_na=specification / _ROOT3,
            ),
            limits(
                Source.LOAD,
                load_ohm * settings.load_tolerance_percent / 100,
                "Ω",
                sensitivity_na=per_ohm_na,
                group=f"{load_ohm} Ω",
                standard_na=size_na * divider * settings.load_tolerance_percent / 100 / _ROOT3,
            ),
            limits(Source.LEAKAGE, settings.leakage_na, "nA", group="fixture"),
            BudgetTerm(
                source=Source.REPEATABILITY,
                evaluation="A",
                distribution="normal",
                size=sample_sd_na,
                unit="nA",
                divisor=math.sqrt(count),
                sensitivity_na=1.0,
                standard_na=sample_sd_na / math.sqrt(count),
                dof=sample_dof,
                group=None,
            ),
            limits(
                Source.QUANTISATION,
                settings.lsb_na / 2,
                "nA",
                group=None if code is None else f"code {code}",
                standard_na=settings.lsb_na / math.sqrt(12),
            ),
            limits(
                Source.LOADING,
                settings.loading_ohm,
                "Ω",
                sensitivity_na=per_ohm_na,
                group="fixture",
            ),
            limits(
                Source.LOAD_TEMPERATURE,
                span_c,
                "°C",
                sensitivity_na=per_ohm_na * load_per_c_ohm,
                group="loads",
            ),
            limits(
                Source.GAIN_TEMPERATURE,
                span_c,
                "°C",
                sensitivity_na=gain_per_c_na,
                group="unit",
            ),
            limits(
                Source.OFFSET_TEMPERATURE,
                span_c,
                "°C",
                sensitivity_na=settings.unit_offset_drift_na_per_c,
                group="unit",
            ),
        ),
        coverage=settings.coverage,
    )


def judge_error(
    error: float, *, limit: float, expanded_uncertainty: float, guard_factor: float
) -> Outcome:
    """Judge a measured error with a guard band (ILAC-G8:09/2019 §4.2.3; JCGM 106 §8).

    The acceptance limit is `limit - w`. Between it and the limit the unit is probably good, up to
    `limit + w` probably bad; neither is certain enough to decide alone.

    Args:
        error: Measured value minus target.
        limit: Tolerance limit of its size, in the same unit.
        expanded_uncertainty: U = k·u.
        guard_factor: Width of the guard band in U: r, or what `guard_share` gives.
    """
    size, guard = abs(error), guard_factor * expanded_uncertainty
    if size <= limit - guard:
        return Outcome.PASS
    if size <= limit:
        return Outcome.CONDITIONAL_PASS
    if size <= limit + guard:
        return Outcome.CONDITIONAL_FAIL
    return Outcome.FAIL


def worst_outcome(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of several outcomes: a unit is as good as its worst point."""
    return max(outcomes, key=lambda outcome: outcome.severity)


def normal_cdf(z: float) -> float:
    """Return the standard normal distribution function, accurate in the lower tail."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def nonconformity_probability(error: float, *, limit: float, standard_uncertainty: float) -> float:
    """Return the probability that the true error is outside ±limit, given the measured one.

    JCGM 106 §7, with a prior that is flat over the width of u.

    Args:
        error: Measured error.
        limit: Tolerance limit.
        standard_uncertainty: u, more than zero.
    """
    return normal_cdf((-limit - error) / standard_uncertainty) + normal_cdf(
        (error - limit) / standard_uncertainty
    )
