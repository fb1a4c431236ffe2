"""`ampforge serials check`: what a typed serial number says, or may have said."""

from __future__ import annotations

import datetime as dt
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.failures import describe_error, exit_code, printable
from cli.output import print_result
from cli.params import config_option, json_option
from cli.station_access import (
    find_ledger_address,
    load_station_settings,
    station_option,
    station_writer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provisioning.ledger import Ledger
    from provisioning.ledger_values import Writer
    from provisioning.serial_checking import CheckedSerial
    from provisioning.serial_numbers import SerialNumber
    from provisioning.station_settings import SerialSettings


@click.command("check", epilog="Example: ampforge serials check AMP-FL1-2647-00001-Z")
@click.argument("typed", metavar="SERIAL")
@station_option
@config_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    *,
    typed: str,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Explain a serial number as it was typed: its parts, and whether it was given.

    One that is wrong gives exit code 6, and what it may have been: numbers that one misread
    character, one swap of neighbours, or one character too many or too few turns into it. Those
    that the ledger gave come first. Spaces, hyphens and small letters do not matter.
    """
    from firmware_images.product import ProductSettings
    from provisioning.serial_checking import check_serial

    configuration = load_configuration(config_path)
    settings = load_station_settings(configuration).serials
    product = configuration.section("product", ProductSettings)
    with ExitStack() as stack:
        ledger = _open_ledger_if_any(config_path, station_folder, stack)

        def find_given(serials: Iterable[str]) -> set[str]:
            from provisioning.ledger_queries import find_given as find

            return set() if ledger is None else set(find(ledger.database, serials))

        serial_format = settings.serial_format if ledger is None else ledger.identity.serial_format
        checked = check_serial(
            typed,
            serial_format,
            codes=settings.prefix + settings.find_model(product.model),
            find_given=find_given,
        )
        in_ledger = _describe_in_ledger(ledger, checked, station_writer(config_path))
    document = {
        "schema": "ampforge.serial-check/1",
        "serial": checked.text,
        "ok": checked.error is None,
        "format": serial_format.picture,
        "parts": None if checked.number is None else _describe_parts(checked.number, settings),
        "ledger": in_ledger,
        "error": None if checked.error is None else describe_error(checked.error),
        "perhaps": [
            {"serial": one.serial, "change": one.change, "is_given": one.is_given}
            for one in checked.candidates
        ],
    }
    print_result(document, _format(checked, document), as_json=as_json)
    if checked.error is not None:
        ctx.exit(exit_code(checked.error))


def _open_ledger_if_any(
    config_path: Path | None, station_folder: Path | None, stack: ExitStack
) -> Ledger | None:
    from pathlib import Path as RealPath

    from provisioning.ledger import Ledger

    address = find_ledger_address(config_path, station_folder)
    if isinstance(address, RealPath) and not address.exists():
        return None  # a label can be read where there is no ledger
    ledger = Ledger.open(address)
    stack.callback(ledger.close)
    return ledger


def _describe_parts(number: SerialNumber, settings: SerialSettings) -> dict[str, object]:
    from provisioning.ledger_epochs import epoch_of_sequence
    from provisioning.serial_formats import SerialDate, check_character

    first_day = last_day = None
    if number.format.date is SerialDate.WEEK:
        first_day = dt.date.fromisocalendar(number.year, number.week, 1)
        last_day = first_day + dt.timedelta(days=6)
    elif number.format.date is SerialDate.YEAR:
        first_day, last_day = dt.date(number.year, 1, 1), dt.date(number.year, 12, 31)
    return {
        "prefix": number.prefix,
        "is_own_prefix": number.prefix == settings.prefix,
        "model": number.model,
        "year": number.year or None,
        "week": number.week or None,
        "first_day": None if first_day is None else first_day.isoformat(),
        "last_day": None if last_day is None else last_day.isoformat(),
        "sequence": number.sequence,
        "epoch": epoch_of_sequence(number.sequence, number.format),
        "check": check_character(str(number)[:-1]) if number.format.has_check else None,
    }


def _describe_in_ledger(
    ledger: Ledger | None, checked: CheckedSerial, writer: Writer
) -> dict[str, object] | None:
    from provisioning.lease_status import describe_leased
    from provisioning.ledger_queries import find_given, find_void

    if ledger is None or checked.number is None:
        return None
    given = find_given(ledger.database, [checked.text]).get(checked.text)
    if given is not None:
        mac = None if given.mac is None else given.mac.hex(":")
        return {"state": given.state.value, "mac": mac, "reason": None}
    void = find_void(ledger.database, checked.number)
    if void is not None:
        return {"state": "voided", "mac": None, "reason": void.reason}
    leased = describe_leased(ledger, checked.number, writer=writer)
    if leased is not None:
        return {"state": "leased", "mac": None, "reason": leased}
    return {"state": "never given", "mac": None, "reason": None}


def _format(checked: CheckedSerial, document: dict[str, object]) -> str:
    word = "is WRONG"
    if checked.number is not None:
        word = "is right" if checked.number.format.has_check else "has the form of a number"
    lines = [f"{printable(checked.text[:40])} {word}"]
    if checked.error is not None:
        lines.append(f"  {printable(str(checked.error))}")
    if isinstance(parts := document["parts"], dict):
        lines += _format_parts(parts)
    if isinstance(known := document["ledger"], dict):
        beside = known["mac"] or known["reason"]
        lines.append(f"  ledger    {known['state']}" + (f", {beside}" if beside else ""))
    elif checked.error is None:
        lines.append("  ledger    none here: whether the number was given is not known")
    for one in checked.candidates:
        given = ", which the ledger gave" if one.is_given else ""
        lines.append(f"  perhaps   {one.serial}: {one.change}{given}")
    if checked.candidates:
        lines.append("next: compare with the label; nothing was changed, and none of these is sure")
    elif checked.error is not None:
        lines.append("next: read the label again: no single slip makes this of one of our numbers")
    return "\n".join(lines)


def _format_parts(parts: dict[str, object]) -> list[str]:
    foreign = "" if parts["is_own_prefix"] else ", not the prefix of [station.serials]"
    lines = [f"  prefix    {parts['prefix']}{foreign}"]
    if parts["model"]:
        lines.append(f"  model     {parts['model']}")
    if parts["year"]:
        name = f"{parts['year']}" + (f"-W{parts['week']:02d}" if parts["week"] else "")
        lines.append(f"  given in  {name}, {parts['first_day']} to {parts['last_day']}")
    lines.append(f"  sequence  {parts['sequence']}, epoch {parts['epoch']} of the ledger")
    check = f"{parts['check']}, right" if parts["check"] else "none: a misread number is not found"
    return [*lines, f"  check     {check}"]
