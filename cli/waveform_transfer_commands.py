"""`ampforge waveform import` and `export`: CSV in and out, on ticks and nanoamps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.output import count_of, print_result
from cli.output_file import refuse_input_as_output
from cli.params import EXISTING_FILE, FILE, config_option, json_option, make_folder
from cli.release_defaults import ReleaseDefaults
from cli.waveform_options import DecimalType

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from firmware_images.waveform_transfer import ImportedWaveform

PULSE, BURST, PERIOD, SESSION = "pulse", "burst", "period", "session"

output_option = click.option(
    "-o", "--output", type=FILE, required=True, help="The CSV file to write, t_us,i_ua."
)


@click.command(
    "import",
    epilog="Example: ampforge waveform import awg.csv --full-scale-ua 400 -o lift.csv",
)
@click.argument("csv_path", type=EXISTING_FILE)
@output_option
@click.option(
    "--full-scale-ua",
    type=DecimalType(),
    help="For the instrument form (SampleRate=…, then samples): what a sample of 1 means.",
)
@click.option(
    "--tick-us",
    type=click.IntRange(1, 1_000_000),
    help="Move every moment to the nearest tick (default: move nothing, refuse what is off 1 µs).",
)
@json_option
def import_(
    *,
    csv_path: Path,
    output: Path,
    full_scale_ua: Decimal | None,
    tick_us: int | None,
    as_json: bool,
) -> None:
    """Turn a CSV file (t_us,i_ua or the instrument form) into one on whole ticks and nanoamps.

    Says what was moved and rounded. A mode then names the result with `csv = "…"`.
    """
    from firmware_images.waveform_transfer import import_waveform, serialize_csv
    from signing.durable_file import save_durably

    imported = import_waveform(csv_path, tick_us=tick_us, full_scale_ua=full_scale_ua)
    content = serialize_csv(imported.segments, imported.tick_us, where=csv_path)
    refuse_input_as_output(output, csv_path)
    make_folder(output.parent)
    save_durably(output, content)
    print_result(_describe(imported, output), _format(imported, output), as_json=as_json)


@click.command(
    "export",
    epilog="Example: ampforge waveform export waveforms.toml --mode LIFT --level 5 -o lift.csv",
)
@click.argument("waveform_path", type=EXISTING_FILE, required=False)
@output_option
@click.option("--mode", "mode_name", help="Which mode; may be left out when there is one.")
@click.option("--level", type=click.IntRange(min=1), help="Which level (default: the highest).")
@click.option(
    "--what",
    type=click.Choice([PULSE, BURST, PERIOD, SESSION]),
    default=PULSE,
    show_default=True,
    help="One pulse, a burst with its rest, the repeat period, or a session with its ramps.",
)
@config_option
@json_option
def export(
    *,
    waveform_path: Path | None,
    output: Path,
    mode_name: str | None,
    level: int | None,
    what: str,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Write one level of a waveform (TOML or compiled) as t_us,i_ua rows, exactly."""
    from firmware_images.waveform_export import build_segments, build_session_segments
    from firmware_images.waveform_sides import find_level
    from firmware_images.waveform_transfer import serialize_csv
    from signing.durable_file import save_durably

    waveform_path = waveform_path or ReleaseDefaults(config_path).waveforms()
    side, mode, number = find_level(waveform_path, mode=mode_name, level=level)
    if what == SESSION:
        segments = build_session_segments(mode, mode.levels[0])
    else:
        segments = build_segments(
            mode, mode.levels[0], with_rest=what != PULSE, with_reversal=what == PERIOD
        )
    content = serialize_csv(segments, side.tick_us, where=waveform_path)
    refuse_input_as_output(output, waveform_path)
    make_folder(output.parent)
    save_durably(output, content)
    document = {
        "schema": "ampforge.waveform-export/1",
        "file": str(output),
        "mode": mode.name,
        "level": number,
        "level_ua": mode.levels[0].peak_na / 1000,
        "what": what,
        "tick_us": side.tick_us,
        "segments": len(segments),
    }
    human = (
        f"{output}: one {what} of {mode.name} level {number}, "
        f"{mode.levels[0].peak_na / 1000:g} µA, {len(segments)} segments"
    )
    print_result(document, human, as_json=as_json)


def _describe(imported: ImportedWaveform, output: Path) -> dict[str, object]:
    return {
        "schema": "ampforge.waveform-import/1",
        "file": str(output),
        "rows": imported.row_count,
        "segments": len(imported.segments),
        "period_us": imported.period_us,
        "peak_ua": imported.peak_na / 1000,
        "tick_us": imported.tick_us,
        "moved_rows": imported.moved_rows,
        "largest_shift_us": imported.largest_shift_us,
        "largest_rounding_na": imported.largest_rounding_na,
    }


def _format(imported: ImportedWaveform, output: Path) -> str:
    size = (
        f"{count_of(len(imported.segments), 'segment')} from {count_of(imported.row_count, 'row')}"
    )
    lines = [
        f"{output}: {size}, {imported.period_us / 1000:g} ms, peak {imported.peak_na / 1000:g} µA"
    ]
    if imported.moved_rows:
        lines.append(
            f"{imported.moved_rows} moments were moved onto ticks of {imported.tick_us} µs, "
            f"by {imported.largest_shift_us:g} µs at most"
        )
    if imported.largest_rounding_na:
        lines.append(f"currents were rounded by {imported.largest_rounding_na:.3g} nA at most")
    if not imported.moved_rows and not imported.largest_rounding_na:
        lines.append("nothing was moved or rounded")
    return "\n".join(lines)
