"""What is printed on a simulated board: the example product, unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedProduct:
    """The hardware that a board is, as its firmware reports it.

    Attributes:
        name: Product name.
        hardware_class: Which waveform tables and releases are for it.
        hardware_revision: Revision of the board.
        project_name: The only application that the simulator can run: its project name in the
            application descriptor. Any other one boots to silence.
    """

    name: str
    hardware_class: str
    hardware_revision: int
    project_name: str


FLARE = SimulatedProduct(
    name="flare", hardware_class="flare-c3", hardware_revision=1, project_name="flare"
)
