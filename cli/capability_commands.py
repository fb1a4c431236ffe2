"""`ampforge capability`: what a process can do, whether it is stable, and what the line yields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.capability_output import (
    chart_document,
    line_document,
    study_document,
    tell_charts,
    tell_line,
    tell_study,
)
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import EXISTING_FILE, FiniteFloat, config_option, json_option
from cli.picture_option import plot_option, save_picture
from cli.progress import showing_progress
from cli.station_access import open_ledger, station_option
from signing.refusal import refusing_in

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.capability_data import ProcessData
    from provisioning.control_charts import ControlChart

KINDS = ("i-mr", "ewma")


column_option = click.option(
    "--column",
    "value_column",
    metavar="NAME",
    help="Column of the values, in a file with any others (default: value, alone).",
)


@click.group(cls=NounGroup)
def group() -> None:
    """State what a process can do: Cpk, yield, control charts."""


@group.command(
    "study",
    epilog="Example: ampforge capability study errors.csv --lower -1.5 --upper 1.5\n\n"
    'Example: ampforge capability study line.csv --column "error, µA" --upper 1.5',
)
@click.argument("data_path", metavar="DATA", type=EXISTING_FILE)
@click.option("--lower", type=FiniteFloat(), help="Lower tolerance limit.")
@click.option("--upper", type=FiniteFloat(), help="Upper tolerance limit.")
@click.option(
    "--confidence",
    type=FiniteFloat(0.5, 0.9999),
    default=0.95,
    show_default=True,
    help="Of the intervals.",
)
@column_option
@click.option(
    "--subgroup",
    "subgroup_column",
    metavar="NAME",
    help="Column of the subgroups, in a file with any others (default: subgroup, if it is there).",
)
@plot_option
@json_option
def study(
    *,
    data_path: Path,
    value_column: str | None,
    subgroup_column: str | None,
    lower: float | None,
    upper: float | None,
    confidence: float,
    plot_path: Path | None,
    as_json: bool,
) -> None:
    """State Cp, Cpk, Pp and Ppk with their intervals.

    From a CSV file: columns value[,subgroup], or those that --column and --subgroup name, in the
    order of making. Without subgroups the short-term spread comes from neighbours, with them from
    within each subgroup. One limit may be left out.
    """
    from provisioning.capability_data import load_process_data
    from provisioning.process_capability import Limits, assess_capability

    limits = Limits(lower=lower, upper=upper)
    data = load_process_data(data_path, value_column=value_column, subgroup_column=subgroup_column)
    with refusing_in(data_path):
        capability = assess_capability(
            data.values, limits, subgroups=data.subgroups, confidence=confidence
        )
    if plot_path is not None:
        from provisioning.capability_plot import plot_capability

        save_picture(
            plot_path,
            lambda kind: plot_capability(data.values, limits, capability, picture_format=kind),
            made_from=data_path,
        )
    human = tell_study(capability, limits, plot_path)
    print_result(study_document(capability, limits), human, as_json=as_json)


@group.command("chart", epilog="Example: ampforge capability chart checks.csv --kind ewma")
@click.argument("data_path", metavar="DATA", type=EXISTING_FILE)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default=KINDS[0],
    show_default=True,
    help="i-mr: each value and its distance to the one before; ewma: a moving average.",
)
@click.option(
    "--baseline",
    type=click.IntRange(min=3),
    help="Take center and spread from the first N values (default: all).",
)
@click.option("--center", type=FiniteFloat(), help="ewma: where the values belong.")
@click.option("--sd", type=FiniteFloat(min=0, min_open=True), help="ewma: sd of one value.")
@click.option(
    "--lambda",
    "weight",
    type=FiniteFloat(0, 1, min_open=True),
    default=0.2,
    show_default=True,
    help="ewma: weight of the newest value.",
)
@click.option(
    "--width",
    type=FiniteFloat(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="ewma: limits in standard deviations (L).",
)
@column_option
@plot_option
@json_option
def chart(
    *,
    data_path: Path,
    value_column: str | None,
    kind: str,
    baseline: int | None,
    center: float | None,
    sd: float | None,
    weight: float,
    width: float,
    plot_path: Path | None,
    as_json: bool,
) -> None:
    """Say whether a process stayed as it was.

    From a CSV file with a column value, or that of --column, in the order of making. Limits come
    from the values themselves, or from --center and --sd; they say nothing about tolerances.
    """
    from provisioning.capability_data import load_process_data

    data = load_process_data(data_path, value_column=value_column)
    with refusing_in(data_path):
        charts = (
            _individuals(data, baseline)
            if kind == KINDS[0]
            else _ewma(data, baseline, center=center, sd=sd, weight=weight, width=width)
        )
    if plot_path is not None:
        from provisioning.capability_plot import plot_charts

        save_picture(
            plot_path, lambda kind: plot_charts(charts, picture_format=kind), made_from=data_path
        )
    document = chart_document(charts)
    print_result(document, tell_charts(charts, plot_path), as_json=as_json)


@group.command("report", epilog="Example: ampforge capability report --bundle 3f7a")
@click.option(
    "--bundle",
    "bundle_prefix",
    metavar="DIGEST",
    help="Only units first made with this release: the digest's first digits.",
)
@station_option
@config_option
@json_option
def report(
    *,
    bundle_prefix: str | None,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """State yield, retests and capability from the ledger.

    Each unit counts with its first job: retesting until it fits would make any line look good.
    """
    from provisioning.capability_report import report_line

    with (
        open_ledger(config_path, station_folder) as ledger,
        showing_progress("reading the units", as_json=as_json) as shown,
    ):
        line = report_line(ledger, bundle_prefix=bundle_prefix, on_progress=shown)
    print_result(line_document(line), tell_line(line), as_json=as_json)


def _individuals(data: ProcessData, count: int | None) -> tuple[ControlChart, ...]:
    from provisioning.control_charts import chart_individuals, find_baseline

    return chart_individuals(data.values, find_baseline(data.values[:count]))


def _ewma(
    data: ProcessData,
    count: int | None,
    *,
    center: float | None,
    sd: float | None,
    weight: float,
    width: float,
) -> tuple[ControlChart, ...]:
    from provisioning.control_charts import chart_ewma, find_baseline

    if center is None or sd is None:
        found = find_baseline(data.values[:count])
        center = found.mean if center is None else center
        sd = found.sd if sd is None else sd
    return (chart_ewma(data.values, center=center, sd=sd, weight=weight, width=width),)
