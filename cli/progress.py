"""How far a long look or a long transfer has come, on a terminal alone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def showing_progress(what: str, *, as_json: bool) -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how far something has come; into a pipe nothing is written.

    Args:
        what: What is done.
        as_json: Whether a program reads the result.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    is_shown = console.is_terminal and not as_json
    with Progress(console=console, transient=True, disable=not is_shown) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
