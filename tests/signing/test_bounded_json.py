"""The bound on a JSON text's values is never too low."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from signing.bounded_json import count_values

VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


def values_in(value: object) -> int:
    """Count a value and what it holds, keys included."""
    match value:
        case list():
            return 1 + sum(map(values_in, value))
        case dict():
            return 1 + sum(1 + values_in(inner) for inner in value.values())
        case _:
            return 1


@given(VALUES)
def test_the_bound_is_never_below_the_number_of_values(value):
    for text in (json.dumps(value), json.dumps(value, separators=(",", ":"), indent=1)):
        assert count_values(text.encode()) >= values_in(value)


@given(st.binary(max_size=60))
def test_every_separator_and_opening_bracket_counts(untrusted_bytes):
    marks = sum(map(untrusted_bytes.count, (b",", b":", b"[", b"{")))
    assert count_values(untrusted_bytes) == 1 + marks
