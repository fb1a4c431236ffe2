"""What the station's commands print: JSON documents and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.failures import describe_error
from cli.lease_output import offline_document, synced_document
from cli.slot_outcome import next_action, summarize
from provisioning.instrument_time import measuring_pace
from provisioning.unit_records import calibration_figures, verification_figures, worst_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.instrument_time import MeasuringPace
    from provisioning.station import Station
    from provisioning.station_values import SlotResult, UnitReport

RUN_SCHEMA = "ampforge.station-run/1"


def describe_run(station: Station, results: Sequence[SlotResult]) -> dict[str, object]:
    """Return a run as a JSON document (schema `ampforge.station-run/1`)."""
    statement = station.bundle.statement
    return {
        "schema": RUN_SCHEMA,
        "station": station.settings.name,
        "product": statement.product,
        "version": statement.version,
        "bundle": station.bundle.digest.hex(),
        "waivers": [waiver.to_json() for waiver in station.bundle.waivers],
        "offline": offline_document(station.opened),
        "synchronised": synced_document(station.opened),
        "slots": [slot_document(result) for result in results],
        "measuring": measuring_document(results),
        **count_run(results),
    }


def measuring_document(results: Sequence[SlotResult]) -> dict[str, float] | None:
    """Return how many units an hour the instruments allow, from the units of a run."""
    pace = _find_pace(results)
    return None if pace is None else pace.to_json()


def count_run(results: Sequence[SlotResult]) -> dict[str, int]:
    """Return how many slots ended how."""
    return {
        "passed": sum(is_passed(result) for result in results),
        "failed": sum(
            result.report is not None and not result.report.is_passed for result in results
        ),
        "errors": sum(result.error is not None for result in results),
    }


def is_passed(result: SlotResult) -> bool:
    """Whether the slot ended with a unit that may be released."""
    return result.report is not None and result.report.is_passed


def format_run(results: Sequence[SlotResult]) -> str:
    """Return a run as a person reads it."""
    lines = []
    for result in results:
        lines.append(f"slot {result.slot.name}: {summarize(result)[1]}")
        if result.report is not None:
            lines += [f"    {line}" for line in _format_figures(result.report)]
        lines.append(f"    next: {next_action(result)}")
    if len(results) > 1:
        lines.append(", ".join(f"{count} {name}" for name, count in count_run(results).items()))
    if (pace := _find_pace(results)) is not None:
        lines.append(str(pace))
    return "\n".join(lines)


def _find_pace(results: Sequence[SlotResult]) -> MeasuringPace | None:
    reports = [result.report for result in results if result.report is not None]
    measured = [
        (report.calibration, report.verification)
        for report in reports
        if report.calibration is not None and report.verification is not None
    ]
    return measuring_pace(measured, slots=len(results))


def _format_figures(report: UnitReport) -> list[str]:
    lines = [f"- {reason}" for reason in report.reasons[1:]]
    lines += [f"note: {note}" for note in report.notes]
    if report.calibration is not None and report.calibration.fit is not None:
        lines.append(
            f"gain {report.calibration.gain_ppm / 1e6:.6f}, "
            f"offset {report.calibration.offset_na / 1000:+.3f} µA, "
            f"output impedance {report.calibration.output_impedance_ohm / 1000:.0f} kΩ"
        )
    if report.verification is not None:
        lines += [
            f"{worst.mode:<8} level {worst.level_index + 1}: worst error "
            f"{worst.error_na / 1000:+.3f} µA of ±{worst.deciding_limit_na / 1000:.3f} µA "
            f"at {worst.load_ohm} Ω, U = {worst.expanded_uncertainty_na / 1000:.3f} µA"
            for worst in worst_points(report.verification)
        ]
    if report.udi is not None:
        lines.append(f"UDI {report.udi.human_readable}")
    return lines


def slot_document(result: SlotResult) -> dict[str, object]:
    """Return how a slot ended as JSON values."""
    document: dict[str, object] = {
        "slot": result.slot.name,
        "port": result.slot.port,
        "meter": result.slot.meter,
        "outcome": summarize(result)[0],
        "next": next_action(result),
        "error": None if result.error is None else describe_error(result.error),
    }
    report = result.report
    if report is None:
        return document
    return document | {
        "serial": report.serial,
        "mac": report.mac.hex(":"),
        "job": report.job,
        "state": report.state.value,
        "awaits_check": result.awaits_check,
        "failed_step": None if report.failed_step is None else report.failed_step.value,
        "reasons": list(report.reasons),
        "notes": list(report.notes),
        "udi": None if report.udi is None else report.udi.document(),
        "firmware_version": report.firmware_version,
        "calibration": calibration_figures(report.calibration),
        "verification": verification_figures(report.verification),
        "duration_s": round(report.duration_s, 3),
    }
