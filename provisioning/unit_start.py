"""Starts a unit's application, and tells one that stays silent from a cable that is dead.

Only the first is the unit's fault: before it is blamed, its ROM is asked who it is. What the
application says once it has started is judged by whoever started it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.errors import LinkTimeoutError, StationError
from provisioning.station_values import UnitRejection

if TYPE_CHECKING:
    from provisioning.device_link import DeviceLink
    from provisioning.flasher import Flasher
    from provisioning.link_messages import InfoReadResponse
    from provisioning.station import Station
    from provisioning.station_values import Step


class UnitStart:
    """The starts of one unit within one job.

    Args:
        station: What all slots share.
        link: The board's application.
        flasher: Asks the chip's ROM.
        mac: MAC that was read from the chip, 6 bytes.
        is_in_loader: Whether the chip is in its ROM loader now.

    Attributes:
        info: What the application said last; `None` while nothing answered.
        is_silent: Whether the application was found silent, and the chip the right one.
        is_in_loader: Whether the chip is in its ROM loader as the flasher left it.
    """

    def __init__(
        self,
        station: Station,
        link: DeviceLink,
        flasher: Flasher,
        *,
        mac: bytes,
        is_in_loader: bool,
    ) -> None:
        self._station = station
        self._link = link
        self._flasher = flasher
        self._mac = mac
        self.is_in_loader = is_in_loader
        self.info: InfoReadResponse | None = None
        self.is_silent = False

    def restart(self, step: Step, silence: str) -> InfoReadResponse:
        """Reset the board and return what its application says; twice, if need be.

        Args:
            step: At which the unit fails if it stays silent.
            silence: What to say of it then.

        Raises:
            UnitRejection: The application stays silent, and the chip is there.
            StationError: There is another board in the slot.
            FlashError: The chip's ROM does not answer either.
            PortError: The port died.
        """
        try:
            return self.start_once()
        except LinkTimeoutError:
            self._require_link()
            try:
                return self.start_once()
            except LinkTimeoutError as error:
                self.is_silent = True
                raise UnitRejection(step, (f"{silence}: {error.hint}",)) from error

    def start_once(self) -> InfoReadResponse:
        """Reset the board and return what its application says.

        Raises:
            LinkTimeoutError: It says nothing.
        """
        self.is_in_loader = False
        self._link.reset_board()
        self.info = self._link.wait_until_ready(timeout_s=self._station.settings.boot_timeout_s)
        return self.info

    def _require_link(self) -> None:
        mac = self._flasher.detect().mac
        if mac != self._mac:
            raise StationError(
                "there is another board in the slot now",
                expected=self._mac.hex(":"),
                got=mac.hex(":"),
                where=self._link.where,
                hint="leave boards in their slots until the station is done with them",
            )
