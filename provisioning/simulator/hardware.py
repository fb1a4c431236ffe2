"""What the simulated firmware sees of the board that it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from firmware_images.otadata import OtaState
    from provisioning.simulator.analog import OutputStage
    from provisioning.simulator.faults import FaultPlan
    from provisioning.simulator.flash import NorFlash
    from provisioning.simulator.hidden_key import HiddenKey
    from provisioning.simulator.product import SimulatedProduct


class Hardware(Protocol):
    """A board, without the lines that reset it and the loaders in its chip.

    Attributes:
        product: What is printed on the board.
        mac: MAC address, 6 bytes.
        battery_percent: Charge of the battery, 0 to 100.
        faults: What is wrong with the board.
        flash: Its flash.
        output: Its output stage.
        hidden_key: The key in its HMAC peripheral.
    """

    product: SimulatedProduct
    mac: bytes
    battery_percent: int
    faults: FaultPlan
    flash: NorFlash
    output: OutputStage
    hidden_key: HiddenKey

    def now(self) -> datetime:
        """Return the time of the firmware's wall clock, aware."""
        ...

    def slot_state(self) -> OtaState:
        """Return the running slot's state in otadata as it is now."""
        ...

    def is_unproven(self) -> bool:
        """Tell whether the running release has yet to pass its self-test.

        Raises:
            RecordError: The update state is damaged: nobody can tell.
        """
        ...

    def drive_code(self, code: int) -> None:
        """Put a static code on the DAC.

        Raises:
            PowerCutError: The supply browns out under this load, by plan.
        """
        ...
