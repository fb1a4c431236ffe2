"""`ampforge serials`: which serial numbers were given to what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.output import print_result
from cli.params import config_option, json_option
from cli.serials_check_command import check
from cli.station_access import open_ledger, station_option

if TYPE_CHECKING:
    from pathlib import Path


@click.group()
def group() -> None:
    """Say which serial numbers were given to what."""


@group.command("status", epilog="Example: ampforge serials status --json")
@station_option
@config_option
@json_option
def status(*, station_folder: Path | None, config_path: Path | None, as_json: bool) -> None:
    """List every serial number with its state, chip and unit."""
    from provisioning.ledger_events import format_time
    from provisioning.ledger_queries import count_serials, list_serials, list_units

    with open_ledger(config_path, station_folder) as ledger:
        identity = ledger.identity
        counts = count_serials(ledger.database)
        serials = list_serials(ledger.database)
        units = {unit.serial: unit for unit in list_units(ledger.database)}
    document = {
        "schema": "ampforge.serials/1",
        "ledger": {"uuid": identity.uuid, "epoch": identity.epoch, "product": identity.product},
        "counts": {state.value: count for state, count in counts.items()},
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
    lines.append("  " + ", ".join(f"{count} {state.value}" for state, count in counts.items()))
    lines += [
        f"  {serial.serial}  {serial.state.value:<9} "
        f"{'-' if serial.mac is None else serial.mac.hex(':')}  "
        f"{units[serial.serial].state.value if serial.serial in units else '-'}"
        for serial in serials
    ]
    print_result(document, "\n".join(lines), as_json=as_json)


group.add_command(check)
