"""`ampforge unit quarantine|release|rework|rebind`: what a supervisor looks at and orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.output import print_result
from cli.params import config_option, json_option, passphrase_file_option, passphrase_source
from cli.station_access import (
    find_station_folder,
    load_station_settings,
    open_ledger,
    read_file,
    station_option,
    trust_path,
)
from cli.station_options import TRUST_MAX_BYTES, trust_option
from cli.unit_names import find_mac, parse_mac

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from provisioning.supervision import Act

    Command = Callable[..., Any]

unit_argument = click.argument("unit", metavar="SERIAL|MAC")


def order_options(command: Command) -> Command:
    """Give a command what every order needs."""
    options = (
        click.option("--reason", required=True, help="Why; it stands in the unit's record."),
        click.option(
            "--key",
            "keys",
            multiple=True,
            help="Private key of the supervisor role; may repeat "
            "(default: [signing.roles.supervisor] signer).",
        ),
        trust_option,
        station_option,
        config_option,
        passphrase_file_option,
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("quarantine", epilog="Example: ampforge unit quarantine")
@click.option("--all", "is_all", is_flag=True, help="Also those that were let out.")
@station_option
@config_option
@json_option
def quarantine(
    *, is_all: bool, station_folder: Path | None, config_path: Path | None, as_json: bool
) -> None:
    """List the boards that must not be worked on, with the reason of each."""
    from cli.station_recovery import format_quarantines, quarantine_document
    from provisioning.ledger_quarantine import list_quarantines

    with open_ledger(config_path, station_folder) as ledger:
        found = list_quarantines(ledger, is_open_only=not is_all)
    document = {
        "schema": "ampforge.quarantine/1",
        "boards": [quarantine_document(one) for one in found],
    }
    print_result(document, "\n".join(format_quarantines(found)), as_json=as_json)


@click.command(
    "release",
    epilog='Example: ampforge unit release 7c:df:a1:00:00:01 --reason "reused evaluation board"',
)
@unit_argument
@order_options
def release(**options: Any) -> None:
    """Let a board out of quarantine, signed by a supervisor.

    An identity in its flash that does not belong to it is erased when the board is next on a
    fixture; exactly the one that was found, no other. A unit that had passed is worked on again.
    """
    from provisioning.supervision import Act

    _order(Act.RELEASE, "is out of quarantine; put it on a fixture", **options)


@click.command(
    "rework", epilog='Example: ampforge unit rework AMPFL1264700001Z --reason "new housing"'
)
@unit_argument
@order_options
def rework(**options: Any) -> None:
    """Have a finished unit worked on again, signed by a supervisor.

    From this moment it is not released any more, until it passes again.
    """
    from provisioning.supervision import Act

    _order(Act.REWORK, "waits to be worked on again; put it on a fixture", **options)


@click.command(
    "rebind",
    epilog="Example: ampforge unit rebind AMPFL1264700001Z 7c:df:a1:00:00:02 "
    '--reason "module replaced"',
)
@unit_argument
@click.argument("new_mac", metavar="NEW-MAC")
@order_options
def rebind(*, new_mac: str, **options: Any) -> None:
    """Have a unit go on with another module (NEW-MAC), signed by a supervisor.

    The serial number stays with the unit, assigned until it passes again; the old module is never
    accepted again. `unit show`, by number or by either MAC, says what was replaced by what.
    """
    from provisioning.supervision import Act

    said = f"goes on with module {new_mac}; put it on a fixture"
    _order(Act.REBIND, said, new_mac=parse_mac(new_mac), **options)


def _order(
    act: Act,
    said: str,
    *,
    unit: str,
    reason: str,
    keys: tuple[str, ...],
    trust_file: Path | None,
    station_folder: Path | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
    new_mac: bytes = b"",
) -> None:
    import uuid

    from cli.configuration import load_configuration
    from cli.signing_keys import open_signers
    from provisioning.ledger_supervision import carry_out, prepare_order
    from provisioning.ledger_values import Writer
    from provisioning.ledger_witness import writing_as_station
    from provisioning.station_trust import accept_trust_record
    from provisioning.supervision import sign_act, verify_act
    from signing.roles import Role

    configuration = load_configuration(config_path)
    settings = load_station_settings(configuration)
    record_path = trust_path(configuration, trust_file)
    trust_bytes = read_file(record_path, max_bytes=TRUST_MAX_BYTES)
    folder = find_station_folder(config_path, station_folder)
    writer = Writer(station=settings.name, now=utc_now, new_job=lambda: str(uuid.uuid4()))
    with (
        open_ledger(config_path, station_folder) as ledger,
        writing_as_station(folder, ledger, station=settings.name),
    ):
        trust = accept_trust_record(folder, trust_bytes, where=record_path)
        mac = find_mac(ledger, unit)
        order = prepare_order(ledger, writer, act=act, mac=mac, reason=reason, new_mac=new_mac)
        signers = open_signers(
            Role.SUPERVISOR,
            configuration=configuration,
            keys=keys,
            passphrase=passphrase_source(passphrase_file, prompt="Passphrase of the supervisor"),
        )
        signed = sign_act(order, signers)
        verified = verify_act(signed, trust, ledger_uuid=ledger.identity.uuid)
        chained = carry_out(ledger, writer, verified, signed)
    document = {
        "schema": "ampforge.supervised-act/1",
        "act": act.value,
        "serial": chained.event.serial,
        "mac": mac.hex(":"),
        "new_mac": new_mac.hex(":") or None,
        "reason": reason,
        "key_ids": [signer.public_key.key_id.hex() for signer in signers],
        "event": {"station": chained.event.station, "number": chained.event.number},
    }
    human = f"{chained.event.serial or mac.hex(':')} {said}"
    print_result(document, human, as_json=as_json)
