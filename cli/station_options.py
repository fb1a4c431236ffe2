"""Options and the simulated line that several station commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.params import EXISTING_FILE
from cli.station_access import utc_now

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.simulator.line import SimulatedLine
    from provisioning.station_values import SlotConfig

BUNDLE_MAX_BYTES = 64 << 20
TRUST_MAX_BYTES = 1 << 20
SIMULATED_FOLDER = "simulated-line"
DEFAULT_SEED = 1

trust_option = click.option(
    "--trust",
    "trust_file",
    type=EXISTING_FILE,
    help="Trust record (default: [signing] trust_record).",
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 9999),
    default=DEFAULT_SEED,
    show_default=True,
    help="What the simulated boards' MACs and analog figures are drawn from.",
)


def simulated_line(
    folder: Path,
    *,
    board_count: int,
    seed: int,
    base_port: int | None = None,
    pace: bool = False,
    has_pty: bool = False,
) -> SimulatedLine:
    """Return a line of simulated boards that can be updated in the field, too; not yet serving.

    Args:
        folder: Where the boards keep flash and eFuses.
        board_count: How many boards.
        seed: What they are drawn from.
        base_port: First TCP port; any free ones when absent.
        pace: Take the time that the baud rate takes.
        has_pty: Offer a pseudo terminal for each board, too.
    """
    from cli.board_update import make_update_session
    from provisioning.simulator.line import SimulatedLine

    return SimulatedLine(
        folder,
        board_count=board_count,
        seed=seed,
        update_session_factory=make_update_session,
        base_port=base_port,
        pace=pace,
        has_pty=has_pty,
        now=utc_now,
    )


def simulated_slots(line: SimulatedLine) -> tuple[SlotConfig, ...]:
    """Return the slots of a simulated line, numbered."""
    from provisioning.station_values import SlotConfig

    return tuple(
        SlotConfig(name=str(number), port=slot.port_url, meter=slot.meter_address)
        for number, slot in enumerate(line.slots, start=1)
    )
