"""Opens the serial port of a board: a local device, or a remote one over RFC 2217.

The port is opened with DTR and RTS released, so that opening resets no board. This module knows
nothing of what travels over the port.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, cast
from urllib.parse import urlsplit

import serial

from provisioning.errors import PortError
from provisioning.rfc2217_port import RFC2217_SCHEME, Rfc2217Port

if TYPE_CHECKING:
    from collections.abc import Iterator

LINK_BAUD: Final = 115_200


class BoardPort(Protocol):
    """What the station uses of a port; pyserial's ports and ours have it."""

    port: str | None
    baudrate: int
    timeout: float | None
    dtr: bool
    rts: bool
    is_open: bool

    @property
    def in_waiting(self) -> int:
        """Bytes that were received and not read yet."""
        ...

    def open(self) -> None:
        """Open the port as it is set up."""
        ...

    def close(self) -> None:
        """Close the port; safe to call twice."""
        ...

    def read(self, size: int = 1, /) -> bytes:
        """Return up to `size` bytes, fewer when the timeout passes first."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Send all bytes."""
        ...

    def reset_input_buffer(self) -> None:
        """Drop what was received and not read."""
        ...


def open_port(url: str, *, timeout_s: float) -> BoardPort:
    """Open a port with DTR and RTS released.

    Args:
        url: `rfc2217://HOST:PORT`, or a device such as `/dev/ttyUSB0`.
        timeout_s: How long a read waits, in seconds.

    Raises:
        PortError: There is no such port, or it is in use.
    """
    with translated_port_errors(url, what="the serial port cannot be opened"):
        is_remote = urlsplit(url).scheme == RFC2217_SCHEME
        port = cast(
            "BoardPort",  # whose attributes pyserial has as properties
            Rfc2217Port()
            if is_remote
            else serial.serial_for_url(url, do_not_open=True, exclusive=True),
        )
        port.port = url
        port.baudrate = LINK_BAUD
        port.timeout = timeout_s
        port.dtr = False
        port.rts = False
        port.open()
    return port


@contextmanager
def translated_port_errors(where: object, *, what: str = "the serial port died") -> Iterator[None]:
    """Turn pyserial's and the system's errors into ours."""
    try:
        yield
    except (serial.SerialException, OSError, ValueError) as error:
        raise PortError(
            what,
            expected="a port that answers",
            got=str(error) or type(error).__name__,
            where=where,
            hint="check the cable and the address, and that nothing else uses the port",
        ) from error
