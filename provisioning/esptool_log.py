"""Sends what esptool says to the slot whose thread it runs in.

esptool has one logger for the whole process. This one looks up the current thread's listeners, so
that several slots can flash at once; threads without listeners are silent.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from esptool.logger import EsptoolLogger, TemplateLogger, log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Listeners(threading.local):
    on_line: Callable[[str], None] | None = None
    on_progress: Callable[[float], None] | None = None


_listeners = _Listeners()
_install_lock = threading.Lock()
_installed: list[SlotLogger] = []


class SlotLogger(TemplateLogger):  # type: ignore[misc]  # esptool has no types
    """esptool's seven logging verbs, handed to the listeners of the current thread."""

    def print(self, *args: object, **_kwargs: object) -> None:
        """Pass a line on."""
        _say(" ".join(str(argument) for argument in args))

    def note(self, message: str) -> None:
        """Pass a note on."""
        _say(message)

    def warning(self, message: str) -> None:
        """Pass a warning on."""
        _say(message)

    def error(self, message: str) -> None:
        """Pass an error on; the exception that follows is what counts."""
        _say(message)

    def stage(self, finish: bool = False) -> None:
        """Ignore the marks of collapsible output."""

    def progress_bar(self, cur_iter: int, total_iters: int, *_args: Any, **_kwargs: Any) -> None:
        """Pass the fraction on."""
        if _listeners.on_progress is not None and total_iters > 0:
            _listeners.on_progress(cur_iter / total_iters)

    def set_verbosity(self, verbosity: str) -> None:
        """Ignore: listeners decide what they show."""


@contextmanager
def listening(
    *, on_line: Callable[[str], None], on_progress: Callable[[float], None]
) -> Iterator[None]:
    """Receive what esptool says in this thread.

    Args:
        on_line: Receives each line of text.
        on_progress: Receives the fraction of the current transfer, 0 to 1.
    """
    with _install_lock:
        if not _installed:
            _installed.append(SlotLogger())
            # By its class: whoever imported another of Espressif's tools first owns the instance.
            cast("Any", EsptoolLogger).set_logger(log, _installed[0])
    before = (_listeners.on_line, _listeners.on_progress)
    _listeners.on_line, _listeners.on_progress = on_line, on_progress
    try:
        yield
    finally:
        _listeners.on_line, _listeners.on_progress = before


def _say(text: str) -> None:
    stripped = text.strip()
    if _listeners.on_line is not None and stripped:
        _listeners.on_line(stripped)
