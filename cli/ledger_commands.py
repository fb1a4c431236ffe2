"""`ampforge ledger`: verify, back up, restore and upgrade the factory's ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.noun_group import NounGroup
from cli.output import count_of, print_result
from cli.params import EXISTING_FILE, FILE, config_option, json_option
from cli.progress import showing_progress
from cli.station_access import (
    find_ledger_address,
    find_station_folder,
    load_station_settings,
    open_ledger,
    real_outside,
    station_option,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOKING = "looking at the ledger"


@click.group(cls=NounGroup)
def group() -> None:
    """Verify, back up, restore and upgrade the factory's ledger."""


@group.command("verify", epilog="Example: ampforge ledger verify --json")
@station_option
@config_option
@json_option
def verify(*, station_folder: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Check every event, every chain and every row, and that no number is unexplained.

    The chains are compared with what the stations signed and saw of each other, and with what this
    station remembers. The first wrong event is named, and what was done to it.
    """
    from cli.ledger_documents import describe_verified, format_verified
    from provisioning.ledger_verification import verify_ledger

    folder = find_station_folder(config_path, station_folder)
    with (
        open_ledger(config_path, station_folder) as ledger,
        showing_progress(_LOOKING, as_json=as_json) as on_progress,
    ):
        verified = verify_ledger(ledger, folder=folder, now=utc_now(), on_progress=on_progress)
    print_result(describe_verified(verified), "\n".join(format_verified(verified)), as_json=as_json)


@group.command("backup", epilog="Example: ampforge ledger backup --output monday.backup.jsonl")
@click.option(
    "-o", "--output", type=FILE, help="Where to write it (default: a name with the time)."
)
@station_option
@config_option
@json_option
def backup(
    *,
    output: Path | None,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Write one consistent state of the ledger to a new file, while stations go on.

    The file restores into SQLite and into PostgreSQL. Keep it on another machine, with the
    station's folder: without the keys in it, no further board can be made.
    """
    from provisioning.ledger_backup import write_backup

    now = utc_now()
    path = output or Path(f"ledger-{now:%Y%m%dT%H%M%SZ}.backup.jsonl")
    address = find_ledger_address(config_path, station_folder)
    with showing_progress(_LOOKING, as_json=as_json) as on_progress:
        summary = write_backup(address, path, now=now, on_progress=on_progress)
    document = {
        "schema": "ampforge.ledger-backed-up/1",
        "path": str(path),
        "sha256": summary.sha256,
        "taken_at": summary.taken_at,
        "ledger": {"uuid": summary.uuid, "epoch": summary.epoch, "revision": summary.revision},
        "rows": summary.rows,
        "chains": _chains(summary.chains),
    }
    human = [
        (
            f"wrote {path}: {count_of(summary.rows['units'], 'unit')}, "
            f"{count_of(summary.rows['events'], 'event')}"
        ),
        f"  ledger {summary.uuid}, epoch {summary.epoch}, as of {summary.taken_at}",
        f"  SHA-256 {summary.sha256}",
        "next: copy it to another machine, together with the station's folder",
    ]
    print_result(document, "\n".join(human), as_json=as_json)


@group.command(
    "restore", epilog='Example: ampforge ledger restore last.backup.jsonl --reason "disk died"'
)
@click.argument("backup_path", metavar="BACKUP", type=EXISTING_FILE)
@click.option("--reason", required=True, help="What happened to the ledger; goes on record.")
@click.option(
    "--first-epoch",
    type=click.IntRange(2, 32),
    help="Lowest epoch to open, when this ledger was restored before on another machine.",
)
@station_option
@config_option
@json_option
def restore(
    *,
    backup_path: Path,
    reason: str,
    first_epoch: int | None,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Make the ledger from a backup, in a new epoch.

    Everything in the backup is verified first. What may have been given since becomes void, and
    cannot be given again. A ledger that is there is never replaced: move its file away, or name an
    empty database.
    """
    import uuid

    from cli.configuration import load_configuration
    from provisioning.ledger_restore import restore_for_station
    from provisioning.ledger_values import Writer

    outside = real_outside()
    settings = load_station_settings(load_configuration(config_path))
    address = find_ledger_address(config_path, station_folder)
    with showing_progress(_LOOKING, as_json=as_json) as on_progress:
        restored = restore_for_station(
            backup_path,
            address,
            Writer(station=settings.name, now=outside.now, new_job=outside.new_job),
            folder=find_station_folder(config_path, station_folder),
            opening=str(uuid.uuid4()),
            reason=reason,
            first_free_epoch=first_epoch or 1,
            on_progress=on_progress,
        )
    identity, lost = restored.identity, restored.lost_event_count
    voided = [void.to_document(identity.serial_format) for void in restored.voided]
    chains = {name: (count, head.hex()) for name, (count, head) in restored.chains.items()}
    document = {
        "schema": "ampforge.ledger-restored/1",
        "ledger": {"path": str(address), "uuid": identity.uuid, "epoch": identity.epoch},
        "opening": identity.opening,
        "lost_events_of_this_station": lost,
        "voided": voided,
        "chains": _chains(chains),
    }
    human = [
        f"ledger {identity.uuid} is restored to {address}, in epoch {identity.epoch}",
        f"  as of {restored.taken_at:%Y-%m-%d %H:%M:%S} UTC; every event and row was verified",
    ]
    if lost:
        human.append(f"  at least {lost} events of {settings.name} are lost")
    human += [
        f"  void: {void['first']} to {void['last']}, which may have been given since"
        for void in voided
    ]
    elsewhere = (
        f"if it was restored to epoch {identity.epoch} before, elsewhere: move this ledger away, "
        f"and restore with --first-epoch {identity.epoch + 1}"
    )
    human += [
        "next: put each board that was worked on since the backup into a slot again",
        elsewhere,
    ]
    print_result(document, "\n".join(human), as_json=as_json)


@group.command("upgrade", epilog="Example: ampforge ledger upgrade --backup before.backup.jsonl")
@click.option(
    "--backup", "backup_path", type=FILE, required=True, help="Where the ledger is backed up first."
)
@station_option
@config_option
@json_option
def upgrade(
    *,
    backup_path: Path,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Bring a ledger of an earlier Ampforge to the present form; stop the stations first."""
    from provisioning.ledger_revisions import HEAD_REVISION
    from provisioning.ledger_upgrade import upgrade_ledger

    address = find_ledger_address(config_path, station_folder)
    with showing_progress(_LOOKING, as_json=as_json) as on_progress:
        before = upgrade_ledger(address, backup_path, now=utc_now(), on_progress=on_progress)
    is_upgraded = before != HEAD_REVISION
    document = {
        "schema": "ampforge.ledger-upgraded/1",
        "path": str(address),
        "from": before,
        "to": HEAD_REVISION,
        "backup": str(backup_path) if is_upgraded else None,
    }
    human = (
        f"{address} is now of revision {HEAD_REVISION}; as it was before: {backup_path}"
        if is_upgraded
        else f"nothing to do: {address} is of revision {HEAD_REVISION} already"
    )
    print_result(document, human, as_json=as_json)


def _chains(chains: Mapping[str, tuple[int, str]]) -> list[dict[str, object]]:
    return [
        {"station": station, "count": count, "head": head}
        for station, (count, head) in chains.items()
    ]
