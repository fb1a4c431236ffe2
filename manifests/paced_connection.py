"""A connection whose peer may be slow: how much it has taken is asked of the kernel.

A transport tells how much waits in it, which falls in steps of what the kernel takes at a time; one
under TLS counts as sent what lies in the transport below it. By that alone a peer that takes
3000 bytes a second has stopped. The kernel counts what the peer acknowledged, to the byte; and
because a byte now and then would hold a connection and its buffers for ever, what counts as going
on is the pace that our own clients ask of a server (`download_pace`).

Where the kernel does not say (it is Linux that does), the transport's word stands.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from manifests.download_pace import MINIMUM_BYTES_PER_S
from manifests.http_connection import STALLED_TIMEOUT_S, HttpConnection

if TYPE_CHECKING:
    from manifests.http_connection import ConnectionHost

FAREWELL_TIMEOUT_S: Final = 5.0
"""How long a peer that has taken a last answer may take to end its side."""
TAKEN_MIN_BYTES: Final = int(MINIMUM_BYTES_PER_S * STALLED_TIMEOUT_S)
"""What a peer takes at least in each `STALLED_TIMEOUT_S`."""

_TCP_INFO: Final = struct.Struct("=24x I 92x Q 16x I")
"""Of `struct tcp_info` (linux/tcp.h): segments sent and not acknowledged, bytes acknowledged, bytes
not yet sent."""
_TCP_INFO_BYTES: Final = 148
assert _TCP_INFO.size == _TCP_INFO_BYTES


class _SendQueue(NamedTuple):
    taken_bytes: int
    is_waiting: bool


class PacedConnection(HttpConnection):
    """One connection of a server.

    Args:
        host: What all connections share.
    """

    def __init__(self, host: ConnectionHost) -> None:
        super().__init__(host)
        self._taken_bytes: int | None = None

    def is_overdue(self) -> bool:
        """Whether the peer had its time: for a request, for the next one, or for reading on."""
        is_overdue = super().is_overdue()
        is_to_be_counted = self._is_paused and self._taken_bytes is None
        if not (is_overdue or self._is_ended or is_to_be_counted):
            return False
        queue = _read_send_queue(self._transport.get_extra_info("socket"))
        if queue is None:
            return is_overdue
        if not queue.is_waiting:
            if self._is_ended:
                self._deadline_s = min(self._deadline_s, self._host.now_s + FAREWELL_TIMEOUT_S)
            return is_overdue
        newly_taken_bytes = queue.taken_bytes - (self._taken_bytes or 0)
        if is_overdue or is_to_be_counted:
            self._taken_bytes = queue.taken_bytes
        if is_overdue and newly_taken_bytes >= TAKEN_MIN_BYTES:
            self._deadline_s = self._host.now_s + STALLED_TIMEOUT_S
            return False
        return is_overdue


def _read_send_queue(carrier: Any) -> _SendQueue | None:
    """Return what the kernel says of a TCP socket; `None` where it says nothing."""
    if carrier is None or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = carrier.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return None
    if len(info) < _TCP_INFO.size:
        return None
    unacknowledged, taken_bytes, unsent_bytes = _TCP_INFO.unpack(info)
    return _SendQueue(taken_bytes, bool(unacknowledged or unsent_bytes))
