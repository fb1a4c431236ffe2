"""The page on gauge studies is true: its files are written, its commands are run."""

from __future__ import annotations

from pathlib import Path

from tests.test_author_a_waveform import run_page

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "gauge-study.md"


def test_every_command_of_the_page_does_what_the_page_shows(tmp_path: Path) -> None:
    command_count, file_count, folder = run_page(PAGE, tmp_path)
    assert (command_count, file_count) == (11, 3)
    assert (folder / "study.png").read_bytes().startswith(b"\x89PNG")
    assert b"EWMA: center" in (folder / "drift.svg").read_bytes()
