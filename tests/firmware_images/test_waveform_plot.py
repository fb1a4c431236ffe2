"""The picture of a mode: the same bytes each time, with its levels, limits, charge and session."""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import cache

import pytest

from firmware_images.waveform import Balance
from firmware_images.waveform_plot import plot_mode

from .waveform_builders import E1, E5, build_mode, flare_policy, flare_table

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def words(drawn: bytes) -> str:
    """All text of the picture, which stays text."""
    root = ET.fromstring(drawn)  # noqa: S314 - ours
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return "\n".join(
        "".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")
    )


def corner_counts(drawn: bytes) -> list[int]:
    """How many lines each outline of the picture has."""
    return [outline.count(b"L") for outline in re.findall(rb' d="([^"]*)"', drawn)]


@cache
def flare_picture(name: str) -> bytes:
    return plot_mode(flare_table().mode(name), flare_policy(), tick_us=100)


def test_a_mode_is_drawn_as_the_same_svg_every_time():
    mode = flare_table().mode("LIFT")
    assert plot_mode(mode, flare_policy(), tick_us=100) == flare_picture("LIFT")


@pytest.mark.parametrize("name", ["LIFT", "TIGHTEN", "INFUSE"])
def test_a_picture_says_what_is_drawn_and_in_which_unit(name):
    mode, drawn = flare_table().mode(name), flare_picture(name)
    assert b"dc:date" not in drawn
    assert len(drawn) < 150_000
    text = words(drawn)
    assert f"{mode.name}: {mode.balance}, current-regulated, levels" in text
    for label in (
        "current, µA",
        "charge since the beginning, µC",
        "time in the session, s",
        "PEAK: ceiling 600 µA",
        "JDC: a second's mean, ±225.5 µA",
        "flare-limits version 1",
    ):
        assert label in text
    assert ("SLOPE: steepest 100 µA/ms" in text) == (name != "TIGHTEN")


def test_the_picture_says_what_a_quality_engineer_looks_for():
    text = words(flare_picture("LIFT"))
    assert "PEAK: claim +10 % = 440 µA" in text
    assert "BALANCE: may stay unpaired, ±0.16 µC" in text
    assert "left at the end: 0 µC" in text
    assert "mean of the worst second: -32 µA" in text
    text = words(flare_picture("TIGHTEN"))
    assert "6,009 whole pulses" in text
    assert "stop at 300 s, last pulse ends at 299.9997 s" in text
    text = words(flare_picture("INFUSE"))
    assert "DOSE: in one polarity, ±54,545 µC" in text


def test_ramps_are_drawn_and_named():
    mode = flare_table().mode("LIFT")
    ramped = replace(mode, soft_start_pulses=2000, soft_stop_pulses=12)
    drawn = plot_mode(ramped, flare_policy(), tick_us=100)
    assert "soft start 2000 pulses, soft stop 12 pulses" in words(drawn)
    # A ramp is drawn in steps: its outline has more corners than anything in a plain session.
    assert max(corner_counts(drawn)) > max(corner_counts(flare_picture("LIFT")))
    assert len(drawn) < 150_000


def test_a_png_is_large_enough_to_print():
    mode = flare_table().mode("LIFT")
    drawn = plot_mode(mode, flare_policy(), tick_us=100, picture_format="png")
    assert drawn.startswith(PNG_SIGNATURE)
    assert struct.unpack(">II", drawn[16:24]) == (1560, 1020)


@pytest.mark.parametrize(
    "changes",
    [
        {"pulses_per_burst": 5000, "burst_off_ticks": 1000, "flips_each_burst": True},
        {"pulses_per_burst": 2, "burst_off_ticks": 7, "session_ticks": 2**32 - 1},
    ],
)
def test_what_is_too_much_to_see_one_by_one_is_drawn_as_a_block(changes):
    drawn = plot_mode(build_mode(E1, **changes), flare_policy(), tick_us=100)
    assert len(drawn) < 200_000
    assert "PEAK: claim" not in words(drawn)  # the policy does not name the mode


def test_a_single_galvanic_level_and_a_session_that_the_hard_stop_cuts_are_drawn():
    mode = build_mode(E5, balance=Balance.GALVANIC, session_ticks=20_000_000)
    text = words(plot_mode(mode, flare_policy(), tick_us=100))
    assert "stop at 1200 s" in text
    assert "20 whole pulses" in text
