"""`ampforge unit replay`: is what a record states what its readings give?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.failures import UnitFailed
from cli.output import print_result
from cli.params import config_option, json_option
from cli.station_access import station_option
from cli.unit_record_source import read_unit_record, record_options

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.replay_comparison import ReplayedResult

_SHOWN_MAX = 20


@click.command("replay", epilog="Example: ampforge unit replay AMPFL1264700001Z")
@record_options
@station_option
@config_option
@json_option
def replay(
    *,
    unit: str | None,
    record_path: Path | None,
    factory_ca: Path | None,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Compute fit, uncertainty and verdict of a unit again from its raw readings.

    Every number must agree with the record to the last digit; the exit code is 10 if one does not.
    With --record and --factory-ca, an exported record is enough: no ledger is read.
    """
    from provisioning.unit_replay import replay_document, replay_events

    record, where = read_unit_record(
        unit,
        record_path,
        factory_ca,
        verb="replay",
        station_folder=station_folder,
        config_path=config_path,
    )
    replayed = replay_events(record.events, where=where)
    serial = replayed[0].event.serial
    assert serial is not None, "both ways to the events ask for one serial number"
    document = replay_document(serial, replayed)
    print_result(document, _tell(serial, replayed), as_json=as_json)
    if not document["agrees"]:
        raise UnitFailed


def _tell(serial: str, replayed: tuple[ReplayedResult, ...]) -> str:
    differing = sum(len(result.differences) for result in replayed)
    lines = [f"{serial}  {f'{differing} DIFFER' if differing else 'agrees'}"]
    for result in replayed:
        lines.append(
            f"  {result.event.step:<10} event {result.event.number} of {result.event.station}: "
            f"{result.value_count} values from {result.reading_count} readings, "
            f"{len(result.differences)} differ"
        )
        lines += [
            f"    {difference.path}: stored {difference.stored}, recomputed {difference.recomputed}"
            for difference in result.differences[:_SHOWN_MAX]
        ]
        if len(result.differences) > _SHOWN_MAX:
            lines.append(f"    and {len(result.differences) - _SHOWN_MAX} more; see --json")
    return "\n".join(lines)
