"""The output specification as a document: Markdown for a file, HTML for a person or a printer.

Implements docs/spec/spec-sheet.md §4. Both say the same; the HTML stands alone, without scripts,
fonts or pictures from elsewhere.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Final

from firmware_images.limits_policy import format_value
from firmware_images.spec_sheet import CLAUSE, LOADS_OHM
from firmware_images.waiver_text import format_waiver
from firmware_images.waveform_words import format_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_images.spec_sheet import ModeSheet, SpecSheet

TITLE: Final = "Output specification"

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:64em;padding:0 1em;"
    "color:#1a1a1a;background:#fff}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{border:1px solid #bbb;padding:.35em .6em;text-align:left;vertical-align:top}"
    "thead th{background:#eef2f5}tbody th{font-weight:600;width:26%}"
    "td{font-variant-numeric:tabular-nums}code{overflow-wrap:anywhere}"
    "@media print{body{margin:0;max-width:none;font-size:11px}}"
)


def format_spec_sheet_markdown(sheet: SpecSheet) -> str:
    """The sheet as Markdown, ending in a newline."""
    names = [mode.mode for mode in sheet.modes]
    lines = [
        f"# {TITLE}: {_escape_markdown(sheet.hardware_class)}",
        "",
        f"As {CLAUSE} asks for it. {_state_basis(sheet)}",
        "",
        _format_row(["", *names]),
        _format_row(["---"] * (len(names) + 1)),
        *(_format_row([name, *cells]) for name, cells in _build_rows(sheet)),
        "",
        *(f"- {_escape_markdown(line)}" for line in _build_waivers(sheet)),
        *(f"- {note}" for note in _build_notes(sheet)),
        "",
        *(f"- {name}: `{value}`" for name, value in _build_origin(sheet)),
    ]
    return "\n".join(lines) + "\n"


def format_spec_sheet_html(sheet: SpecSheet) -> str:
    """The sheet as one HTML page, ending in a newline."""
    title = escape(f"{TITLE}: {sheet.hardware_class}")
    head = "".join(f"<th scope=col>{escape(mode.mode)}</th>" for mode in sheet.modes)
    rows = "\n".join(
        f"<tr><th scope=row>{escape(name)}</th>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, cells in _build_rows(sheet)
    )
    waived = "".join(f"<li><strong>{escape(line)}</strong></li>" for line in _build_waivers(sheet))
    notes = waived + "".join(f"<li>{escape(note)}</li>" for note in _build_notes(sheet))
    origin = "".join(
        f"<li>{escape(name)}: <code>{escape(value)}</code></li>"
        for name, value in _build_origin(sheet)
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{_STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        f"<p>As {escape(CLAUSE)} asks for it. {escape(_state_basis(sheet))}</p>\n"
        f"<table><thead><tr><th></th>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>\n"
        f"<ul>{notes}</ul>\n<ul>{origin}</ul>\n</body></html>\n"
    )


def _build_rows(sheet: SpecSheet) -> list[tuple[str, list[str]]]:
    rows: list[tuple[str, Callable[[ModeSheet], str]]] = [
        ("Level", lambda m: f"{m.level}: {m.level_ua:g} µA nominal peak"),
        ("Waveform", lambda m: m.waveform),
        ("Output modes", lambda m: m.output_modes),
    ]
    for index, load_ohm in enumerate(LOADS_OHM):
        rows += [
            (f"Maximum output voltage at {load_ohm:,} Ω", partial(_format_voltage, index)),
            (f"Maximum output current at {load_ohm:,} Ω", partial(_format_current, index)),
        ]
    rows += [
        (
            "Pulse duration",
            lambda m: (
                f"{format_ms(m.pulse_duration_us)}, longest phase {format_ms(m.phase_duration_us)}"
            ),
        ),
        (
            "Frequency",
            lambda m: f"{_figure(m.frequency_hz)} Hz (every {format_ms(m.pulse_period_us)})",
        ),
        ("Net charge per pulse at 500 Ω", lambda m: f"{_figure(m.net_charge_uc)} µC"),
        ("Maximum phase charge at 500 Ω", lambda m: f"{_figure(m.phase_charge_uc)} µC"),
        (
            "Maximum current density, r.m.s.",
            lambda m: _both(m.jrms_ma_cm2, m.jrms_burst_ma_cm2, "mA/cm²"),
        ),
        (
            "Maximum average current",
            lambda m: _both(m.iavg_ua / 1000, m.iavg_burst_ua / 1000, "mA"),
        ),
        (
            "Maximum average power density",
            lambda m: _both(m.power_density_w_cm2, m.power_density_burst_w_cm2, "W/cm²"),
        ),
        ("Impedance monitoring", lambda _: sheet.stage.impedance_monitoring),
        ("Session", lambda m: f"{m.session_s:g} s, {m.session_pulses:,} whole pulses"),
    ]
    return [(name, [cell(mode) for mode in sheet.modes]) for name, cell in rows]


def _format_voltage(index: int, mode: ModeSheet) -> str:
    return f"{_figure(mode.outputs[index].voltage_v)} V"


def _format_current(index: int, mode: ModeSheet) -> str:
    return f"{_figure(mode.outputs[index].current_ua)} µA"


def _both(cycle: float, burst: float, unit: str) -> str:
    """The larger figure, which is that of the burst; the whole cycle's where it differs."""
    if _figure(cycle) == _figure(burst):
        return f"{_figure(cycle)} {unit}"
    return f"{_figure(burst)} {unit} inside bursts, {_figure(cycle)} {unit} over the whole cycle"


def _figure(value: float) -> str:
    """Four digits, without an exponent."""
    return format_value(Decimal(f"{value:.4g}"))


def _state_basis(sheet: SpecSheet) -> str:
    return (
        "One column per mode at its highest level, computed in closed form from the compiled "
        f"table. Densities are over the smallest contact, {sheet.area_cm2:g} cm². Currents are "
        f"nominal; a unit may exceed them by {sheet.gain_tolerance_percent:g} %."
    )


def _build_waivers(sheet: SpecSheet) -> list[str]:
    # Without a present: the same sheet today and after the waiver has ended.
    return [format_waiver(waiver.to_json(), now=None) for waiver in sheet.waivers]


def _build_notes(sheet: SpecSheet) -> list[str]:
    stage = sheet.stage
    impedance = (
        "of an ideal source (no output impedance was stated)"
        if stage.output_impedance_ohm is None
        else f"with an output impedance Rout of {stage.output_impedance_ohm:,} Ω"
    )
    notes = []
    regulations = " ".join(mode.output_modes for mode in sheet.modes)
    if "current-regulated" in regulations:
        notes.append(
            f"Current-regulated output {impedance} and a compliance Vc of {stage.compliance_v:g} "
            "V: I(R) = min(I0·Rout/(Rout+R), Vc/R)."
        )
    if "voltage-regulated" in regulations:
        notes.append(
            f"Voltage-regulated output with Rs = {stage.source_resistance_ohm:g} Ω: "
            "I(R) = V0/(R+Rs)."
        )
    notes.append(
        "Pulse duration is from a pulse's first current to its last, gaps between its phases "
        "included. Frequency counts pulses inside bursts."
    )
    notes.append("Charges, averages and densities are into 500 Ω.")
    return notes


def _build_origin(sheet: SpecSheet) -> Sequence[tuple[str, str]]:
    return (
        ("waveform table, SHA-256", sheet.table_digest.hex()),
        (f"limits policy {sheet.policy}, SHA-256", sheet.policy_digest.hex()),
    )


def _format_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_escape_markdown, cells)) + " |"


def _escape_markdown(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\|`*_<>[]" else c for c in text)
