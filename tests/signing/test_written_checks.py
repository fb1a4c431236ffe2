"""Each kind of value that people write is taken and refused as by pydantic, in the same words."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from signing.validation_words import describe_problem
from signing.written_checks import (
    UnfitTableError,
    flag,
    keyed,
    member,
    number,
    only,
    path,
    several,
    text,
    whole,
)


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


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
