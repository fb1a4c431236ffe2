"""`ampforge station run`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from cli.bundle_files import OPTIONAL_BUNDLE_ARGUMENT, find_bundle
from cli.clock import utc_now
from cli.configuration import load_configuration
from cli.failures import EXIT_UNIT_FAILED, UsageRefusal, exit_code
from cli.lease_output import format_offline, format_sync, offline_document, synced_document
from cli.output import print_result
from cli.params import config_option, json_option, passphrase_file_option
from cli.slot_option import slot_configs, slots_option
from cli.station_access import find_station_folder, station_option
from cli.station_opening import open_configured_station
from cli.station_options import (
    SIMULATED_FOLDER,
    seed_option,
    simulated_line,
    simulated_slots,
    trust_option,
)
from cli.waiver_options import format_waivers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cli.station_display import Display
    from cli.station_events import EventStream
    from provisioning.station import Station
    from provisioning.station_values import SlotConfig, SlotResult


@click.command(
    "run",
    epilog="Example: ampforge station run build/flare-1.4.0.bundle.zip --simulate 4\n\n"
    "Example: ampforge station run --headless | line-controller",
)
@OPTIONAL_BUNDLE_ARGUMENT
@slots_option
@click.option(
    "--simulate", type=click.IntRange(1, 64), help="Work on that many simulated boards instead."
)
@seed_option
@click.option(
    "--headless", is_flag=True, help="One JSON object per line, as things happen: for a controller."
)
@click.option(
    "--lot", help="Lot that is made, for record and UDI (default: [station] lot, if any)."
)
@click.option("--again", is_flag=True, help="Work on units that passed already.")
@station_option
@trust_option
@config_option
@passphrase_file_option
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    *,
    bundle_path: Path | None,
    slots: tuple[dict[str, str], ...],
    simulate: int | None,
    seed: int,
    headless: bool,
    again: bool,
    lot: str | None,
    station_folder: Path | None,
    trust_file: Path | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Take the board in every slot from a blank chip to a verdict.

    BUNDLE is the signed release (default: the only one that `bundle build` wrote). Everything is
    verified before the first board is touched. A unit that is not good enough gives exit code 10,
    a dead port or instrument 6; the other slots go on. Started again, the station goes on where it
    stopped, and a unit that passed is left alone.
    """
    from contextlib import nullcontext

    if slots and simulate is not None:
        raise UsageRefusal(
            "--slots and --simulate exclude each other", hint="leave one of them out"
        )
    if headless and as_json:
        raise UsageRefusal(
            "--headless and --json exclude each other",
            hint="--headless tells things as they happen, --json once at the end",
        )
    events = _open_events() if headless else None
    with nullcontext() if events is None else events.ending():
        configuration = load_configuration(config_path)
        with ExitStack() as stack:
            station = open_configured_station(
                configuration,
                bundle_path=bundle_path or find_bundle(configuration),
                station_folder=station_folder,
                trust_file=trust_file,
                passphrase_file=passphrase_file,
                lot=lot,
            )
            stack.callback(station.close)
            if simulate is not None:
                folder = find_station_folder(config_path, station_folder) / SIMULATED_FOLDER
                line = stack.enter_context(simulated_line(folder, board_count=simulate, seed=seed))
                chosen = simulated_slots(line)
            else:
                chosen = slot_configs(slots) or station.settings.slot_configs()
            display = _choose_display(station, chosen, events=events, as_json=as_json)
            results = _run_slots(station, chosen, again=again, display=display)
            code = _exit_code(results)
            _print_end(station, results, events=events, as_json=as_json, code=code)
    if code:
        ctx.exit(code)


def _open_events() -> EventStream:
    import sys

    from cli.station_events import EventStream

    return EventStream(sys.stdout, now=utc_now)


def _choose_display(
    station: Station, slots: tuple[SlotConfig, ...], *, events: EventStream | None, as_json: bool
) -> Display:
    """Say what begins, and return what shows the rest."""
    import time

    from rich.console import Console

    from cli.station_display import choose_display
    from cli.station_documents import slot_document
    from cli.station_events import EventDisplay
    from cli.station_recovery import format_unfinished, unfinished_document
    from provisioning.recovery import find_unfinished

    unfinished = find_unfinished(station.ledger)
    if events is None:
        if not as_json:
            _tell_connection(station)
        if unfinished and not as_json:
            click.echo("\n".join(format_unfinished(unfinished)), err=True)
        return choose_display(Console(), slots, as_json=as_json)
    statement = station.bundle.statement
    events.write(
        "started",
        {
            "station": station.settings.name,
            "product": statement.product,
            "version": statement.version,
            "bundle": station.bundle.digest.hex(),
            "waivers": [waiver.to_json() for waiver in station.bundle.waivers],
            "slots": [
                {"slot": slot.name, "port": slot.port, "meter": slot.meter} for slot in slots
            ],
            "unfinished": [unfinished_document(job) for job in unfinished],
            "offline": offline_document(station.opened),
            "synchronised": synced_document(station.opened),
        },
    )
    return EventDisplay(events, slot_document=slot_document, clock_s=time.monotonic)


def _tell_connection(station: Station) -> None:
    """Say with what the station works when that is not the ledger alone."""
    opened = station.opened
    if opened.is_offline and opened.outbox is not None:
        click.echo("\n".join(format_offline(opened.outbox)), err=True)
    elif synced_document(opened) is not None:
        click.echo("\n".join(format_sync(opened.synced)), err=True)


def _run_slots(
    station: Station, slots: tuple[SlotConfig, ...], *, again: bool, display: Display
) -> tuple[SlotResult, ...]:
    from provisioning.slots import run_slots

    with display:
        return run_slots(
            station,
            slots,
            again=again,
            on_progress=display.on_progress,
            on_result=display.on_result,
        )


def _exit_code(results: Sequence[SlotResult]) -> int:
    for result in results:
        if result.error is not None:
            return exit_code(result.error)
    is_failed = any(result.report and not result.report.is_passed for result in results)
    return EXIT_UNIT_FAILED if is_failed else 0


def _print_end(
    station: Station,
    results: Sequence[SlotResult],
    *,
    events: EventStream | None,
    as_json: bool,
    code: int,
) -> None:
    from cli.station_documents import count_run, describe_run, format_run, measuring_document

    if events is not None:
        measuring = measuring_document(results)
        events.write("finished", {"measuring": measuring, **count_run(results), "exit_code": code})
        return
    waived = format_waivers(station.bundle.waivers, now=utc_now())
    human = "\n".join([*waived, format_run(results)])
    print_result(describe_run(station, results), human, as_json=as_json)
