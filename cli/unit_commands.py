"""`ampforge unit`: the record of one unit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.noun_group import NounGroup
from cli.output import count_of, print_result
from cli.params import (
    EXISTING_FILE,
    FILE,
    config_option,
    json_option,
    passphrase_file_option,
    passphrase_source,
)
from cli.station_access import (
    PASSPHRASE_PROMPT,
    find_ca,
    find_station_folder,
    load_station_settings,
    open_ledger,
    read_factory_ca,
    read_file,
    station_option,
)
from cli.unit_adopt_command import adopt
from cli.unit_budget_command import budget
from cli.unit_certificate_command import certificate
from cli.unit_label_command import label
from cli.unit_names import find_serial
from cli.unit_order_commands import (
    quarantine,
    rebind,
    release,
    rework,
    unit_argument,
)
from cli.unit_replay_command import replay

if TYPE_CHECKING:
    from pathlib import Path


@click.group(cls=NounGroup)
def group() -> None:
    """Show, tell and export the record of one unit; order what a supervisor may."""


for _command in (adopt, budget, certificate, label, quarantine, release, replay, rework, rebind):
    group.add_command(_command)


@group.command("show", epilog="Example: ampforge unit show AMPFL1264700001Z")
@unit_argument
@station_option
@config_option
@json_option
def show(
    *, unit: str, station_folder: Path | None, config_path: Path | None, as_json: bool
) -> None:
    """Show where a unit stands: state, firmware, calibration, worst points, jobs."""
    from cli.unit_documents import format_unit
    from provisioning.unit_records import describe_unit

    with open_ledger(config_path, station_folder) as ledger:
        document = describe_unit(ledger, find_serial(ledger, unit))
    print_result(document, format_unit(document), as_json=as_json)


@group.command("history", epilog="Example: ampforge unit history AMPFL1264700001Z")
@unit_argument
@station_option
@config_option
@json_option
def history(
    *, unit: str, station_folder: Path | None, config_path: Path | None, as_json: bool
) -> None:
    """Tell everything that was done to a unit, in order."""
    from cli.unit_documents import format_history
    from provisioning.unit_records import describe_history

    with open_ledger(config_path, station_folder) as ledger:
        document = describe_history(ledger, find_serial(ledger, unit))
    print_result(document, format_history(document), as_json=as_json)


@group.command("export", epilog="Example: ampforge unit export AMPFL1264700001Z --output unit.json")
@unit_argument
@click.option("-o", "--output", type=FILE, help="Where to write it (default: SERIAL.unit.json).")
@station_option
@config_option
@passphrase_file_option
@json_option
def export(
    *,
    unit: str,
    output: Path | None,
    station_folder: Path | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Write the whole record of a unit with the proof that nothing in it was changed."""
    from pathlib import Path as RealPath

    from cli.configuration import load_configuration
    from provisioning.station_keys import load_station_keys
    from provisioning.unit_exports import export_unit
    from signing.durable_file import save_durably

    configuration = load_configuration(config_path)
    settings = load_station_settings(configuration)
    folder = find_station_folder(config_path, station_folder)
    keys = load_station_keys(
        folder,
        station_name=settings.name,
        now=utc_now(),
        passphrase=passphrase_source(passphrase_file, prompt=PASSPHRASE_PROMPT),
        ca_uri=find_ca(configuration),
    )
    with open_ledger(config_path, station_folder) as ledger:
        serial = find_serial(ledger, unit)
        exported = export_unit(ledger, serial, keys=keys, station=settings.name, now=utc_now())
    path = output or RealPath(f"{serial}.unit.json")
    save_durably(path, (json.dumps(exported, indent=2, ensure_ascii=False) + "\n").encode())
    events = exported["events"]
    assert isinstance(events, list)
    document = {
        "schema": "ampforge.unit-exported/1",
        "serial": serial,
        "path": str(path),
        "event_count": len(events),
    }
    human = (
        f"wrote {path}: {count_of(len(events), 'event')} of {serial}, each with its place in the "
        "chain"
    )
    print_result(document, human, as_json=as_json)


@group.command(
    "verify", epilog="Example: ampforge unit verify unit.json --factory-ca factory-ca.cert.der"
)
@click.argument("export_path", metavar="EXPORT", type=EXISTING_FILE)
@click.option(
    "--factory-ca", type=EXISTING_FILE, required=True, help="Certificate of the factory CA, DER."
)
@json_option
def verify(*, export_path: Path, factory_ca: Path, as_json: bool) -> None:
    """Check an exported record, without the ledger: signed, chained and complete."""
    from provisioning.unit_export_checking import EXPORT_MAX_BYTES, verify_export
    from provisioning.unit_udi import find_udi

    events = verify_export(
        read_file(export_path, max_bytes=EXPORT_MAX_BYTES),
        read_factory_ca(factory_ca),
        now=utc_now(),
        where=str(export_path),
    )
    serial, udi = events[0].serial, find_udi(events)
    document = {
        "schema": "ampforge.unit-verified/1",
        "serial": serial,
        "udi": None if udi is None else udi.document(),
        "event_count": len(events),
        "stations": sorted({event.station for event in events}),
    }
    human = f"{export_path} is unchanged: {count_of(len(events), 'event')} of {serial}"
    if udi is not None:
        human += f"\n  UDI {udi.human_readable}"
    print_result(document, human, as_json=as_json)
