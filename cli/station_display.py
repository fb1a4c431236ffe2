"""How a running station looks: a live table on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol, Self

from provisioning.station_values import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from provisioning.station_values import Progress, SlotConfig, SlotResult

_STEPS = tuple(Step)
_BAR_WIDTH = 24
_REFRESHES_PER_SECOND = 8
_STYLES = {"pass": "green", "fail": "bold red", "error": "bold red"}


class Display(Protocol):
    """Shows what the slots do; a context manager around the run."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(self, *_: object) -> None:
        """Stop showing."""
        ...

    def on_progress(self, progress: Progress) -> None:
        """Show one piece of news."""
        ...

    def on_result(self, result: SlotResult) -> None:
        """Show how a slot ended."""
        ...


class SilentDisplay:
    """Shows nothing: for `--json`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def on_progress(self, progress: Progress) -> None:
        """Ignore the news."""

    def on_result(self, result: SlotResult) -> None:
        """Ignore the result."""


class PlainDisplay:
    """One line for each step of each slot: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps: dict[str, Step] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def on_progress(self, progress: Progress) -> None:
        """Print a line when a slot begins a step."""
        if self._steps.get(progress.slot) is not progress.step:
            self._steps[progress.slot] = progress.step
            self._print(progress.slot, f"{progress.step.value}: {progress.text}")

    def on_result(self, result: SlotResult) -> None:
        """Print how a slot ended."""
        self._print(result.slot.name, summarize(result)[1])

    def _print(self, slot: str, text: str) -> None:
        self._console.print(f"slot {slot}  {text}", markup=False, highlight=False, soft_wrap=True)


class LiveDisplay:
    """A table with one row for each slot, drawn in place.

    Args:
        console: The terminal.
        slots: The slots, in the order of the rows.
    """

    def __init__(self, console: Console, slots: Sequence[SlotConfig]) -> None:
        self._console = console
        self._names = [slot.name for slot in slots]
        self._news: dict[str, Progress] = {}
        self._serials: dict[str, str] = {}
        self._results: dict[str, SlotResult] = {}
        self._lock = threading.Lock()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=_REFRESHES_PER_SECOND,
        )
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def on_progress(self, progress: Progress) -> None:
        """Keep the news for the next time the table is drawn."""
        with self._lock:
            self._news[progress.slot] = progress
            if progress.step is Step.RESERVE and progress.fraction == 1.0:
                self._serials[progress.slot] = progress.text

    def on_result(self, result: SlotResult) -> None:
        """Keep the result for the next time the table is drawn."""
        with self._lock:
            self._results[result.slot.name] = result

    def _draw(self) -> Table:
        from rich import box
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for header in ("slot", "serial", "step", "", "what"):
            table.add_column(header, no_wrap=header != "what")
        with self._lock:
            for name in self._names:
                news, result = self._news.get(name), self._results.get(name)
                serial = self._serials.get(name, "")
                if result is not None:
                    state, text = summarize(result)
                    style = _STYLES.get(state, "yellow")
                    bar = ProgressBar(total=1, completed=1, width=_BAR_WIDTH)
                    table.add_row(name, serial, Text(state, style), bar, Text(text))
                elif news is not None:
                    done = (_STEPS.index(news.step) + news.fraction) / len(_STEPS)
                    bar = ProgressBar(total=1, completed=done, width=_BAR_WIDTH)
                    table.add_row(name, serial, news.step.value, bar, Text(news.text))
                else:
                    table.add_row(name, "", "", "", "")
        return table


def summarize(result: SlotResult) -> tuple[str, str]:
    """Return how a slot ended: one word, and one line."""
    if result.error is not None:
        return "error", f"error: {result.error}"
    report = result.report
    assert report is not None, "a slot ends with a report or an error"
    state = report.state.value
    if report.job is None:
        return state, f"{report.serial} {state} before; left alone (--again does it again)"
    if report.is_passed:
        return state, f"{report.serial} {state} in {report.duration_s:.1f} s"
    step = "" if report.failed_step is None else f" at {report.failed_step.value}"
    more = "" if len(report.reasons) < 2 else f" (and {len(report.reasons) - 1} more)"  # noqa: PLR2004 - plural
    reason = report.reasons[0] if report.reasons else "no reason given"
    return state, f"{report.serial} {state}{step}: {reason}{more}"


def choose_display(console: Console, slots: Sequence[SlotConfig], *, as_json: bool) -> Display:
    """Return the display that fits where the output goes."""
    if as_json:
        return SilentDisplay()
    return LiveDisplay(console, slots) if console.is_terminal else PlainDisplay(console)
