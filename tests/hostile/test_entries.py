"""Whatever bytes come in, each way in gives a value or one of our errors."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing.refusal import Refusal
from tests.conftest import IS_SOAK
from tests.hostile.entries import ENTRIES

MUTATIONS = 200 if IS_SOAK else 25


def name_of(entry) -> str:
    return entry.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("entries")


def read(entry, folder, content: bytes) -> None:
    path = folder / f"input{entry.suffix}"
    path.write_bytes(content)
    with suppress(Refusal):
        entry.read(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
@settings(max_examples=MUTATIONS, deadline=None)
@given(content=st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_our_errors(entry, folder, content):
    read(entry, folder, content)


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_changed_valid_input_raises_only_our_errors(entry, folder):
    valid = entry.valid()
    generator = random.Random(None if IS_SOAK else entry.name)
    read(entry, folder, valid)
    for _ in range(MUTATIONS):
        content = bytearray(valid)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(content) + 1)
            match generator.randrange(5):
                case 0:
                    content[at : at + 1] = generator.randbytes(1)
                case 1:
                    del content[at : at + generator.choice((1, 8, 1 << 20))]
                case 2:
                    content[at:at] = generator.randbytes(generator.choice((1, 4, 40)))
                case 3:
                    content[at : at + 8] = generator.choice((b"\xff", b"\0", b"9", b"[")) * 8
                case _:
                    content[at:at] = content[:at]
        read(entry, folder, bytes(content))


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_valid_input_is_read_further_than_nonsense(entry, folder):
    """Else changing it would prove nothing: it is accepted, or refused for another reason."""

    def outcome(content: bytes) -> str:
        path = folder / f"sample{entry.suffix}"
        path.write_bytes(content)
        try:
            entry.read(path)
        except Refusal as refusal:
            return refusal.what
        return "accepted"

    assert outcome(entry.valid()) == "accepted" or outcome(entry.valid()) != outcome(b"\xff\x00")
