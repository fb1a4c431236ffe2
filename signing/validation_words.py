"""What is wrong with a value of a document, in our words.

Pydantic finds it, or our own reader of what people write (`written_checks`). Pydantic has words of
its own, which are another library's: they speak of inputs and change with its versions. Here each
kind of problem is told as a part of our own errors is; a kind that is not listed keeps Pydantic's
words. This module does not import Pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic_core import ErrorDetails, ValidationError

_LIKENESS_MIN: Final = 0.75
"""Of two words that one may have been meant by the other, as `difflib` counts it: 0 to 1."""
_WORDS: Final[Mapping[str, str]] = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "bytes_too_long": "must have at most {max_length} bytes",
    "bytes_too_short": "must have at least {min_length} bytes",
    "bytes_type": "must be bytes",
    "dict_type": "must be a table",
    "enum": "must be {expected}",
    "extra_forbidden": "is not a key that is known here",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "is_instance_of": "must be a number",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_attributes_type": "must be a table",
    "model_type": "must be a table",
    "multiple_of": "must be a multiple of {multiple_of}",
    "path_type": "must be a path",
    "string_pattern_mismatch": "must be of the form {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_type": "must be text",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "tuple_type": "must be a list",
}


def describe_problem(problem: ErrorDetails, model: Any = None) -> str:
    """Return what must hold of a value and does not, to be read after the value's name.

    Args:
        problem: One of `ValidationError.errors()`, with its context.
        model: The model of the whole document, where a key may be misspelled.
    """
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error" and "error" in context:  # one of ours, said by a validator of ours
        return str(context["error"])
    if kind == "extra_forbidden" and model is not None:
        return words_for(kind) + suggest(problem["loc"][-1], _known_keys(model, problem["loc"]))
    if kind in _WORDS:
        return words_for(kind, **context)
    return problem["msg"]


def find_near(word: str, others: Iterable[str]) -> str | None:
    """Return the one of other words that is most like a word, if one is like it at all.

    It looks at each of them, so a caller asks for what is shown, not for all that was found.
    """
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(others), n=1, cutoff=_LIKENESS_MIN)), None)


def suggest(word: object, known: Iterable[str]) -> str:
    """Return a remark on the known word that may have been meant by another, or no text."""
    near = find_near(str(word), known)
    return "" if near is None else f" (did you mean {near}?)"


def first_problem(error: ValidationError) -> ErrorDetails:
    """Return the problem to tell of: an unknown key may be why another is missing."""
    found = error.errors(include_url=False)
    return next((one for one in found if one["type"] == "extra_forbidden"), found[0])


def _known_keys(model: Any, place: Sequence[int | str]) -> tuple[str, ...]:
    """Return the keys that a Pydantic model has where a problem is; none if that is not plain.

    Args:
        model: The model of the whole document.
        place: The problem's `loc`: keys and list indices, the last of them the key itself.
    """
    for part in place[:-1]:
        if isinstance(part, str):
            field = model.model_fields.get(part)
            model = None if field is None else _find_model(field.annotation)
        if model is None:
            return ()
    return tuple(model.model_fields)


def _find_model(annotation: Any) -> Any:
    """Return the one model in an annotation such as `tuple[Slot, ...]` or `Slot | None`."""
    if hasattr(annotation, "model_fields"):
        return annotation
    found = [model for one in get_args(annotation) if (model := _find_model(one)) is not None]
    return found[0] if len(found) == 1 else None


def words_for(kind: str, **context: object) -> str:
    """Return the words for one kind of problem that is listed here.

    Args:
        kind: As Pydantic names it.
        context: The limit that is not kept, as Pydantic names it.
    """
    if kind.endswith("too_short") and context.get("min_length") == 1:
        return "must not be empty"
    return _WORDS[kind].format_map(context)
