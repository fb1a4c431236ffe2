"""The picture of a mode: the same bytes each time, with its levels and limits."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from firmware_images.waveform_plot import plot_mode

from .waveform_builders import E1, build_mode, flare_policy, flare_table


def test_a_mode_is_drawn_as_the_same_svg_every_time():
    for mode in flare_table().modes:
        drawn = plot_mode(mode, flare_policy(), tick_us=100)
        assert drawn == plot_mode(mode, flare_policy(), tick_us=100)
        assert ET.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - ours
        assert b"dc:date" not in drawn
        assert f"{mode.name}: {mode.balance}, levels".encode() in drawn  # text, and not its outline
        assert b"current, \xc2\xb5A" in drawn
        assert len(drawn) < 50_000


def test_a_long_burst_is_drawn_as_a_block_and_a_mode_without_claim_without_its_line():
    mode = build_mode(E1, pulses_per_burst=5000, burst_off_ticks=1000, flips_each_burst=True)
    drawn = plot_mode(mode, flare_policy(), tick_us=100)
    assert len(drawn) < 200_000
    assert len(plot_mode(build_mode(E1), flare_policy(), tick_us=100)) > 1000
