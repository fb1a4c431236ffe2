"""TOML files that people write: bounded, exact decimals, and errors that name the place.

Numbers with a point arrive as `Decimal`, so that 0.1 ms is exactly a tenth of a millisecond. What
it does not do: know what the document means; the dataclass that the caller passes does.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, TypeVar

from signing.bounded_toml import parse_toml
from signing.written_checks import UnfitTableError
from signing.written_table import read_table, show_value

if TYPE_CHECKING:
    from firmware_images.errors import FirmwareImageError
    from signing.written_checks import Problem

TOML_BYTES_MAX = 256 * 1024
_SHOWN_CHARACTERS = 60
_SHOWN_PROBLEMS = 3

Document = TypeVar("Document")


def parse_toml_document(
    untrusted_bytes: bytes, model: type[Document], *, where: object, error: type[FirmwareImageError]
) -> Document:
    """Reads TOML into `model`.

    Args:
        untrusted_bytes: The file's content.
        model: What the document must look like: a dataclass of `written` fields.
        where: The file, for errors.
        error: The error to raise.

    Raises:
        FirmwareImageError: As `error`, naming the file and the key, when anything is not as asked.
    """
    try:
        values = parse_toml(untrusted_bytes.decode("utf-8"), parse_float=_parse_decimal)
    except UnicodeDecodeError as cause:
        raise error(
            "the file is not UTF-8 text",
            got=f"byte {cause.start}",
            where=where,
            hint="check that this is the file that was meant, and save it as UTF-8",
        ) from cause
    except (tomllib.TOMLDecodeError, RecursionError) as cause:
        raise error(
            "the file is not TOML",
            expected="TOML 1.0",
            got="too deep a nesting" if isinstance(cause, RecursionError) else cause,
            where=where,
            hint="correct the line that the message names",
        ) from cause
    except ValueError as cause:  # an integer of thousands of digits
        raise error("the file has a number out of range", got=cause, where=where) from cause
    try:
        return read_table(model, values)
    except UnfitTableError as cause:
        problems = cause.problems
        shown = "; ".join(_describe(problem) for problem in problems[:_SHOWN_PROBLEMS])
        more = len(problems) - _SHOWN_PROBLEMS
        raise error(
            f"{shown}; {more} more" if more > 0 else shown,
            got=_show(problems[0].value) if problems[0].has_value else None,
            where=where,
            hint="compare with the example product's file of the same name",
        ) from cause


def _describe(problem: Problem) -> str:
    key = ".".join(_show_key(part) for part in problem.place) or "the whole document"
    return f"{key} {problem.tell()}"


def _parse_decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as cause:
        raise ValueError(f"{text[:_SHOWN_CHARACTERS]!r} is not a number") from cause


def _show_key(part: int | str) -> str:
    return str(part + 1) if isinstance(part, int) else part[:_SHOWN_CHARACTERS]


def _show(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    text = show_value(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
