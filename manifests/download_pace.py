"""When a download is too slow to go on with: a limit on its average, beside that on each wait.

A timeout for each read is none for the whole: a server that sends one byte before each of them
holds a reader for days (TUF 1.0.34 §1.5.2, slow retrieval). So the average counts, too: after a
grace of one timeout, what was received so far buys the time that it may have taken.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MINIMUM_BYTES_PER_S: Final = 512
"""Half of what the slowest mobile network still gives, and a message of 1 KiB in two seconds."""


class DownloadPace:
    """Watches one download.

    Args:
        grace_s: What it may take whatever comes.
        minimum_bytes_per_s: The average that is asked for beyond that.
        clock_s: Monotonic clock, seconds.
    """

    def __init__(
        self,
        *,
        grace_s: float,
        minimum_bytes_per_s: float = MINIMUM_BYTES_PER_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grace_s = grace_s
        self._minimum_bytes_per_s = minimum_bytes_per_s
        self._clock_s = clock_s
        self._began_at_s = clock_s()

    def is_too_slow(self, received_bytes: int) -> bool:
        """Whether so many bytes took longer than they may."""
        elapsed_s = self._clock_s() - self._began_at_s
        return elapsed_s > self._grace_s + received_bytes / self._minimum_bytes_per_s
