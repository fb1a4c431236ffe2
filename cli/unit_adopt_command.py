"""`ampforge unit adopt`: a board gets back the number that the ledger lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.bundle_files import find_bundle
from cli.configuration import load_configuration
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import EXISTING_FILE, passphrase_source
from cli.station_opening import open_configured_station
from cli.unit_order_commands import order_options

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.station import Station
    from provisioning.supervision import SupervisedAct
    from signing.signers import Signer


@click.command(
    "adopt",
    epilog='Example: ampforge unit adopt --slot 1 --reason "made the day the disk died"\n\n'
    "Example: ampforge unit adopt --port /dev/ttyUSB0 --bundle build/flare-1.4.0.bundle.zip "
    '--reason "lost with the disk"',
)
@click.option("--slot", help="Slot that the board lies in, by its name under [[station.slots]].")
@click.option("--port", help="Its port, instead of a slot's.")
@click.option(
    "--bundle",
    "bundle_path",
    type=EXISTING_FILE,
    help="Release that it runs (default: the only one that `bundle build` wrote).",
)
@click.option(
    "--station-passphrase-file",
    type=EXISTING_FILE,
    help="File with the passphrase of the station's keys (default: ask).",
)
@order_options
def adopt(
    *,
    slot: str | None,
    port: str | None,
    bundle_path: Path | None,
    station_passphrase_file: Path | None,
    reason: str,
    keys: tuple[str, ...],
    trust_file: Path | None,
    station_folder: Path | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Give a board back the number that a restored ledger lost, signed by a supervisor.

    The board lies in a slot and proves who it is by its certificate and a fresh signature; nothing
    is written to it. The number must be one that nobody else has and that this ledger can never
    give. The unit then waits for `station run`, and is released when it passes. For a locked board
    the supervisor vouches for [station] nvs and efuses: it was made by exactly these plans.
    """
    from cli.signing_keys import open_signers
    from provisioning.board_adoption import adopt_board
    from provisioning.supervision import sign_act
    from signing.roles import Role

    if (slot is None) == (port is None):
        raise UsageRefusal(
            "it is not clear which board is meant",
            expected="--slot NAME or --port URL",
            hint="`ampforge station ports` lists the ports",
        )
    configuration = load_configuration(config_path)
    signers: list[Signer] = []

    def sign(order: SupervisedAct) -> bytes:
        # Whoever signs named a slot: what lies in it stands here for the first time.
        click.echo(
            f"to be signed: {order.serial} goes back to {order.mac.hex(':')} ({order.reason})",
            err=True,
        )
        signers.extend(
            open_signers(
                Role.SUPERVISOR,
                configuration=configuration,
                keys=keys,
                passphrase=passphrase_source(
                    passphrase_file, prompt="Passphrase of the supervisor"
                ),
            )
        )
        return sign_act(order, signers)

    station = open_configured_station(
        configuration,
        bundle_path=bundle_path or find_bundle(configuration),
        station_folder=station_folder,
        trust_file=trust_file,
        passphrase_file=station_passphrase_file,
    )
    try:
        chained, proved = adopt_board(
            station, port or _find_port(station, str(slot)), reason=reason, sign=sign
        )
    finally:
        station.close()
    event = chained.event
    document: dict[str, Any] = {
        "schema": "ampforge.supervised-act/1",
        "act": "adopt",
        "serial": proved.serial,
        "mac": proved.mac.hex(":"),
        "new_mac": None,
        "reason": reason,
        "loader": proved.evidence.loader.value,
        "key_ids": [signer.public_key.key_id.hex() for signer in signers],
        "event": {"station": event.station, "number": event.number},
    }
    human = (
        f"{proved.serial} belongs to {proved.mac.hex(':')} again, and waits to be worked on; put "
        "it on a fixture: it is released when it passes"
    )
    print_result(document, human, as_json=as_json)


def _find_port(station: Station, name: str) -> str:
    slots = station.settings.slot_configs()
    for slot in slots:
        if slot.name == name:
            return slot.port
    raise UsageRefusal(
        "there is no such slot",
        expected=", ".join(slot.name for slot in slots) or "a slot under [[station.slots]]",
        got=name,
        hint="or name its port with --port",
    )
