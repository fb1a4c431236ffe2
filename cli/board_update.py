"""Joins a simulated board to the field updater: neither package knows the other, this does."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from manifests.poll_memory import PollMemory
from manifests.relay import RelayedUpdate
from manifests.update_device import UpdateDevice
from manifests.update_outcome import UpdateOutcome, UpdateResult, UpdateRules
from manifests.updater import update_device
from provisioning.errors import SimulatorError
from provisioning.link_release import UPDATE_CHUNK_MAX_BYTES

if TYPE_CHECKING:
    from manifests.transfer import Session
    from provisioning.simulator.application import Application
    from provisioning.simulator.board import SimulatedBoard
    from provisioning.simulator.boot import BootedImage


class SimulatedBoardControl:
    """What the updater asks of a board, answered by a simulated one.

    Args:
        board: The board; it runs its application.
    """

    def __init__(self, board: SimulatedBoard) -> None:
        self._board = board

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
        """The chip's base MAC."""
        return self._board.mac

    @property
    def running_slot(self) -> int:
        """The app slot that runs."""
        return running_image(self._board).slot

    @property
    def running_app_sha256(self) -> bytes:
        """SHA-256 of the image file that runs."""
        return running_image(self._board).image_sha256

    @property
    def secure_version(self) -> int:
        """The lowest secure version that the chip still boots, as its eFuses say."""
        return self._board.secure_version()

    def raise_secure_version(self) -> None:
        """Burn the running application's secure version into the board's eFuses."""
        self._board.raise_secure_version()

    def in_session(self) -> bool:
        """Whether a waveform runs."""
        return self._application.has_session

    def battery_percent(self) -> int:
        """Battery charge."""
        return self._board.battery_percent

    def electrodes_off(self) -> None:
        """Switch the output off until it is allowed, or the next boot."""
        self._application.lock_output()

    def electrodes_allowed(self) -> None:
        """Let a session switch the output on."""
        self._application.unlock_output()

    def self_test(self) -> str | None:
        """Test the running application."""
        return self._application.self_test()

    def read_private_key(self) -> bytes:
        """Return the unit's private key from the board's key storage."""
        return self._application.load_private_key()

    def draw_nonce(self, size_bytes: int) -> bytes:
        """Return unpredictable bytes."""
        return secrets.token_bytes(size_bytes)

    @property
    def _application(self) -> Application:
        running_image(self._board)
        assert self._board.application is not None
        return self._board.application


def running_image(board: SimulatedBoard) -> BootedImage:
    """Return what a board runs.

    Raises:
        SimulatorError: It does not run its application.
    """
    if board.running is None or board.application is None:
        raise SimulatorError(
            "the board does not run its application",
            expected="a flashed board that boots",
            got=board.mode.name.lower(),
            where=board.folder,
            hint="provision it with `ampforge station run` first",
        )
    return board.running


def as_update_device(board: SimulatedBoard, memory: PollMemory | None = None) -> UpdateDevice:
    """Return a simulated board as the updater sees it.

    Args:
        board: The board; it runs its application.
        memory: What it remembers of its last poll; `None` after a boot.
    """
    control = SimulatedBoardControl(board)
    return UpdateDevice(
        medium=board.flash,
        partitions=running_image(board).table,
        board=control,
        read_private_key=control.read_private_key,
        memory=memory or PollMemory(),
    )


def make_update_session(
    board: SimulatedBoard, *, rules: UpdateRules | None = None
) -> RelayedUpdate:
    """Return what answers a board's update command; the factory that a simulated line takes.

    Args:
        board: The board.
        rules: What the updater keeps to; a gateway relays at most 4096 bytes at a time.
    """
    chosen = rules or UpdateRules(chunk_bytes=UPDATE_CHUNK_MAX_BYTES)

    memory = PollMemory()

    def reboot_if_needed(outcome: UpdateOutcome) -> None:
        if outcome.result is UpdateResult.REBOOT_NEEDED:
            board.request_reset()

    def start() -> Session[UpdateOutcome]:
        return update_device(as_update_device(board, memory), chosen)

    return RelayedUpdate(start, on_end=reboot_if_needed)
