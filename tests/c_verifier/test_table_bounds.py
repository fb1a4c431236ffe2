"""At each bound of a waveform table, the C verifier and ours accept the last value and no further.

The bytes are written from docs/spec/waveform-table.md §3 to §5 with `struct` alone.
"""

from __future__ import annotations

import hashlib
import struct

import pytest

from firmware_images.waveform_table import parse_waveform_table
from tests.c_verifier.verdicts import our_codes

LARGEST = 2**31 - 1


def level(*segments, peak=None) -> bytes:
    segments = segments or ((1, 50_000, 0),)
    largest = max(abs(end) for _, *ends in segments for end in ends)
    head = struct.pack("<IHH", largest if peak is None else peak, len(segments), 0)
    return head + b"".join(struct.pack("<Iii", *segment) for segment in segments)


def mode(
    *levels, name=b"TRIAL", balance=0, regulation=0, flips=0, pulses=1, rest=0, session=1000,
    start=0, stop=0, count=None,
) -> bytes:  # fmt: skip
    levels = levels or (level(),)
    counts = (len(levels) if count is None else count, pulses, rest, session, start, stop)
    return struct.pack("<16sBBBBIIIII", name, balance, regulation, flips, *counts) + b"".join(
        levels
    )


def table(
    *modes, tick=100, clamp=600_000, hard_stop=12_000_000, area=50, policy=1, name=b"flare-c3",
    reserved=bytes(6), count=None,
) -> bytes:  # fmt: skip
    modes = modes or (mode(),)
    body = b"".join(modes)
    size = 104 + len(body) + 32
    head = struct.pack(
        "<4sHHIIIIII32s32sH6s", b"AFWT", 1, 104, size, tick, clamp, hard_stop, area, policy,
        bytes(32), name, len(modes) if count is None else count, reserved,
    )  # fmt: skip
    content = head + body
    return content + hashlib.sha256(content).digest()


ACCEPTED = {
    "plain": table(),
    "tick-1": table(tick=1),
    "tick-1-s": table(tick=1_000_000),
    "clamp-largest": table(clamp=LARGEST),
    "area-largest": table(area=1_000_000),
    "hard-stop-before-the-first-pulse": table(mode(level((9, 50_000, 0))), hard_stop=1),
    "sixteen-modes": table(*(mode(name=b"M%d" % number) for number in range(16))),
    "sixteen-levels": table(mode(*(level((1, n, 0)) for n in range(1, 17)))),
    "longest-names": table(mode(name=b"A" * 16), name=b"a" * 32),
    "currents-largest": table(mode(level((1, LARGEST, -LARGEST), (1, 0, 0)))),
    "session-of-one-pulse": table(mode(level((1000, 50_000, 0)))),
    "rest-largest": table(mode(rest=2**32 - 1)),
    "unrolled-largest": table(mode(pulses=65_535)),
    "unrolled-largest-flipping": table(mode(pulses=32_767, flips=1)),
    "soft-start-of-two": table(mode(start=2)),
    "soft-start-largest": table(mode(start=65_536, session=65_536)),
    "ramps-fill-the-session": table(mode(start=600, stop=400)),
    "ramps-fill-a-session-of-bursts": table(mode(pulses=3, rest=7, start=200, stop=100)),
    "second-full-of-segments": table(mode(level((16, 50_000, 0)), start=2), tick=1),
    "second-fuller-without-a-ramp": table(mode(level((1, 50_000, 0))), tick=1),
}
REFUSED = {
    "tick-0": table(tick=0),
    "tick-above-1-s": table(tick=1_000_001),
    "clamp-0": table(clamp=0),
    "clamp-too-large": table(clamp=2**31),
    "hard-stop-0": table(hard_stop=0),
    "area-0": table(area=0),
    "area-too-large": table(area=1_000_001),
    "policy-0": table(policy=0),
    "reserved-set": table(reserved=b"\0\0\0\0\0\1"),
    "no-mode": table(count=0),
    "modes-not-all-counted": table(mode(), mode(name=b"OTHER"), count=1),
    "seventeen-modes": table(*(mode(name=b"M%d" % number) for number in range(17))),
    "two-modes-of-one-name": table(mode(), mode()),
    "name-empty": table(mode(name=b"")),
    "name-in-small-letters": table(mode(name=b"trial")),
    "name-with-a-zero-inside": table(mode(name=b"TRI\0AL")),
    "name-beginning-with-a-digit": table(mode(name=b"1TRIAL")),
    "class-in-capitals": table(name=b"FLARE"),
    "class-beginning-with-a-dot": table(name=b".flare"),
    "class-empty": table(name=b""),
    "balance-2": table(mode(balance=2)),
    "regulation-2": table(mode(regulation=2)),
    "flips-2": table(mode(flips=2)),
    "no-level": table(mode(count=0)),
    "seventeen-levels": table(mode(*(level((1, n, 0)) for n in range(1, 18)))),
    "levels-equal": table(mode(level(), level())),
    "levels-falling": table(mode(level((1, 2, 0)), level((1, 1, 0)))),
    "peak-above-the-segments": table(mode(level(peak=50_001))),
    "peak-0": table(mode(level((1, 0, 0)))),
    "not-ending-at-zero": table(mode(level((1, 50_000, 1)))),
    "segment-of-no-ticks": table(mode(level((0, 50_000, 0)))),
    "current-of-minus-2-to-the-31": table(mode(level((1, -(2**31), 0)))),
    "pulses-0": table(mode(pulses=0)),
    "session-0": table(mode(session=0)),
    "session-shorter-than-a-pulse": table(mode(level((1001, 50_000, 0)))),
    "unrolled-too-large": table(mode(pulses=65_536)),
    "unrolled-too-large-flipping": table(mode(pulses=32_768, flips=1)),
    "pulses-that-overflow": table(mode(pulses=2**32 - 1)),
    "soft-start-of-one": table(mode(start=1)),
    "soft-stop-of-one": table(mode(stop=1)),
    "soft-start-too-long-to-unroll": table(mode(start=65_537, session=70_000)),
    "ramps-longer-than-the-session": table(mode(start=600, stop=401)),
    "ramps-longer-than-a-session-of-bursts": table(mode(pulses=3, rest=7, start=200, stop=101)),
    "second-too-full-of-segments": table(mode(level((15, 50_000, 0)), start=2), tick=1),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_table_at_a_bound_is_accepted_by_both(c_verifier, name):
    assert our_codes(lambda: parse_waveform_table(ACCEPTED[name])) == {"ok"}
    assert c_verifier.code("table", bytes=ACCEPTED[name]) == "ok"


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_beyond_a_bound_is_refused_by_both(c_verifier, name):
    assert our_codes(lambda: parse_waveform_table(REFUSED[name])) == {"table"}
    assert c_verifier.code("table", bytes=REFUSED[name]) == "table"
