"""Events: exact bytes, read back, and nothing else accepted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.errors import LedgerError
from provisioning.ledger_events import (
    Event,
    Phase,
    chain_event,
    format_time,
    parse_event,
    parse_time,
    serialize_event,
    verify_next,
)
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.hash_chain import GENESIS

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
moments = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2099, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
events = st.builds(
    Event,
    station=texts,
    number=st.integers(0, 2**40),
    at=moments,
    epoch=st.integers(1, 9),
    job=st.none() | texts,
    serial=st.none() | texts,
    mac=st.none() | st.binary(min_size=6, max_size=6),
    step=texts,
    phase=st.sampled_from(Phase),
    data=st.dictionaries(texts, values, max_size=4),
)
AN_EVENT = Event(
    station="station-1", number=0, at=dt.datetime(2026, 2, 10, tzinfo=dt.UTC), epoch=1, job=None,
    serial=None, mac=None, step="detect", phase=Phase.INTENT, data={},
)  # fmt: skip


@given(events)
def test_what_is_written_is_read_back(event):
    assert parse_event(serialize_event(event), where="test") == event


@given(st.binary(max_size=80))
def test_arbitrary_bytes_raise_only_our_error(content):
    with pytest.raises(LedgerError):
        parse_event(content, where="test")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (1, 2), (1, True), (3, "0"), (4, "yesterday"), (8, "7c"), (10, "MAYBE"), (11, "[1]"),
        (11, "{"), (11, "[" * 5000),
    ],
)  # fmt: skip
def test_a_value_of_another_shape_is_refused(key, value):
    document = parse_cbor(serialize_event(AN_EVENT), max_bytes=1 << 20)
    with pytest.raises(LedgerError):
        parse_event(serialize_cbor({**document, key: value}), where="test")


def test_a_missing_key_is_refused():
    document = parse_cbor(serialize_event(AN_EVENT), max_bytes=1 << 20)
    del document[6]
    with pytest.raises(LedgerError, match="damaged"):
        parse_event(serialize_cbor(document), where="test")


def test_an_event_that_is_too_long_is_refused():
    from dataclasses import replace

    with pytest.raises(LedgerError, match="too long"):
        serialize_event(replace(AN_EVENT, data={"log": "x" * (1 << 20)}))


def test_the_chain_links_the_digest_and_finds_a_change():
    from dataclasses import replace

    first = chain_event(AN_EVENT, previous=GENESIS)
    second = chain_event(replace(AN_EVENT, number=1), previous=first.hash)
    verify_next(GENESIS, first, where="test")
    verify_next(first.hash, second, where="test")
    for head, event in (
        (GENESIS, second),
        (first.hash, first),
        (GENESIS, replace(first, content=b"")),
    ):
        with pytest.raises(LedgerError, match="chain of events is broken"):
            verify_next(head, event, where="test")


@given(moments)
def test_times_are_text_of_fixed_length_that_is_read_back(moment):
    assert len(format_time(moment)) == 27
    assert parse_time(format_time(moment)) == moment


def test_the_golden_event_is_read_written_and_chained_as_it_was_made_elsewhere():
    content = (GOLDEN / "event.cbor").read_bytes()
    event = parse_event(content, where="event.cbor")
    assert (event.serial, event.step, event.data["version"]) == (
        "AMPFLR260700001R",
        "flash",
        "1.4.0",
    )
    chained = chain_event(event, previous=GENESIS)
    assert chained.content == content
    assert chained.hash.hex() == (GOLDEN / "event.hash").read_text().strip()
