"""`ampforge unit budget`: where the uncertainty of a unit's verified currents comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.output import print_result
from cli.params import config_option, json_option
from cli.station_access import open_ledger, station_option
from cli.unit_names import find_serial

if TYPE_CHECKING:
    from pathlib import Path


@click.command("budget", epilog="Example: ampforge unit budget AMPFL1264700001Z --json")
@click.argument("unit")
@click.option("--covariance", is_flag=True, help="Add the covariance of all points to the JSON.")
@station_option
@config_option
@json_option
def budget(
    *,
    unit: str,
    covariance: bool,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """State the uncertainty budget of a unit's last verification.

    The table is that of the point with the largest share of its limit; --json has all points, with
    --covariance also how far their errors are one and the same error.
    """
    from provisioning.unit_budget import budget_document

    with open_ledger(config_path, station_folder) as ledger:
        serial = find_serial(ledger, unit)
        events = [chained.event for chained in ledger.events(serial=serial)]
    document: dict[str, Any] = budget_document(serial, events, with_covariance=covariance)
    worst = max(document["points"], key=lambda point: abs(point["error_na"]) / point["limit_na"])
    print_result(document, _tell(serial, document, worst), as_json=as_json)


def _tell(serial: str, document: dict[str, Any], point: dict[str, Any]) -> str:
    name = f"{point['mode']} level {point['level']}" if point["mode"] else "idle current"
    lines = [
        (
            f"{serial}, {name}, {point['target_na'] / 1_000:+g} µA into "
            f"{point['load_ohm'] / 1_000:g} kΩ, range {point['range_ua']} µA"
        ),
        f"{document['instrument']}, certificate {document['certificate'] or 'none on file'}",
        "",
        (
            f"{'source':<20}{'type':<6}{'distribution':<14}{'input':>14}{'divisor':>9}"
            f"{'sensitivity':>13}{'u, nA':>10}{'dof':>6}  shared by"
        ),
    ]
    lines += [_tell_term(term) for term in point["terms"]]
    dof = point["effective_dof"]
    lines += [
        "",
        (
            f"u {point['standard_uncertainty_na']:.2f} nA, "
            f"effective degrees of freedom {'∞' if dof is None else format(dof, '.0f')}, "
            f"k {point['coverage_factor']:.3f}, U {point['expanded_uncertainty_na']:.2f} nA"
        ),
        (
            f"error {point['error_na']:+.1f} nA, limit ±{point['limit_na']:.0f} nA, limit/U "
            f"{point['test_uncertainty_ratio']:.1f}, rule {document['decision_rule']}, guard band "
            f"{point['guard_band_na']:.1f} nA, probability of non-conformity "
            f"{point['nonconformity_probability']:.2g}: {point['outcome']}"
        ),
    ]
    return "\n".join(lines)


def _tell_term(term: dict[str, Any]) -> str:
    size = f"{term['size']:.4g} {term['unit']}"
    dof = "∞" if term["dof"] is None else format(term["dof"], "g")
    return (
        f"{term['source']:<20}{term['type']:<6}{term['distribution']:<14}{size:>14}"
        f"{term['divisor']:>9.3f}{term['sensitivity_na']:>13.4g}"
        f"{term['standard_uncertainty_na']:>10.2f}{dof:>6}  {term['group'] or 'none'}"
    )
