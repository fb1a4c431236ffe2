"""Where the installed command begins: it answers Ctrl-C before it imports what takes time.

Click and a command's modules take most of a short command's time, and Python would show an
interruption of an import as a traceback. Until the first command runs nothing has been done that
could be left half-done, so the process ends on the spot: an exception would pass through whatever
is being imported, and some of that reports it, or goes on. What comes before is not ours: the
interpreter's own start, and what the installer writes into the script (pip's imports `re`).
"""

from __future__ import annotations

import os
import sys

EXIT_INTERRUPTED = 130
INTERRUPTED = "interrupted; nothing half-done was confirmed"


def main() -> None:
    """Import the command line, then run it."""
    try:
        import signal

        # A job in a shell's background may have been told to ignore Ctrl-C; it goes on doing so.
        is_answered = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_answered:
            signal.signal(signal.SIGINT, _end_at_once)
        from cli.main import main as run

        if is_answered:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        _tell()
        sys.exit(EXIT_INTERRUPTED)


def _end_at_once(*_signal: object) -> None:
    _tell()
    os._exit(EXIT_INTERRUPTED)


def _tell() -> None:
    try:  # noqa: SIM105 - contextlib would be one more import before Ctrl-C is answered
        os.write(2, f"\n{INTERRUPTED}\n".encode("ascii"))  # first ends the line that shows ^C
    except OSError:
        pass  # nobody reads it
