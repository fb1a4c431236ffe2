"""By what a unit was measured: release, settings, instrument, fixture and software, as one digest.

Two units that were measured by the same recipe share its digest, so one comparison tells whether
their results may be put side by side. Limits, loads, the instrument's specification and the
decision rule are settings, stand in whole in every result, and enter the recipe as their digest.
Normative text: docs/spec/calibration.md §4.7. This module measures and judges nothing.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from provisioning.instruments import InstrumentIdentity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.bundle import Bundle
    from provisioning.calibration_result import CalibrationResult
    from provisioning.verification_result import VerificationResult

RECIPE_SCHEMA: Final = "ampforge.recipe/1"
RECIPE_KEY: Final = "recipe_sha256"
"""Where the digest stands in the data of an event, beside the result."""
_TABLE_PART: Final = "waveform-table.bin"
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class RecipeRelease(_Document):
    """The release that was provisioned.

    Attributes:
        version: Its version.
        bundle: SHA-256 of the bundle, hex.
        waveform_table: SHA-256 of its waveform table, hex.
    """

    version: str
    bundle: _Digest
    waveform_table: _Digest


class RecipeFixture(_Document):
    """Where the unit was measured; what loads are there is in the settings.

    Attributes:
        station: Name of the station.
        slot: Name of the place.
    """

    station: str
    slot: str


class Recipe(_Document):
    """Everything but the unit that a result depends on.

    Attributes:
        recipe_schema: Schema of this object, `schema` in JSON.
        software: Name and version of what measured and judged.
        release: The release.
        settings_sha256: SHA-256 of the result's settings as canonical JSON, hex: limits, loads,
            the instrument's specification, decision rule.
        instrument: Identity of the meter.
        certificate: Its certificate on file, or `None`.
        fixture: Station and place.
    """

    recipe_schema: Annotated[Literal["ampforge.recipe/1"], Field(alias="schema")] = RECIPE_SCHEMA
    software: str
    release: RecipeRelease
    settings_sha256: _Digest
    instrument: InstrumentIdentity
    certificate: str | None
    fixture: RecipeFixture


class StoredRecipe(_Document):
    """A recipe with its digest, as a result carries it.

    Attributes:
        sha256: SHA-256 of `content` as canonical JSON, hex.
        content: The recipe.
    """

    sha256: _Digest
    content: Recipe


def canonical_digest(document: Mapping[str, object]) -> bytes:
    """Return SHA-256 of a JSON object with sorted keys and without white space, UTF-8."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).digest()


def build_recipe(
    result: CalibrationResult | VerificationResult,
    bundle: Bundle,
    *,
    station: str,
    slot: str,
    software: str,
) -> StoredRecipe:
    """Return the recipe of a result.

    Args:
        result: With settings, instrument and certificate.
        bundle: The verified release.
        station: Name of the station.
        slot: Name of the place.
        software: Name and version of the program.
    """
    return _seal(
        Recipe(
            software=software,
            release=RecipeRelease(
                version=bundle.statement.version,
                bundle=bundle.digest.hex(),
                waveform_table=bundle.statement.parts[_TABLE_PART].sha256.hex(),
            ),
            settings_sha256=canonical_digest(result.settings.model_dump(mode="json")).hex(),
            instrument=result.instrument,
            certificate=result.certificate,
            fixture=RecipeFixture(station=station, slot=slot),
        )
    )


def recompute_recipe(
    stored: StoredRecipe,
    result: CalibrationResult | VerificationResult,
    *,
    settings: Mapping[str, object],
) -> StoredRecipe:
    """Return a stored recipe with everything that follows from its result computed again.

    Args:
        stored: The recipe in the result.
        result: The result.
        settings: Its settings as they were stored: read by a later version they may have more.
    """
    return _seal(
        stored.content.model_copy(
            update={
                "settings_sha256": canonical_digest(settings).hex(),
                "instrument": result.instrument,
                "certificate": result.certificate,
            }
        )
    )


def recipe_document(stored: StoredRecipe) -> dict[str, object]:
    """Return a recipe with its digest as JSON values."""
    return stored.model_dump(mode="json", by_alias=True)


def _seal(recipe: Recipe) -> StoredRecipe:
    document = recipe.model_dump(mode="json", by_alias=True)
    return StoredRecipe(sha256=canonical_digest(document).hex(), content=recipe)
