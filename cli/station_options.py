"""Options and the simulated line that several station commands share."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.failures import UsageRefusal
from cli.params import EXISTING_FILE
from cli.slot_option import slot_configs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioning.simulator.line import SimulatedLine
    from provisioning.station_settings import StationSettings
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


@contextmanager
def measuring_places(
    slots: tuple[dict[str, str], ...],
    settings: StationSettings,
    *,
    folder: Path,
    simulate: int | None,
    seed: int,
    act: str,
) -> Iterator[tuple[SlotConfig, ...]]:
    """Yield the slots to measure in: of a simulated line, which serves meanwhile, or real ones.

    Args:
        slots: Those of `--slots`; else those of the settings count.
        settings: Section `[station]`.
        folder: Where the simulated boards keep flash and eFuses.
        simulate: How many boards to simulate; `None` for real ones.
        seed: What they are drawn from.
        act: What is done there, for the refusal.

    Raises:
        UsageRefusal: There is none.
    """
    with ExitStack() as stack:
        places = slot_configs(slots) or settings.slot_configs()
        if simulate is not None:
            line = simulated_line(folder, board_count=simulate, seed=seed)
            places = simulated_slots(stack.enter_context(line))
        if not places:
            raise UsageRefusal(
                f"there is no slot to {act} in",
                expected="--slots, or [[station.slots]] in ampforge.toml",
                got="none",
                hint="give --slots port=URL,meter=ADDRESS, or --simulate 1 without hardware",
            )
        yield places
