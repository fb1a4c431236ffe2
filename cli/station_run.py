"""`ampforge station run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.failures import UnitFailed, UsageRefusal, exit_code
from cli.output import print_result
from cli.params import config_option, json_option, passphrase_file_option, passphrase_source
from cli.slot_option import slot_configs, slots_option
from cli.station_access import (
    PASSPHRASE_PROMPT,
    find_bundle,
    find_ca,
    find_station_folder,
    load_station_settings,
    read_file,
    real_outside,
    station_option,
    trust_path,
    utc_now,
)
from cli.station_options import (
    BUNDLE_MAX_BYTES,
    SIMULATED_FOLDER,
    TRUST_MAX_BYTES,
    bundle_argument,
    seed_option,
    simulated_line,
    trust_option,
)
from cli.waiver_options import format_waivers

if TYPE_CHECKING:
    from pathlib import Path

    from cli.configuration import Configuration
    from provisioning.simulator.line import SimulatedLine
    from provisioning.station import Station
    from provisioning.station_values import SlotConfig, SlotResult


@click.command(
    "run",
    epilog="Example: ampforge station run build/flare-1.4.0.bundle.zip --simulate 4",
)
@bundle_argument
@slots_option
@click.option(
    "--simulate", type=click.IntRange(1, 64), help="Work on that many simulated boards instead."
)
@seed_option
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
    again: bool,
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
    from contextlib import ExitStack

    from cli.station_documents import describe_run, format_run
    from cli.station_recovery import format_unfinished
    from provisioning.recovery import find_unfinished

    if slots and simulate is not None:
        raise UsageRefusal(
            "--slots and --simulate exclude each other", hint="leave one of them out"
        )
    configuration = load_configuration(config_path)
    with ExitStack() as stack:
        station = _open_station(
            configuration,
            bundle_path=bundle_path or find_bundle(configuration),
            station_folder=station_folder,
            trust_file=trust_file,
            passphrase_file=passphrase_file,
        )
        stack.callback(station.close)
        unfinished = find_unfinished(station.ledger)
        if unfinished and not as_json:
            click.echo("\n".join(format_unfinished(unfinished)), err=True)
        if simulate is not None:
            folder = find_station_folder(config_path, station_folder) / SIMULATED_FOLDER
            line = stack.enter_context(simulated_line(folder, board_count=simulate, seed=seed))
            chosen = _simulated_slots(line)
        else:
            chosen = slot_configs(slots) or station.settings.slot_configs()
        results = _run_slots(station, chosen, again=again, as_json=as_json)
        document = describe_run(station, results)
        waived = format_waivers(station.bundle.waivers, now=utc_now())
    print_result(document, "\n".join([*waived, format_run(results)]), as_json=as_json)
    errors = [exit_code(result.error) for result in results if result.error is not None]
    if errors:
        ctx.exit(errors[0])
    if document["failed"]:
        raise UnitFailed


def _open_station(
    configuration: Configuration,
    *,
    bundle_path: Path,
    station_folder: Path | None,
    trust_file: Path | None,
    passphrase_file: Path | None,
) -> Station:
    from firmware_images.efuse_plan import load_efuse_plan
    from firmware_images.nvs_plan import load_nvs_plan
    from firmware_images.product import ProductSettings
    from provisioning.station import open_station

    settings = load_station_settings(configuration)
    nvs_plan = None if settings.nvs is None else load_nvs_plan(configuration.resolve(settings.nvs))
    efuses = settings.efuses
    return open_station(
        station_folder or configuration.resolve(settings.folder),
        settings,
        product_model=configuration.section("product", ProductSettings).model,
        bundle_bytes=read_file(bundle_path, max_bytes=BUNDLE_MAX_BYTES),
        trust_bytes=read_file(trust_path(configuration, trust_file), max_bytes=TRUST_MAX_BYTES),
        outside=real_outside(),
        passphrase=passphrase_source(passphrase_file, prompt=PASSPHRASE_PROMPT),
        bundle_where=str(bundle_path),
        ca_uri=find_ca(configuration),
        nvs_plan=nvs_plan,
        efuse_plan=None if efuses is None else load_efuse_plan(configuration.resolve(efuses)),
    )


def _run_slots(
    station: Station, slots: tuple[SlotConfig, ...], *, again: bool, as_json: bool
) -> tuple[SlotResult, ...]:
    from rich.console import Console

    from cli.station_display import choose_display
    from provisioning.slots import run_slots

    with choose_display(Console(), slots, as_json=as_json) as display:
        return run_slots(
            station,
            slots,
            again=again,
            on_progress=display.on_progress,
            on_result=display.on_result,
        )


def _simulated_slots(line: SimulatedLine) -> tuple[SlotConfig, ...]:
    from provisioning.station_values import SlotConfig

    return tuple(
        SlotConfig(name=str(number), port=slot.port_url, meter=slot.meter_address)
        for number, slot in enumerate(line.slots, start=1)
    )
