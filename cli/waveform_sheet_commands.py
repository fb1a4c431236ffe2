"""`ampforge waveform spec-sheet`: the output specification of a compiled table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.configuration import has_configuration
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.output_file import refuse_input_as_output
from cli.params import FILE, config_option, json_option, make_folder
from cli.release_defaults import ReleaseDefaults
from cli.waiver_options import find_table_waivers, waivers_option
from cli.waveform_options import hardware_class_option, limits_option, waveform_argument

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.spec_sheet import OutputStage, SpecSheet
    from firmware_images.spec_sheet_settings import SpecSheetSettings

SUFFIXES = (".md", ".html", ".json")


@click.command(
    "spec-sheet",
    epilog="Example: ampforge waveform spec-sheet build/waveforms.table -o sheet.md -o sheet.html",
)
@waveform_argument
@limits_option
@hardware_class_option
@waivers_option
@click.option(
    "--output-impedance-ohm",
    type=click.IntRange(min=1),
    help="Of the current source (default: [spec_sheet], else an ideal one).",
)
@click.option(
    "--impedance-monitoring",
    help="How the device watches its load, in your words (default: [spec_sheet]).",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    type=FILE,
    multiple=True,
    help="Write it as .md, .html or .json; may be repeated (default: print Markdown).",
)
@config_option
@json_option
def spec_sheet(
    *,
    waveform_path: Path | None,
    limits_path: Path | None,
    hardware_class: str | None,
    waiver_paths: tuple[Path, ...],
    output_impedance_ohm: int | None,
    impedance_monitoring: str | None,
    outputs: tuple[Path, ...],
    config_path: Path | None,
    as_json: bool,
) -> None:
    """State what 21 CFR 882.5891(b)(3) asks of an output: one column per mode, highest level.

    Computed from the compiled table (or TOML, compiled first), which must keep every limit; one
    that is waived is stated on the sheet.
    """
    from firmware_images.limits import load_limits
    from firmware_images.spec_sheet import build_spec_sheet
    from firmware_images.spec_sheet_text import format_spec_sheet_markdown
    from firmware_images.waiver_judging import judge_with_waivers
    from firmware_images.waveform_files import read_or_compile
    from firmware_images.waveform_table import table_digest
    from signing.durable_file import save_durably

    for output in outputs:
        _refuse_suffix(output)
    defaults = ReleaseDefaults(config_path)
    path = waveform_path or defaults.waveforms()
    policy = load_limits(limits_path or defaults.limits())
    now = utc_now()
    table, table_bytes = read_or_compile(
        path, policy, lambda: hardware_class or defaults.hardware_class()
    )
    waivers = find_table_waivers(defaults, waiver_paths, table_bytes, now=now)
    judge_with_waivers(table_bytes, policy, waivers.counted, where=path)
    stage = _build_stage(policy, _settings(defaults, config_path))
    stage = _override(stage, output_impedance_ohm, impedance_monitoring)
    sheet = build_spec_sheet(
        table, table_digest(table_bytes), policy, stage, waivers=waivers.counted
    )
    for output in outputs:
        refuse_input_as_output(output, path, limits_path)
    for output in outputs:
        make_folder(output.parent)
        save_durably(output, _format(sheet, output.suffix.lower()).encode())
    # The printed sheet states them itself.
    written = [*map(str, outputs), *waivers.lines(now=now)]
    human = "\n".join(written) if outputs else format_spec_sheet_markdown(sheet).rstrip("\n")
    print_result(sheet.to_json(), human, as_json=as_json)


def _refuse_suffix(output: Path) -> None:
    if output.suffix.lower() not in SUFFIXES:
        raise UsageRefusal(
            "a specification sheet has no such form",
            expected=", ".join(SUFFIXES),
            got=repr(output.suffix),
            where=output,
            hint="choose the form by the file's ending",
        )


def _settings(defaults: ReleaseDefaults, config_path: Path | None) -> SpecSheetSettings:
    from firmware_images.spec_sheet_settings import SpecSheetSettings

    if config_path is None and not has_configuration():
        return SpecSheetSettings()
    configuration = defaults.configuration()
    if not configuration.has_section("spec_sheet"):
        return SpecSheetSettings()
    return configuration.section("spec_sheet", SpecSheetSettings)


def _build_stage(policy: LimitsPolicy, settings: SpecSheetSettings) -> OutputStage:
    from firmware_images.spec_sheet import OutputStage

    return OutputStage(
        compliance_v=float(policy.facts["COMPLIANCE"]),
        source_resistance_ohm=float(policy.facts["SOURCE_RESISTANCE"]),
        output_impedance_ohm=settings.output_impedance_ohm,
        impedance_monitoring=settings.impedance_monitoring,
    )


def _override(
    stage: OutputStage, output_impedance_ohm: int | None, impedance_monitoring: str | None
) -> OutputStage:
    from dataclasses import replace

    if output_impedance_ohm is not None:
        stage = replace(stage, output_impedance_ohm=output_impedance_ohm)
    if impedance_monitoring is not None:
        stage = replace(stage, impedance_monitoring=impedance_monitoring)
    return stage


def _format(sheet: SpecSheet, suffix: str) -> str:
    import json

    from firmware_images.spec_sheet_text import format_spec_sheet_html, format_spec_sheet_markdown

    if suffix == ".md":
        return format_spec_sheet_markdown(sheet)
    if suffix == ".html":
        return format_spec_sheet_html(sheet)
    return json.dumps(sheet.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
