"""How many requests a client may make: the generic cell rate algorithm, in bounded memory.

For each client one number is kept: when its allowance will be whole again. Clients whose allowance
is whole need no entry, and are forgotten as others come. When more clients than `CLIENTS_MAX` are
under way, the one that has been silent for longest is forgotten, which gives it a whole allowance:
memory is bounded, not justice.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS_MAX = 65_536
MINUTE_S = 60.0
FORGOTTEN_AT_ONCE = 8
"""Of those who were silent for longest; more than come, so that their number falls."""


class RateLimit:
    """Allows each client so many requests a minute, all at once or spread.

    Args:
        requests_per_minute: At least 1.
        clock_s: Monotonic clock, seconds.
    """

    def __init__(
        self, requests_per_minute: int, *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval_s = MINUTE_S / requests_per_minute
        self._clock_s = clock_s
        self._whole_at_s: OrderedDict[str, float] = OrderedDict()

    def charge(self, client: str, count: int) -> None:
        """Count more, of a request that was allowed: the next ones wait for it.

        Args:
            client: As given to `take`.
            count: As many as this many requests would have been.
        """
        now_s = self._clock_s()
        whole_at_s = max(self._whole_at_s.get(client, now_s), now_s)
        self._keep(client, whole_at_s + count * self._interval_s)

    def take(self, client: str) -> int:
        """Count one request.

        Args:
            client: What the limit is counted by.

        Returns:
            0 when it is allowed, else after how many whole seconds the next one will be.
        """
        now_s = self._clock_s()
        whole_at_s = max(self._whole_at_s.get(client, now_s), now_s) + self._interval_s
        excess_s = whole_at_s - now_s - MINUTE_S
        # A rounding error must not cost the last request of the minute.
        if excess_s > self._interval_s * 1e-6:
            return max(1, math.ceil(excess_s))
        self._keep(client, whole_at_s)
        for silent in list(itertools.islice(self._whole_at_s, FORGOTTEN_AT_ONCE)):
            if self._whole_at_s[silent] > now_s:
                break
            del self._whole_at_s[silent]
        return 0

    def _keep(self, client: str, whole_at_s: float) -> None:
        self._whole_at_s[client] = whole_at_s
        self._whole_at_s.move_to_end(client)
        if len(self._whole_at_s) > CLIENTS_MAX:
            self._whole_at_s.popitem(last=False)
