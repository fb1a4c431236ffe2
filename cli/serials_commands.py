"""`ampforge serials`: which serial numbers were given to what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.lease_commands import lease as lease_command
from cli.lease_output import (
    format_lease,
    format_offline,
    lease_document,
    outbox_document,
)
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import config_option, json_option
from cli.serials_check_command import check
from cli.station_access import (
    find_ledger_address,
    find_station_folder,
    open_ledger,
    station_option,
    station_writer,
)

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.errors import LedgerError


@click.group(cls=NounGroup)
def group() -> None:
    """Say which serial numbers were given to what."""


@group.command("status", epilog="Example: ampforge serials status --json")
@station_option
@config_option
@json_option
def status(*, station_folder: Path | None, config_path: Path | None, as_json: bool) -> None:
    """List every serial number with its state, chip and unit, every lease and every void range.

    While the ledger is out of reach, say how far this station's own lease has come.
    """
    from provisioning.errors import LedgerError

    try:
        _print_ledger(station_folder, config_path, as_json=as_json)
    except LedgerError as error:
        _print_lease_alone(error, station_folder, config_path, as_json=as_json)


def _print_ledger(station_folder: Path | None, config_path: Path | None, *, as_json: bool) -> None:
    from provisioning.ledger_events import format_time
    from provisioning.ledger_leases import list_leases
    from provisioning.ledger_queries import count_serials, list_serials, list_units, list_voids

    with open_ledger(config_path, station_folder) as ledger:
        identity = ledger.identity
        leases = list_leases(ledger)
        counts = count_serials(ledger.database)
        serials = list_serials(ledger.database)
        voids = [void.to_document(identity.serial_format) for void in list_voids(ledger.database)]
        units = {unit.serial: unit for unit in list_units(ledger.database)}
    document: dict[str, Any] = {
        "schema": "ampforge.serials/1",
        "ledger": {"uuid": identity.uuid, "epoch": identity.epoch, "product": identity.product},
        "counts": {
            **{state.value: count for state, count in counts.items()},
            "leased": sum(lease.left for lease in leases),
        },
        "leases": [lease_document(lease) for lease in leases],
        "voided_ranges": voids,
        "serials": [
            {
                "serial": serial.serial,
                "state": serial.state.value,
                "mac": None if serial.mac is None else serial.mac.hex(":"),
                "unit": units[serial.serial].state.value if serial.serial in units else None,
                "reserved_at": format_time(serial.reserved_at),
            }
            for serial in serials
        ],
    }
    lines = [f"ledger {identity.uuid}, epoch {identity.epoch}, product {identity.product}"]
    lines.append("  " + ", ".join(f"{count} {name}" for name, count in document["counts"].items()))
    for lease in leases:
        lines += [f"  {line}" for line in format_lease(lease)]
    lines += [
        f"  {void['first']} to {void['last']} are never given: {void['reason']}" for void in voids
    ]
    lines += [
        f"  {serial.serial}  {serial.state.value:<9} "
        f"{'-' if serial.mac is None else serial.mac.hex(':')}  "
        f"{units[serial.serial].state.value if serial.serial in units else '-'}"
        for serial in serials
    ]
    print_result(document, "\n".join(lines), as_json=as_json)


def _print_lease_alone(
    error: LedgerError, station_folder: Path | None, config_path: Path | None, *, as_json: bool
) -> None:
    """Say how far the station's lease has come, as its outbox knows, when the ledger is not there.

    Raises:
        LedgerError: The ledger is there, or the station holds no lease: `error` itself.
    """
    from contextlib import ExitStack

    from provisioning.station_ledger import is_out_of_reach, open_outbox

    folder = find_station_folder(config_path, station_folder)
    if not is_out_of_reach(error, find_ledger_address(config_path, station_folder), folder):
        raise error
    with ExitStack() as stack:
        outbox = open_outbox(folder, station_writer(config_path), stack)
        if outbox is None:
            raise error
        document = {"schema": "ampforge.serials/1", "offline": outbox_document(outbox)}
        print_result(document, "\n".join(format_offline(outbox)), as_json=as_json)


for _command in (check, lease_command):
    group.add_command(_command)
