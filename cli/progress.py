"""How far a long look, transfer or study has come, on standard error."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE_EVERY_S = 10.0
"""Where there is no terminal: what is done sooner than this says nothing."""


class Shown:
    """What a long act tells how far it has come: by counts, or step by step.

    Args:
        show: Shows a step's name and how much of it is done, from 0 to 1.
        what: What is done, where no step is named.
        say: Says something at once.
    """

    def __init__(
        self, show: Callable[[str, float], None], what: str, say: Callable[[str], None]
    ) -> None:
        self._show = show
        self._what = what
        self.say = say

    def __call__(self, done: int, total: int) -> None:
        """Tell how many of how many are done."""
        self._show(self._what, done / total if total else 1.0)

    def step(self, name: str, fraction: float) -> None:
        """Tell which step is done, and how much of it."""
        self._show(name, fraction)


@contextmanager
def showing_progress(
    what: str, *, as_json: bool, clock_s: Callable[[], float] = time.monotonic
) -> Iterator[Shown]:
    """Show how far something has come: a bar on a terminal, elsewhere now and then a line.

    Args:
        what: What is done.
        as_json: Whether a program reads the result; it may read an error from standard error, too,
            so nothing else is written there but to a terminal.
        clock_s: A clock that never goes back, in seconds.
    """
    if not sys.stderr.isatty():
        lines = _Lines(what, clock_s)
        if as_json:
            yield Shown(lambda _name, _fraction: None, what, lambda _text: None)
        else:
            yield Shown(lines, what, lines.say)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield Shown(
            lambda name, fraction: progress.update(task, description=name, completed=fraction),
            what,
            lambda text: progress.console.print(f"{what}: {text}", markup=False, highlight=False),
        )


class _Lines:
    """A line every `LINE_EVERY_S`, for a log."""

    def __init__(self, what: str, clock_s: Callable[[], float]) -> None:
        self._what = what
        self._clock_s = clock_s
        self._due_s = clock_s() + LINE_EVERY_S

    def __call__(self, name: str, fraction: float) -> None:
        now_s = self._clock_s()
        if now_s < self._due_s:
            return
        self._due_s = now_s + LINE_EVERY_S
        step = "" if name == self._what else f"{name}, "
        self.say(f"{step}{fraction:.0%}")

    def say(self, text: str) -> None:
        """Write a line now."""
        with suppress(OSError):  # a log that is full or gone stops nothing
            click.echo(f"{self._what}: {text}", err=True)
