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

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from signing.validation_words import words_for
from signing.written_checks import Problem, UnfitTableError, unfit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signing.written_checks import Check

Table = TypeVar("Table")
_CHECK, _KEY = "written_check", "written_key"


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
        raise unfit("model_type", written_value)
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
            problems += ((entry.order, problem.inside(key)) for problem in error.problems)
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
