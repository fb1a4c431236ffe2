"""`ampforge station recover`, and what `station run` says at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.lease_output import format_sync, sync_document
from cli.output import count_of, print_result
from cli.params import config_option, json_option
from cli.station_access import find_station_folder, open_ledger, station_option
from cli.station_sync import synchronise_station

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provisioning.ledger_values import Quarantine
    from provisioning.recovery import UnfinishedJob


@click.command("recover", epilog="Example: ampforge station recover")
@station_option
@config_option
@json_option
def recover(*, station_folder: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Say what a crash, a pulled cable or a stop left half-done, and what to do about it.

    Takes over what was done without the ledger, if there is any, and verifies the ledger. Changes
    nothing else: a board goes on where it stopped when it is put back on a fixture and `ampforge
    station run` is started.
    """
    from provisioning.ledger_quarantine import list_quarantines
    from provisioning.ledger_verification import verify_ledger
    from provisioning.recovery import find_unfinished

    folder = find_station_folder(config_path, station_folder)
    with open_ledger(config_path, station_folder) as ledger:
        synced = synchronise_station(folder, ledger, config_path)
        verified = verify_ledger(ledger, folder=folder, now=utc_now())
        unfinished = find_unfinished(ledger)
        quarantines = list_quarantines(ledger)
    count = verified.event_count
    document = {
        "schema": "ampforge.recovery/1",
        "ledger_events": count,
        "synchronised": None if synced is None else sync_document(synced),
        "unfinished": [unfinished_document(job) for job in unfinished],
        "quarantined": [quarantine_document(one) for one in quarantines],
    }
    lines = [] if synced is None else format_sync(synced)
    lines.append(f"the ledger is whole: {count_of(count, 'event')}")
    lines += format_unfinished(unfinished)
    lines += format_quarantines(quarantines)
    print_result(document, "\n".join(lines), as_json=as_json)


def format_unfinished(unfinished: Sequence[UnfinishedJob]) -> list[str]:
    """Return the boards that must go back on a fixture, as lines for a person."""
    if not unfinished:
        return ["no board is half-done"]
    lines = [f"half-done: {len(unfinished)}; put each on a fixture and run the station again"]
    for job in unfinished:
        done = "was being done" if job.is_uncertain else "was done"
        lines.append(
            f"  {job.serial}  {job.mac.hex(':')}  {job.step} {done}, "
            f"{job.station}, {job.last_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        if job.error is not None:
            lines.append(f"    stopped by: {job.error}")
    return lines


def format_quarantines(quarantines: Sequence[Quarantine]) -> list[str]:
    """Return the boards in quarantine, as lines for a person."""
    if not quarantines:
        return ["no board is in quarantine"]
    decides = "a supervisor decides (`ampforge unit release`, `unit adopt`)"
    lines = [f"in quarantine: {len(quarantines)}; {decides}"]
    for one in quarantines:
        lines.append(
            f"  {one.mac.hex(':')}  {one.board_class:<8}  {one.serial or 'no number'}, "
            f"{one.opened_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        lines.append(f"    {one.reason}")
    return lines


def unfinished_document(job: UnfinishedJob) -> dict[str, object]:
    """Return one half-done board as JSON values."""
    from provisioning.ledger_events import format_time

    return {
        "serial": job.serial,
        "mac": job.mac.hex(":"),
        "job": job.job,
        "station": job.station,
        "step": job.step,
        "is_uncertain": job.is_uncertain,
        "last_at": format_time(job.last_at),
        "error": job.error,
    }


def quarantine_document(one: Quarantine) -> dict[str, object]:
    """Return one quarantine as JSON values."""
    from provisioning.ledger_events import format_time

    return {
        "mac": one.mac.hex(":"),
        "serial": one.serial,
        "board_class": one.board_class,
        "reason": one.reason,
        "opened_at": format_time(one.opened_at),
        "closed_at": None if one.closed_at is None else format_time(one.closed_at),
    }
