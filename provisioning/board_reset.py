"""Starts a board's application by the control lines of its port, whatever kind of port that is.

Behind a UART bridge, RTS pulls EN. On the chip's own USB unit (USB-Serial-JTAG) there is no such
wire: the unit takes RTS without DTR as an order to reset, needs longer to notice, and may leave the
bus meanwhile, so that the port has to be opened again. The way into the ROM loader is esptool's
(`provisioning.esptool_loader`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from provisioning.serial_port import LINK_BAUD

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioning.serial_port import BoardPort

_BRIDGE_HOLD_S: Final = 0.02
_USB_HOLD_S: Final = 0.2
_USB_SETTLE_S: Final = 0.2
_USB_RETURN_TIMEOUT_S: Final = 5.0
_USB_POLL_S: Final = 0.1


def reset_into_application(
    port: BoardPort, *, clock_s: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    """Reset the board with its strap released; the port is open afterwards.

    Args:
        port: The open port.
        clock_s: Monotonic clock, in seconds.
        sleep: Waits for some seconds.

    Raises:
        OSError: The port died; pyserial's errors are of this kind.
    """
    if port.is_usb_serial_jtag:
        _reset_usb_unit(port, clock_s=clock_s, sleep=sleep)
        return
    port.baudrate = LINK_BAUD
    port.dtr = False
    port.rts = True
    sleep(_BRIDGE_HOLD_S)
    port.reset_input_buffer()
    port.rts = False


def _reset_usb_unit(
    port: BoardPort, *, clock_s: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    with suppress(OSError):  # it may be gone before the last of these is through
        port.dtr = False
        port.rts = True
        sleep(_USB_HOLD_S)
        port.reset_input_buffer()
        port.rts = False
    sleep(_USB_SETTLE_S)
    deadline_s = clock_s() + _USB_RETURN_TIMEOUT_S
    while True:
        try:
            if not port.is_open:
                port.rts = False  # or it would be reset once more as soon as it is open
                port.open()
            _ = port.in_waiting  # the system's driver says here that the device is gone
        except OSError:
            port.close()
            if clock_s() >= deadline_s:
                raise
            sleep(_USB_POLL_S)
        else:
            return
