"""Where a command takes a unit's record from: the ledger, or an exported record with its proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.failures import UsageRefusal
from cli.params import EXISTING_FILE
from cli.station_access import read_factory_ca, read_file, read_ledger
from cli.unit_names import find_serial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from provisioning.unit_events import UnitEvents

    Command = Callable[..., Any]


def record_options(command: Command) -> Command:
    """Give a command the unit's name, or the exported record that it works from instead."""
    options = (
        click.argument("unit", metavar="[SERIAL|MAC]", required=False),
        click.option(
            "--record", "record_path", type=EXISTING_FILE, help="An exported record instead."
        ),
        click.option(
            "--factory-ca",
            type=EXISTING_FILE,
            help="With --record: certificate of the factory CA, DER.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def read_unit_record(
    unit: str | None,
    record_path: Path | None,
    factory_ca: Path | None,
    *,
    verb: str,
    station_folder: Path | None,
    config_path: Path | None,
) -> tuple[UnitEvents, str]:
    """Return the events of the unit that was named, and what to call them in an error.

    Args:
        unit: As it was typed.
        record_path: An exported record instead.
        factory_ca: What it is verified with.
        verb: The command, for its hint.
        station_folder: The station's folder.
        config_path: The configuration.

    Raises:
        UsageRefusal: Neither or both were named.
        LedgerError: There is no such unit, or an event is damaged.
        ExportError: The export is not one, or was changed.
        SigningError: It does not verify.
    """
    if (unit is None) == (record_path is None) or (record_path is None) != (factory_ca is None):
        raise UsageRefusal(
            "name one unit",
            expected="UNIT, or --record FILE with --factory-ca FILE",
            hint=f"ampforge unit {verb} --record unit.json --factory-ca factory-ca.cert.der",
        )
    if record_path is not None and factory_ca is not None:
        from provisioning.unit_export_checking import EXPORT_MAX_BYTES, verify_export_links

        record = verify_export_links(
            read_file(record_path, max_bytes=EXPORT_MAX_BYTES),
            read_factory_ca(factory_ca),
            now=utc_now(),
            where=str(record_path),
        )
        return record, str(record_path)
    from provisioning.unit_events import read_unit_events

    assert unit is not None
    with read_ledger(config_path, station_folder) as ledger:
        serial = find_serial(ledger, unit)
        return read_unit_events(ledger, serial), serial
