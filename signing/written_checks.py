"""What may stand in a table that people write: one check for each kind of value.

A check takes what the reader of the file made of a value and gives the value of the field, or
raises `UnfitTableError` with all that is wrong there. Which check belongs to which key is
`written_table`. Nothing here knows a file or a key of one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from signing.validation_words import suggest, words_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from decimal import Decimal
    from enum import StrEnum
    from pathlib import Path

    Check = Callable[[object], Any]
    """Gives what was written as the field's value, or raises `UnfitTableError`."""


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        place: Keys and list indices, from the table inward.
        words: What must hold of the value there and does not; for a rule, a whole sentence.
        value: What was written, or `None` where a word of it would not help.
        is_rule: Whether it is a rule over several values, which names them itself.
        has_value: Whether `value` is what was written.
        known: The keys that are known there, for a key that is not.
    """

    place: tuple[str | int, ...]
    words: str
    value: object = None
    is_rule: bool = False
    has_value: bool = True
    known: Collection[str] = ()

    def tell(self) -> str:
        """Return `words`, and the key that may have been meant."""
        return self.words + suggest(self.place[-1], self.known) if self.known else self.words

    def inside(self, key: str | int) -> Problem:
        """Return the same problem as one of a table or list that has it under a key."""
        return self._replace(place=(key, *self.place))


class UnfitTableError(ValueError):
    """Raised when a table is not what was asked for; the owner of the file says so in its words.

    Attributes:
        problems: All that was found: first unknown keys, which may be why others are missing,
            then in the order of the fields.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__(
            "; ".join(f"{'.'.join(map(str, p.place))} {p.words}".strip() for p in problems)
        )
        self.problems = problems


def unfit(kind: str, value: object, **context: object) -> UnfitTableError:
    """Return what is raised for one value, in the words of `validation_words`."""
    return UnfitTableError(Problem((), words_for(kind, **context), value))


def text(pattern: str | None = None, *, least: int = 0, most: int | None = None) -> Check:
    """Text of a form, all of it; or of so many characters."""

    def check(value: object) -> str:
        if not isinstance(value, str):
            raise unfit("string_type", value)
        if len(value) < least:
            raise unfit("string_too_short", value, min_length=least)
        if most is not None and len(value) > most:
            raise unfit("string_too_long", value, max_length=most)
        if pattern is not None and re.fullmatch(pattern, value) is None:
            raise unfit("string_pattern_mismatch", value, pattern=pattern)
        return value

    return check


def whole(*, least: int | None = None, most: int | None = None, multiple_of: int = 1) -> Check:
    """A whole number, written as one: 1.0 is none."""

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise unfit("int_type", value)
        if value % multiple_of:
            raise unfit("multiple_of", value, multiple_of=multiple_of)
        if most is not None and value > most:
            raise unfit("less_than_equal", value, le=most)
        if least is not None and value < least:
            raise unfit("greater_than_equal", value, ge=least)
        return value

    return check


def number() -> Check:
    """A finite number, whole or a `Decimal`, as the reader of the file makes them."""
    from decimal import Decimal

    def check(value: object) -> Decimal:
        if isinstance(value, int) and not isinstance(value, bool):
            return Decimal(value)
        if not isinstance(value, Decimal):
            raise unfit("is_instance_of", value)
        if not value.is_finite():
            raise unfit("finite_number", value)
        return value

    return check


def flag() -> Check:
    """True or false."""

    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise unfit("bool_type", value)
        return value

    return check


def path() -> Check:
    """A path, absolute or from the file's folder."""
    from pathlib import Path

    def check(value: object) -> Path:
        if not isinstance(value, str):
            raise unfit("path_type", value)
        return Path(value)

    return check


def only(*choices: str | int) -> Check:
    """One of a few words or numbers."""

    def check(value: object) -> Any:
        for choice in choices:
            if value == choice and type(value) is type(choice):
                return choice
        raise unfit("literal_error", value, expected=_list_choices(choices))

    return check


def member(kind: type[StrEnum]) -> Check:
    """The word of an enumeration's member."""

    def check(value: object) -> StrEnum:
        if isinstance(value, str):
            for choice in kind:
                if value == choice.value:
                    return choice
        raise unfit("enum", value, expected=_list_choices([choice.value for choice in kind]))

    return check


def several(
    check_one: Check,
    *,
    least: int = 0,
    most: int | None = None,
    into: Callable[[list[Any]], Any] = tuple,
) -> Check:
    """A list, as a tuple or whatever is made of it."""

    def check(value: object) -> Any:
        if not isinstance(value, list):
            raise unfit("list_type", value)
        if most is not None and len(value) > most:
            raise unfit("too_long", value, max_length=most)
        if len(value) < least:
            raise unfit("too_short", value, min_length=least)
        return into(_check_each(enumerate(value), check_one))

    return check


def keyed(check_one: Check, *, keys: Check | None = None, least: int = 0) -> Check:
    """A table whose keys are not fixed, as a dictionary."""

    def check(value: object) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise unfit("dict_type", value)
        if len(value) < least:
            raise unfit("too_short", value, min_length=least)
        names = list(value)
        if keys is not None:
            names = _check_each(zip(value, value, strict=True), keys)
        return dict(zip(names, _check_each(value.items(), check_one), strict=True))

    return check


def _check_each(values: Any, check: Check) -> list[Any]:
    checked: list[Any] = []
    problems: list[Problem] = []
    for key, value in values:
        try:
            checked.append(check(value))
        except UnfitTableError as error:
            problems += (problem.inside(key) for problem in error.problems)
    if problems:
        raise UnfitTableError(*problems)
    return checked


def _list_choices(choices: Any) -> str:
    *others, last = (repr(choice) for choice in choices)
    return f"{', '.join(others)} or {last}" if others else last
