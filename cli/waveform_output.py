"""How the waveform verbs show their results: documents for scripts, tables for people."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from firmware_images.waveform import Mode, WaveformTable
    from firmware_images.waveform_analysis import Analysis
    from firmware_images.waveform_compile import Deviation
    from firmware_images.waveform_files import NamedTrain, WaveformFile

_NA_PER_UA = 1000
_US_PER_MS = 1000
_US_PER_S = 1_000_000

_FIGURES = (
    ("phase charge", "phase_charge_uc", "µC"),
    ("net charge of the period", "net_charge_uc", "µC"),
    ("mean current", "idc_ua", "µA"),
    ("largest mean over 1 s", "idc_window_ua", "µA"),
    ("mean absolute current", "iavg_ua", "µA"),
    ("…inside bursts", "iavg_burst_ua", "µA"),
    ("r.m.s. over the period", "irms_ua", "µA"),
    ("r.m.s. inside bursts", "irms_burst_ua", "µA"),
    ("peak", "ipeak_ua", "µA"),
    ("peak density", "jpeak_ma_cm2", "mA/cm²"),
    ("r.m.s. density", "jrms_ma_cm2", "mA/cm²"),
    ("…inside bursts", "jrms_burst_ma_cm2", "mA/cm²"),
    ("power density in 500 Ω", "power_density_w_cm2", "W/cm²"),
    ("…inside bursts", "power_density_burst_w_cm2", "W/cm²"),
    ("repeat period", "period_s", "s"),
)


def describe_analyses(
    file: WaveformFile,
    analyses: Sequence[tuple[NamedTrain, Analysis]],
    *,
    path: Path,
    area_cm2: float,
    dead_band_ua: float,
) -> dict[str, object]:
    """The document of `waveform analyze`; a single waveform's figures are at its top, too."""
    waveforms: list[dict[str, object]] = []
    for named, analysis in analyses:
        entry: dict[str, object] = {"name": named.name, **analysis.to_json()}
        if named.mode is not None:
            entry |= {
                "mode": named.mode,
                "level_ua": named.level_ua,
                "pulse_net_charge_uc": named.pulse_net_charge_uc,
            }
        if named.session is not None:
            entry |= named.session.to_json()
        waveforms.append(entry)
    document: dict[str, object] = {
        "schema": "ampforge.waveform-analysis/1",
        "file": str(path),
        "area_cm2": area_cm2,
        "dead_band_ua": dead_band_ua,
        "tick_us": file.tick_us,
        "moved_rows": file.moved_rows,
        "largest_shift_us": file.largest_shift_us,
        "curves": describe_deviations(file.deviations),
        "waveforms": waveforms,
    }
    if len(waveforms) == 1:
        document |= waveforms[0]
    return document


def format_analyses(
    file: WaveformFile, analyses: Sequence[tuple[NamedTrain, Analysis]], *, area_cm2: float
) -> str:
    """One block per waveform, one line per figure."""
    lines = []
    for named, analysis in analyses:
        figures = analysis.to_json()
        lines.append(f"{named.name}   (area {area_cm2:g} cm²)")
        lines += [f"  {label:<26}{figures[key]:>14.6g} {unit}" for label, key, unit in _FIGURES]
        if analysis.shannon_k is not None:
            note = "" if analysis.shannon_k_applies else "   information: the phase exceeds 1 ms"
            lines.append(f"  {'Shannon k':<26}{analysis.shannon_k:>14.6g}{note}")
        if (session := named.session) is not None:
            lines.append(
                f"  {'net charge of the session':<26}{session.session_net_charge_uc:>14.6g} µC   "
                f"{session.session_pulses} whole pulses, the last ends at "
                f"{session.session_played_s:.10g} s"
            )
            if session.ramp_net_charge_uc:
                lines.append(
                    f"  {'unpaired in a ramp pulse':<26}{session.ramp_net_charge_uc:>14.6g} µC"
                )
        lines.append("")
    if file.moved_rows:
        lines.append(
            ("1 row was" if file.moved_rows == 1 else f"{file.moved_rows} rows were")
            + f" moved onto ticks of {file.tick_us} µs, "
            f"by {file.largest_shift_us:g} µs at most"
        )
    lines += format_deviations(file.deviations)
    return "\n".join(lines).rstrip("\n")


def describe_deviations(deviations: Sequence[Deviation]) -> list[dict[str, object]]:
    """How far each curve lies from its linear pieces, for scripts."""
    return [
        {
            "mode": deviation.mode,
            "segment": deviation.segment,
            "pieces": deviation.pieces,
            "largest_deviation_ua": deviation.largest_na / _NA_PER_UA,
        }
        for deviation in deviations
    ]


def format_deviations(deviations: Sequence[Deviation]) -> list[str]:
    """The same as lines for a person."""
    return [
        f"{deviation.mode}, {deviation.segment}: a curve in {deviation.pieces} linear pieces, "
        f"{deviation.largest_na / _NA_PER_UA:.4g} µA from it at most, at the highest level"
        for deviation in deviations
    ]


def describe_table(
    table: WaveformTable, table_bytes: bytes, *, path: Path, approval_bytes: bytes | None = None
) -> dict[str, object]:
    """The document of `waveform compile` and `waveform inspect`."""
    return {
        "schema": "ampforge.waveform-table/1",
        "file": str(path),
        "digest": hashlib.sha256(table_bytes).hexdigest(),
        "size_bytes": len(table_bytes),
        "hardware_class": table.hardware_class,
        "tick_us": table.tick_us,
        "clamp_na": table.clamp_na,
        "hard_stop_ticks": table.hard_stop_ticks,
        "contact_area_mm2": table.contact_area_mm2,
        "policy_version": table.policy_version,
        "policy_digest": table.policy_digest.hex(),
        "approval_size_bytes": None if approval_bytes is None else len(approval_bytes),
        "modes": [_describe_mode(mode) for mode in table.modes],
    }


def format_table(table: WaveformTable, table_bytes: bytes, *, path: Path) -> str:
    """The table's header and one line per mode."""
    rows = [("mode", "", "levels, µA", "pulse", "burst", "session", "soft start, stop")]
    for mode in table.modes:
        pulse_ms = mode.levels[-1].pulse_ticks * table.tick_us / _US_PER_MS
        off_ms = mode.burst_off_ticks * table.tick_us / _US_PER_MS
        rows.append(
            (
                mode.name,
                f"{mode.balance}, {mode.regulation}",
                " ".join(f"{level.peak_na / _NA_PER_UA:g}" for level in mode.levels),
                f"{pulse_ms:g} ms",
                f"{mode.pulses_per_burst} pulses, {off_ms:g} ms off"
                + (", flips" if mode.flips_each_burst else ""),
                f"{mode.session_ticks * table.tick_us / _US_PER_S:g} s",
                _format_ramps(mode),
            )
        )
    firmware = (
        f"tick {table.tick_us} µs, clamp {table.clamp_na / _NA_PER_UA:g} µA, "
        f"stop after {table.hard_stop_ticks * table.tick_us / _US_PER_S:g} s"
    )
    return "\n".join(
        [
            f"{path}: {len(table_bytes)} bytes for {table.hardware_class}",
            f"SHA-256    {hashlib.sha256(table_bytes).hexdigest()}",
            f"policy     version {table.policy_version}, {table.policy_digest.hex()}",
            f"firmware   {firmware}",
            "",
            *align(rows),
        ]
    )


def _format_ramps(mode: Mode) -> str:
    ramps = (mode.soft_start_pulses, mode.soft_stop_pulses)
    return f"{ramps[0] or 'no'}, {ramps[1] or 'no'} pulses" if any(ramps) else "none"


def _describe_mode(mode: Mode) -> dict[str, object]:
    return {
        "name": mode.name,
        "balance": str(mode.balance),
        "regulation": str(mode.regulation),
        "pulses_per_burst": mode.pulses_per_burst,
        "burst_off_ticks": mode.burst_off_ticks,
        "flips_each_burst": mode.flips_each_burst,
        "session_ticks": mode.session_ticks,
        "soft_start_pulses": mode.soft_start_pulses,
        "soft_stop_pulses": mode.soft_stop_pulses,
        "levels": [
            {
                "peak_na": level.peak_na,
                "pulse_ticks": level.pulse_ticks,
                "segments": [[s.duration_ticks, s.start_na, s.end_na] for s in level.segments],
            }
            for level in mode.levels
        ],
    }


def align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows of a table as lines, each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
