"""`ampforge waveform`: check, analyze, compile, inspect and plot what a device puts out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from cli.clock import utc_now
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.output_file import refuse_input_as_output
from cli.params import EXISTING_FILE, FILE, FOLDER, config_option, json_option, make_folder
from cli.release_defaults import ReleaseDefaults
from cli.waiver_options import find_table_waivers, waivers_option
from cli.waveform_diff_commands import diff
from cli.waveform_explain import explain_rule
from cli.waveform_options import (
    build_csv_mode,
    csv_mode_options,
    hardware_class_option,
    limits_option,
    waveform_argument,
)
from cli.waveform_sheet_commands import spec_sheet
from cli.waveform_slot_commands import sign_slot, verify_slot
from cli.waveform_transfer_commands import export, import_

if TYPE_CHECKING:
    from decimal import Decimal

_AREA_CM2: Final = 1.0
_ANY_HARDWARE: Final = "any"
"""For judging and drawing: no rule depends on the boards a table is for."""


@click.group(cls=NounGroup)
def group() -> None:
    """Check, compare and compile waveforms; state what a device puts out."""


group.add_command(spec_sheet)
group.add_command(diff)
group.add_command(import_)
group.add_command(export)
group.add_command(sign_slot)
group.add_command(verify_slot)


@group.command(
    "check", epilog="Example: ampforge waveform check waveforms.toml --limits limits.toml"
)
@waveform_argument
@limits_option
@hardware_class_option
@waivers_option
@csv_mode_options
@click.option(
    "--explain",
    metavar="RULE",
    help="Instead of judging, say in plain words what a rule means (`all`: every rule).",
)
@config_option
@json_option
def check(
    *,
    waveform_path: Path | None,
    limits_path: Path | None,
    hardware_class: str | None,
    waiver_paths: tuple[Path, ...],
    mode_name: str | None,
    tick_us: int | None,
    session_s: Decimal | None,
    explain: str | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Judge every level of a waveform (TOML, CSV or compiled) by every rule of the limits policy.

    Prints each rule's worst value and its margin; ends with exit code 5 when one is broken that no
    waiver covers. A configured waiver counts for the table that it was signed for, and no other.
    """
    from cli.waveform_findings import Judgement, describe_findings, format_findings
    from firmware_images.limits import judge_table, load_limits, refuse_violations
    from firmware_images.waiver_judging import cover_findings, refuse_idle_waivers
    from firmware_images.waveform_files import build_table
    from firmware_images.waveform_table import serialize_waveform_table

    if explain is not None:
        explain_rule(explain, limits_path, config_path, as_json=as_json)
        return
    defaults = ReleaseDefaults(config_path)
    path = waveform_path or defaults.waveforms()
    policy = load_limits(limits_path or defaults.limits())
    csv_mode = build_csv_mode(path, mode_name, tick_us, session_s)
    boards = hardware_class or defaults.find_hardware_class() or _ANY_HARDWARE
    table = build_table(path, policy, boards, csv_mode=csv_mode)
    findings = judge_table(table, policy)
    now = utc_now()
    waivers = find_table_waivers(defaults, waiver_paths, serialize_waveform_table(table), now=now)
    judgement = Judgement(findings=findings, waived=cover_findings(findings, waivers.counted))
    print_result(
        describe_findings(judgement, path=path, policy=policy) | waivers.to_json(),
        format_findings(judgement, path=path, policy=policy, waivers=waivers.lines(now=now)),
        as_json=as_json,
    )
    refuse_violations(judgement.remaining, where=path)
    refuse_idle_waivers(waivers.counted, judgement.waived, where=path)


@group.command("analyze", epilog="Example: ampforge waveform analyze pulse.csv --json")
@waveform_argument
@click.option(
    "--area-cm2",
    type=click.FloatRange(min=0, min_open=True),
    default=_AREA_CM2,
    show_default=True,
    help="Electrode area.",
)
@click.option(
    "--dead-band-ua",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="A current of this size or less belongs to no phase.",
)
@click.option(
    "--tick-us",
    type=click.IntRange(1, 1_000_000),
    help="Move a CSV file's rows onto ticks of this length (default: take them as written).",
)
@config_option
@json_option
def analyze(
    *,
    waveform_path: Path | None,
    area_cm2: float,
    dead_band_ua: float,
    tick_us: int | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Print charge, means, densities and Shannon's k of each waveform, in closed form."""
    from cli.waveform_output import describe_analyses, format_analyses
    from firmware_images.waveform_analysis import analyze_train
    from firmware_images.waveform_files import read_waveform_file

    path = waveform_path or ReleaseDefaults(config_path).waveforms()
    file = read_waveform_file(path, tick_us=tick_us)
    analyses = [
        (named, analyze_train(named.train, area_cm2=area_cm2, dead_band_ua=dead_band_ua))
        for named in file.trains
    ]
    document = describe_analyses(
        file, analyses, path=path, area_cm2=area_cm2, dead_band_ua=dead_band_ua
    )
    print_result(document, format_analyses(file, analyses, area_cm2=area_cm2), as_json=as_json)


@group.command("compile", epilog="Example: ampforge waveform compile -o build/flare.table")
@waveform_argument
@limits_option
@hardware_class_option
@waivers_option
@click.option("-o", "--output", type=FILE, help="Default: waveforms.table in [release] output.")
@config_option
@json_option
def compile_(
    *,
    waveform_path: Path | None,
    limits_path: Path | None,
    hardware_class: str | None,
    waiver_paths: tuple[Path, ...],
    output: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Write the binary table that a release carries; nothing is written if a limit is broken.

    A breach that a waiver covers is no reason to refuse: the waiver is printed with the table.
    """
    from cli.waveform_output import (
        describe_deviations,
        describe_table,
        format_deviations,
        format_table,
    )
    from firmware_images.limits import load_limits
    from firmware_images.waiver_judging import judge_with_waivers
    from firmware_images.waveform_files import build_table, read_deviations
    from firmware_images.waveform_table import serialize_waveform_table
    from signing.durable_file import save_durably

    defaults = ReleaseDefaults(config_path)
    path = waveform_path or defaults.waveforms()
    policy = load_limits(limits_path or defaults.limits())
    table = build_table(path, policy, hardware_class or defaults.hardware_class())
    table_bytes = serialize_waveform_table(table)
    now = utc_now()
    waivers = find_table_waivers(defaults, waiver_paths, table_bytes, now=now)
    judge_with_waivers(table_bytes, policy, waivers.counted, where=path)
    if output is None:
        output = defaults.output_folder() / "waveforms.table"
    refuse_input_as_output(output, path, limits_path)
    make_folder(output.parent)
    save_durably(output, table_bytes)
    document = describe_table(table, table_bytes, path=output) | waivers.to_json()
    lines = [format_table(table, table_bytes, path=output), *waivers.lines(now=now)]
    if deviations := read_deviations(path):
        document["curves"] = describe_deviations(deviations)
        lines += ["", *format_deviations(deviations)]
    print_result(document, "\n".join(lines), as_json=as_json)


@group.command("inspect", epilog="Example: ampforge waveform inspect build/waveforms.table")
@click.argument("table_path", type=EXISTING_FILE)
@json_option
def inspect(*, table_path: Path, as_json: bool) -> None:
    """Show a compiled table, or the one in a waveform slot image, with what its approval waives.

    Who signed the approval is not judged.
    """
    from cli.waveform_output import describe_table, format_table
    from cli.waveform_slot_commands import describe_approved, format_approved
    from firmware_images.waveform_files import read_table

    table, table_bytes, approval_bytes = read_table(table_path)
    document = describe_table(table, table_bytes, path=table_path, approval_bytes=approval_bytes)
    lines = [format_table(table, table_bytes, path=table_path)]
    if approval_bytes is not None:
        document |= describe_approved(approval_bytes, table_bytes)
        lines += format_approved(document)
    print_result(document, "\n".join(lines), as_json=as_json)


@group.command("plot", epilog="Example: ampforge waveform plot -o plots --format png")
@waveform_argument
@limits_option
@csv_mode_options
@click.option(
    "-o",
    "--output",
    "folder",
    type=FOLDER,
    default=Path(),
    help="Folder for one picture per mode (default: this one).",
)
@click.option(
    "--format",
    "picture_format",
    type=click.Choice(["svg", "png"]),
    default="svg",
    show_default=True,
    help="SVG is sharp at any size; PNG is for programs that take nothing else.",
)
@config_option
@json_option
def plot(
    *,
    waveform_path: Path | None,
    limits_path: Path | None,
    mode_name: str | None,
    tick_us: int | None,
    session_s: Decimal | None,
    folder: Path,
    picture_format: Literal["svg", "png"],
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Draw each mode: pulse, repeat period, charge balance and session, with their limits."""
    from firmware_images.limits import load_limits
    from firmware_images.waveform_files import build_table
    from firmware_images.waveform_plot import plot_mode
    from signing.durable_file import save_durably

    defaults = ReleaseDefaults(config_path)
    path = waveform_path or defaults.waveforms()
    policy = load_limits(limits_path or defaults.limits())
    csv_mode = build_csv_mode(path, mode_name, tick_us, session_s)
    table = build_table(path, policy, _ANY_HARDWARE, csv_mode=csv_mode)
    make_folder(folder)
    plots = {}
    for mode in table.modes:
        picture = plot_mode(mode, policy, tick_us=table.tick_us, picture_format=picture_format)
        plots[mode.name] = str(folder / f"{mode.name.lower()}.{picture_format}")
        save_durably(Path(plots[mode.name]), picture)
    print_result(
        {"schema": "ampforge.waveform-plots/1", "format": picture_format, "plots": plots},
        "\n".join(f"wrote {path}" for path in plots.values()),
        as_json=as_json,
    )
