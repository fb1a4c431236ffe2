"""`ampforge station check` and `ampforge station report`: look, and change nothing."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from urllib.parse import quote

import click

from cli.bundle_files import OPTIONAL_BUNDLE_ARGUMENT, find_bundle
from cli.clock import utc_now
from cli.configuration import load_configuration
from cli.failures import UsageRefusal, exit_code
from cli.output import print_result
from cli.params import (
    FILE,
    FOLDER,
    config_option,
    json_option,
    passphrase_file_option,
    passphrase_source,
)
from cli.progress import showing_progress
from cli.slot_option import slot_configs, slots_option
from cli.station_access import (
    PASSPHRASE_PROMPT,
    find_ca,
    find_station_folder,
    load_station_settings,
    open_ledger,
    read_file,
    station_option,
    trust_path,
)
from cli.station_options import BUNDLE_MAX_BYTES, trust_option
from cli.unit_names import find_serial
from cli.waiver_options import format_waivers


@click.command("check", epilog="Example: ampforge station check")
@slots_option
@station_option
@config_option
@passphrase_file_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    *,
    slots: tuple[dict[str, str], ...],
    station_folder: Path | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Check what a station needs, without touching a board: each thing by itself.

    Ledger, lease, keys, trust record, release, serial numbers, UDI, plans, ports, meters and their
    check standards.
    """
    from cli.station_checks import check_station
    from firmware_images.product import ProductSettings
    from provisioning.ledger_address import find_ledger

    configuration = load_configuration(config_path)
    settings = load_station_settings(configuration)
    folder = station_folder or configuration.resolve(settings.folder)
    checks = check_station(
        folder=folder,
        ledger_address=find_ledger(folder, settings.ledger, root=configuration.root),
        settings=settings,
        product=configuration.section("product", ProductSettings),
        slots=slot_configs(slots) or settings.slot_configs(),
        trust_path=trust_path(configuration, None),
        nvs_path=None if settings.nvs is None else configuration.resolve(settings.nvs),
        efuses_path=None if settings.efuses is None else configuration.resolve(settings.efuses),
        find_release=partial(find_bundle, configuration),
        ca_uri=find_ca(configuration),
        passphrase=passphrase_source(passphrase_file, prompt=PASSPHRASE_PROMPT),
        now=utc_now,
    )
    document = {
        "schema": "ampforge.station-check/1",
        "station": settings.name,
        "checks": [entry.document() for entry in checks],
        "ok": all(entry.error is None for entry in checks),
    }
    print_result(document, "\n".join(entry.line() for entry in checks), as_json=as_json)
    errors = [exit_code(entry.error) for entry in checks if entry.error is not None]
    if errors:
        ctx.exit(errors[0])


@click.command("report", epilog="Example: ampforge station report --verify --output line.html")
@OPTIONAL_BUNDLE_ARGUMENT
@click.option("--unit", "serial", metavar="SERIAL", help="One unit instead of the whole line.")
@click.option("--lot", metavar="LOT", help="Only the units of a lot.")
@click.option(
    "--certificates",
    type=FOLDER,
    help="Also write each unit's certificate into this folder, and link it.",
)
@click.option(
    "-o",
    "--output",
    type=FILE,
    default=Path("report.html"),
    show_default=True,
    help="HTML to write.",
)
@click.option(
    "--verify",
    "is_verifying",
    is_flag=True,
    help="Verify the whole ledger first: chains, signed heads, this station's own memory.",
)
@station_option
@trust_option
@config_option
@json_option
def report(
    *,
    bundle_path: Path | None,
    serial: str | None,
    lot: str | None,
    certificates: Path | None,
    output: Path,
    is_verifying: bool,
    station_folder: Path | None,
    trust_file: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Write an HTML report of the units that were made with a release.

    With yield and its intervals, retests, capability of each target, control charts and reasons.

    First-pass yield counts the first verdict of each unit, yield the last one. BUNDLE is the
    release (default: the only one that `bundle build` wrote).

    A ledger whose rows contradict its events is refused. With --verify, so is one that was edited,
    cut off or written anew: the first wrong event is named by station, number, time and what was
    done to it, the exit code is 6, and no report is written.
    """
    from cli.ledger_documents import describe_verified, format_verified
    from cli.yield_documents import describe_yield, format_yield
    from firmware_images.bundle import verify_bundle
    from provisioning.ledger_verification import verify_ledger
    from provisioning.station_files import CA_CERTIFICATE_NAME, read_certificate
    from provisioning.station_report import render_report, write_certificates
    from signing.durable_file import save_durably
    from signing.trust_file import load_trust_record

    if serial is not None and (lot is not None or certificates is not None):
        raise UsageRefusal(
            "--unit is for one unit, --lot and --certificates are for many",
            expected="one or the other",
            hint="`ampforge unit certificate SERIAL` writes the certificate of one unit",
        )
    configuration = load_configuration(config_path)
    path = bundle_path or find_bundle(configuration)
    bundle = verify_bundle(
        read_file(path, max_bytes=BUNDLE_MAX_BYTES),
        load_trust_record(trust_path(configuration, trust_file)),
        where=str(path),
    )
    now = utc_now()
    with (
        open_ledger(config_path, station_folder) as ledger,
        showing_progress("looking at the ledger", as_json=as_json) as shown,
    ):
        verified = None
        if is_verifying:
            folder = find_station_folder(config_path, station_folder)
            verified = verify_ledger(
                ledger, folder=folder, now=now, is_ca_needed=True, on_progress=shown
            )
        chosen = None if serial is None else find_serial(ledger, serial)
        written = {}
        if certificates is not None:
            written = write_certificates(
                ledger,
                bundle,
                certificates,
                ca_der=read_certificate(
                    find_station_folder(config_path, station_folder) / CA_CERTIFICATE_NAME
                ),
                lot=lot,
                progress=shown.step,
            )
        made = render_report(
            ledger,
            bundle,
            station=load_station_settings(configuration).name,
            now=now,
            serial=chosen,
            is_verified=is_verifying,
            lot=lot,
            links={name: _link(path, output) for name, path in written.items()},
            progress=shown.step,
        )
    save_durably(output, made.page.encode())
    document = {
        "schema": "ampforge.station-report/1",
        "path": str(output),
        "waivers": [waiver.to_json() for waiver in bundle.waivers],
        "lot": lot,
        "units": made.unit_count,
        "certificates": {name: str(path) for name, path in written.items()},
        "yield": None if made.line_yield is None else describe_yield(made.line_yield),
        "verified": None if verified is None else describe_verified(verified),
    }
    count = "1 unit" if made.unit_count == 1 else f"{made.unit_count} units"
    lines = [] if verified is None else format_verified(verified)
    lines.append(f"wrote {output}: {count}" + ("" if lot is None else f" of lot {lot}"))
    if certificates is not None:
        lines.append(f"  {len(written)} certificates in {certificates}")
    lines += [f"  {line}" for line in format_waivers(bundle.waivers, now=now)]
    if made.line_yield is not None:
        lines += format_yield(made.line_yield)
    print_result(document, "\n".join(lines), as_json=as_json)


def _link(path: Path, page: Path) -> str:
    """Return where a file is as a page that lies elsewhere links it."""
    # Not `Path.resolve`: a circle of links would leave it with a RuntimeError.
    relative = os.path.relpath(os.path.realpath(path), Path(os.path.realpath(page)).parent)
    return quote(Path(relative).as_posix())
