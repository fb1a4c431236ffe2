"""How far something has come: a bar for a person, a line now and then for a log."""

from __future__ import annotations

import errno
import io
import sys

import pytest

from cli.progress import LINE_EVERY_S, showing_progress


class Terminal(io.StringIO):
    """Standard error of somebody who looks on."""

    def isatty(self) -> bool:
        return True


class FullLog(io.StringIO):
    """Standard error on a disk that is full."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


class Clock:
    """A clock that goes on by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_log_gets_a_line_now_and_then_and_none_of_what_is_soon_done(capsys):
    clock = Clock()
    with showing_progress("simulating", as_json=False, clock_s=clock) as shown:
        for fraction in (0.1, 0.2, 0.3, 0.4):
            clock.now_s += 0.4 * LINE_EVERY_S
            shown.step("units", fraction)
        clock.now_s += LINE_EVERY_S
        shown(9, 10)
        shown(0, 0)
    told = capsys.readouterr()
    assert told.err.splitlines() == ["simulating: units, 30%", "simulating: 90%"]
    assert told.out == ""


def test_a_program_that_reads_the_result_may_read_errors_too_and_gets_no_line(capsys):
    clock = Clock()
    with showing_progress("simulating", as_json=True, clock_s=clock) as shown:
        clock.now_s += 2 * LINE_EVERY_S
        shown(1, 2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_terminal_shows_a_bar_and_the_result_stays_clean(capsys, monkeypatch, as_json):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with showing_progress("simulating", as_json=as_json) as shown:
        shown.step("units", 0.25)
    assert "units" in terminal.getvalue()
    assert "25%" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(sys, "stderr", FullLog())
    with showing_progress("simulating", as_json=False, clock_s=clock) as shown:
        clock.now_s += 2 * LINE_EVERY_S
        shown(1, 2)
