"""SLIP framing of the ROM loader's packets (RFC 1055): C0 ends, DB escapes."""

from __future__ import annotations

from typing import Final

_END: Final = b"\xc0"
_ESCAPED_END: Final = b"\xdb\xdc"
_ESCAPE: Final = b"\xdb"
_ESCAPED_ESCAPE: Final = b"\xdb\xdd"


def serialize_packet(packet: bytes) -> bytes:
    """Return one packet between two end marks."""
    escaped = packet.replace(_ESCAPE, _ESCAPED_ESCAPE).replace(_END, _ESCAPED_END)
    return _END + escaped + _END


class PacketAssembler:
    """Turn received bytes into packets.

    Args:
        max_bytes: Longest packet that is kept, escapes included; a longer one is dropped.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._pending_bytes = 0

    def feed(self, untrusted_bytes: bytes) -> list[bytes]:
        """Take bytes as they come; return the packets that they completed, in order."""
        *ended, rest = untrusted_bytes.split(_END)
        packets = []
        for piece in ended:
            self._keep(piece)
            packet = b"".join(self._pieces)
            if packet and self._pending_bytes <= self._max_bytes:
                packets.append(packet.replace(_ESCAPED_END, _END).replace(_ESCAPED_ESCAPE, _ESCAPE))
            self._pieces = []
            self._pending_bytes = 0
        self._keep(rest)
        return packets

    def _keep(self, piece: bytes) -> None:
        self._pending_bytes += len(piece)
        if piece and self._pending_bytes <= self._max_bytes:
            self._pieces.append(piece)
