"""Opens the serial port of a board: a local device, or a remote one over RFC 2217.

| a slot's port | what it means |
|---|---|
| `/dev/ttyUSB0` | this device |
| `usb:SERIAL`, `usb-location:1-1.4` | the device of this adapter, or of this socket (`usb_ports`) |
| `rfc2217://HOST:PORT` | a port of another machine, or of a simulated board |
| `rfc2217://HOST:PORT?reset=usb-jtag` | the same, whose board is on its own USB plug |

The port is opened with DTR and RTS released, so that opening resets no board; while it is open, no
other slot and no other process opens it (`port_lock`). Opened again, it is looked up again: a board
on its own USB plug leaves the bus when it resets, and may come back under another name. This module
knows nothing of what travels over the port.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, cast
from urllib.parse import parse_qsl, urlsplit

import serial

from provisioning.errors import PortError
from provisioning.port_lock import PortLock
from provisioning.rfc2217_port import RFC2217_SCHEME, Rfc2217Port
from provisioning.usb_ports import find_usb_port, is_usb_name, is_usb_serial_jtag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from provisioning.usb_ports import UsbPort

LINK_BAUD: Final = 115_200
_READ_TIMEOUT_S: Final = 3.0
"""Until whoever talks over the port sets its own, as the loader and the link do for each answer."""
_DEVICE_PREFIX: Final = "/"
_URL_MARK: Final = "://"
_USB_JTAG_QUERY: Final = [("reset", "usb-jtag")]


class BoardPort(Protocol):
    """What the station uses of a port; pyserial's ports and ours have it."""

    port: str | None
    baudrate: int
    timeout: float | None
    dtr: bool
    rts: bool
    is_open: bool
    is_usb_serial_jtag: bool
    """Whether the port is the chip's own USB unit, which has no baud rate and another reset."""

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


def list_usb_ports() -> tuple[UsbPort, ...]:
    """Return every serial port that the system knows now."""
    from serial.tools.list_ports import comports

    return tuple(cast("Iterable[UsbPort]", comports()))


class _SlotPort:
    """What both kinds of ports do when they are opened and closed; mixed into pyserial's classes.

    It raises pyserial's error from ours, because esptool opens ports, too, and tries again on that
    one; `translated_port_errors` gives ours back.
    """

    is_usb_serial_jtag = False
    _lock: PortLock | None = None
    _slot_port = ""
    _list_ports: Callable[[], Iterable[UsbPort]] = staticmethod(list_usb_ports)

    def open(self) -> None:
        port = cast("serial.SerialBase", self)
        if port.is_open:
            raise serial.SerialException("the port is open already")
        try:
            port.port, key, self.is_usb_serial_jtag = _locate(self._slot_port, self._list_ports)
            self._lock = PortLock(key, where=self._slot_port)
            self._lock.acquire()
        except PortError as error:
            raise serial.SerialException(str(error)) from error
        try:
            super().open()  # type: ignore[misc]  # of pyserial's class
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        super().close()  # type: ignore[misc]  # of pyserial's class
        if self._lock is not None:
            self._lock.release()


class _DevicePort(_SlotPort, serial.Serial):
    """A device of this machine."""


class _RemotePort(_SlotPort, Rfc2217Port):
    """A port over RFC 2217."""


def open_port(
    name: str,
    *,
    timeout_s: float = _READ_TIMEOUT_S,
    list_ports: Callable[[], Iterable[UsbPort]] = list_usb_ports,
) -> BoardPort:
    """Open a port with DTR and RTS released.

    Args:
        name: The slot's port, as in the table above.
        timeout_s: How long a read waits, in seconds.
        list_ports: Returns every serial port that the system knows.

    Raises:
        PortError: There is no such port, or it is in use.
    """
    with translated_port_errors(name, what="the serial port cannot be opened"):
        is_remote = urlsplit(name).scheme == RFC2217_SCHEME
        port = _RemotePort() if is_remote else _DevicePort(exclusive=True)
        port._slot_port = name  # noqa: SLF001 - pyserial's constructors take no more arguments
        port._list_ports = list_ports  # noqa: SLF001
        port.baudrate = LINK_BAUD
        port.timeout = timeout_s
        port.dtr = False
        port.rts = False
        port.open()
    return cast("BoardPort", port)  # whose attributes pyserial has as properties


def _locate(name: str, list_ports: Callable[[], Iterable[UsbPort]]) -> tuple[str, str, bool]:
    """Return what to open, what to lock, and whether it is the chip's own USB unit."""
    if urlsplit(name).scheme == RFC2217_SCHEME:
        return _locate_remote(name)
    if is_usb_name(name):
        found = find_usb_port(name, list_ports())
        return found.device, os.path.realpath(found.device), is_usb_serial_jtag(found)
    if not name.startswith(_DEVICE_PREFIX) or _URL_MARK in name:
        raise PortError(
            "this is not the name of a serial port",
            expected="/dev/…, usb:SERIAL, usb-location:LOCATION or rfc2217://HOST:PORT",
            got=repr(name),
            hint="`ampforge station ports` lists what is plugged in",
        )
    device = os.path.realpath(name)
    known = (port for port in list_ports() if os.path.realpath(port.device) == device)
    return name, device, any(map(is_usb_serial_jtag, known))


def _locate_remote(name: str) -> tuple[str, str, bool]:
    parts = urlsplit(name)
    query = parse_qsl(parts.query, keep_blank_values=True)
    try:
        host, number = parts.hostname, parts.port
    except ValueError:
        host = number = None
    if host is None or number is None or query not in ([], _USB_JTAG_QUERY):
        raise PortError(
            "this address of a serial port cannot be read",
            expected="rfc2217://HOST:PORT, with ?reset=usb-jtag or nothing behind it",
            got=repr(name),
            hint="`ampforge station simulate` prints such addresses",
        )
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    key = f"{RFC2217_SCHEME}:{'localhost' if is_loopback else host}:{number}"
    return name, key, bool(query)


_SYSTEM_NUMBER: Final = re.compile(r"\[Errno -?\d+\] ")
_PORT_HINT: Final = "check the cable and the address, and that nothing else uses the port"
_FORBIDDEN_HINT: Final = (
    "this user may not use it: join the group that owns it (`sudo usermod -aG dialout $USER` on "
    "most systems), then log in again"
)


@contextmanager
def translated_port_errors(where: object, *, what: str = "the serial port died") -> Iterator[None]:
    """Turn pyserial's and the system's errors into ours."""
    try:
        yield
    except (serial.SerialException, OSError, ValueError) as error:
        if isinstance(error.__cause__, PortError):
            raise error.__cause__ from None
        raise PortError(
            what,
            expected="a port that answers",
            got=_tell_cause(error),
            where=where,
            hint=_FORBIDDEN_HINT if getattr(error, "errno", None) == errno.EACCES else _PORT_HINT,
        ) from error


def _tell_cause(error: Exception) -> str:
    """Return what the system said: pyserial puts its number before it, and the port around it."""
    number = getattr(error, "errno", None)
    if number == errno.EAGAIN:  # of the lock that pyserial takes on a device
        return "another program uses it"
    if number is not None:
        return os.strerror(number)
    return _SYSTEM_NUMBER.sub("", str(error)) or "no reason"
