"""`ampforge station sync`, and what `station run` and `station recover` take over by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.lease_output import format_sync, sync_document
from cli.output import print_result
from cli.params import config_option, json_option
from cli.station_access import (
    find_station_folder,
    open_ledger,
    station_option,
    station_writer,
)

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.lease_sync import SyncResult
    from provisioning.ledger import Ledger


@click.command("sync", epilog="Example: ampforge station sync")
@station_option
@config_option
@json_option
def sync(*, station_folder: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Bring what was done without the ledger into it.

    `station run` and `station recover` do the same at their start. Stopped anywhere, it goes on
    there the next time. A board that the ledger knows otherwise is put into quarantine.
    """
    folder = find_station_folder(config_path, station_folder)
    with open_ledger(config_path, station_folder) as ledger:
        result = synchronise_station(folder, ledger, config_path)
    print_result(sync_document(result), "\n".join(format_sync(result)), as_json=as_json)


def synchronise_station(
    folder: Path, ledger: Ledger, config_path: Path | None
) -> SyncResult | None:
    """Take over what a station did under its lease, if it holds one."""
    from provisioning.lease_folder import find_lease_files
    from provisioning.lease_sync import synchronise
    from provisioning.ledger_witness import require_witnessed, save_witness

    if find_lease_files(folder) is None:
        return None
    writer = station_writer(config_path)
    require_witnessed(folder, ledger)
    result = synchronise(folder, ledger, writer)
    save_witness(folder, ledger, station=writer.station)
    return result
