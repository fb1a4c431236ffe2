"""Telnet: whatever the division of the stream, data and commands come apart the same way."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from provisioning.telnet_stream import (
    DO,
    OPTION_BINARY,
    OPTION_COM_PORT,
    SUBNEGOTIATION_MAX_BYTES,
    WILL,
    Negotiation,
    Subnegotiation,
    TelnetParser,
    escape_data,
    serialize_negotiation,
    serialize_subnegotiation,
)

pieces = st.one_of(
    st.tuples(st.just("data"), st.binary(max_size=30)),
    st.tuples(st.just("negotiation"), st.tuples(st.sampled_from([WILL, DO]), st.integers(0, 254))),
    st.tuples(st.just("subnegotiation"), st.binary(max_size=30)),
)


def feed_in_pieces(stream, cuts):
    parser = TelnetParser()
    data, items = b"", []
    bounds = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(bounds):
        more_data, more_items = parser.feed(stream[start:end])
        data += more_data
        items += more_items
    return data, items


@given(st.lists(pieces, max_size=8), st.lists(st.integers(0, 400), max_size=6))
def test_a_stream_comes_apart_however_it_is_cut(parts, cuts):
    stream, data, items = b"", b"", []
    for kind, content in parts:
        if kind == "data":
            stream += escape_data(content)
            data += content
        elif kind == "negotiation":
            stream += serialize_negotiation(*content)
            items.append(Negotiation(verb=content[0], option=content[1]))
        else:
            stream += serialize_subnegotiation(content)
            items.append(Subnegotiation(content=content))
    assert feed_in_pieces(stream, cuts) == (data, items)


@given(st.binary(max_size=200), st.lists(st.integers(0, 400), max_size=6))
def test_arbitrary_bytes_are_taken_without_an_error(stream, cuts):
    assert feed_in_pieces(stream, cuts) == feed_in_pieces(stream, [])


def test_a_subnegotiation_that_never_ends_keeps_a_bounded_buffer():
    parser = TelnetParser()
    parser.feed(b"\xff\xfa")
    for _ in range(100):
        assert parser.feed(b"x" * 100) == (b"", [])
    _, items = parser.feed(b"\xff\xf0")
    assert len(items[0].content) <= SUBNEGOTIATION_MAX_BYTES


def test_an_end_without_a_beginning_and_other_commands_are_dropped():
    parser = TelnetParser()
    assert parser.feed(b"a\xff\xf0b\xff\xf1c") == (b"abc", [])


def test_what_is_sent_is_what_rfc_854_says():
    assert serialize_negotiation(WILL, OPTION_BINARY) == bytes([255, 251, 0])
    assert serialize_subnegotiation(bytes([OPTION_COM_PORT, 1, 255])) == bytes(
        [255, 250, 44, 1, 255, 255, 255, 240]
    )
