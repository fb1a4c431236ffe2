"""`ampforge serials lease`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.failures import UsageRefusal
from cli.lease_output import format_lease, format_sync, lease_document, sync_document
from cli.output import print_result
from cli.params import DAY, config_option, json_option, passphrase_file_option, passphrase_source
from cli.station_access import (
    PASSPHRASE_PROMPT,
    find_ca,
    find_station_folder,
    load_station_settings,
    open_ledger,
    real_outside,
    station_option,
    station_writer,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cli.configuration import Configuration
    from provisioning.ledger import Ledger
    from provisioning.ledger_leases import LeaseRecord
    from provisioning.ledger_values import Writer

_COUNT_DEFAULT = 100
_DAYS_DEFAULT = 7


@click.command(
    "lease",
    epilog="Example: ampforge serials lease --count 200 --days 3\n\n"
    'Example: ampforge serials lease --close station-2/4 --lost --reason "disk died"',
)
@click.option("--count", type=click.IntRange(1, 10_000), help="How many numbers (default: 100).")
@click.option("--days", type=click.IntRange(1, 31), help="For how many days (default: 7).")
@click.option("--give-back", is_flag=True, help="End this station's lease; what is left is void.")
@click.option("--close", "closed", metavar="LEASE", help="End an expired lease, with --lost.")
@click.option("--lost", is_flag=True, help="Its station will never report what it gave.")
@click.option("--reason", help="What happened to that station; goes on record.")
@click.option(
    "--today",
    type=DAY,
    help="With --lost: the day by a calendar, where no other clock says that the lease expired.",
)
@station_option
@config_option
@passphrase_file_option
@json_option
def lease(
    *,
    count: int | None,
    days: int | None,
    give_back: bool,
    closed: str | None,
    lost: bool,
    reason: str | None,
    today: datetime | None,
    station_folder: Path | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Take a block of serial numbers, so that the station can work without the ledger.

    The ledger keeps the block for this station alone. While the ledger is out of reach, `station
    run` goes on within it, until the lease expires; when it is back, the next start takes over what
    was done. What is left of a lease that has ended becomes void.
    """
    from provisioning.ledger_witness import writing_as_station

    is_taking = count is not None or days is not None
    if is_taking + give_back + (closed is not None) > 1:
        raise UsageRefusal(
            "take a lease, give one back, or end a lost one: one at a time",
            expected="--count and --days, or --give-back, or --close LEASE --lost",
            hint="leave the others out",
        )
    if (closed is not None) != lost or lost != (reason is not None) or (today and not lost):
        raise UsageRefusal(
            "a lost lease is ended with three options",
            expected="--close LEASE --lost --reason TEXT, and perhaps --today DAY",
            hint="this station's own lease is ended with --give-back",
        )
    configuration = load_configuration(config_path)
    folder = find_station_folder(config_path, station_folder)
    writer = station_writer(config_path)
    with (
        open_ledger(config_path, station_folder) as ledger,
        writing_as_station(folder, ledger, station=writer.station),
    ):
        if closed is not None:
            from provisioning.lease_acts import declare_lost

            day = None if today is None else today.date()
            record = declare_lost(ledger, writer, closed, reason=reason or "", today=day)
            _print_lost(record, as_json=as_json)
        elif give_back:
            _give_back(folder, ledger, writer, as_json=as_json)
        else:
            record = _take(
                configuration, folder, ledger, writer, passphrase_file=passphrase_file,
                count=count or _COUNT_DEFAULT, days=days or _DAYS_DEFAULT,
            )  # fmt: skip
            _print_taken(record, as_json=as_json)


def _take(
    configuration: Configuration,
    folder: Path,
    ledger: Ledger,
    writer: Writer,
    *,
    passphrase_file: Path | None,
    count: int,
    days: int,
) -> LeaseRecord:
    from firmware_images.product import ProductSettings
    from provisioning.lease_sync import synchronise
    from provisioning.lease_taking import take_lease
    from provisioning.station_keys import load_station_keys
    from provisioning.station_opening import require_ledger_format

    settings, outside = load_station_settings(configuration), real_outside()
    require_ledger_format(settings.serials, ledger)
    keys = load_station_keys(
        folder,
        station_name=settings.name,
        now=outside.now(),
        passphrase=passphrase_source(passphrase_file, prompt=PASSPHRASE_PROMPT),
        ca_uri=find_ca(configuration),
    )
    product_model = configuration.section("product", ProductSettings).model
    synchronise(folder, ledger, writer)  # a lease that is over makes room for the next
    return take_lease(
        folder,
        ledger,
        writer,
        keys.station_signer,
        prefix=settings.serials.prefix,
        model=settings.serials.find_model(product_model),
        count=count,
        days=days,
        random_bytes=outside.random_bytes,
    )


def _give_back(folder: Path, ledger: Ledger, writer: Writer, *, as_json: bool) -> None:
    from provisioning.lease_sync import synchronise

    result = synchronise(folder, ledger, writer, is_given_back=True)
    print_result(sync_document(result), "\n".join(format_sync(result)), as_json=as_json)


def _print_taken(record: LeaseRecord, *, as_json: bool) -> None:
    human = [
        f"lease {record.name}: {record.count} serial numbers for this station alone",
        *format_lease(record)[1:],
        "the station goes on with it by itself when the ledger cannot be reached",
    ]
    document = {"schema": "ampforge.lease/1", **lease_document(record)}
    print_result(document, "\n".join(human), as_json=as_json)


def _print_lost(record: LeaseRecord, *, as_json: bool) -> None:
    human = [
        *format_lease(record),
        (
            "if its station turns up again: `ampforge station sync` there takes over what it did, "
            "and puts boards with void numbers into quarantine"
        ),
    ]
    document = {"schema": "ampforge.lease/1", **lease_document(record)}
    print_result(document, "\n".join(human), as_json=as_json)
