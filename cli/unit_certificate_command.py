"""`ampforge unit certificate`: one page about one unit, from its record alone."""

from __future__ import annotations

from pathlib import Path

import click

from cli.output import print_result
from cli.output_file import refuse_input_as_output
from cli.params import FILE, config_option, json_option
from cli.station_access import find_station_folder, read_file, station_option
from cli.unit_record_source import read_unit_record, record_options

_CA_MAX_BYTES = 4096


@click.command(
    "certificate", epilog="Example: ampforge unit certificate AMPFL1264700001Z --output unit.html"
)
@record_options
@click.option("-o", "--output", type=FILE, help="HTML to write (default: SERIAL.certificate.html).")
@station_option
@config_option
@json_option
def certificate(
    *,
    unit: str | None,
    record_path: Path | None,
    factory_ca: Path | None,
    output: Path | None,
    station_folder: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Write the certificate of a unit: HTML that prints to one page, A4 or Letter.

    Every number is computed again from the raw readings first; a record that does not agree with
    them gets none. The same record gives the same bytes, from the ledger and from an export.
    """
    from provisioning.instruments import SIMULATED_NOTE
    from provisioning.reports import render_certificate
    from provisioning.station_files import CA_CERTIFICATE_NAME, read_certificate
    from provisioning.unit_certificate import build_certificate
    from signing.durable_file import save_durably

    record, where = read_unit_record(
        unit,
        record_path,
        factory_ca,
        verb="certificate",
        station_folder=station_folder,
        config_path=config_path,
    )
    if factory_ca is None:
        folder = find_station_folder(config_path, station_folder)
        ca_der = read_certificate(folder / CA_CERTIFICATE_NAME)
    else:
        ca_der = read_file(factory_ca, max_bytes=_CA_MAX_BYTES)
    made = build_certificate(record, ca_der, where=where)
    path = output or Path(f"{made.serial}.certificate.html")
    refuse_input_as_output(path, record_path, factory_ca)
    save_durably(path, render_certificate(made).encode())
    is_simulated = (
        made.verification.instrument.is_simulated or made.calibration.instrument.is_simulated
    )
    document = {
        "schema": "ampforge.unit-certificate/1",
        "serial": made.serial,
        "number": made.number,
        "path": str(path),
        "verdict": made.verdict,
        "statement": made.statement,
        "false_accept": {
            "worst_point": made.risk.worst_point,
            "unit_bound": made.risk.unit_bound,
        },
        "signed_by": {"station": made.signature.station, "key_id": made.signature.key_id},
        "recipe_sha256": (
            None if made.verification.recipe is None else made.verification.recipe.sha256
        ),
        "replayed_value_count": made.replayed_count,
        "is_simulated": is_simulated,
    }
    human = (
        f"wrote {path}: certificate {made.number}, {made.verdict}\n"
        f"  {made.replayed_count} values agree with the raw readings; signed by "
        f"{made.signature.station}"
    )
    if is_simulated:
        human += f"\n  {SIMULATED_NOTE}"
    print_result(document, human, as_json=as_json)
