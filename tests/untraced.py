"""The environment of a child process that runs without coverage, at half the cost.

For children from which coverage learns nothing: tools of others, commands that tests also call in
their own process, and processes that are killed, or leave by `os._exit`, and so never write what
they counted.
"""

from __future__ import annotations

import os


def untraced_environment() -> dict[str, str]:
    """Return this process's environment, less what starts coverage in its children."""
    return {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
