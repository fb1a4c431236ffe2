"""`make fuzz` asks each property for more examples, whichever way pytest found it."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import conftest


@dataclass
class Item:
    obj: object


def make_property():
    @settings(max_examples=5)
    @given(st.integers())
    def holds(*_drawn):
        pass

    return holds


def examples(function) -> int:
    return function._hypothesis_internal_use_settings.max_examples


def test_a_property_with_several_parameter_sets_is_asked_for_more_once(monkeypatch):
    monkeypatch.setattr(conftest, "EXAMPLES_FACTOR", 3)
    function = make_property()
    conftest.ask_for_more_examples([Item(function), Item(function), Item(object())])
    assert examples(function) == 15


def test_a_property_that_is_a_method_is_asked_for_more(monkeypatch):
    monkeypatch.setattr(conftest, "EXAMPLES_FACTOR", 3)
    case = type("Case", (), {"holds": make_property()})
    conftest.ask_for_more_examples([Item(case().holds)])
    assert examples(case.holds) == 15
