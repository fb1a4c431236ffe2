"""`ampforge gauge`: how much of what is measured is the gauge itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from cli.failures import UsageRefusal
from cli.gauge_guide_commands import measure, plan
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import EXISTING_FILE, FiniteFloat, json_option
from cli.picture_option import plot_option, save_picture
from signing.refusal import refusing_in

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.gauge_data import GaugeData
    from provisioning.gauge_study import GaugeStudy

METHODS = ("anova", "range")
FIGURES = ("ev", "av", "grr", "pv", "tv", "percent_grr", "ndc")
"""What scripts rely on."""
_GOOD_PERCENT = 10
_BAD_PERCENT = 30
_CATEGORIES_WANTED = 5
_SHARES = (
    ("repeatability     EV", "ev"),
    ("reproducibility   AV", "av"),
    ("interaction      INT", "interaction"),
    ("gauge            GRR", "grr"),
    ("parts             PV", "pv"),
    ("total             TV", "tv"),
)


@click.group(cls=NounGroup)
def group() -> None:
    """Tell the gauge's variation from that of the parts."""


@group.command("rr", epilog="Example: ampforge gauge rr study.csv --plot study.svg")
@click.argument("data_path", metavar="DATA", type=EXISTING_FILE)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default=METHODS[0],
    show_default=True,
    help="anova: analysis of variance; range: average and range, as on the paper form.",
)
@click.option(
    "--pooling-alpha",
    type=FiniteFloat(0, 1),
    help="anova: pool the interaction when its p is above this (default: 0.25).",
)
@click.option(
    "--tolerance",
    type=FiniteFloat(min=0, min_open=True),
    help="Whole width of the tolerance: also state 6 sd of the gauge as a share of it.",
)
@click.option("--full", is_flag=True, help="With --json: also interaction, table and remarks.")
@plot_option
@json_option
def rr(
    *,
    data_path: Path,
    method: str,
    pooling_alpha: float | None,
    tolerance: float | None,
    full: bool,
    plot_path: Path | None,
    as_json: bool,
) -> None:
    """State repeatability and reproducibility of a gauge from a CSV file.

    Columns part,appraiser,trial,value; each appraiser measured each part in each trial. An
    appraiser is whoever or whatever could measure differently: a person, a station, a slot.
    Figures are standard deviations in the unit of the values.
    """
    from provisioning.gauge_data import load_gauge_data
    from provisioning.gauge_study import POOLING_ALPHA, GaugeMethod, analyse_gauge

    data = load_gauge_data(data_path)
    with refusing_in(data_path):
        study = analyse_gauge(
            data,
            GaugeMethod(method),
            pooling_alpha=POOLING_ALPHA if pooling_alpha is None else pooling_alpha,
        )
    if plot_path is not None:
        from provisioning.gauge_plot import plot_gauge

        save_picture(
            plot_path,
            lambda picture_format: plot_gauge(data, study, picture_format=picture_format),
            made_from=data_path,
        )
    value = {name: getattr(study, name) for name in FIGURES}
    percent = None if tolerance is None else 100 * (6 * study.grr) / tolerance
    if percent == math.inf:
        raise UsageRefusal(
            "the tolerance is not in the unit of the values",
            expected="a width that six standard deviations of the gauge can be compared with",
            got=tolerance,
            where="--tolerance",
            hint="give its whole width in the unit of the column value",
        )
    if full:
        value = {**_describe_fully(value, study), "percent_tolerance": percent}
    print_result(value, _tell(data, study, percent, plot_path), as_json=as_json)


for _command in (plan, measure):
    group.add_command(_command)


def _describe_fully(value: dict[str, object], study: GaugeStudy) -> dict[str, object]:
    document: dict[str, object] = {
        "schema": "ampforge.gauge-study/1",
        "method": study.method.value,
        **value,
        "interaction": study.interaction,
        "remarks": list(study.remarks),
        "anova": None,
    }
    if study.anova is not None:
        table = study.anova
        document["anova"] = {
            "rows": [
                {
                    "source": name,
                    "dof": row.dof,
                    "sum_of_squares": float(row.sum_of_squares),
                    "mean_square": float(row.mean_square),
                }
                for name, row in table.rows()
            ],
            "interaction_p": table.interaction_p,
            "pooling_alpha": table.pooling_alpha,
            "is_pooled": table.is_pooled,
        }
    return document


def _tell(
    data: GaugeData, study: GaugeStudy, percent_tolerance: float | None, plot_path: Path | None
) -> str:
    enough = "enough" if study.ndc >= _CATEGORIES_WANTED else f"and {_CATEGORIES_WANTED} are wanted"
    lines = [
        f"{study.method}: {data.shape()}",
        "",
        f"{'':<20}  {'sd':>12}  {'6 sd':>12}  {'% of TV':>8}  {'% of var':>8}",
    ]
    for label, name in _SHARES:
        if name == "interaction" and study.anova is None:
            continue
        sd = getattr(study, name)
        percent = 100 * sd / study.tv
        lines.append(
            f"{label}  {sd:>12.6g}  {6 * sd:>12.6g}  {percent:>8.2f}  {percent**2 / 100:>8.2f}"
        )
    if study.anova is not None:
        lines += ["", f"{'':<20}  {'dof':>12}  {'SS':>12}  {'MS':>12}"]
        lines += [
            f"{name:<20}  {row.dof:>12}  {float(row.sum_of_squares):>12.6g}  "
            f"{float(row.mean_square):>12.6g}"
            for name, row in study.anova.rows()
        ]
    lines += [
        "",
        f"GRR is {study.percent_grr:.2f} % of the total variation: {_judge(study.percent_grr)}",
        f"ndc is {study.ndc}: the gauge tells {study.ndc} classes of parts apart, {enough}",
    ]
    if percent_tolerance is not None:
        judged = _judge(percent_tolerance)
        lines.append(f"6 sd of the gauge are {percent_tolerance:.2f} % of the tolerance: {judged}")
    lines += [f"note: {remark}" for remark in study.remarks]
    if plot_path is not None:
        lines.append(f"wrote {plot_path}")
    return "\n".join(lines)


def _judge(percent: float) -> str:
    if percent < _GOOD_PERCENT:
        return f"good (below {_GOOD_PERCENT} %)"
    if percent <= _BAD_PERCENT:
        return f"perhaps acceptable ({_GOOD_PERCENT} to {_BAD_PERCENT} %), by importance and cost"
    return f"not acceptable (above {_BAD_PERCENT} %)"
