"""What the demo leaves for a person: the HTML report, one page per unit, a README, a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.demo_factory import RECORDS_FOLDER
from cli.demo_release import FIRST_VERSION, SECOND_VERSION
from provisioning.instruments import SIMULATED_NOTE
from signing.durable_file import save_durably

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.table import Table

    from cli.demo_factory import FactoryDay
    from cli.demo_field import BoardUpdate
    from cli.demo_release import DemoProduct
    from provisioning.calibration_result import CalibrationResult
    from provisioning.reports import ReportedUnit, ReportHeader
    from provisioning.verification_result import PointResult

REPORT_NAME = "report.html"
CA_PATH = "station/factory-ca.cert.der"
_OUTCOME_STYLES = {"PASS": "green", "FAIL": "bold red"}


def write_report(product: DemoProduct, day: FactoryDay, updates: Sequence[BoardUpdate]) -> Path:
    """Write the line's report, a page for each unit and a README; return the report's path."""
    from provisioning.reports import render_line_report, render_unit_report

    header = _header(product)
    pictures = _plot_modes(product)
    units = _reported_units(day, updates)
    for unit in units:
        path = product.folder / RECORDS_FOLDER / f"{unit.serial}.html"
        save_durably(path, render_unit_report(unit, header, pictures).encode())
    report = product.folder / REPORT_NAME
    save_durably(report, render_line_report(units, header, pictures).encode())
    save_durably(product.folder / "README.txt", _readme(units).encode())
    return report


def results_table(day: FactoryDay, updates: Sequence[BoardUpdate]) -> Table:
    """Return the final table: what was measured of each unit, and what it runs."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from provisioning.report_figures import build_mode_figures

    units = _reported_units(day, updates)
    verification = next(unit.verification for unit in units if unit.verification is not None)
    modes = [figures.mode for figures in build_mode_figures(verification)]
    table = Table(box=box.SIMPLE, pad_edge=False, show_lines=False)
    table.add_column("serial", no_wrap=True)
    table.add_column("gain\noffset µA", justify="right", no_wrap=True)
    for mode in modes:
        table.add_column(f"{mode}\nµA", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("firmware", no_wrap=True)
    for unit in units:
        worst = {
            figures.mode: figures.worst
            for figures in (build_mode_figures(unit.verification) if unit.verification else ())
        }
        table.add_row(
            unit.serial,
            _gain_and_offset(unit.calibration),
            *(_error_and_u(worst.get(mode)) for mode in modes),
            Text(unit.verdict, _OUTCOME_STYLES.get(unit.verdict, "yellow")),
            f"{unit.firmware_before}\n-> {unit.firmware_after}",
        )
    table.caption = "under each mode: its worst error, and the expanded uncertainty U"
    return table


def _gain_and_offset(calibration: CalibrationResult | None) -> str:
    if calibration is None or calibration.fit is None:
        return "-"
    return f"{calibration.gain_ppm / 1e6:.5f}\n{calibration.offset_na / 1000:+.3f}"


def _error_and_u(point: PointResult | None) -> str:
    if point is None:
        return "-"
    return f"{point.error_na / 1000:+.3f}\n±{point.expanded_uncertainty_na / 1000:.3f}"


def _reported_units(day: FactoryDay, updates: Sequence[BoardUpdate]) -> tuple[ReportedUnit, ...]:
    from provisioning.reports import ReportedUnit

    after = {update.slot: str(update.document["version_after"]) for update in updates}
    return tuple(
        ReportedUnit(
            serial=unit.serial,
            mac=unit.mac.hex(":"),
            verdict=unit.state.value.upper(),
            reasons=unit.reasons,
            firmware_before=unit.firmware_version,
            firmware_after=after.get(number),
            calibration=unit.calibration,
            verification=unit.verification,
        )
        for number, unit in enumerate(day.units, start=1)
    )


def _header(product: DemoProduct) -> ReportHeader:
    from cli.clock import utc_now
    from cli.waiver_options import format_waivers
    from firmware_images.bundle import verify_bundle
    from provisioning.reports import ReportHeader

    now = utc_now()
    bundle = verify_bundle(product.bundle_path(FIRST_VERSION).read_bytes(), product.load_trust())
    return ReportHeader(
        product=product.settings.name,
        hardware_class=product.settings.hardware_class,
        release=bundle.statement.version,
        bundle_digest=bundle.digest.hex(),
        station=product.station.name,
        created_at=now,
        note=SIMULATED_NOTE,
        waivers=tuple(format_waivers(bundle.waivers, now=now)),
    )


def _plot_modes(product: DemoProduct) -> Mapping[str, bytes]:
    from firmware_images.bundle import verify_bundle
    from firmware_images.waveform_plot import plot_mode

    bundle = verify_bundle(product.bundle_path(FIRST_VERSION).read_bytes(), product.load_trust())
    table = bundle.waveform_table
    return {
        mode.name: plot_mode(mode, bundle.policy, tick_us=table.tick_us) for mode in table.modes
    }


def _readme(units: Sequence[ReportedUnit]) -> str:
    serial = units[0].serial
    lines = [
        "What `ampforge demo` left here",
        "",
        f"{REPORT_NAME:<26}the report: waveforms, every unit, measured against target",
        "records/                  each unit: a page, and its record with the proof of its chain",
        "product/                  the product: configuration, waveforms, limits, test keys",
        "product/build/            the two signed releases",
        "product/station/          the factory: ledger, CA, station key",
        "product/repository/       what a server serves: TUF metadata, device messages, artifacts",
        "boards/                   flash and eFuses of the simulated boards",
        "repository-as-it-was/     the first release's repository, which the replay served",
        "refused/                  the files that were refused",
        "",
        "Look around (from product/):",
        "",
        f"  ampforge bundle inspect build/flare-{SECOND_VERSION}.bundle.zip",
        f"  ampforge bundle verify build/flare-{SECOND_VERSION}.bundle.zip",
        "  ampforge waveform check",
        "  ampforge serials status",
        f"  ampforge unit show {serial}",
        f"  ampforge unit history {serial}",
        f"  ampforge unit verify ../records/{serial}.unit.json --factory-ca {CA_PATH}",
        "  ampforge repo status",
        "  ampforge device info --board ../boards/board-1",
        "",
        SIMULATED_NOTE,
        "",
    ]
    return "\n".join(lines)
