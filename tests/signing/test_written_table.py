"""What people write is read strictly, and refused in the words that pydantic's findings have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from signing.validation_words import describe_problem
from signing.written_checks import UnfitTableError, keyed, several, text, whole
from signing.written_table import nested, read_table, show_value, written, written_values


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
