"""What DTR and RTS do to a simulated board: hold it, start it, and strap it for its ROM loader.

Behind a UART bridge, EN follows RTS and the strap on GPIO9 follows DTR, both through the usual pair
of transistors: with both asserted neither pin is pulled, so that merely opening a port does not
stop the board. EN stays low until RTS is released, as its capacitor would hold it.

The USB-Serial-JTAG unit has no such wires; the lines are orders to it (ESP32-C3 Technical Reference
Manual, USB Serial/JTAG Controller, reset and download by RTS and DTR).

This module knows lines alone: whoever asks it does to the board what it says.
"""

from __future__ import annotations

from enum import Enum, auto


class LineOrder(Enum):
    """What becomes of the chip when a line has changed."""

    GO_ON = auto()
    HOLD = auto()
    POWER_ON = auto()
    USB_RESET = auto()


class ResetLines:
    """DTR, RTS and the strap of one board.

    Args:
        has_usb_plug: The port is the chip's own USB-Serial-JTAG unit and not a UART bridge.

    Attributes:
        is_strapped: Whether the last start found the strap pulled: the ROM loader is wanted.
    """

    def __init__(self, *, has_usb_plug: bool) -> None:
        self._has_usb_plug = has_usb_plug
        self._is_dtr_asserted = False
        self._is_rts_asserted = False
        self._is_download_ordered = False
        self._usb_lines = (False, False)
        self.is_strapped = False

    def set_dtr(self, *, is_asserted: bool, is_held: bool) -> LineOrder:
        """Change DTR; return what follows for a chip that is held in reset, or is not."""
        self._is_dtr_asserted = is_asserted
        return self._follow(is_held=is_held)

    def set_rts(self, *, is_asserted: bool, is_held: bool) -> LineOrder:
        """Change RTS; return what follows for a chip that is held in reset, or is not."""
        self._is_rts_asserted = is_asserted
        return self._follow(is_held=is_held)

    def sample_strap(self) -> None:
        """Have the chip look at its strap, as at every start that no line orders."""
        self.is_strapped = self._is_dtr_asserted

    def release_strap(self) -> None:
        """Have the chip find its strap released, whatever the lines are."""
        self.is_strapped = False

    def _follow(self, *, is_held: bool) -> LineOrder:
        if self._has_usb_plug:
            return self._follow_usb_orders()
        if self._is_rts_asserted and not self._is_dtr_asserted:
            return LineOrder.HOLD
        if is_held and not self._is_rts_asserted:
            self.sample_strap()
            return LineOrder.POWER_ON
        return LineOrder.GO_ON

    def _follow_usb_orders(self) -> LineOrder:
        lines = (self._is_rts_asserted, self._is_dtr_asserted)
        was, self._usb_lines = self._usb_lines, lines
        if lines == was:
            return LineOrder.GO_ON
        match lines:
            case (False, is_download):
                self._is_download_ordered = is_download
            case (True, False):
                self.is_strapped = self._is_download_ordered
                return LineOrder.USB_RESET
            case _:
                pass
        return LineOrder.GO_ON
