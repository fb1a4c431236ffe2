"""What a test does where a piece of the system is missing: skip, or fail where all must run.

`AMPFORGE_REQUIRE_SYSTEM_TOOLS=1` says that all must run.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def are_required() -> bool:
    """Tell whether a missing piece is a failure."""
    return os.environ.get("AMPFORGE_REQUIRE_SYSTEM_TOOLS") == "1"


def give_up(reason: str) -> NoReturn:
    """End the test, which cannot run for this reason."""
    if are_required():
        pytest.fail(reason)
    pytest.skip(reason)
