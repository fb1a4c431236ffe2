"""The page on adding an instrument is true: its commands are run."""

from __future__ import annotations

from pathlib import Path

from provisioning.instrument_description import load_description
from tests.test_author_a_waveform import run_page

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "add-an-instrument.md"


def test_every_command_of_the_page_does_what_the_page_shows(tmp_path: Path) -> None:
    command_count, _, folder = run_page(PAGE, tmp_path)
    assert command_count == 9
    assert load_description("our-meter.toml", root=folder).name == "keysight-truevolt"
