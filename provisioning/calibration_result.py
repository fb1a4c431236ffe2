"""The result of a calibration: readings, fit and findings, to and from JSON.

A result holds every reading and the settings, so `calibration.recompute_calibration` gets the same
fit and the same findings from the stored document. Normative text: docs/spec/calibration.md §4.6.
This module computes nothing.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from provisioning.bounded_figures import Count, Finite, PositiveInt, ReadCurrent, ReadScatter
from provisioning.errors import CalibrationError
from provisioning.instruments import InstrumentIdentity
from provisioning.measurement_settings import MetrologySettings
from provisioning.recipe import canonical_digest
from provisioning.stored_result import (
    FIRST_FORMAT,
    THIRD_FORMAT,
    MaybeCelsius,
    MaybeRecipe,
    MaybeSamples,
    MaybeTime,
    first_format_document,
    parse_stored_result,
)

CALIBRATION_SCHEMA: Final = "ampforge.calibration-result"
"""Name of the schema; a version follows it, such as `/3`."""
FIRST_FORMAT_FIELDS: Final = {
    "": "settings instrument certificate started_at finished_at readings fit findings",
    "readings": "step code load_ohm range_ua mean_na sd_na count is_overload",
    "fit": (
        "gain_ppm offset_na output_impedance_ohm conductance_ns gain_u_ppm offset_u_na "
        "conductance_u_ns covariance fit_covariance chi2 dof residual_sd_na repeatability_na "
        "span_min_na span_max_na inl_lsb deviations"
    ),
}
"""What a result of the first format holds."""
Triple = tuple[Finite, Finite, Finite]


@unique
class ReadingStep(StrEnum):
    """Why a reading was taken."""

    PROBE = "probe"
    NOISE = "noise"
    """Many samples at one code, from which the number of the others follows."""
    SWEEP = "sweep"
    RETURN = "return"
    """The codes of the fit again, inward."""
    COMPLIANCE = "compliance"
    IDLE = "idle"
    """Level 0 with the output enabled, by the code that the fit gives."""
    OVERLOAD = "overload"
    """What overloaded its range, on a larger one: that it was the unit's. Decides nothing else."""


@unique
class FindingName(StrEnum):
    """What can be wrong with a unit so that calibration must not hide it."""

    STUCK_BIT = "stuck-bit"
    SWAPPED_POLARITY = "swapped-polarity"
    OPEN_SENSE = "open-sense"
    GAIN_TIMES_TEN = "gain-times-ten"
    GAIN = "gain"
    OFFSET = "offset"
    NOISE = "noise"
    DRIFT = "drift"
    HYSTERESIS = "hysteresis"
    IDLE_CURRENT = "idle-current"
    BROWN_OUT = "brown-out"
    COMPLIANCE = "compliance"
    OUTPUT_IMPEDANCE = "output-impedance"
    INL = "inl"
    NOT_MONOTONIC = "not-monotonic"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class CodeReading(_Document):
    """What the meter read at one code into one load.

    Attributes:
        step: Why it was taken.
        code: DAC code.
        load_ohm: Load, Ω.
        range_ua: Range, µA.
        mean_na: Mean, nA; 0 when overloaded.
        sd_na: Standard deviation of a sample, nA.
        count: Samples.
        is_overload: The current was larger than the range.
        is_restart: The board restarted instead of driving the code; nothing was read.
        at: When the meter answered, UTC; `None` for an overload.
        samples_na: The samples, nA; `None` where nothing was read, and before the third format.
    """

    step: ReadingStep
    code: Count
    load_ohm: PositiveInt
    range_ua: PositiveInt
    mean_na: ReadCurrent
    sd_na: ReadScatter
    count: PositiveInt
    is_overload: bool = False
    is_restart: bool = False
    at: MaybeTime = None
    samples_na: MaybeSamples = None


class Finding(_Document):
    """One reason for which a unit is refused.

    Attributes:
        name: What is wrong.
        message: The same as a sentence, with the figures.
        measured: The figure that decided.
        limit: What it was held against.
        unit: Unit of both.
    """

    name: FindingName
    message: str
    measured: Finite
    limit: Finite
    unit: str


class SamplingPlan(_Document):
    """How many samples a reading takes, and why (docs/spec/calibration.md §4.1.1).

    Attributes:
        noise_na: Standard deviation of one sample as measured, nA.
        noise_dof: Its degrees of freedom.
        noise_bound_na: What it is below with 95 % confidence, nA.
        wanted_fit_na: Largest repeatability of the fitted line that its other terms allow, nA.
        count_for_fit: Samples of a code of the fit that give it, at least 2.
        wanted_step_na: Largest repeatability of one code with which half a step of the converter
            is told from noise, nA.
        count_for_step: Samples that give it, for the codes whose neighbours differ by little.
    """

    noise_na: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    noise_dof: Annotated[int, Field(gt=0)]
    noise_bound_na: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    wanted_fit_na: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    count_for_fit: Annotated[int, Field(gt=0)]
    wanted_step_na: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    count_for_step: Annotated[int, Field(gt=0)]


class WayBack(_Document):
    """What changed between the way out and the way back (docs/spec/calibration.md §4.4.1).

    Attributes:
        gain_drift_ppm: Change of the gain, ppm of nominal.
        gain_drift_u_ppm: Its standard uncertainty, repeatability alone, ppm.
        offset_drift_na: Change of the current at mid-code, nA.
        offset_drift_u_na: Its standard uncertainty, nA.
        hysteresis_lsb: Largest difference of a code beyond that line, LSB; signed.
        hysteresis_code: The code that has it.
    """

    gain_drift_ppm: Finite
    gain_drift_u_ppm: Finite
    offset_drift_na: Finite
    offset_drift_u_na: Finite
    hysteresis_lsb: Finite
    hysteresis_code: int


class CodeDeviation(_Document):
    """How far one code is from the best line, in LSB.

    Attributes:
        code: DAC code.
        deviation_lsb: Reading minus best line, in fitted LSB.
    """

    code: int
    deviation_lsb: Finite


class CalibrationFit(_Document):
    """What was fitted (docs/spec/calibration.md §4.3).

    Attributes:
        gain_ppm: Gain at the reference load, ppm of nominal.
        offset_na: Current of the mid-code at the reference load, nA.
        output_impedance_ohm: Output impedance, Ω; capped where it cannot be told from infinity.
        conductance_ns: Its inverse as fitted, nS.
        gain_u_ppm: Standard uncertainty of the gain, systematic terms included, ppm.
        offset_u_na: Standard uncertainty of the offset, nA.
        conductance_u_ns: Standard uncertainty of the conductance, nS.
        covariance: Of (gain ppm, offset nA, conductance nS), systematic terms included.
        fit_covariance: The same from the fit alone.
        chi2: Weighted sum of squares; information, not a criterion.
        dof: Readings minus three.
        residual_sd_na: Scatter about the fit, nA.
        repeatability_na: Pooled standard deviation of one sample, nA.
        span_min_na: Lowest current of the fit, nA.
        span_max_na: Highest current of the fit, nA.
        inl_lsb: Largest deviation from the best line, LSB.
        deviations: Deviation of every code of the first load.
    """

    gain_ppm: int
    offset_na: int
    output_impedance_ohm: int
    conductance_ns: Finite
    gain_u_ppm: Finite
    offset_u_na: Finite
    conductance_u_ns: Finite
    covariance: tuple[Triple, Triple, Triple]
    fit_covariance: tuple[Triple, Triple, Triple]
    chi2: Finite
    dof: int
    residual_sd_na: Finite
    repeatability_na: Finite
    span_min_na: int
    span_max_na: int
    inl_lsb: Finite
    deviations: tuple[CodeDeviation, ...]


class CalibrationResult(_Document):
    """A whole calibration.

    Attributes:
        settings: What it was measured and judged with.
        instrument: Identity of the meter.
        certificate: The meter's certificate on file, or `None`.
        started_at: Before the first reading, UTC.
        finished_at: After the last one, UTC.
        readings: In the order in which they were taken.
        fit: Gain, offset and impedance; `None` when the unit is too faulty to fit.
        findings: Reasons to refuse the unit; empty for a good one.
        sampling: How many samples a reading took, and why; `None` when that was fixed, or the
            noise was never measured.
        way_back: What changed between the way out and the way back; `None` when there was none.
        certificate_age_days: Days since the instrument's calibration; `None` when not known.
        format: Version of the format it was stored in, and will be again.
        temperature_centi_c: Ambient temperature in hundredths of a degree Celsius.
        recipe: By what it was measured; `None` outside a station.
    """

    settings: MetrologySettings
    instrument: InstrumentIdentity
    certificate: str | None
    started_at: AwareDatetime
    finished_at: AwareDatetime
    readings: tuple[CodeReading, ...]
    fit: CalibrationFit | None
    findings: tuple[Finding, ...]
    sampling: SamplingPlan | None = None
    way_back: WayBack | None = None
    certificate_age_days: Count | None = None
    format: Annotated[int, Field(exclude=True)] = THIRD_FORMAT
    temperature_centi_c: MaybeCelsius = None
    recipe: MaybeRecipe = None

    @property
    def is_accepted(self) -> bool:
        """Whether the unit may get a calibration record."""
        return self.fit is not None and not self.findings

    @property
    def gain_ppm(self) -> int:
        """Gain at the reference load, ppm; raises `CalibrationError` without a fit."""
        return self._fit().gain_ppm

    @property
    def offset_na(self) -> int:
        """Offset at the reference load, nA; raises `CalibrationError` without a fit."""
        return self._fit().offset_na

    @property
    def output_impedance_ohm(self) -> int:
        """Output impedance, Ω; raises `CalibrationError` without a fit."""
        return self._fit().output_impedance_ohm

    @property
    def inl_lsb(self) -> float:
        """Largest deviation from the best line, LSB; raises `CalibrationError` without a fit."""
        return self._fit().inl_lsb

    def _fit(self) -> CalibrationFit:
        if self.fit is None:
            raise CalibrationError(
                "the unit was not fitted",
                got="; ".join(finding.message for finding in self.findings),
                hint="repair or scrap the unit; nothing may be written to it",
            )
        return self.fit


def serialize_calibration_result(result: CalibrationResult) -> dict[str, object]:
    """Return a result as a JSON document."""
    document = result.model_dump(mode="json", by_alias=True)
    if result.format == FIRST_FORMAT:
        document = first_format_document(document, FIRST_FORMAT_FIELDS)
    return {"schema": f"{CALIBRATION_SCHEMA}/{result.format}", **document}


def parse_calibration_result(untrusted_document: object) -> CalibrationResult:
    """Parse a stored result.

    Raises:
        CalibrationError: It is not a document of this schema.
    """
    return parse_stored_result(
        untrusted_document,
        CalibrationResult,
        schema=CALIBRATION_SCHEMA,
        name="calibration",
        error_class=CalibrationError,
    )


def calibration_digest(result: CalibrationResult) -> bytes:
    """Return SHA-256 over the canonical JSON of a result, which the calibration record carries."""
    return canonical_digest(serialize_calibration_result(result))
