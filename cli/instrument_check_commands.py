"""`ampforge instrument check` and `chart`: read check standards, and look at their readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.failures import UsageRefusal, describe_error, exit_code, printable
from cli.output import print_result
from cli.params import config_option, json_option
from cli.picture_option import plot_option, save_picture
from cli.slot_option import slots_option
from cli.station_access import (
    find_ledger_address,
    find_station_folder,
    load_station_settings,
    open_ledger,
    station_option,
    station_writer,
)
from cli.station_options import SIMULATED_FOLDER, measuring_places, seed_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from provisioning.check_chart import CheckChart
    from provisioning.station_checking import SlotCheck


@click.command("check", epilog="Example: ampforge instrument check")
@slots_option
@click.option("--simulate", type=click.IntRange(1, 64), help="Read those of a simulated line.")
@seed_option
@station_option
@config_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    *,
    slots: tuple[dict[str, str], ...],
    simulate: int | None,
    seed: int,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Read the check standard of each slot now: at the end of the work, or after a repair.

    A good reading releases the units that passed and wait for it. A bad one puts every unit on hold
    that the instrument measured since the last good one, and gives exit code 6. So does a standard
    that cannot be read; that releases nothing, and holds nothing.
    """
    from provisioning.station_checking import check_slots

    if slots and simulate is not None:
        raise UsageRefusal(
            "--slots and --simulate exclude each other", hint="leave one of them out"
        )
    configuration = load_configuration(config_path)
    settings = load_station_settings(configuration)
    if settings.check_standard is None:
        raise UsageRefusal(
            "the station has no check standard",
            expected="[station.check_standard] in ampforge.toml",
            got="no such section",
            hint="docs/how-to/add-an-instrument.md shows one",
        )
    folder = find_station_folder(config_path, station_folder)
    if not folder.is_dir():  # a simulated line would make it, and `station init` then refuse it
        raise UsageRefusal(
            "there is no station",
            expected="a folder that `ampforge station init` or `station join` made",
            got="no such folder",
            where=folder,
            hint="check the folder; only a new factory runs `ampforge station init`",
        )
    with measuring_places(
        slots,
        settings,
        folder=folder / SIMULATED_FOLDER,
        simulate=simulate,
        seed=seed,
        act="read",
    ) as places:
        is_offline, found = check_slots(
            folder,
            find_ledger_address(config_path, station_folder),
            settings,
            station_writer(config_path),
            places,
        )
    document = {
        "schema": "ampforge.instrument-check/1",
        "offline": is_offline,
        "slots": [_slot_document(one) for one in found],
    }
    print_result(document, "\n".join(_format_checks(found, is_offline)), as_json=as_json)
    errors = [exit_code(one.error) for one in found if one.error is not None]
    if errors:
        ctx.exit(errors[0])


def _slot_document(one: SlotCheck) -> dict[str, object]:
    document: dict[str, object] = {
        "slot": one.slot.name,
        "meter": one.slot.meter,
        "error": None if one.error is None else describe_error(one.error),
        "is_good": None if one.result is None else one.result.judgement.is_good,
    }
    if one.result is None:
        return document
    facts, judgement = one.result.facts, one.result.judgement
    return document | {
        "standard": facts.standard,
        "standard_certificate": facts.standard_certificate,
        "instrument": facts.instrument,
        "certificate": facts.certificate,
        "mean_na": facts.mean_na,
        "deviation_na": facts.mean_na - facts.reference_na,
        "limit_na": facts.limit_na,
        "ewma_na": judgement.ewma_na,
        "ewma_lower_na": judgement.lower_na,
        "ewma_upper_na": judgement.upper_na,
        "reasons": list(judgement.reasons),
        "released": list(one.result.released),
        "held": list(one.result.held),
    }


def _format_checks(found: Sequence[SlotCheck], is_offline: bool) -> Iterator[str]:
    for one in found:
        if one.error is not None:
            yield printable(f"slot {one.slot.name}: {one.error}")
            if one.error.hint:
                yield printable(f"    next: {one.error.hint}")
        if one.result is None or one.error is not None:
            continue
        facts, result = one.result.facts, one.result
        yield (
            f"slot {one.slot.name}: good, {facts.mean_na - facts.reference_na:+.1f} nA from the "
            f"reference of {facts.standard}, at most {facts.limit_na:g} nA"
        )
        if is_offline:
            yield "    without the ledger: it releases when the ledger takes it over"
        else:
            yield f"    released: {', '.join(result.released) or 'nothing waited'}"
        if result.held:
            yield (
                f"    on hold, measured behind a reading that was not good: "
                f"{', '.join(result.held)}; then `ampforge unit rework SERIAL` for each"
            )


@click.command("chart", epilog="Example: ampforge instrument chart MY12345678 --plot ewma.svg")
@click.argument("serial_number", metavar="SERIAL")
@plot_option
@station_option
@config_option
@json_option
def chart(
    *,
    serial_number: str,
    plot_path: Path | None,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Show what an instrument read of check standards: each reading, and the EWMA chart.

    SERIAL is the instrument's serial number. A chart is of one standard, slot and certificate.
    """
    from provisioning.check_chart import plot_check_charts, read_check_charts

    with open_ledger(config_path, station_folder) as ledger:
        charts = read_check_charts(ledger, serial_number)
    if plot_path is not None and not charts:
        raise UsageRefusal(
            "there is nothing to draw",
            expected="an instrument that read a check standard",
            got=f"no reading by {serial_number}",
            where="--plot",
            hint="`ampforge instrument check` takes one",
        )
    save_picture(
        plot_path,
        lambda picture_format: plot_check_charts(charts, picture_format=picture_format),
        made_from=None,
    )
    document = {
        "schema": "ampforge.instrument-chart/1",
        "instrument": serial_number,
        "charts": [one.document() for one in charts],
    }
    print_result(document, "\n".join(_format_charts(charts)), as_json=as_json)


def _format_charts(charts: Sequence[CheckChart]) -> Iterator[str]:
    if not charts:
        yield "no reading of a check standard by this instrument"
    for one in charts:
        yield printable(
            f"{one.standard}, station {one.station}, slot {one.slot}, certificate "
            f"{one.certificate or 'none on file'}: {len(one.readings)} readings"
        )
        for told in one.readings:
            entry = told.reading
            yield printable(
                f"  {told.at:%Y-%m-%d %H:%M} {entry.moment.value:<5} "
                f"{entry.mean_na - entry.reference_na:+9.1f} nA (at most {entry.limit_na:g}), "
                f"EWMA {entry.ewma_na:.1f} in {entry.lower_na:.1f} to {entry.upper_na:.1f}  "
                + ("good" if entry.is_good else "BAD: " + "; ".join(entry.reasons))
            )
