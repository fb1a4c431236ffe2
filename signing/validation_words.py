"""What is wrong with a value of a document, in our words.

Pydantic finds it, or our own reader of what people write (`written_checks`). Pydantic has words of
its own, which are another library's: they speak of inputs and change with its versions. Here each
kind of problem is told as a part of our own errors is; a kind that is not listed keeps Pydantic's
words. This module does not import Pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

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


def describe_problem(problem: ErrorDetails) -> str:
    """Return what must hold of a value and does not, to be read after the value's name.

    Args:
        problem: One of `ValidationError.errors()`, with its context.
    """
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error" and "error" in context:  # one of ours, said by a validator of ours
        return str(context["error"])
    if kind in _WORDS:
        return words_for(kind, **context)
    return problem["msg"]


def words_for(kind: str, **context: object) -> str:
    """Return the words for one kind of problem that is listed here.

    Args:
        kind: As Pydantic names it.
        context: The limit that is not kept, as Pydantic names it.
    """
    if kind.endswith("too_short") and context.get("min_length") == 1:
        return "must not be empty"
    return _WORDS[kind].format_map(context)
