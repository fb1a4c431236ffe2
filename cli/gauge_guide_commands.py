"""`ampforge gauge plan` and `ampforge gauge measure`: a gauge study, guided on the station."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.configuration import load_configuration
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import EXISTING_FILE, FILE, FiniteFloat, config_option, json_option
from cli.slot_option import slots_option
from cli.station_access import load_station_settings, read_file
from cli.station_options import SIMULATED_FOLDER, measuring_places, seed_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provisioning.gauge_sheet import GaugeSheet
    from provisioning.station_settings import StationSettings
    from provisioning.station_values import SlotConfig

_NA_PER_UA = 1000
_JOURNAL_SUFFIX = ".readings.jsonl"
_JOURNAL_MAX_BYTES = 64 << 20


@click.command(
    "plan",
    epilog="Example: ampforge gauge plan -o study.csv --part AMPFL1264700001Z "
    "--part AMPFL12647000026 --appraiser anna --appraiser ben",
)
@click.option("-o", "--output", type=FILE, required=True, help="Sheet to write, CSV.")
@click.option(
    "--part", "parts", multiple=True, required=True, help="Serial number or name; repeatable."
)
@click.option(
    "--appraiser",
    "appraisers",
    multiple=True,
    required=True,
    help="Person, station or slot; repeatable.",
)
@click.option(
    "--trials",
    type=click.IntRange(2, 25),
    default=3,
    show_default=True,
    help="How often each measures each part.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Draws the order.")
@json_option
def plan(
    *,
    output: Path,
    parts: tuple[str, ...],
    appraisers: tuple[str, ...],
    trials: int,
    seed: int,
    as_json: bool,
) -> None:
    """Write the empty sheet of a gauge study, in random order.

    Fill in the column value yourself, or let `ampforge gauge measure` do it. A sheet that is there
    already is never replaced.
    """
    from provisioning.gauge_sheet import plan_sheet, serialize_sheet
    from signing.durable_file import create_durably

    sheet = plan_sheet(parts, appraisers, trial_count=trials, seed=seed)
    create_durably(output, serialize_sheet(sheet), mode=0o644)
    count = len(sheet.rows)
    document = {"schema": "ampforge.gauge-plan/1", "path": str(output), "readings": count}
    human = (
        f"wrote {output}: {count} readings to take, in this order\n"
        f"next: `ampforge gauge measure {output} --current-ua 100`, or fill it in by hand"
    )
    print_result(document, human, as_json=as_json)


@click.command(
    "measure",
    epilog="Example: ampforge gauge measure study.csv --current-ua 100\n\n"
    "Example: ampforge gauge measure study.csv --current-ua 100 --simulate 4",
)
@click.argument("sheet_path", metavar="SHEET", type=EXISTING_FILE)
@click.option(
    "--current-ua",
    type=FiniteFloat(),
    required=True,
    help="What each part is set to, as if it were ideal: uncalibrated parts differ, µA.",
)
@click.option(
    "--load-ohm",
    type=click.IntRange(min=1),
    help="Load of the fixture (default: the reference load).",
)
@click.option("--no-prompt", is_flag=True, help="Do not wait for hands: every part is in its slot.")
@slots_option
@click.option(
    "--simulate",
    type=click.IntRange(1, 64),
    help="Measure that many simulated boards, of `ampforge station run --simulate`, instead.",
)
@seed_option
@config_option
@json_option
def measure(
    *,
    sheet_path: Path,
    current_ua: float,
    load_ohm: int | None,
    no_prompt: bool,
    slots: tuple[dict[str, str], ...],
    simulate: int | None,
    seed: int,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Take the readings that a sheet still lacks, one by one, on the station.

    Says who puts which part in place; the part must answer with its serial number. Each reading is
    on the disk before the next one, with its samples and instrument in SHEET.readings.jsonl; what
    is there is never measured again. Finish with `ampforge gauge rr`.
    """
    from provisioning.gauge_sheet import parse_sheet
    from provisioning.instrument_register import apply_register, load_copy

    if slots and simulate is not None:
        raise UsageRefusal(
            "--slots and --simulate exclude each other", hint="leave one of them out"
        )
    configuration = load_configuration(config_path)
    settings = load_station_settings(configuration)
    folder = configuration.resolve(settings.folder)
    settings = apply_register(settings, load_copy(folder))
    current_na = _whole_nanoamps(current_ua)
    sheet = parse_sheet(read_file(sheet_path, max_bytes=4 << 20), where=str(sheet_path))
    journal_path = sheet_path.with_name(sheet_path.name + _JOURNAL_SUFFIX)
    journal = b""
    if journal_path.exists():
        journal = read_file(journal_path, max_bytes=_JOURNAL_MAX_BYTES)
    load_ohm = load_ohm or settings.metrology.reference_load_ohm
    _require_same_conditions(journal, current_na, load_ohm, where=journal_path)
    if simulate is not None:
        _require_simulated(folder / SIMULATED_FOLDER)
    with measuring_places(
        slots,
        settings,
        folder=folder / SIMULATED_FOLDER,
        simulate=simulate,
        seed=seed,
        act="measure",
    ) as places:
        measured = _fill(
            sheet, sheet_path, journal, journal_path, places=places, settings=settings,
            current_na=current_na, load_ohm=load_ohm,
            is_prompting=not no_prompt and simulate is None, is_quiet=as_json,
        )  # fmt: skip
    document = {
        "schema": "ampforge.gauge-measured/1",
        "path": str(sheet_path),
        "journal": str(journal_path),
        "measured": measured,
    }
    human = f"the sheet is full; next: `ampforge gauge rr {sheet_path}`"
    print_result(document, human, as_json=as_json)


def _fill(
    sheet: GaugeSheet,
    sheet_path: Path,
    journal: bytes,
    journal_path: Path,
    *,
    places: Sequence[SlotConfig],
    settings: StationSettings,
    current_na: int,
    load_ohm: int,
    is_prompting: bool,
    is_quiet: bool,
) -> int:
    """Take the readings that are missing, each on the disk before the next; say how many."""
    from provisioning.gauge_measuring import measure_part, slots_of_appraiser
    from provisioning.gauge_sheet import serialize_sheet
    from signing.durable_file import save_durably

    open_rows = sheet.open_rows()
    for number, place in enumerate(open_rows, start=1):
        row = sheet.rows[place]
        if is_prompting:
            click.prompt(
                f"{number} of {len(open_rows)}: {row.appraiser}, trial {row.trial}: put "
                f"{row.part} in place, then Enter",
                default="", show_default=False, prompt_suffix=" ", err=True,
            )  # fmt: skip
        reading = measure_part(
            slots_of_appraiser(places, row.appraiser),
            row.part,
            current_na=current_na,
            load_ohm=load_ohm,
            settings=settings,
            now=utc_now,
        )
        entry = {"appraiser": row.appraiser, "trial": row.trial, **reading.document()}
        # The raw reading first: a value without one could not be looked into.
        journal += json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        save_durably(journal_path, journal)
        sheet = sheet.with_value(place, reading.value)
        save_durably(sheet_path, serialize_sheet(sheet))
        if not is_quiet:
            # Not the value: who saw the last one would aim at it.
            click.echo(f"{number} of {len(open_rows)}: {row.part} by {row.appraiser} is read")
    return len(open_rows)


def _require_simulated(folder: Path) -> None:
    """Refuse to make new boards: only ones that a station gave their numbers are parts."""
    if not folder.is_dir():
        raise UsageRefusal(
            "there are no simulated boards to measure",
            expected="those of `ampforge station run --simulate N`",
            got="no such folder",
            where=folder,
            hint="run it first, with the same --seed; the parts are named by their serial numbers",
        )


def _require_same_conditions(
    journal: bytes, current_na: int, load_ohm: int, *, where: Path
) -> None:
    """Refuse to go on with another current or load than a sheet was begun with."""
    lines = journal.splitlines()
    if not lines:
        return
    try:
        last = json.loads(lines[-1])
        begun = (int(last["current_na"]), int(last["load_ohm"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageRefusal(
            "the readings beside the sheet are damaged",
            expected="one JSON object a line, with current_na and load_ohm",
            got=repr(lines[-1][:60]),
            where=where,
            hint="restore the file, or plan the study anew",
        ) from error
    if begun != (current_na, load_ohm):
        raise UsageRefusal(
            "the sheet was begun under other conditions",
            expected=f"{begun[0] / _NA_PER_UA:g} µA into {begun[1]} Ω",
            got=f"{current_na / _NA_PER_UA:g} µA into {load_ohm} Ω",
            where=where,
            hint="go on with the same, or plan another study",
        )


def _whole_nanoamps(current_ua: float) -> int:
    current_na = round(current_ua * _NA_PER_UA)
    if abs(current_na / _NA_PER_UA - current_ua) > 1e-9 * abs(current_ua) or not current_na:
        raise UsageRefusal(
            "this current cannot be asked for",
            expected="whole nanoamps, not 0",
            got=f"{current_ua:g} µA",
            where="--current-ua",
            hint="give at most three digits after the point",
        )
    return current_na
