"""`ampforge unit replay`: is what a record states what its readings give?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.failures import UnitFailed, UsageRefusal
from cli.output import print_result
from cli.params import EXISTING_FILE, config_option, json_option
from cli.station_access import open_ledger, read_file, station_option, utc_now
from cli.unit_names import find_serial

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.ledger_events import Event
    from provisioning.unit_replay import ReplayedResult

_SHOWN_MAX = 20


@click.command("replay", epilog="Example: ampforge unit replay AMPFL1264700001Z")
@click.argument("unit", required=False)
@click.option("--record", "record_path", type=EXISTING_FILE, help="An exported record instead.")
@click.option(
    "--factory-ca", type=EXISTING_FILE, help="With --record: certificate of the factory CA, DER."
)
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
    """Compute fit and verdict of a unit again from its raw readings.

    Every number must agree with the record to the last digit; the exit code is 10 if one does not.
    With --record and --factory-ca, an exported record is enough: no ledger is read.
    """
    from provisioning.unit_replay import replay_document, replay_events

    if (unit is None) == (record_path is None) or (record_path is None) != (factory_ca is None):
        raise UsageRefusal(
            "name one unit",
            expected="UNIT, or --record FILE with --factory-ca FILE",
            hint="ampforge unit replay --record unit.json --factory-ca factory-ca.cert.der",
        )
    if record_path is not None and factory_ca is not None:
        events = _read_record(record_path, factory_ca)
        where = str(record_path)
    else:
        assert unit is not None
        with open_ledger(config_path, station_folder) as ledger:
            where = find_serial(ledger, unit)
            events = tuple(chained.event for chained in ledger.events(serial=where))
    replayed = replay_events(events, where=where)
    serial = replayed[0].event.serial
    assert serial is not None, "both ways to the events ask for one serial number"
    document = replay_document(serial, replayed)
    print_result(document, _tell(serial, replayed), as_json=as_json)
    if not document["agrees"]:
        raise UnitFailed


def _read_record(path: Path, factory_ca: Path) -> tuple[Event, ...]:
    from provisioning.unit_exports import EXPORT_MAX_BYTES, verify_export

    return verify_export(
        read_file(path, max_bytes=EXPORT_MAX_BYTES),
        read_file(factory_ca, max_bytes=4096),
        now=utc_now(),
        where=str(path),
    )


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
