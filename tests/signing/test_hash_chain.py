from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.errors import ChainError
from signing.hash_chain import GENESIS, link_hash, verify_chain


def chain(contents: list[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    links, head = [], GENESIS
    for content in contents:
        links.append((head, content, link_hash(head, content)))
        head = links[-1][2]
    return links


def test_an_entry_s_hash_is_over_domain_predecessor_and_content() -> None:
    expected = hashlib.sha256(b"ampforge hash chain v1\0" + bytes(32) + b"entry").digest()
    assert link_hash(GENESIS, b"entry") == expected


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_a_chain_verifies_to_its_last_hash(contents: list[bytes]) -> None:
    links = chain(contents)
    assert verify_chain(links) == (links[-1][2] if links else GENESIS)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5), st.data())
def test_a_changed_entry_is_named_by_its_index(contents: list[bytes], data: st.DataObject) -> None:
    links = chain(contents)
    index = data.draw(st.integers(0, len(links) - 1))
    previous, content, stated = links[index]
    links[index] = (previous, content + b"x", stated)
    with pytest.raises(ChainError, match=rf"does not match its hash.*\(entry {index}\)"):
        verify_chain(links)


def test_a_removed_inserted_or_swapped_entry_is_named() -> None:
    links = chain([b"0", b"1", b"2", b"3"])
    for changed, index in (
        ([*links[:1], *links[2:]], 1),
        ([*links[:2], *links[1:]], 2),
        ([links[0], links[2], links[1], links[3]], 1),
        (links[1:], 0),
    ):
        with pytest.raises(ChainError, match=rf"does not follow.*\(entry {index}\)"):
            verify_chain(changed)


def test_a_predecessor_of_another_length_is_refused() -> None:
    with pytest.raises(ChainError, match="expected 32 bytes, got 31 bytes"):
        link_hash(bytes(31), b"x")
