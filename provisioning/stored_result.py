"""Reading back the results of a unit's calibration and verification from the ledger's documents.

A result of an earlier format is judged as it was then, and written as it was: its document and its
digest stay what they were. Normative text: docs/spec/calibration.md §4.6 and §6.4. What a result
holds is in `calibration_result` and `verification_result`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from provisioning.bounded_figures import ReadCurrent
from provisioning.measurement_choices import (
    CoverageRule,
    DecisionRule,
    LevelChoice,
    SweepPlan,
    WaveformCheck,
)
from provisioning.recipe import StoredRecipe
from signing.validation_words import describe_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioning.errors import ProvisioningError

Model = TypeVar("Model", bound=BaseModel)

FIRST_FORMAT: Final = 1
SECOND_FORMAT: Final = 2
THIRD_FORMAT: Final = 3
_FORMATS: Final = (FIRST_FORMAT, SECOND_FORMAT, THIRD_FORMAT)
_FORMAT: Final = "format"
_FIRST_SETTINGS: Final = {
    "loading_ohm": 0.0,
    "temperature_span_c": 0.0,
    "sweep": SweepPlan.OUTWARD.value,
    "coverage": CoverageRule.TWO.value,
    "decision_rule": DecisionRule.ILAC_G8.value,
    "repeatability_share_max": None,
    "levels": LevelChoice.ALL.value,
    "waveform_check": WaveformCheck.WHOLE.value,
}
"""What the first format was measured and judged with, where that is not today's default."""
_SETTINGS_TEXT: Final = """
full_scale_na dac_bits working_span_na linearity_span_na loads_ohm reference_load_ohm
claim_loads_ohm claim_end_load_ohm compliance_load_ohm compliance_current_na
compliance_shortfall_percent load_channels load_tolerance_percent leakage_na accuracy
accuracy_source instruments line_frequency_hz nplc sample_count aperture_max_s
start_delay_max_s shape_limit_percent calibration_limit_percent calibration_limit_na
claim_limit_percent claim_limit_na idle_limit_na timing_limit_percent gain_limit_percent
offset_limit_na inl_limit_lsb inl_allowance_lsb output_impedance_min_ohm guard_factor
test_uncertainty_ratio_min
"""
_SETTINGS_FIELDS: Final = frozenset(_SETTINGS_TEXT.split())
_ACCURACY_FIELDS: Final = frozenset(("range_ua", "reading_percent", "range_percent"))
_INSTRUMENT_FIELDS: Final = frozenset(("serial_number", "certificate", "due"))


def _is_absent(value: object) -> bool:
    return value is None


# What results of earlier versions do not have: absent stays absent when one is written again, so
# that its digest and its replay stay what they were.
MaybeSamples = Annotated[
    tuple[ReadCurrent, ...] | None, Field(max_length=10_000, exclude_if=_is_absent)
]
MaybeTime = Annotated[AwareDatetime | None, Field(exclude_if=_is_absent)]
MaybeCelsius = Annotated[int | None, Field(ge=-27_315, le=100_000, exclude_if=_is_absent)]
MaybeRecipe = Annotated[StoredRecipe | None, Field(exclude_if=_is_absent)]


def parse_stored_result(
    untrusted_document: object,
    model: type[Model],
    *,
    schema: str,
    name: str,
    error_class: type[ProvisioningError],
) -> Model:
    """Parse a stored result.

    Args:
        untrusted_document: The JSON document, with its schema.
        model: What it holds besides.
        schema: Name of the schema, without the version that follows it.
        name: What the result is of, for errors.
        error_class: What is raised.

    Raises:
        ProvisioningError: As `error_class`: it is not a document of this schema.
    """
    document = dict(untrusted_document) if isinstance(untrusted_document, dict) else {}
    found = document.pop("schema", None)
    versions = {f"{schema}/{version}": version for version in _FORMATS}
    if not isinstance(found, str) or found not in versions or _FORMAT in document:
        raise error_class(
            f"the stored {name} is of another schema",
            expected=" or ".join(versions),
            got=repr(found)[:80],
            hint="read it with the version of ampforge that wrote it",
        )
    document[_FORMAT] = versions[found]
    settings = document.get("settings")
    if document[_FORMAT] == FIRST_FORMAT and isinstance(settings, dict):
        document["settings"] = {**_FIRST_SETTINGS, **settings}
    try:
        return model.model_validate_json(json.dumps(document, allow_nan=False))
    except (ValidationError, TypeError, ValueError, RecursionError) as error:
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
        raise error_class(
            f"the stored {name} is damaged",
            got=describe_problem(first) if first else str(error),
            where=".".join(str(part) for part in first["loc"]) if first else None,
            hint="restore the ledger from its backup",
        ) from error


def first_format_document(document: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """Return a document with only what the first format holds.

    Args:
        document: A dumped result, without its schema.
        fields: Names that it holds, space separated: of the result under the empty name, of the
            entries of a list, or of an object, under the name of that.
    """
    kept = {name: document[name] for name in fields[""].split()}
    for name, inner in fields.items():
        if name:
            kept[name] = _keep(kept[name], frozenset(inner.split()))
    if "settings" in kept:
        settings = _keep(kept["settings"], _SETTINGS_FIELDS)
        settings["accuracy"] = _keep(settings["accuracy"], _ACCURACY_FIELDS)
        settings["instruments"] = _keep(settings["instruments"], _INSTRUMENT_FIELDS)
        kept["settings"] = settings
    return kept


def _keep(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {name: inner for name, inner in value.items() if name in names}
    if isinstance(value, (list, tuple)):
        return [_keep(inner, names) for inner in value]
    return value
