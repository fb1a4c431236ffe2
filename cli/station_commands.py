"""`ampforge station`: set up a factory's station, run it, check it, and simulate boards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.failures import UnitFailed, UsageRefusal, exit_code
from cli.output import print_result
from cli.params import (
    EXISTING_FILE,
    FOLDER,
    config_option,
    json_option,
    passphrase_file_option,
    passphrase_source,
    read_passphrase_file,
)
from cli.slot_option import slot_configs, slots_option
from cli.station_access import (
    PASSPHRASE_PROMPT,
    find_bundle,
    find_station_folder,
    load_station_settings,
    read_file,
    real_outside,
    station_option,
    trust_path,
    utc_now,
)

if TYPE_CHECKING:
    from cli.configuration import Configuration
    from provisioning.simulator.line import SimulatedLine
    from provisioning.station import Station
    from provisioning.station_values import SlotConfig, SlotResult

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


@click.group()
def group() -> None:
    """Provision boards: flash, identity, calibration, verification; or simulate them."""


@group.command("init", epilog="Example: ampforge station init --passphrase-file station.pass")
@click.option("--no-passphrase", is_flag=True, help="Leave the private keys unencrypted.")
@click.option("--test-keys", is_flag=True, help="Mark the keys as never for products.")
@station_option
@config_option
@passphrase_file_option
@json_option
def init(
    *,
    no_passphrase: bool,
    test_keys: bool,
    station_folder: Path | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Create the factory's one ledger, its CA, and this station's key and certificate.

    Done once for a factory. A folder that has anything in it is refused: a second ledger would
    start a second series of serial numbers.
    """
    import uuid

    from firmware_images.product import ProductSettings
    from provisioning.station_files import CA_CERTIFICATE_NAME, LEDGER_NAME, create_station

    configuration = load_configuration(config_path)
    settings = load_station_settings(configuration)
    product = configuration.section("product", ProductSettings)
    folder = station_folder or configuration.resolve(settings.folder)
    identity = create_station(
        folder,
        product=product.name,
        station_name=settings.name,
        ledger_uuid=str(uuid.uuid4()),
        now=utc_now(),
        passphrase=None if no_passphrase else _new_passphrase(passphrase_file),
        is_test_key=test_keys,
    )
    ca_path = folder / CA_CERTIFICATE_NAME
    document = {
        "schema": "ampforge.station-init/1",
        "station": settings.name,
        "folder": str(folder),
        "ledger": {"path": str(folder / LEDGER_NAME), "uuid": identity.uuid, "epoch": 1},
        "factory_ca": str(ca_path),
    }
    human = [
        f"station {settings.name} is set up in {folder}",
        f"  ledger {identity.uuid}, epoch {identity.epoch}: back it up with the folder",
        f"next: `ampforge trust sign --factory-ca {ca_path}`, so that boards trust this factory",
    ]
    print_result(document, "\n".join(human), as_json=as_json)


@group.command(
    "run",
    epilog="Example: ampforge station run build/flare-1.4.0.bundle.zip --simulate 4",
)
@click.argument("bundle_path", metavar="[BUNDLE]", type=EXISTING_FILE, required=False)
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
        if simulate is not None:
            folder = find_station_folder(config_path, station_folder) / SIMULATED_FOLDER
            line = stack.enter_context(_simulated_line(folder, board_count=simulate, seed=seed))
            chosen = _simulated_slots(line)
        else:
            chosen = slot_configs(slots) or station.settings.slot_configs()
        results = _run_slots(station, chosen, again=again, as_json=as_json)
        document = describe_run(station, results)
    print_result(document, format_run(results), as_json=as_json)
    errors = [exit_code(result.error) for result in results if result.error is not None]
    if errors:
        ctx.exit(errors[0])
    if document["failed"]:
        raise UnitFailed


@group.command("simulate", epilog="Example: ampforge station simulate --boards 4 --base-port 7000")
@click.option(
    "--boards", type=click.IntRange(1, 256), default=1, show_default=True, help="How many boards."
)
@click.option(
    "--folder",
    type=FOLDER,
    default=Path(SIMULATED_FOLDER),
    show_default=True,
    help="Where the boards keep flash and eFuses.",
)
@seed_option
@click.option(
    "--base-port",
    type=click.IntRange(1, 65_000),
    help="Slot n: serial on BASE + 2(n-1), meter on the next (default: any free ports).",
)
@click.option("--pace", is_flag=True, help="Take the time that the baud rate takes.")
@click.option("--pty", "has_pty", is_flag=True, help="Offer a pseudo terminal for each board, too.")
@json_option
def simulate_line(
    *,
    boards: int,
    folder: Path,
    seed: int,
    base_port: int | None,
    pace: bool,
    has_pty: bool,
    as_json: bool,
) -> None:
    """Serve simulated boards and meters until Ctrl-C.

    Each board is an ESP32-C3 on an RFC 2217 port that unmodified esptool can flash, with a SCPI
    multimeter of its own on TCP. What was flashed stays in the folder.
    """
    with _simulated_line(
        folder, board_count=boards, seed=seed, base_port=base_port, pace=pace, has_pty=has_pty
    ) as line:
        document = {
            "schema": "ampforge.simulated-line/1",
            "folder": str(folder),
            "seed": seed,
            "slots": [
                {
                    "slot": str(number),
                    "port": slot.port_url,
                    "meter": slot.meter_address,
                    "pty": slot.pty_path,
                    "mac": slot.board.mac.hex(":"),
                }
                for number, slot in enumerate(line.slots, start=1)
            ],
        }
        human = [f"{boards} simulated board{'s' if boards > 1 else ''} in {folder}"]
        human += [
            f"  --slots port={slot.port_url},meter={slot.meter_address}"
            + (f"  (pty {slot.pty_path})" if slot.pty_path else "")
            for slot in line.slots
        ]
        human.append("serving until Ctrl-C")
        print_result(document, "\n".join(human), as_json=as_json)
        line.serve_until_interrupted()


@group.command("check", epilog="Example: ampforge station check")
@slots_option
@station_option
@config_option
@passphrase_file_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    *,
    slots: tuple[dict[str, str], ...],
    station_folder: Path | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Check ledger, keys, trust record, ports and meters, without touching a board's flash."""
    from cli.station_checks import check_station

    configuration = load_configuration(config_path)
    settings = load_station_settings(configuration)
    checks = check_station(
        folder=station_folder or configuration.resolve(settings.folder),
        settings=settings,
        slots=slot_configs(slots) or settings.slot_configs(),
        trust_path=trust_path(configuration, None),
        passphrase=passphrase_source(passphrase_file, prompt=PASSPHRASE_PROMPT),
        now=utc_now,
    )
    document = {
        "schema": "ampforge.station-check/1",
        "station": settings.name,
        "checks": [entry.document() for entry in checks],
        "ok": all(entry.error is None for entry in checks),
    }
    print_result(document, "\n".join(entry.line() for entry in checks), as_json=as_json)
    errors = [exit_code(entry.error) for entry in checks if entry.error is not None]
    if errors:
        ctx.exit(errors[0])


def _open_station(
    configuration: Configuration,
    *,
    bundle_path: Path,
    station_folder: Path | None,
    trust_file: Path | None,
    passphrase_file: Path | None,
) -> Station:
    from firmware_images.product import ProductSettings
    from provisioning.station import open_station

    settings = load_station_settings(configuration)
    return open_station(
        station_folder or configuration.resolve(settings.folder),
        settings,
        product_model=configuration.section("product", ProductSettings).model,
        bundle_bytes=read_file(bundle_path, max_bytes=BUNDLE_MAX_BYTES),
        trust_bytes=read_file(trust_path(configuration, trust_file), max_bytes=TRUST_MAX_BYTES),
        outside=real_outside(),
        passphrase=passphrase_source(passphrase_file, prompt=PASSPHRASE_PROMPT),
        bundle_where=str(bundle_path),
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


def _simulated_line(
    folder: Path,
    *,
    board_count: int,
    seed: int,
    base_port: int | None = None,
    pace: bool = False,
    has_pty: bool = False,
) -> SimulatedLine:
    from provisioning.simulator.line import SimulatedLine

    return SimulatedLine(
        folder,
        board_count=board_count,
        seed=seed,
        base_port=base_port,
        pace=pace,
        has_pty=has_pty,
        now=utc_now,
    )


def _simulated_slots(line: SimulatedLine) -> tuple[SlotConfig, ...]:
    from provisioning.station_values import SlotConfig

    return tuple(
        SlotConfig(name=str(number), port=slot.port_url, meter=slot.meter_address)
        for number, slot in enumerate(line.slots, start=1)
    )


def _new_passphrase(passphrase_file: Path | None) -> bytes:
    if passphrase_file is not None:
        return read_passphrase_file(passphrase_file)
    answer: str = click.prompt(
        "Passphrase for the station's keys", hide_input=True, confirmation_prompt=True, err=True
    )
    return answer.encode()
