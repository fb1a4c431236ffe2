"""A torn write or erase of otadata may leave an entry whose CRC is right and whose state is wrong.

The CRC covers the sequence alone, and the bootloader writes an entry in one piece. So each
operation of an update on otadata is cut once for each state that a subset of its bits can leave
there. None may stand for a verdict that nobody gave.
"""

from __future__ import annotations

import struct

import pytest

from firmware_images.flash_medium import SECTOR_BYTES
from firmware_images.otadata import OtaState
from tests.firmware_images.power_cut import TornFlash
from tests.manifests.update_lives import KINDS, Life, make_kind, survive
from tests.manifests.world import FLASH_BYTES, PARTITIONS
from tests.reliability_page import figures

pytestmark = pytest.mark.no_cover  # what it repeats is counted elsewhere

OTADATA = PARTITIONS.find("otadata")
STATE = slice(24, 28)
ENTRY_BYTES = 32
UNKNOWN_BIT = 0x100
ALL_BITS = 0xFFFFFFFF
REVERTING = {OtaState.NEW, OtaState.PENDING_VERIFY, OtaState.INVALID, OtaState.ABORTED}


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    return make_kind(request.param, tmp_path_factory.mktemp(request.param))


class WatchedOtadata(TornFlash):
    """Notes each operation that may leave an entry with a right CRC and another state."""

    def __init__(self):
        super().__init__(FLASH_BYTES)
        self.tears = []

    def _operate(self, act, offset_bytes, content):
        place = offset_bytes - OTADATA.offset_bytes
        if place in {0, SECTOR_BYTES} and len(content) >= ENTRY_BYTES:
            old = self.read(offset_bytes, ENTRY_BYTES)
            whole = old if act == "erase" else content
            if whole != b"\xff" * ENTRY_BYTES:
                self.tears += [(self.operations, act, state) for state in reachable(whole)]
        super()._operate(act, offset_bytes, content)


def reachable(entry):
    """The states that a subset of the bits can leave: an erase sets them, a write clears them."""
    (kept,) = struct.unpack("<I", entry[STATE])
    return sorted(s for s in {*OtaState, kept | UNKNOWN_BIT, ALL_BITS} if s & kept == kept)


def leaving(act, state):
    def leave(old, new):
        torn = bytearray(old if act == "erase" else new)
        torn[STATE] = struct.pack("<I", state)
        return bytes(torn)

    return leave


def is_lost_on_the_bootloader(kind, state):
    """Whether a release that crashes boots for ever: nothing of ours runs that could go back."""
    return kind.crashes and state not in REVERTING


def tears_of(kind):
    flash = WatchedOtadata()
    life = Life(kind=kind, flash=flash)
    life.live()
    life.judge_end("undisturbed")
    return flash.tears


def test_no_torn_entry_is_taken_for_a_verdict(kind):
    tears = tears_of(kind)
    assert tears
    for cut_at, act, state in tears:
        where = f"{kind.name}: operation {cut_at}, torn {act} leaves state {state:#x}"
        life = Life(kind=kind, flash=TornFlash(FLASH_BYTES))
        life.flash.cut_leaving(cut_at, leaving(act, state))
        assert survive(life, where), where
        if is_lost_on_the_bootloader(kind, state):
            continue
        life.live()
        life.judge_end(where)


def test_the_page_says_how_many_states_are_torn(tmp_path_factory):
    tears = [
        tear for name in KINDS for tear in tears_of(make_kind(name, tmp_path_factory.mktemp(name)))
    ]
    assert figures("power cut that leaves an otadata entry whole") == (
        str(len(tears)),
        "all",
        "all",
    )
