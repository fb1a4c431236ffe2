"""Finds the device of a slot that is named by its USB adapter, whatever number the system gave it.

`/dev/ttyUSB0` is whichever adapter was plugged in first. A slot of a fixture is rather named by

- `usb:SERIAL`: the adapter with this serial number, wherever it is plugged in;
- `usb-location:1-1.4`: whatever is plugged into this socket of this hub, as the kernel counts them.

Both are looked up each time the port is opened, so that a plug that was pulled is found again. This
module opens nothing, and knows USB only through the list that it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from provisioning.errors import PortError

if TYPE_CHECKING:
    from collections.abc import Iterable

SERIAL_SCHEME: Final = "usb:"
LOCATION_SCHEME: Final = "usb-location:"
USB_SERIAL_JTAG: Final = (0x303A, 0x1001)
"""Vendor and product of the USB-Serial-JTAG unit inside the chip: it has no UART bridge."""
_INTERFACE_MARK: Final = ":"
_LISTED_MAX: Final = 8


class UsbPort(Protocol):
    """What is asked of a port in the system's list; pyserial's `ListPortInfo` has it."""

    device: str
    serial_number: str | None
    location: str | None
    vid: int | None
    pid: int | None


def is_usb_name(port: str) -> bool:
    """Whether a port is named by its adapter and not by its device."""
    return port.startswith((SERIAL_SCHEME, LOCATION_SCHEME))


def is_usb_serial_jtag(port: UsbPort) -> bool:
    """Whether the port is inside the chip itself."""
    return (port.vid, port.pid) == USB_SERIAL_JTAG


def usb_names(port: UsbPort) -> tuple[str, ...]:
    """Return the names that a slot may use for a port; an adapter without a number has one."""
    named = ((SERIAL_SCHEME, port.serial_number), (LOCATION_SCHEME, port.location))
    return tuple(f"{scheme}{name}" for scheme, name in named if name)


def describe_usb_port(port: UsbPort) -> str:
    """Return the names that a slot may use for a port, and its device."""
    return f"{' or '.join(usb_names(port))} ({port.device})"


def find_usb_port(name: str, ports: Iterable[UsbPort]) -> UsbPort:
    """Return the one port that a name means now.

    Args:
        name: `usb:SERIAL` or `usb-location:LOCATION`.
        ports: Every serial port that the system has.

    Raises:
        PortError: It is not plugged in, or several have this name.
    """
    usb = [port for port in ports if port.vid is not None]
    by_serial = name.startswith(SERIAL_SCHEME)
    wanted = name.removeprefix(SERIAL_SCHEME if by_serial else LOCATION_SCHEME)
    found = [
        port
        for port in usb
        if wanted
        and (port.serial_number == wanted if by_serial else _is_at(port.location or "", wanted))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise PortError(
            "several serial ports have this name",
            expected="one",
            got=_list(found),
            where=name,
            hint="name the slot by usb-location, with the interface where an adapter has several",
        )
    raise PortError(
        "the slot's USB adapter is not plugged in",
        expected=name,
        got=_list(usb) or "no USB serial port",
        where=name,
        hint="plug it in, or name another: `ampforge station ports` lists what is there",
    )


def _is_at(location: str, wanted: str) -> bool:
    # The kernel's `1-1.4:1.0` is an interface of the adapter at `1-1.4`.
    return location == wanted or location.partition(_INTERFACE_MARK)[0] == wanted


def _list(ports: list[UsbPort]) -> str:
    more = "" if len(ports) <= _LISTED_MAX else f", and {len(ports) - _LISTED_MAX} more"
    return ", ".join(describe_usb_port(port) for port in ports[:_LISTED_MAX]) + more
