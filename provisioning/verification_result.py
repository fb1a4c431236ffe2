"""The result of a verification: points, idle current, waveforms and outcome, to and from JSON.

Every judged figure stands beside the reading it came from and the settings, so
`verification.recompute_verification` gets the same outcome from the stored document. Normative
text: docs/spec/calibration.md §6.4. This module judges nothing.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from provisioning.errors import VerificationError
from provisioning.instruments import InstrumentIdentity
from provisioning.measurement_settings import MetrologySettings
from provisioning.stored_result import MaybeCelsius, MaybeRecipe, MaybeTime, parse_stored_result
from provisioning.uncertainty import Outcome

VERIFICATION_SCHEMA: Final = "ampforge.verification-result/1"
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


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
        expanded_uncertainty_na: U = 2u, nA.
        calibration_limit_na: Limit at the reference load, nA; `None` at other loads.
        claim_limit_na: Limit over the claimed loads, nA.
        outcome: The worse of both decisions.
        at: When the meter answered, UTC; `None` for an overload.
    """

    mode: str
    level_index: int
    target_na: int
    load_ohm: Annotated[int, Field(gt=0)]
    code: int
    range_ua: Annotated[int, Field(gt=0)]
    count: Annotated[int, Field(gt=0)]
    sd_na: NotNegative
    is_overload: bool
    measured_na: Finite
    error_na: Finite
    expanded_uncertainty_na: NotNegative
    calibration_limit_na: NotNegative | None
    claim_limit_na: NotNegative
    outcome: Outcome
    at: MaybeTime = None

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


class WaveformResult(_Document):
    """One mode, played by the board's own engine.

    Attributes:
        mode: Name of the mode.
        level_index: Level, from 0.
        peak_na: Peak of that level, nA.
        load_ohm: Load, Ω.
        range_ua: Range, µA.
        period_us: Whole repeat period as the board reports it, µs.
        expected_period_us: The same from the table, µs.
        aperture_s: Integration time of the mean: one whole repeat period, s.
        expected_mean_na: Mean over that period from the table, nA.
        mean_na: Measured mean, nA.
        expanded_uncertainty_na: Its U, nA.
        limit_na: Limit of its error, nA.
        sample_aperture_s: Integration time of one sample of the capture, s.
        samples_na: The capture, whole nA.
        delay_s: From the start of the mode to the first sample, as matched, s.
        shape_rms_na: Measured minus expected capture, root mean square, nA.
        shape_limit_na: Its limit, nA.
        is_inverted: The capture fits better upside down.
        is_overload: The current left the range; nothing else of this entry was measured.
        outcome: Worst of mean, period, shape and polarity.
    """

    mode: str
    level_index: int
    peak_na: Annotated[int, Field(gt=0)]
    load_ohm: Annotated[int, Field(gt=0)]
    range_ua: Annotated[int, Field(gt=0)]
    period_us: int
    expected_period_us: int
    aperture_s: NotNegative
    expected_mean_na: Finite
    mean_na: Finite
    expanded_uncertainty_na: NotNegative
    limit_na: NotNegative
    sample_aperture_s: NotNegative
    samples_na: tuple[int, ...]
    delay_s: NotNegative
    shape_rms_na: NotNegative
    shape_limit_na: NotNegative
    is_inverted: bool
    is_overload: bool
    outcome: Outcome


class ExpectedRecord(_Document):
    """The calibration that the board should be using.

    Attributes:
        gain_ppm: Gain, ppm.
        offset_na: Offset, nA.
    """

    gain_ppm: Annotated[int, Field(gt=0)]
    offset_na: int


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
        points: Every level, polarity and load.
        idle: The current at level 0 with the output enabled, at each load.
        waveforms: One entry for each mode.
        outcome: The unit's outcome: the worst of all.
        reasons: Why it is not PASS, worst first; empty for PASS.
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
    temperature_centi_c: MaybeCelsius = None
    recipe: MaybeRecipe = None


def serialize_verification_result(result: VerificationResult) -> dict[str, object]:
    """Return a result as a JSON document."""
    return {"schema": VERIFICATION_SCHEMA, **result.model_dump(mode="json", by_alias=True)}


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
