"""Answers of the standard SMP groups: mcumgr parameters, and the state of the app slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smp.image_management import ImageState, ImageStatesReadResponse
from smp.os_management import MCUMgrParametersReadResponse

from firmware_images.otadata import OtaState
from provisioning.errors import SimulatorError
from provisioning.link_messages import BOARD_BUFFER_BYTES
from provisioning.simulator.boot import BootedImage, inspect_slot

if TYPE_CHECKING:
    from firmware_images.flash_medium import FlashMedium


def describe_parameters() -> MCUMgrParametersReadResponse:
    """Return the size of the board's one SMP buffer."""
    return MCUMgrParametersReadResponse(buf_size=BOARD_BUFFER_BYTES, buf_count=1)


def describe_images(medium: FlashMedium, running: BootedImage) -> ImageStatesReadResponse:
    """Return every app slot that holds a whole image.

    Args:
        medium: The flash.
        running: What was booted.
    """
    states = []
    for slot, partition in enumerate(running.table.ota_slots):
        is_active = slot == running.slot
        try:
            image = inspect_slot(
                medium, running.table, partition, slot=slot, state=OtaState.UNDEFINED
            )
        except SimulatorError:
            continue
        states.append(
            ImageState(
                slot=slot,
                version=image.version,
                hash=image.image_sha256,
                bootable=True,
                pending=False,
                confirmed=is_active and running.state is not OtaState.PENDING_VERIFY,
                active=is_active,
            )
        )
    return ImageStatesReadResponse(images=states)
