"""`ampforge waveform diff`: what changed between two waveforms, in numbers."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import click

from cli.output import count_of, print_result
from cli.output_file import refuse_input_as_output
from cli.params import EXISTING_FILE, json_option
from cli.picture_option import plot_option, save_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from firmware_images.waveform_diff import Change, Value

_UNITS = {
    "_ua": "µA",
    "_na": "nA",
    "_uc": "µC",
    "_ms": "ms",
    "_us": "µs",
    "_s": "s",
    "_mm2": "mm²",
}
_NAMES = {
    "idc": "mean current",
    "idc_window": "largest mean over 1 s",
    "iavg": "mean absolute current",
    "iavg_burst": "mean absolute in bursts",
    "irms": "r.m.s. over the period",
    "irms_burst": "r.m.s. inside bursts",
    "net_charge": "net charge of the period",
    "pulse_net_charge": "net charge of a pulse",
    "period": "repeat period",
    "pulse": "pulse period",
    "flips_each_burst": "polarity flips each burst",
    "largest_difference": "largest difference",
    "largest_difference_at": "…which is at",
}
_SHOWN_CHARACTERS = 16


@click.command(
    "diff",
    epilog="Example: ampforge waveform diff released.table waveforms.toml --plot what-changed.svg",
)
@click.argument("before_path", type=EXISTING_FILE)
@click.argument("after_path", type=EXISTING_FILE)
@click.option(
    "--mode", "mode_name", help="Compare this mode only; with a CSV file: the mode it is."
)
@click.option(
    "--level",
    type=click.IntRange(min=1),
    help="Compare this level only; with a CSV file: the level it is (default: the highest).",
)
@plot_option
@json_option
def diff(
    *,
    before_path: Path,
    after_path: Path,
    mode_name: str | None,
    level: int | None,
    plot_path: Path | None,
    as_json: bool,
) -> None:
    """Say what changed from one waveform to another (each TOML, CSV or compiled), in numbers.

    Levels are compared by number. A CSV file is one pulse; bursts, polarity and session are then
    taken from the other side. The picture has each mode's pulse at the highest level of both.
    """
    from firmware_images.waveform_diff import diff_waveforms
    from firmware_images.waveform_sides import load_sides

    before, after = load_sides(before_path, after_path, mode=mode_name, level=level)
    changes = diff_waveforms(before, after)
    if plot_path is not None:
        from firmware_images.waveform_diff_plot import plot_difference

        refuse_input_as_output(plot_path, after_path, option="--plot")
        names = (before_path.name, after_path.name)
        save_picture(
            plot_path,
            lambda kind: plot_difference(before, after, names=names, picture_format=kind),
            made_from=before_path,
        )
    document = {
        "schema": "ampforge.waveform-diff/1",
        "before": str(before_path),
        "after": str(after_path),
        "same": not changes,
        "changes": [change.to_json() for change in changes],
    }
    human = _format(changes, before_path, after_path)
    if plot_path is not None:
        human += f"\nwrote {plot_path}"
    print_result(document, human, as_json=as_json)


def _format(changes: Sequence[Change], before: Path, after: Path) -> str:
    if not changes:
        return f"{before} and {after}: nothing changed"
    head = f"from {before} to {after}: {count_of(len(changes), 'change')}"
    return "\n".join([head, *format_changes(changes)])


def format_changes(changes: Sequence[Change]) -> list[str]:
    """Return changes as lines, an empty line and a heading before each mode and level."""
    lines: list[str] = []
    for (mode, level), group in groupby(changes, key=lambda c: (c.mode, c.level)):
        place = "table" if mode is None else mode if level is None else f"{mode} level {level}"
        lines += ["", place]
        lines += [f"  {_format_change(change)}" for change in group]
    return lines


def _format_change(change: Change) -> str:
    end, unit = next((pair for pair in _UNITS.items() if change.what.endswith(pair[0])), ("", ""))
    name = change.what.removesuffix(end)
    name = _NAMES.get(name, name.replace("_", " "))
    if change.what == "level":
        unit = "µA"
    if change.before is None and change.what.startswith("largest"):
        return f"{name:<28}{_show(change.after)} {unit}"
    text = f"{name:<28}{_show(change.before)} → {_show(change.after)} {unit}".rstrip()
    difference = change.difference
    if difference is None or change.what == "level":
        return text
    share = ""
    if isinstance(change.before, int | float) and change.before:
        share = f", {100 * difference / abs(change.before):+.3g} %"
    return f"{text}   ({difference:+.6g}{share})"


def _show(value: Value) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value if len(value) <= 2 * _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
