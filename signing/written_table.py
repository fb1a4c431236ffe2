"""Tables of files that people write, read strictly into frozen dataclasses.

A dataclass says beside each field what may be written there:

```python
@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    name: str = field(metadata=written(text("^[a-z]{1,8}$")))
    loads_ohm: tuple[int, ...] = field(default=(500,), metadata=written(several(whole(least=1))))
```

`read_table` makes one of a TOML table, or tells everything that is wrong with it: keys that are
missing or not known, values of another type or out of range, and then, by `ValueError` from
`__post_init__`, what a rule over several fields says. Nothing is converted but lists to tuples, and
text to paths and members of enumerations; a `bool` is no number.

Pydantic does this for what machines write to each other. It takes a tenth of a second to start,
though, which is more than all the rest of a short command (docs/decisions/0084).
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from signing.validation_words import suggest, words_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from decimal import Decimal
    from enum import StrEnum
    from pathlib import Path

    Check = Callable[[object], Any]
    """Gives what was written as the field's value, or raises `UnfitTableError`."""

Table = TypeVar("Table")
_CHECK, _KEY = "written_check", "written_key"


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


def written(check: Check, *, key: str | None = None) -> Mapping[str, object]:
    """Return the metadata of a field that people write.

    Args:
        check: What may stand there.
        key: Its key in the file, where that cannot be the field's name.
    """
    return {_CHECK: check} if key is None else {_CHECK: check, _KEY: key}


def read_table(table: type[Table], written_value: object) -> Table:
    """Return what was written as a value of a dataclass whose fields are all `written`.

    Args:
        table: The dataclass.
        written_value: A table as TOML has it.

    Raises:
        UnfitTableError: It is not what the dataclass asks for.
    """
    if not isinstance(written_value, dict):
        raise _unfit("model_type", written_value)
    plan = _plan(table)
    values: dict[str, Any] = {}
    problems: list[tuple[int, Problem]] = []
    for key, value in written_value.items():
        entry = plan.entries.get(key)
        if entry is None:
            unknown = words_for("extra_forbidden")
            problem = Problem((key,), unknown, has_value=False, known=plan.entries.keys())
            problems.append((-1, problem))
            continue
        try:
            values[entry.name] = entry.check(value)
        except UnfitTableError as error:
            problems += ((entry.order, _inside(key, problem)) for problem in error.problems)
    for key, entry in plan.required:
        if key not in written_value:
            missing = Problem((key,), words_for("missing"), has_value=False)
            problems.append((entry.order, missing))
    if problems:
        raise UnfitTableError(*(p for _, p in sorted(problems, key=lambda found: found[0])))
    try:
        return table(**values)
    except ValueError as error:
        raise UnfitTableError(Problem((), str(error), written_value, is_rule=True)) from error


def written_values(table: object) -> dict[str, object]:
    """Return what a table has by the keys of the file, without what is `None`."""
    entries = _plan(type(table)).entries.items()
    given = ((key, getattr(table, entry.name)) for key, entry in entries)
    return {key: value for key, value in given if value is not None}


def show_value(value: object) -> str:
    """Return what was written as Python shows it; of some numbers Python shows nothing."""
    try:
        return repr(value)
    except ValueError:  # a hexadecimal one may have more digits than Python turns into decimals
        return "a number of thousands of digits"


def text(pattern: str | None = None, *, least: int = 0, most: int | None = None) -> Check:
    """Text of a form, all of it; or of so many characters."""

    def check(value: object) -> str:
        if not isinstance(value, str):
            raise _unfit("string_type", value)
        if len(value) < least:
            raise _unfit("string_too_short", value, min_length=least)
        if most is not None and len(value) > most:
            raise _unfit("string_too_long", value, max_length=most)
        if pattern is not None and re.fullmatch(pattern, value) is None:
            raise _unfit("string_pattern_mismatch", value, pattern=pattern)
        return value

    return check


def whole(*, least: int | None = None, most: int | None = None, multiple_of: int = 1) -> Check:
    """A whole number, written as one: 1.0 is none."""

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _unfit("int_type", value)
        if value % multiple_of:
            raise _unfit("multiple_of", value, multiple_of=multiple_of)
        if most is not None and value > most:
            raise _unfit("less_than_equal", value, le=most)
        if least is not None and value < least:
            raise _unfit("greater_than_equal", value, ge=least)
        return value

    return check


def number() -> Check:
    """A finite number, whole or a `Decimal`, as the reader of the file makes them."""
    from decimal import Decimal

    def check(value: object) -> Decimal:
        if isinstance(value, int) and not isinstance(value, bool):
            return Decimal(value)
        if not isinstance(value, Decimal):
            raise _unfit("is_instance_of", value)
        if not value.is_finite():
            raise _unfit("finite_number", value)
        return value

    return check


def flag() -> Check:
    """True or false."""

    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise _unfit("bool_type", value)
        return value

    return check


def path() -> Check:
    """A path, absolute or from the file's folder."""
    from pathlib import Path

    def check(value: object) -> Path:
        if not isinstance(value, str):
            raise _unfit("path_type", value)
        return Path(value)

    return check


def only(*choices: str | int) -> Check:
    """One of a few words or numbers."""

    def check(value: object) -> Any:
        for choice in choices:
            if value == choice and type(value) is type(choice):
                return choice
        raise _unfit("literal_error", value, expected=_list_choices(choices))

    return check


def member(kind: type[StrEnum]) -> Check:
    """The word of an enumeration's member."""

    def check(value: object) -> StrEnum:
        if isinstance(value, str):
            for choice in kind:
                if value == choice.value:
                    return choice
        raise _unfit("enum", value, expected=_list_choices([choice.value for choice in kind]))

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
            raise _unfit("list_type", value)
        if most is not None and len(value) > most:
            raise _unfit("too_long", value, max_length=most)
        if len(value) < least:
            raise _unfit("too_short", value, min_length=least)
        return into(_check_each(enumerate(value), check_one))

    return check


def keyed(check_one: Check, *, keys: Check | None = None, least: int = 0) -> Check:
    """A table whose keys are not fixed, as a dictionary."""

    def check(value: object) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise _unfit("dict_type", value)
        if len(value) < least:
            raise _unfit("too_short", value, min_length=least)
        names = list(value)
        if keys is not None:
            names = _check_each(zip(value, value, strict=True), keys)
        return dict(zip(names, _check_each(value.items(), check_one), strict=True))

    return check


def nested(table: type) -> Check:
    """A table inside, as `read_table` reads it."""

    def check(value: object) -> Any:
        return read_table(table, value)

    return check


class _Entry(NamedTuple):
    name: str
    check: Check
    order: int


class _Plan(NamedTuple):
    entries: dict[str, _Entry]
    required: tuple[tuple[str, _Entry], ...]


_PLANS: dict[type, _Plan] = {}
"""One for each dataclass that was read; they are as constant as the dataclasses are."""


def _plan(table: type) -> _Plan:
    known = _PLANS.get(table)
    if known is None:
        known = _PLANS[table] = _make_plan(table)
    return known


def _make_plan(table: Any) -> _Plan:
    entries: dict[str, _Entry] = {}
    required = []
    for order, one in enumerate(fields(table)):
        key = one.metadata.get(_KEY, one.name)
        entries[key] = _Entry(one.name, one.metadata[_CHECK], order)
        if one.default is MISSING and one.default_factory is MISSING:
            required.append((key, entries[key]))
    return _Plan(entries, tuple(required))


def _check_each(values: Any, check: Check) -> list[Any]:
    checked: list[Any] = []
    problems: list[Problem] = []
    for key, value in values:
        try:
            checked.append(check(value))
        except UnfitTableError as error:
            problems += (_inside(key, problem) for problem in error.problems)
    if problems:
        raise UnfitTableError(*problems)
    return checked


def _inside(key: str | int, problem: Problem) -> Problem:
    return problem._replace(place=(key, *problem.place))


def _unfit(kind: str, value: object, **context: object) -> UnfitTableError:
    return UnfitTableError(Problem((), words_for(kind, **context), value))


def _list_choices(choices: Any) -> str:
    *others, last = (repr(choice) for choice in choices)
    return f"{', '.join(others)} or {last}" if others else last
