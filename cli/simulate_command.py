"""`ampforge calibration simulate`: try the station's settings on units whose truth is known."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from cli.failures import UnitFailed
from cli.output import print_result
from cli.output_file import refuse_input_as_output
from cli.params import FILE, config_option, json_option
from cli.progress import showing_progress
from cli.release_defaults import ReleaseDefaults
from cli.waveform_options import waveform_argument

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "simulate", epilog="Example: ampforge calibration simulate --units 100 --output study.md"
)
@waveform_argument
@click.option(
    "--units",
    "unit_count",
    type=click.IntRange(1, 100_000),
    default=1_000,
    show_default=True,
    help="Units of a simulated production.",
)
@click.option(
    "--faults",
    "fault_count",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="Units with each fault.",
)
@click.option(
    "--decisions",
    "decision_count",
    type=click.IntRange(100, 1_000_000),
    default=20_000,
    show_default=True,
    help="Single readings for each target, to count wrong decisions.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="What all units and instruments are drawn from.",
)
@click.option(
    "--jobs",
    "process_count",
    type=click.IntRange(1, 64),
    default=os.cpu_count() or 1,
    help="Processes (default: one a processor); the result is the same.",
)
@click.option("-o", "--output", "output_path", type=FILE, help="Also write the report (Markdown).")
@config_option
@json_option
def simulate(
    *,
    waveform_path: Path | None,
    unit_count: int,
    fault_count: int,
    decision_count: int,
    seed: int,
    process_count: int,
    output_path: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Try the limits, instrument and rule of [station.metrology] on simulated units.

    Says how many good units would pass, whether each fault is found by its name, and how often a
    decision is wrong, counted against the truth that only a simulator knows. Ends with exit code 10
    when the settings let something wrong pass, or too few good units.
    """
    from firmware_images.limits import load_limits
    from firmware_images.waveform_files import build_table
    from provisioning.simulation_report import format_study
    from provisioning.simulation_run import StudySize, run_study
    from provisioning.simulation_study import StudyPlan
    from provisioning.station_settings import StationSettings
    from signing.durable_file import save_durably

    defaults = ReleaseDefaults(config_path)
    path = waveform_path or defaults.waveforms()
    if output_path is not None:
        refuse_input_as_output(output_path, path)
    table = build_table(path, load_limits(defaults.limits()), defaults.hardware_class())
    station: StationSettings = defaults.configuration().section("station", StationSettings)
    plan = StudyPlan(settings=station.metrology, table=table, seed=seed)
    size = StudySize(unit_count=unit_count, fault_count=fault_count, decision_count=decision_count)
    with showing_progress("simulating", as_json=as_json) as shown:
        result = run_study(plan, size, process_count=process_count, progress=shown.step)
    command = (
        f"ampforge calibration simulate --units {unit_count} --faults {fault_count} "
        f"--decisions {decision_count} --seed {seed}"
    )
    text = format_study(result, command=command)
    if output_path is not None:
        save_durably(output_path, text.encode())
    print_result(result.to_document(), text.rstrip(), as_json=as_json)
    if result.shortcomings:
        raise UnitFailed
