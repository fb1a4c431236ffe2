"""How the program leaves: at once, where nothing is left that would need Python to end first.

Python takes every module and object apart before it ends, which is a tenth of a short command's
time and changes nothing outside of the process. What does change something is still done: what was
registered for the end of the program, and what waits to be printed. Where a database or another
thread may be open, Python ends as it always does: an open ledger is closed then. Who only reads one
closes it himself (`provisioning.ledger_file`).
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn

_CLOSED_BY_PYTHON = ("sqlalchemy", "manifests.fleet", "psycopg", "multiprocessing")


def leave(code: int) -> NoReturn:
    """End the program with an exit code.

    Args:
        code: For the shell.
    """
    if threading.active_count() == 1 and not any(name in sys.modules for name in _CLOSED_BY_PYTHON):
        # As mypy ends, too; but all that was registered is run, as Python itself would run it.
        atexit._run_exitfuncs()  # noqa: SLF001 - there is no public name for it
        if _is_flushed():
            os._exit(code)
    sys.exit(code)


def _is_flushed() -> bool:
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return False  # closed, or the reader went away: Python says what it always says of that
    return True
