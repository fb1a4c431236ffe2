"""One child for each line of JSON that is read: it is forked from a process that imported once."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def run_children(run_and_die: Callable[..., None]) -> None:
    """Call a function in a child for each line, and write the child's exit code behind it."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run_and_die(*json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
