"""`ampforge calibration`: fit a line to measured points, and state the risk of a decision rule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from cli.failures import UsageRefusal
from cli.noun_group import NounGroup
from cli.output import per_million, print_result
from cli.params import EXISTING_FILE, json_option
from cli.simulate_command import simulate

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.fit_data import FitData
    from provisioning.line_fit import FittedLine

METHODS = ("ols", "wls", "york")
FIGURES = (
    "intercept",
    "slope",
    "intercept_se",
    "slope_se",
    "covariance",
    "correlation",
    "residual_sd",
    "chi2",
    "dof",
)
"""What scripts rely on."""


@click.group(cls=NounGroup)
def group() -> None:
    """Fit lines, state risks, and try a station's settings on simulated units."""


group.add_command(simulate)


@group.command("fit", epilog="Example: ampforge calibration fit readings.csv --predict 500")
@click.argument("data", type=EXISTING_FILE)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default=METHODS[0],
    show_default=True,
    help="ols: scatter decides; wls: stated u_y; york: stated u_x and u_y.",
)
@click.option("--predict", type=float, help="Also give the line and its standard error at this x.")
@json_option
def fit(*, data: Path, method: str, predict: float | None, as_json: bool) -> None:
    """Fit y = intercept + slope x to a CSV file with columns x,y[,u_x,u_y].

    Standard errors come from the scatter with ols, and from the stated uncertainties, unscaled,
    with wls and york. The standard error of a prediction is that of the line, without scatter.
    """
    from provisioning.fit_data import load_fit_data

    points = load_fit_data(data)
    line = _fit(points, method, where=str(data))
    value: dict[str, object] = {name: getattr(line, name) for name in FIGURES}
    if predict is not None:
        prediction, prediction_se = line.value_at(predict), line.standard_error_at(predict)
        value |= {"prediction": prediction, "prediction_se": prediction_se}
        if not all(map(math.isfinite, (predict, prediction, prediction_se))):
            raise UsageRefusal(
                "the line cannot be evaluated there",
                expected="a finite x",
                got=predict,
                where="--predict",
                hint="give x in the unit of the column",
            )
    print_result(value, _describe_fit(line, predict, method, len(points.x)), as_json=as_json)


@group.command(
    "risk",
    epilog="Example: ampforge calibration risk --tolerance-ua 1.5 --process-sd-ua 0.4 "
    "--measurement-sd-ua 0.15 --guard-band-ua 0.3",
)
@click.option("--tolerance-ua", type=float, required=True, help="Limits are ± this, µA.")
@click.option(
    "--process-sd-ua",
    type=float,
    required=True,
    help="Standard deviation of the true errors of the units, µA.",
)
@click.option(
    "--measurement-sd-ua",
    type=float,
    required=True,
    help="Standard uncertainty of the measurement (k = 1), µA.",
)
@click.option(
    "--guard-band-ua",
    type=float,
    default=0.0,
    show_default=True,
    help="Acceptance limits are tighter by this, µA.",
)
@json_option
def risk(
    *,
    tolerance_ua: float,
    process_sd_ua: float,
    measurement_sd_ua: float,
    guard_band_ua: float,
    as_json: bool,
) -> None:
    """State how often a bad unit is accepted and a good one rejected.

    Both are unconditional joint probabilities, for a process of mean 0 and normal distributions.
    """
    from provisioning.decision_risk import compute_risk
    from provisioning.errors import RiskError

    try:
        result = compute_risk(
            tolerance=tolerance_ua,
            process_sd=process_sd_ua,
            measurement_sd=measurement_sd_ua,
            guard_band=guard_band_ua,
        )
    except RiskError as error:
        raise UsageRefusal(
            error.what, expected=error.expected, got=error.got, hint=error.hint
        ) from error
    accept_ua = tolerance_ua - guard_band_ua
    human = (
        f"limits ±{tolerance_ua:g} µA, accepted within ±{accept_ua:g} µA\n"
        f"probability of false accept  {result.pfa:.3e}  ({per_million(result.pfa)} in a million)\n"
        f"probability of false reject  {result.pfr:.3e}  ({per_million(result.pfr)} in a million)"
    )
    print_result({"pfa": result.pfa, "pfr": result.pfr}, human, as_json=as_json)


def _fit(points: FitData, method: str, *, where: str) -> FittedLine:
    from provisioning.line_fit import fit_ols, fit_wls, fit_york

    if method == "ols":
        return fit_ols(points.x, points.y)
    if points.u_y is None or (method == "york" and points.u_x is None):
        raise UsageRefusal(
            f"the method {method} needs stated uncertainties",
            expected="columns x,y,u_x,u_y" if method == "york" else "columns x,y,u_y",
            got="a file without them",
            where=where,
            hint="add the columns, or use --method ols",
        )
    if method == "wls" or points.u_x is None:
        return fit_wls(points.x, points.y, points.u_y)
    return fit_york(points.x, points.y, points.u_x, points.u_y)


def _describe_fit(line: FittedLine, predict: float | None, method: str, count: int) -> str:
    lines = [
        f"{method}, {count} points, {line.dof} degrees of freedom",
        f"intercept    {line.intercept:.10g} ± {line.intercept_se:.4g} (1 sigma)",
        f"slope        {line.slope:.10g} ± {line.slope_se:.4g} (1 sigma)",
        f"correlation  {line.correlation:+.4f}",
        f"residual sd  {'none' if line.residual_sd is None else format(line.residual_sd, '.6g')}",
        f"chi2         {line.chi2:.6g}",
    ]
    if predict is not None:
        lines.append(
            f"at x = {predict:g}  {line.value_at(predict):.10g} ± "
            f"{line.standard_error_at(predict):.4g} (1 sigma, of the line)"
        )
    return "\n".join(lines)
