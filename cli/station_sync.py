"""`ampforge station sync`, and what `station run` and `station recover` take over by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.failures import UsageRefusal
from cli.lease_output import format_sync, sync_document
from cli.output import print_result
from cli.params import config_option, json_option
from cli.progress import showing_progress
from cli.station_access import (
    find_station_folder,
    open_ledger,
    station_option,
    station_writer,
)
from provisioning.errors import LeaseError
from signing.errors import SigningError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioning.lease_sync import SyncResult
    from provisioning.ledger import Ledger


@click.command(
    "sync",
    epilog="Example: ampforge station sync\n\n"
    'Example: ampforge station sync --give-up --reason "folder was copied back"',
)
@click.option(
    "--give-up",
    is_flag=True,
    help="Put away an outbox that the ledger cannot take over, or that is a copy; boards that the "
    "ledger does not have go into quarantine.",
)
@click.option("--reason", help="Why it is given up; goes on record.")
@station_option
@config_option
@json_option
def sync(
    *,
    give_up: bool,
    reason: str | None,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Bring what was done without the ledger into it.

    `station run` and `station recover` do the same at their start. Stopped anywhere, it goes on
    there the next time. A board that the ledger knows otherwise is put into quarantine.
    """
    if give_up != (reason is not None):
        raise UsageRefusal(
            "an outbox is given up with a reason",
            expected="--give-up --reason TEXT",
            hint="without both, `ampforge station sync` takes over what it can",
        )
    folder = find_station_folder(config_path, station_folder)
    with open_ledger(config_path, station_folder) as ledger:
        try:
            with showing_progress("taking over", as_json=as_json) as on_progress:
                result = synchronise_station(folder, ledger, config_path, on_progress=on_progress)
        except (LeaseError, SigningError):
            if reason is None:
                raise
            _give_up(folder, ledger, config_path, reason=reason, as_json=as_json)
            return
        if reason is not None and result is not None and not result.is_in_place:
            # A copy that was taken over can do nothing more; without it a lease can be taken.
            _give_up(folder, ledger, config_path, reason=reason, as_json=as_json)
            return
    print_result(sync_document(result), "\n".join(format_sync(result)), as_json=as_json)


def _give_up(
    folder: Path, ledger: Ledger, config_path: Path | None, *, reason: str, as_json: bool
) -> None:
    from provisioning.lease_giving_up import give_up
    from provisioning.ledger_witness import writing_as_station

    writer = station_writer(config_path)
    with writing_as_station(folder, ledger, station=writer.station):
        given_up = give_up(folder, ledger, writer, reason=reason)
    boards = () if given_up is None else given_up.boards
    held = () if given_up is None else given_up.held
    archive = None if given_up is None else str(given_up.archive)
    damage = None if given_up is None else given_up.damage
    instruments = () if given_up is None else given_up.instruments
    document = {
        "schema": "ampforge.sync-given-up/1",
        "boards": list(boards),
        "held": list(held),
        "archive": archive,
        "damage": damage,
        "instruments_in_doubt": list(instruments),
    }
    human = [
        f"given up: {len(boards)} boards are in quarantine, the outbox is kept in {archive}",
        *(f"  {serial}" for serial in boards),
        "next: put these boards aside; a supervisor decides (`ampforge unit quarantine`)",
    ]
    if damage is not None:
        human[1:] = [
            "  it cannot be read, so nobody can say which boards it had: on a fixture they are",
            "  foreign and go into quarantine, and a supervisor decides",
            "next: when the lease has expired, `ampforge serials lease --close LEASE --lost`",
        ]
    if instruments:
        human.append(
            f"a bad reading of a check standard may be lost with it: {', '.join(instruments)} "
            "count as not good until `ampforge instrument check`"
        )
    if held:
        human.append(
            f"because of its check standards {len(held)} units of the ledger are on hold "
            f"({', '.join(held[:5])}); then `ampforge unit rework SERIAL` for each"
        )
    print_result(document, "\n".join(human), as_json=as_json)


def synchronise_station(
    folder: Path,
    ledger: Ledger,
    config_path: Path | None,
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> SyncResult | None:
    """Take over what a station did under its lease, if it holds one."""
    from provisioning.lease_folder import find_lease_files
    from provisioning.lease_recalling import find_to_recall
    from provisioning.lease_sync import synchronise
    from provisioning.ledger_witness import writing_as_station

    writer = station_writer(config_path)
    if find_lease_files(folder) is None and (
        find_to_recall(folder, ledger, station=writer.station) is None
    ):
        return None
    with writing_as_station(folder, ledger, station=writer.station):
        return synchronise(folder, ledger, writer, on_progress=on_progress)
