"""How a running station looks: a live table on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, Self

from cli.failures import printable
from cli.slot_outcome import next_action, summarize
from provisioning.station_values import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, OverflowMethod
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from provisioning.station_values import Progress, SlotConfig, SlotResult

_STEPS = tuple(Step)
_STEP_WIDTH = max(map(len, _STEPS))
_BAR_WIDTH = 16
_BAR_MIN_COLUMNS = 90
"""A narrower terminal has no room for bars: the words are worth more."""
_REFRESHES_PER_SECOND = 8
_STYLES = {"pass": "bold green", "fail": "bold red", "error": "bold magenta"}
_OTHER_STYLE = "bold yellow"
_WORK_STYLE = "cyan"


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
            self._print(progress.slot, f"{progress.step.value}: {printable(progress.text)}")

    def on_result(self, result: SlotResult) -> None:
        """Print how a slot ended."""
        self._print(result.slot.name, summarize(result)[1])

    def _print(self, slot: str, text: str) -> None:
        # Not by the console: when nobody reads, it ends the thread that prints, and a unit with it.
        with suppress(OSError):
            self._console.file.write(f"slot {printable(slot)}  {text}\n")
            self._console.file.flush()


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
        """Return the table: where it would be cut off at the bottom, with one line for a slot."""
        whole = self._draw_table(is_compact=False)
        line_count = len(self._console.render_lines(whole, pad=False))
        return whole if line_count < self._console.height else self._draw_table(is_compact=True)

    def _draw_table(self, *, is_compact: bool) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        has_bars = self._console.width >= _BAR_MIN_COLUMNS
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        # What names the board is worth more than the last words about it.
        name_length = min(max(map(len, ["slot", *self._names])), _BAR_WIDTH)
        table.add_column("slot", overflow="fold", min_width=name_length, max_width=_BAR_WIDTH)
        serial_length = max(map(len, self._serials.values()), default=0)
        table.add_column("serial", no_wrap=True, min_width=serial_length)
        table.add_column("step", no_wrap=True, min_width=_STEP_WIDTH)
        if has_bars:
            table.add_column("", no_wrap=True)
        overflow: OverflowMethod = "ellipsis" if is_compact else "fold"
        table.add_column("what, and what next", overflow=overflow, no_wrap=is_compact)
        with self._lock:
            for name in self._names:
                state, done, what = self._describe(name, is_compact=is_compact)
                bars = [self._bar(done, str(state.style))] if has_bars else []
                serial = Text(self._serials.get(name, ""))
                table.add_row(Text(printable(name)), serial, state, *bars, what)
        return table

    def _describe(self, name: str, *, is_compact: bool) -> tuple[Text, float, Text]:
        """Return state, fraction and words of a slot."""
        from rich.text import Text

        news, result = self._news.get(name), self._results.get(name)
        if result is not None:
            state, text = summarize(result)
            what = Text(next_action(result), "italic")
            if not is_compact:
                what = Text.assemble(text, "\nnext: ", what)
            return Text(state, _STYLES.get(state, _OTHER_STYLE)), 1.0, what
        if news is not None:
            done = (_STEPS.index(news.step) + news.fraction) / len(_STEPS)
            return Text(news.step.value, _WORK_STYLE), done, Text(printable(news.text))
        return Text("waiting", "dim"), 0.0, Text("")

    @staticmethod
    def _bar(done: float, style: str) -> ProgressBar:
        from rich.progress_bar import ProgressBar

        return ProgressBar(
            total=1, completed=done, width=_BAR_WIDTH, complete_style=style, finished_style=style
        )


def choose_display(console: Console, slots: Sequence[SlotConfig], *, as_json: bool) -> Display:
    """Return the display that fits where the output goes."""
    if as_json:
        return SilentDisplay()
    return LiveDisplay(console, slots) if console.is_terminal else PlainDisplay(console)
