"""What people write is read strictly, and refused in the words that pydantic's findings have."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from signing.validation_words import describe_problem
from signing.written_table import (
    UnfitTableError,
    flag,
    keyed,
    member,
    nested,
    number,
    only,
    path,
    read_table,
    several,
    show_value,
    text,
    whole,
    written,
    written_values,
)


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    width_um: int = field(metadata=written(whole(least=1, most=9)))
    from_: str | None = field(default=None, metadata=written(text(), key="from"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    name: str = field(metadata=written(text(r"^[a-z]{1,3}$")))
    least_um: int = field(default=1, metadata=written(whole(least=0)))
    most_um: int = field(default=5, metadata=written(whole(least=0)))
    part: Part | None = field(default=None, metadata=written(nested(Part)))
    parts: tuple[Part, ...] = field(default=(), metadata=written(several(nested(Part), most=3)))
    named: dict[str, Part] = field(
        default_factory=dict, metadata=written(keyed(nested(Part), keys=text(r"^[a-z]{1,3}$")))
    )

    def __post_init__(self) -> None:
        """Refuse bounds that cross."""
        if self.least_um > self.most_um:
            raise ValueError("least_um is above most_um")


FULL: dict[str, Any] = {
    "name": "abc",
    "least_um": 2,
    "part": {"width_um": 3, "from": "here"},
    "parts": [{"width_um": 4}],
    "named": {"a": {"width_um": 5}},
}


def problems_of(value: object) -> list[tuple[str, str]]:
    with pytest.raises(UnfitTableError) as caught:
        read_table(Whole, value)
    return [(".".join(map(str, p.place)), p.words) for p in caught.value.problems]


def test_a_table_becomes_the_value_and_gives_back_what_was_written():
    value = read_table(Whole, FULL)
    assert value == Whole(
        name="abc",
        least_um=2,
        part=Part(width_um=3, from_="here"),
        parts=(Part(width_um=4),),
        named={"a": Part(width_um=5)},
    )
    assert value.part is not None
    assert written_values(value.part) == {"width_um": 3, "from": "here"}
    assert written_values(value.parts[0]) == {"width_um": 4}


def test_everything_wrong_is_told_unknown_keys_first_and_then_in_the_order_of_the_fields():
    table = {
        "colour": 1,
        "named": {"UP": {"width_um": 1}, "b": {"width_um": 0}},
        "parts": [{"width_um": 1}, {"from_": "x"}, 7],
        "least_um": True,
    }
    assert problems_of(table) == [
        ("colour", "is not a key that is known here"),
        ("name", "is missing"),
        ("least_um", "must be a whole number"),
        ("parts.1.from_", "is not a key that is known here"),
        ("parts.1.width_um", "is missing"),
        ("parts.2", "must be a table"),
        ("named.UP", "must be of the form ^[a-z]{1,3}$"),
    ]
    assert problems_of({"name": "a", "named": {"b": {"width_um": 0}}}) == [
        ("named.b.width_um", "must be at least 1")
    ]


def test_a_rule_over_several_fields_is_asked_once_each_is_right():
    with pytest.raises(UnfitTableError, match=r"^least_um is above most_um$") as caught:
        read_table(Whole, {"name": "a", "least_um": 9})
    (problem,) = caught.value.problems
    assert (problem.place, problem.is_rule) == ((), True)
    assert problems_of({"name": 1, "least_um": 9}) == [("name", "must be text")]


def test_a_number_of_more_digits_than_python_shows_is_still_refused_in_words():
    assert problems_of({"name": "a", "part": {"width_um": 1 << 100_000}}) == [
        ("part.width_um", "must be at most 9")
    ]
    assert show_value(1 << 100_000) == "a number of thousands of digits"
    assert show_value("µ") == "'µ'"


STRICT = ConfigDict(strict=True)
# Each check beside the same demand on pydantic, which finds the same or more where both may differ.
PAIRS: list[tuple[Any, Any]] = [
    (text(), str),
    (text(r"^[a-z]{1,3}$"), Annotated[str, Field(pattern=r"^[a-z]{1,3}$")]),
    (text(least=1, most=2), Annotated[str, Field(min_length=1, max_length=2)]),
    (whole(), int),
    (whole(least=1, most=4), Annotated[int, Field(ge=1, le=4)]),
    (whole(multiple_of=4), Annotated[int, Field(multiple_of=4)]),
    (flag(), bool),
    (only("a", "b"), Literal["a", "b"]),
    (member(Colour), Annotated[Colour, Field(strict=False)]),
    (path(), Annotated[Path, Field(strict=False)]),
    (number(), Annotated[Decimal, Field(strict=True)]),
    (several(whole(), most=2), Annotated[list[int], Field(max_length=2)]),
    (several(text(), least=1), Annotated[list[str], Field(min_length=1)]),
    (keyed(whole(), least=1), Annotated[dict[str, int], Field(min_length=1)]),
    (keyed(keyed(flag())), dict[str, dict[str, bool]]),
]
VALUES = st.recursive(
    st.booleans()
    | st.integers(-2, 9)
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(max_size=4)
    | st.sampled_from(["a", "b", "ab\n", "red", "blue", "abc"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


@given(value=VALUES, pair=st.sampled_from(PAIRS))
def test_a_check_takes_what_pydantic_takes_and_refuses_in_the_same_words(value, pair):
    check, demand = pair
    adapter = TypeAdapter(demand, config=STRICT if not hasattr(demand, "model_config") else None)
    is_decimal = check is PAIRS[10][0]
    asked = Decimal(value) if is_decimal and type(value) is int else value
    try:
        expected = adapter.validate_python(asked)
    except ValidationError as error:
        with pytest.raises(UnfitTableError) as caught:
            check(value)
        first, found = error.errors(include_url=False)[0], caught.value.problems[0]
        if not first["type"].startswith("too_"):  # a list's length is looked at before its entries
            assert (found.place, found.words) == (first["loc"], describe_problem(first))
        return
    taken = check(value)
    assert (list(taken) if isinstance(taken, tuple) else taken) == expected


class PydanticPart(BaseModel):
    """As `Part`, to compare with."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    width_um: Annotated[int, Field(ge=1, le=9)]
    from_: str | None = Field(default=None, alias="from")


@given(
    st.dictionaries(
        st.sampled_from(["width_um", "from", "from_", "colour", ""]),
        st.integers(-1, 10) | st.booleans() | st.text(max_size=2) | st.floats(),
    )
)
def test_a_table_is_taken_and_refused_as_a_pydantic_model_would(table):
    try:
        expected = PydanticPart.model_validate(table)
    except ValidationError as error:
        with pytest.raises(UnfitTableError) as caught:
            read_table(Part, table)
        found = {(p.place, p.words) for p in caught.value.problems}
        wanted = {(e["loc"], describe_problem(e)) for e in error.errors(include_url=False)}
        assert found == wanted
        return
    assert written_values(read_table(Part, table)) == expected.model_dump(
        by_alias=True, exclude_none=True
    )
