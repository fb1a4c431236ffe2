"""`ampforge station`: set up a factory's station, run it, check it, and simulate boards."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from cli.clock import utc_now
from cli.configuration import load_configuration
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import (
    FOLDER,
    config_option,
    json_option,
    new_passphrase,
    passphrase_file_option,
)
from cli.station_access import find_ca, load_station_settings, station_option
from cli.station_efuses import efuse_plan
from cli.station_join import join
from cli.station_options import SIMULATED_FOLDER, seed_option, simulated_line
from cli.station_ports import ports
from cli.station_recovery import recover
from cli.station_run import run
from cli.station_sync import sync
from cli.station_views import check, report


@click.group(cls=NounGroup)
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
    from provisioning.ledger_address import find_ledger
    from provisioning.station_files import CA_CERTIFICATE_NAME
    from provisioning.station_founding import create_station

    configuration = load_configuration(config_path)
    settings = load_station_settings(configuration)
    product = configuration.section("product", ProductSettings)
    folder = station_folder or configuration.resolve(settings.folder)
    address = find_ledger(folder, settings.ledger, root=configuration.root)
    model = settings.serials.find_model(product.model)
    serial_format = settings.serials.serial_format
    identity = create_station(
        folder,
        product=product.name,
        station_name=settings.name,
        ledger_uuid=str(uuid.uuid4()),
        now=utc_now(),
        passphrase=None
        if no_passphrase
        else new_passphrase(passphrase_file, prompt="Passphrase for the station's keys"),
        is_test_key=test_keys,
        ca_uri=find_ca(configuration),
        ledger=None if settings.ledger is None else address,
        serial_format=serial_format,
    )
    ca_path = folder / CA_CERTIFICATE_NAME
    document = {
        "schema": "ampforge.station-init/1",
        "station": settings.name,
        "folder": str(folder),
        "ledger": {"path": str(address), "uuid": identity.uuid, "epoch": 1},
        "serials": {
            "format": serial_format.picture,
            "prefix": settings.serials.prefix,
            "model": model,
        },
        "factory_ca": str(ca_path),
    }
    human = [
        f"station {settings.name} is set up in {folder}",
        f"  ledger {identity.uuid}, epoch {identity.epoch}, in {address}",
        f"  serial numbers {serial_format.picture}, for ever: {serial_format.describe()}",
        "  back both up: the folder, and the ledger by `ampforge ledger backup`",
        f"next: `ampforge trust sign --factory-ca {ca_path}`, so that boards trust this factory",
    ]
    print_result(document, "\n".join(human), as_json=as_json)


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
    with simulated_line(
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
        with suppress(KeyboardInterrupt):  # whoever reads the addresses may end it at once
            print_result(document, "\n".join(human), as_json=as_json)
            line.serve_until_interrupted()


for _command in (join, run, sync, check, report, recover, ports, efuse_plan):
    group.add_command(_command)
