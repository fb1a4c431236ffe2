"""`ampforge instrument`: the register of calibrated instruments, and what each of them touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.configuration import load_configuration
from cli.instrument_check_commands import chart, check
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import DAY, config_option, json_option
from cli.station_access import (
    find_station_folder,
    load_station_settings,
    open_ledger,
    station_option,
    station_writer,
)

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from provisioning.instrument_description import Accuracy
    from provisioning.instruments import InstrumentIdentity


@click.group(cls=NounGroup)
def group() -> None:
    """Keep the register of instruments, watch them, and say which units one of them touched."""


group.add_command(check)
group.add_command(chart)


@group.command(
    "add",
    epilog="Example: ampforge instrument add TCPIP0::192.168.1.20::5025::SOCKET "
    "--certificate CAL-2026-0117 --calibrated 2026-01-17 --due 2027-01-17 --by 'M. Curie'",
)
@click.argument("address", required=False)
@click.option("--serial-number", help="Serial number, when the instrument is not there to say it.")
@click.option("--maker", help="Maker, with --serial-number.")
@click.option("--model", help="Model, with --serial-number.")
@click.option("--certificate", required=True, help="Number of the calibration certificate.")
@click.option("--calibrated", required=True, type=DAY, help="Day of the calibration.")
@click.option("--due", required=True, type=DAY, help="Last day on which it may be relied on.")
@click.option(
    "--accuracy",
    "accuracy_name",
    metavar="NAME|FILE.toml",
    help="Description of the instrument with its accuracy by range and age.",
)
@click.option("--by", "entered_by", required=True, help="Who enters it.")
@station_option
@config_option
@json_option
def add(
    *,
    address: str | None,
    serial_number: str | None,
    maker: str | None,
    model: str | None,
    certificate: str,
    calibrated: dt.datetime,
    due: dt.datetime,
    accuracy_name: str | None,
    entered_by: str,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Enter a calibration of an instrument into the ledger's register.

    ADDRESS is its VISA address: who it is, is read from the instrument. With the first entry, no
    station accepts an instrument that is not in the register, or that is overdue.
    """
    from provisioning.instrument_register import add_instrument, build_entry
    from provisioning.ledger_witness import writing_as_station

    identity = _identify(address, serial_number, maker, model, config_path)
    accuracy, source = _find_accuracy(accuracy_name, days=(due - calibrated).days)
    entry = build_entry(
        serial_number=identity.serial_number,
        maker=identity.manufacturer,
        model=identity.model,
        certificate=certificate,
        calibrated=calibrated.date(),
        due=due.date(),
        accuracy=accuracy,
        accuracy_source=source,
        read_from="*IDN?" if address else "hand",
        entered_by=entered_by,
    )
    folder = find_station_folder(config_path, station_folder)
    writer = station_writer(config_path)
    with (
        open_ledger(config_path, station_folder) as ledger,
        writing_as_station(folder, ledger, station=writer.station),
    ):
        chained = add_instrument(ledger, writer, entry)
    document = {
        "schema": "ampforge.instrument/1",
        **entry.model_dump(mode="json"),
        "event": {"station": chained.event.station, "number": chained.event.number},
    }
    lines = [f"{identity} is in the register: certificate {certificate}, due {due.date()}"]
    if not accuracy:
        lines.append(
            "  no accuracy was entered: [station.metrology] accuracy is used as it is stated"
        )
    print_result(document, "\n".join(lines), as_json=as_json)


@group.command("list", epilog="Example: ampforge instrument list --all")
@click.option("--all", "is_all", is_flag=True, help="Also calibrations that later ones replaced.")
@station_option
@config_option
@json_option
def list_command(
    *, is_all: bool, station_folder: Path | None, config_path: Path | None, as_json: bool
) -> None:
    """List the instruments with their due dates; warn of those that are due soon."""
    from cli.instrument_output import entry_document, format_entries
    from provisioning.instrument_register import current_entries, read_register

    with open_ledger(config_path, station_folder) as ledger:
        entries = read_register(ledger)
    current = current_entries(entries)
    chosen = entries if is_all else tuple(current.values())
    today = utc_now().date()
    ahead = load_station_settings(load_configuration(config_path)).meter.due_warning_days
    document = {
        "schema": "ampforge.instruments/1",
        "today": today.isoformat(),
        "instruments": [
            entry_document(
                one,
                today=today,
                warning_days=ahead,
                is_current=current[one.entry.serial_number] is one,
            )
            for one in chosen
        ],
    }
    human = "\n".join(format_entries(chosen, today=today, warning_days=ahead))
    print_result(document, human, as_json=as_json)


@group.command(
    "impact", epilog="Example: ampforge instrument impact MY12345678 --since 2026-01-17 --json"
)
@click.argument("serial_number", required=False, metavar="[SERIAL]")
@click.option("--since", type=DAY, help="Only measurements from this day on, UTC.")
@click.option(
    "--since-check",
    is_flag=True,
    help="Only units that it measured since its last good check standard.",
)
@station_option
@config_option
@json_option
def impact(
    *,
    serial_number: str | None,
    since: dt.datetime | None,
    since_check: bool,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """List every unit that an instrument measured, and where it stands.

    SERIAL is the instrument's serial number; without it, --since names the units of all. Readings
    are counted as those of calibration + verification + after the locks.
    """
    import datetime as dt

    from cli.failures import UsageRefusal
    from cli.instrument_output import format_touched
    from provisioning.instrument_impact import find_touched_units, measured_since_check

    if since_check and (serial_number is None or since is not None):
        raise UsageRefusal(
            "--since-check is about one instrument, and says itself since when",
            expected="SERIAL --since-check",
            got="no SERIAL" if serial_number is None else "--since, too",
            hint="`ampforge instrument list` shows the serial numbers",
        )
    if serial_number is None and since is None:
        raise UsageRefusal(
            "nothing says which measurements are meant",
            expected="the serial number of an instrument, --since, or both",
            got="neither",
            hint="`ampforge instrument list` shows the serial numbers",
        )
    start = None if since is None else since.replace(tzinfo=dt.UTC)
    with open_ledger(config_path, station_folder) as ledger:
        touched = find_touched_units(
            ledger,
            instrument=serial_number,
            since=start,
            units_of_interest=measured_since_check(ledger, serial_number)
            if since_check and serial_number is not None
            else None,
            on_progress=_tell_progress,
        )
    document = {
        "schema": "ampforge.instrument-impact/1",
        "instrument": serial_number,
        "since": None if since is None else since.date().isoformat(),
        "since_check": since_check,
        "units": [one.document() for one in touched],
    }
    print_result(document, "\n".join(format_touched(touched)), as_json=as_json)


@group.command("describe", epilog="Example: ampforge instrument describe keysight-truevolt")
@click.argument("name", required=False)
@json_option
def describe(*, name: str | None, as_json: bool) -> None:
    """Print a description that comes with Ampforge, to start from; or list them."""
    from provisioning.instrument_description import (
        built_in_description,
        list_descriptions,
        read_built_in,
    )

    if name is None:
        names = list_descriptions()
        print_result({"descriptions": list(names)}, "\n".join(names), as_json=as_json)
        return
    document = built_in_description(name).model_dump(mode="json")
    print_result(document, read_built_in(name).rstrip(), as_json=as_json)


def _tell_progress(count: int) -> None:
    import sys

    if sys.stderr.isatty():
        click.echo(f"\r{count} results looked at\r", nl=False, err=True)


def _identify(
    address: str | None,
    serial_number: str | None,
    maker: str | None,
    model: str | None,
    config_path: Path | None,
) -> InstrumentIdentity:
    from cli.failures import UsageRefusal
    from provisioning.instruments import InstrumentIdentity
    from provisioning.slot_meter import identify_instrument

    by_hand = (serial_number, maker, model)
    if address is not None and not any(by_hand):
        return identify_instrument(address, load_station_settings(load_configuration(config_path)))
    if address is None and serial_number and maker and model:
        return InstrumentIdentity(
            manufacturer=maker, model=model, serial_number=serial_number, firmware=""
        )
    raise UsageRefusal(
        "it is not clear which instrument is meant",
        expected="its ADDRESS, or --serial-number with --maker and --model",
        got="both" if address is not None else "not all of them",
        hint="give ADDRESS when the instrument is connected: nothing is mistyped then",
    )


def _find_accuracy(name: str | None, *, days: int) -> tuple[tuple[Accuracy, ...], str]:
    from pathlib import Path

    from cli.failures import UsageRefusal
    from provisioning.instrument_description import load_description

    if name is None:
        return (), ""
    description = load_description(name, root=Path())
    accuracy = description.accuracy_at_age(days)
    if not accuracy:
        raise UsageRefusal(
            "the description states no accuracy for so long after a calibration",
            expected=f"lines with age_days of at least {days}",
            got=f"{len(description.accuracy)} lines, all for a shorter time",
            where=name,
            hint="enter an earlier due date, or the maker's figures for that time",
        )
    return accuracy, description.accuracy_source
