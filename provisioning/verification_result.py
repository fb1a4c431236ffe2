"""The result of a verification: points, idle current, waveforms and outcome, to and from JSON.

Every judged figure stands beside the reading it came from and the settings, so
`verification.recompute_verification` gets the same outcome from the stored document. Normative
text: docs/spec/calibration.md §6.4. This module judges nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from provisioning.bounded_figures import (
    AskedCurrent,
    Count,
    Finite,
    NotNegative,
    PositiveInt,
    ReadCurrent,
    ReadScatter,
    Whole,
)
from provisioning.errors import VerificationError
from provisioning.instruments import InstrumentIdentity
from provisioning.measurement_settings import MetrologySettings
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
from provisioning.uncertainty import Outcome
from provisioning.waveform_result import WaveformResult

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
    load_ohm: PositiveInt
    code: Whole
    range_ua: PositiveInt
    count: PositiveInt
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


class ExpectedRecord(_Document):
    """The calibration that the board should be using.

    Attributes:
        gain_ppm: Gain, ppm.
        offset_na: Offset, nA.
    """

    gain_ppm: PositiveInt
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
