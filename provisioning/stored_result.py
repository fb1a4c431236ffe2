"""Reading back the results of a unit's calibration and verification from the ledger's documents.

Normative text: docs/spec/calibration.md §4.6 and §6.4. What a result holds is in
`calibration_result` and `verification_result`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from provisioning.recipe import StoredRecipe
from signing.validation_words import describe_problem

if TYPE_CHECKING:
    from provisioning.errors import ProvisioningError

Model = TypeVar("Model", bound=BaseModel)


def _is_absent(value: object) -> bool:
    return value is None


# What results of earlier versions do not have: absent stays absent when one is written again, so
# that its digest and its replay stay what they were.
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
        schema: Name and version of the schema.
        name: What the result is of, for errors.
        error_class: What is raised.

    Raises:
        ProvisioningError: As `error_class`: it is not a document of this schema.
    """
    document = dict(untrusted_document) if isinstance(untrusted_document, dict) else {}
    found = document.pop("schema", None)
    if found != schema:
        raise error_class(
            f"the stored {name} is of another schema",
            expected=schema,
            got=repr(found)[:80],
            hint="read it with the version of ampforge that wrote it",
        )
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
