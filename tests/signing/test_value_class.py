"""A value class behaves as the standard library's dataclass of the same form does."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, field
from typing import Any

import pytest

from signing.value_class import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """As `Theirs`."""

    width_um: int
    parts: list[int] = field(default_factory=list)
    name: str = "n"
    hidden: int = field(default=0, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.width_um < 0:
            raise ValueError("width_um is below zero")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    """As `Ours`."""

    width_um: int
    parts: list[int] = field(default_factory=list)
    name: str = "n"
    hidden: int = field(default=0, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.width_um < 0:
            raise ValueError("width_um is below zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class Longer(Ours):
    depth_um: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:  # noqa: PLW1641 - the decorator makes it
    size_bytes: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Judged)

    def __repr__(self) -> str:
        return "judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    """Has no field."""


CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"parts": [1]},
    {"name": "m"},
    {"hidden": 5},
    {"width_um": 2, "parts": [1], "name": "m", "hidden": 3},
)


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("others", CHANGES)
def test_making_showing_comparing_and_replacing_are_the_same(changes, others):
    ours, theirs = Ours(**{"width_um": 1} | changes), Theirs(**{"width_um": 1} | changes)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert dataclasses.asdict(dataclasses.replace(ours, **others)) == dataclasses.asdict(
        dataclasses.replace(theirs, **others)
    )
    assert (ours == Ours(**{"width_um": 1} | others)) is (
        theirs == Theirs(**{"width_um": 1} | others)
    )
    assert ours != theirs
    for copied in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):  # noqa: S301
        assert (copied, copied.hidden) == (ours, ours.hidden)


def test_each_value_has_a_list_of_its_own_by_default():
    assert Ours(width_um=1).parts is not Ours(width_um=1).parts


def test_the_shape_is_the_same():
    assert Ours.__slots__ == Theirs.__slots__
    assert Ours.__match_args__ == Theirs.__match_args__ == ()
    assert not hasattr(Ours(width_um=1), "__dict__")
    assert [f.name for f in dataclasses.fields(Ours)] == [
        f.name for f in dataclasses.fields(Theirs)
    ]
    ours, theirs = (inspect.signature(cls).parameters for cls in (Ours, Theirs))
    assert [(p.name, p.kind) for p in ours.values()] == [(p.name, p.kind) for p in theirs.values()]


def test_nothing_is_set_or_deleted_and_rules_are_asked():
    value: Any = Ours(width_um=1)
    with pytest.raises(FrozenInstanceError, match="'width_um'"):
        value.width_um = 2
    with pytest.raises(FrozenInstanceError, match="'name'"):
        del value.name
    assert value == Ours(width_um=1)
    with pytest.raises(ValueError, match="below zero"):
        Ours(width_um=-1)
    for wrong in ({}, {"width_um": 1, "colour": 2}):
        with pytest.raises(TypeError):
            Ours(**wrong)
    with pytest.raises(TypeError):
        Ours(1)  # type: ignore[misc]


def test_values_hash_by_what_they_compare_by():
    class_of = {Longer(width_um=1, parts=(1,), hidden=2): "a"}  # type: ignore[arg-type]
    assert class_of[Longer(width_um=1, parts=(1,), hidden=3)] == "a"  # type: ignore[arg-type]
    assert Longer(width_um=1) != Ours(width_um=1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ours(width_um=1))


def test_what_a_class_says_itself_stays():
    assert Judged(size_bytes=1) == Judged(size_bytes=2)
    assert repr(Judged(size_bytes=1)) == "judged"
    assert hash(Judged(size_bytes=1)) == hash(Judged(size_bytes=1))


def test_a_class_without_fields_has_one_value():
    assert {Empty(), Empty()} == {Empty()}
    assert Empty() != Judged(size_bytes=0).size_bytes


def test_any_other_form_is_the_standard_librarys():
    @dataclass(slots=True)
    class Changing:
        count: int

    value = Changing(1)
    value.count = 2
    assert value == Changing(2)
    assert not dataclasses.fields(Changing)[0].kw_only
