"""Which rate a board's flash is written at: the highest that has not failed on this board.

921600 → 460800 → 115200 baud. A rate that fails once is not tried again for this board in this run,
so that what is retried is bounded; the last rate gets one more attempt. How it went is written down
with the flash step, because a slot that falls back board after board has a bad cable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.serial_port import LINK_BAUD

if TYPE_CHECKING:
    from collections.abc import Sequence

FLASH_BAUD: Final = 921_600
_LADDER: Final = (FLASH_BAUD, 460_800, LINK_BAUD)
_ATTEMPTS_AT_LAST_RATE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RateAttempt:
    """How it went at one rate.

    Attributes:
        baud: The rate.
        failure: What went wrong; `None`: nothing.
    """

    baud: int
    failure: str | None


class TransferRates:
    """The rates of one board in one run.

    Args:
        highest_baud: What to begin with.
    """

    def __init__(self, highest_baud: int) -> None:
        lower = tuple(baud for baud in _LADDER if baud < highest_baud)
        self._left = [highest_baud, *lower]
        self._left += self._left[-1:] * (_ATTEMPTS_AT_LAST_RATE - 1)
        self._attempts: list[RateAttempt] = []

    @property
    def current(self) -> int:
        """The rate to use now, baud."""
        return self._left[0]

    @property
    def attempts(self) -> tuple[RateAttempt, ...]:
        """Every rate that was used, in order."""
        return tuple(self._attempts)

    def succeed(self) -> None:
        """Note that a transfer at the current rate was right."""
        attempt = RateAttempt(baud=self.current, failure=None)
        if self._attempts[-1:] != [attempt]:
            self._attempts.append(attempt)

    def fail(self, failure: str) -> bool:
        """Note that a transfer at the current rate failed; return whether there is another try."""
        if self._attempts and self._attempts[-1] == RateAttempt(baud=self.current, failure=None):
            self._attempts.pop()
        self._attempts.append(RateAttempt(baud=self.current, failure=failure))
        if len(self._left) == 1:
            return False
        del self._left[0]
        return True


def describe_fall_back(attempts: Sequence[RateAttempt]) -> str | None:
    """Return a sentence about the rates that failed, or `None` if none did."""
    failed = [attempt for attempt in attempts if attempt.failure is not None]
    if not failed:
        return None
    last = attempts[-1]
    end = "" if last.failure is not None else f"; flashed at {last.baud} baud"
    return ", ".join(f"{each.baud} baud failed: {each.failure}" for each in failed) + end
