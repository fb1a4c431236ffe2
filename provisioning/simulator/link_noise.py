"""A bad cable between a simulated board and its port: drops, doubles, changes and delays bytes.

Works on the bytes of the UART, not on those of RFC 2217 around them: what carries a remote port is
TCP, which does not lose anything. Where faults strike depends on the seed and on the number of
bytes before them, not on the time.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final, assert_never

from provisioning.simulator.faults import LinkFault, LinkFaults

if TYPE_CHECKING:
    from collections.abc import Callable

_RUN_MAX_BYTES: Final = 4
_DELAY_MAX_S: Final = 0.25


class LinkNoise:
    """The cable of one board, both directions through the same faults.

    Args:
        faults: The plan.
        wait: Waits for some seconds.

    Attributes:
        fault_count: How many faults there were.
    """

    def __init__(self, faults: LinkFaults, *, wait: Callable[[float], None]) -> None:
        self.fault_count = 0
        self._faults = faults
        self._wait = wait
        self._random = Random(faults.seed)
        self._kinds = sorted(faults.kinds)
        self._carried_bytes = 0
        self._is_hung = False
        self._has_hung = False
        self._bytes_to_fault = self._draw_distance()

    def reseat(self) -> None:
        """The port is opened again: a cable that hung does so no more."""
        self._is_hung = False

    def carry(self, content: bytes, *, baud: int) -> bytes:
        """Return what arrives of some bytes."""
        hang_after_bytes = self._faults.hang_after_bytes
        if hang_after_bytes is not None and not self._has_hung:
            left_bytes = hang_after_bytes - self._carried_bytes
            if len(content) > left_bytes:
                content, self._is_hung, self._has_hung = content[:left_bytes], True, True
        elif self._is_hung:
            return b""
        self._carried_bytes += len(content)
        if self._faults.max_baud is not None and baud > self._faults.max_baud:
            return self._random.randbytes(len(content))
        return self._disturb(content)

    def _draw_distance(self) -> int | None:
        mean_bytes = self._faults.mean_bytes_between
        if mean_bytes is None or not self._kinds:
            return None
        return int(self._random.expovariate(1 / mean_bytes))

    def _disturb(self, content: bytes) -> bytes:
        arriving = bytearray()
        while self._bytes_to_fault is not None and self._bytes_to_fault < len(content):
            if self.fault_count >= self._faults.fault_count_max:
                self._bytes_to_fault = None
                break
            arriving += content[: self._bytes_to_fault]
            content = self._strike(content[self._bytes_to_fault :], arriving)
            self._bytes_to_fault = self._draw_distance()
        if self._bytes_to_fault is not None:
            self._bytes_to_fault -= len(content)
        return bytes(arriving) + content

    def _strike(self, content: bytes, arriving: bytearray) -> bytes:
        """Let one fault happen to the first bytes; return what is left after it."""
        self.fault_count += 1
        kind = self._random.choice(self._kinds)
        run_bytes = self._random.randint(1, _RUN_MAX_BYTES)
        match kind:
            case LinkFault.DROP:
                return content[run_bytes:]
            case LinkFault.DUPLICATE:
                arriving += content[:run_bytes] * 2
                return content[run_bytes:]
            case LinkFault.CORRUPT:
                arriving.append(content[0] ^ 1 << self._random.randrange(8))
                return content[1:]
            case LinkFault.DELAY:
                self._wait(self._random.uniform(0, _DELAY_MAX_S))
                return content
            case _:
                assert_never(kind)
