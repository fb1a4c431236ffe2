"""What an updater may ask the running board: the board's half of the field updater's seam.

`RunningBoard` has the shape that the updater's board-control protocol asks for, without knowing the
updater: the composition root passes it on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioning.simulator.application import Application
    from provisioning.simulator.board import SimulatedBoard
    from provisioning.simulator.boot import BootedImage


class RunningBoard:
    """A board whose application runs.

    Args:
        board: The board.
        draw: Random bytes from a number of bytes: the chip's random number generator.
    """

    def __init__(self, board: SimulatedBoard, *, draw: Callable[[int], bytes]) -> None:
        self._board = board
        self._draw = draw

    @property
    def hardware_class(self) -> str:
        """The class of hardware."""
        return self._board.product.hardware_class

    @property
    def hardware_revision(self) -> int:
        """The revision within the class."""
        return self._board.product.hardware_revision

    @property
    def mac(self) -> bytes:
        """The chip's six-byte base MAC."""
        return self._board.mac

    @property
    def running_slot(self) -> int:
        """The app slot that runs."""
        return self._image().slot

    @property
    def running_app_sha256(self) -> bytes:
        """SHA-256 of the image file that runs."""
        return self._image().image_sha256

    @property
    def secure_version(self) -> int:
        """The lowest secure version that the eFuses allow: the count of burned bits."""
        return self._board.secure_version()

    def in_session(self) -> bool:
        """Whether a waveform runs."""
        return self._application().has_session

    def battery_percent(self) -> int:
        """Battery charge, 0 to 100."""
        return self._board.battery_percent

    def electrodes_off(self) -> None:
        """Switch the output off until the next boot."""
        self._application().lock_output()

    def self_test(self) -> str | None:
        """Test the running application; what failed, or `None`."""
        return self._application().self_test()

    def draw_nonce(self, size_bytes: int) -> bytes:
        """Return random bytes."""
        return self._draw(size_bytes)

    def _image(self) -> BootedImage:
        if self._board.running is None:
            raise SimulatorError("no application runs on the board", where=self._board.folder)
        return self._board.running

    def _application(self) -> Application:
        if self._board.application is None:
            raise SimulatorError("no application runs on the board", where=self._board.folder)
        return self._board.application
