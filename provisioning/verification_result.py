"""The result of a verification: points, idle current, waveforms and outcome, to and from JSON.

Every judged figure stands beside the reading it came from and the settings, so
`verification.recompute_verification` gets the same outcome from the stored document. Normative
text: docs/spec/calibration.md §6.4. This module judges nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from provisioning.errors import VerificationError
from provisioning.instruments import InstrumentIdentity
from provisioning.measurement_settings import MetrologySettings
from provisioning.stored_result import (
    FIRST_FORMAT,
    THIRD_FORMAT,
    AskedCurrent,
    Count,
    MaybeCelsius,
    MaybeRecipe,
    MaybeSamples,
    MaybeTime,
    PositiveCount,
    ReadCurrent,
    ReadScatter,
    Whole,
    first_format_document,
    parse_stored_result,
)
from provisioning.uncertainty import Outcome
from provisioning.waveform_train import WaveformShape
from provisioning.waveform_windows import WINDOW_SAMPLES_MAX, WindowName

if TYPE_CHECKING:
    from provisioning.uncertainty import Budget

VERIFICATION_SCHEMA: Final = "ampforge.verification-result"
"""Name of the schema; a version follows it, such as `/3`."""
FIRST_FORMAT_FIELDS: Final = {
    "": (
        "settings instrument certificate started_at finished_at table_digest record points idle "
        "waveforms outcome reasons"
    ),
    "points": (
        "mode level_index target_na load_ohm code range_ua count sd_na is_overload measured_na "
        "error_na expanded_uncertainty_na calibration_limit_na claim_limit_na outcome"
    ),
    "waveforms": (
        "mode level_index peak_na load_ohm range_ua period_us expected_period_us aperture_s "
        "expected_mean_na mean_na expanded_uncertainty_na limit_na sample_aperture_s samples_na "
        "delay_s shape_rms_na shape_limit_na is_inverted is_overload outcome"
    ),
}
"""What a result of the first format holds."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class PointBudget(_Document):
    """The uncertainty of a point; its table is rebuilt by `verification_budgets`.

    Attributes:
        components_na: Standard uncertainty of each source, in the order of `uncertainty.Source`,
            nA.
        standard_na: Combined standard uncertainty u, nA.
        effective_dof: Effective degrees of freedom; `None` is infinite.
        coverage_factor: k in U = k·u.
        guard_band_na: w of the decision rule, nA.
    """

    components_na: tuple[NotNegative, ...]
    standard_na: NotNegative
    effective_dof: NotNegative | None
    coverage_factor: NotNegative
    guard_band_na: NotNegative

    @classmethod
    def from_budget(cls, budget: Budget, *, guard_band_na: float) -> Self:
        """Return what is stored of a budget."""
        dof = budget.effective_dof
        return cls(
            components_na=tuple(term.standard_na for term in budget.terms),
            standard_na=budget.standard_na,
            effective_dof=None if math.isinf(dof) else dof,
            coverage_factor=budget.coverage_factor,
            guard_band_na=guard_band_na,
        )


class PointResult(_Document):
    """One level of one mode, in one polarity, into one load.

    Attributes:
        mode: Name of the mode; empty for the idle current.
        level_index: Level, from 0; -1 for the idle current.
        target_na: What the table asks for, nA; negative for the opposite polarity.
        load_ohm: Load, Ω.
        code: The code that the board chose.
        range_ua: Range, µA.
        count: Samples.
        sd_na: Standard deviation of a sample, nA.
        is_overload: The current was larger than every range; `measured_na` is the largest range.
        measured_na: Mean of the samples, nA.
        error_na: Measured minus target, nA.
        expanded_uncertainty_na: U = k·u, nA.
        calibration_limit_na: Limit at the reference load, nA; `None` at other loads.
        claim_limit_na: Limit over the claimed loads, nA.
        outcome: The worse of both decisions.
        budget: How U came about; `None` in a result of the first format.
        at: When the meter answered, UTC; `None` for an overload.
        samples_na: The samples, nA; `None` for an overload, and before the third format.
    """

    mode: str
    level_index: Whole
    target_na: AskedCurrent
    load_ohm: PositiveCount
    code: Whole
    range_ua: PositiveCount
    count: PositiveCount
    sd_na: ReadScatter
    is_overload: bool
    measured_na: ReadCurrent
    error_na: Finite
    expanded_uncertainty_na: NotNegative
    calibration_limit_na: NotNegative | None
    claim_limit_na: NotNegative
    outcome: Outcome
    budget: PointBudget | None = None
    at: MaybeTime = None
    samples_na: MaybeSamples = None

    @property
    def deciding_limit_na(self) -> float:
        """The tighter of the limits that apply, nA."""
        if self.calibration_limit_na is None:
            return self.claim_limit_na
        return min(self.calibration_limit_na, self.claim_limit_na)

    @property
    def share_of_limit(self) -> float:
        """Size of the error over the deciding limit: 1 is at the limit."""
        return abs(self.error_na) / self.deciding_limit_na

    @property
    def standard_uncertainty_na(self) -> float:
        """Combined standard uncertainty u, nA."""
        return self.budget.standard_na if self.budget else self.expanded_uncertainty_na / 2

    @property
    def test_uncertainty_ratio(self) -> float:
        """The deciding limit over U; infinite without uncertainty."""
        if not self.expanded_uncertainty_na:
            return math.inf
        return self.deciding_limit_na / self.expanded_uncertainty_na


SAMPLE_NA_MAX: Final = 10**12
SAMPLE_APERTURE_MIN_US: Final = 10
Sample = Annotated[int, Field(ge=-SAMPLE_NA_MAX, le=SAMPLE_NA_MAX)]


class StretchResult(_Document):
    """The mean over whole pulses, or over a rest, inside a window.

    Attributes:
        burst: Which burst of the repeat period, from 0.
        is_rest: Whether it is the rest after that burst.
        aperture_s: Integration time of the mean, s.
        expected_mean_na: The same from the table, nA.
        mean_na: Measured mean, nA.
        expanded_uncertainty_na: Its U, nA.
        limit_na: Limit of its error, nA.
        outcome: The decision.
    """

    burst: Count
    is_rest: bool
    aperture_s: NotNegative
    expected_mean_na: Finite
    mean_na: Finite
    expanded_uncertainty_na: NotNegative
    limit_na: NotNegative
    outcome: Outcome


class WindowResult(_Document):
    """A short look at a playing mode, around one event of its repeat period.

    Attributes:
        name: What it shows.
        event_us: When that happens in the repeat period, µs.
        start_us: How far into the session the board began, µs.
        samples_na: The capture, whole nA.
        is_overload: The current left the range; nothing else of this entry was measured.
        delay_s: From the board's start to the first sample, as matched, s.
        shape_rms_na: Measured minus expected capture, root mean square, nA.
        shape_limit_na: Its limit, nA.
        is_inverted: The capture fits better upside down.
        size: Size of the current, 1 for the table's; `None` where the window does not show it.
        size_limit: How far it may be from 1.
        stretches: Means over whole pulses and rests.
        outcome: Worst of shape, polarity, size and means.
    """

    name: WindowName
    event_us: Annotated[int, Field(ge=0, le=2**53)]
    start_us: Annotated[int, Field(ge=0, le=2**53)]
    samples_na: Annotated[tuple[Sample, ...], Field(max_length=WINDOW_SAMPLES_MAX)]
    is_overload: bool
    delay_s: NotNegative
    shape_rms_na: NotNegative
    shape_limit_na: NotNegative
    is_inverted: bool
    size: Finite | None
    size_limit: NotNegative
    stretches: tuple[StretchResult, ...]
    outcome: Outcome


class WaveformResult(_Document):
    """One mode, played by the board's own engine, in a whole repeat period or in windows of it.

    Attributes:
        mode: Name of the mode.
        level_index: Level, from 0.
        peak_na: Peak of that level, nA.
        load_ohm: Load, Ω.
        range_ua: Range, µA.
        period_us: Whole repeat period as the board reports it, µs.
        expected_period_us: The same from the table, µs.
        aperture_s: Integration time of the mean, s: one whole repeat period, or all stretches of
            the windows.
        expected_mean_na: Mean over the whole period from the table, nA.
        mean_na: Measured mean, nA; of windows the one that they imply.
        expanded_uncertainty_na: Its U, nA.
        limit_na: Limit of its error, nA.
        sample_aperture_s: Integration time of one sample of the capture, s.
        samples_na: The capture, whole nA; empty when there are windows.
        delay_s: From the start of the mode to the first sample, as matched, s.
        shape_rms_na: Measured minus expected capture, root mean square, nA.
        shape_limit_na: Its limit, nA.
        is_inverted: The capture fits better upside down.
        is_overload: The current left the range; nothing else of this entry was measured.
        outcome: Worst of mean, period, shape and polarity, and of all windows.
        shape: What the table asks for, so that windows can be judged again.
        windows: In the order of their starts; empty when the whole period was captured.
        delay_spread_s: How far the windows are apart in their timing, s.
    """

    mode: str
    level_index: Whole
    peak_na: Annotated[int, Field(gt=0, le=SAMPLE_NA_MAX)]
    load_ohm: PositiveCount
    range_ua: PositiveCount
    period_us: Annotated[int, Field(ge=0, le=2**53)]
    expected_period_us: Annotated[int, Field(gt=0, le=2**53)]
    aperture_s: NotNegative
    expected_mean_na: ReadCurrent
    mean_na: ReadCurrent
    expanded_uncertainty_na: NotNegative
    limit_na: NotNegative
    sample_aperture_s: NotNegative
    samples_na: tuple[Sample, ...]
    delay_s: NotNegative
    shape_rms_na: ReadScatter
    shape_limit_na: NotNegative
    is_inverted: bool
    is_overload: bool
    outcome: Outcome
    shape: WaveformShape | None = None
    windows: tuple[WindowResult, ...] = ()
    delay_spread_s: NotNegative = 0.0

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        if not self.windows:
            return self
        if self.shape is None:
            raise ValueError("windows without the shape that they were compared with")
        if self.sample_aperture_s * 1e6 < SAMPLE_APERTURE_MIN_US:
            raise ValueError("a sample of no duration")
        longest = max(len(window.samples_na) for window in self.windows)
        if longest * self.sample_aperture_s * 1e6 > self.shape.period_us:
            raise ValueError("a window longer than the repeat period")
        if any(not window.samples_na and not window.is_overload for window in self.windows):
            raise ValueError("a window without samples")
        return self

    @property
    def pictured_samples_na(self) -> tuple[int, ...]:
        """The capture to show: the whole one, or the first window that is not the mode's start."""
        shown = (*self.windows[1:], *self.windows[:1])
        return shown[0].samples_na if shown else self.samples_na


class ExpectedRecord(_Document):
    """The calibration that the board should be using.

    Attributes:
        gain_ppm: Gain, ppm.
        offset_na: Offset, nA.
    """

    gain_ppm: PositiveCount
    offset_na: Whole


class VerificationResult(_Document):
    """A whole verification.

    Attributes:
        settings: What it was measured and judged with.
        instrument: Identity of the meter.
        certificate: The meter's certificate on file, or `None`.
        started_at: Before the first reading, UTC.
        finished_at: After the last one, UTC.
        table_digest: SHA-256 of the waveform table, hex.
        record: The calibration that the board should be using, when the caller said so.
        points: The chosen levels of every mode, in both polarities, at every load.
        idle: The current at level 0 with the output enabled, at each load.
        waveforms: One entry for each mode.
        outcome: The unit's outcome: the worst of all.
        reasons: Why it is not PASS, worst first; empty for PASS.
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
    table_digest: Annotated[str, Field(pattern=r"[0-9a-f]{64}")]
    record: ExpectedRecord | None
    points: tuple[PointResult, ...]
    idle: tuple[PointResult, ...]
    waveforms: tuple[WaveformResult, ...]
    outcome: Outcome
    reasons: tuple[str, ...]
    certificate_age_days: Count | None = None
    format: Annotated[int, Field(exclude=True)] = THIRD_FORMAT
    temperature_centi_c: MaybeCelsius = None
    recipe: MaybeRecipe = None


def serialize_verification_result(result: VerificationResult) -> dict[str, object]:
    """Return a result as a JSON document."""
    document = result.model_dump(mode="json", by_alias=True)
    if result.format == FIRST_FORMAT:
        document = first_format_document(document, FIRST_FORMAT_FIELDS)
        document["idle"] = first_format_document(
            {"points": document["idle"]}, {"": "points", "points": FIRST_FORMAT_FIELDS["points"]}
        )["points"]
    return {"schema": f"{VERIFICATION_SCHEMA}/{result.format}", **document}


def parse_verification_result(untrusted_document: object) -> VerificationResult:
    """Parse a stored result.

    Raises:
        VerificationError: It is not a document of this schema.
    """
    return parse_stored_result(
        untrusted_document,
        VerificationResult,
        schema=VERIFICATION_SCHEMA,
        name="verification",
        error_class=VerificationError,
    )
