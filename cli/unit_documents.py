"""The record of a unit as a person reads it."""

from __future__ import annotations

from typing import Any

from firmware_images.waiver_text import format_waiver

_NANOAMPS_PER_MICROAMP = 1000


def format_unit(document: dict[str, Any]) -> str:
    """Return `ampforge.unit/1` as text."""
    lines = [
        f"{document['serial']}  {document['state']}",
        f"  MAC        {document['mac']}",
        f"  firmware   {document['firmware_version'] or '-'}  (bundle {document['bundle'][:16]})",
        f"  first seen {document['first_seen_at']}",
        f"  changed    {document['changed_at']}",
    ]
    lines += [
        f"  replaced   module {module['mac']} by {module['replaced_by']} on "
        f"{module['replaced_at'][:10]}; the number stayed with the unit, the old module is never "
        "accepted again"
        for module in document["replaced_modules"]
    ]
    if (adopted := document["adopted"]) is not None:
        lines.append(f"  adopted    {adopted['at'][:10]}, its number was lost: {adopted['reason']}")
    if document["udi"] is not None:
        lines.append(f"  UDI        {document['udi']['human_readable']}")
    elif document["lot"] is not None:
        lines.append(f"  lot        {document['lot']}")
    lines += [f"  reason     {reason}" for reason in document["reasons"]]
    if document["awaits_check"]:
        lines.append("  WAITS      for the next good reading of the check standard")
    if document["quarantine"] is not None:
        lines.append(f"  QUARANTINE {document['quarantine']}")
    # As of when the unit was made: its record says what was waived for it, now and for good.
    lines += [f"  {format_waiver(waiver, now=None)}" for waiver in document["waivers"]]
    calibration = document["calibration"]
    if calibration is not None:
        lines.append(
            f"  calibrated gain {calibration['gain_ppm'] / 1e6:.6f}, offset "
            f"{calibration['offset_na'] / _NANOAMPS_PER_MICROAMP:+.3f} µA, "
            f"{calibration['instrument']}"
        )
    verification = document["verification"]
    if verification is not None:
        lines.append(
            f"  verified   {verification['outcome']}, {verification['point_count']} points"
        )
        lines += [_format_worst(worst) for worst in verification["worst"]]
    if document["recipe"] is not None:
        lines.append(_format_recipe(document["recipe"]))
    lines += [
        f"  job {job['number']}      {job['state']}, {job['outcome'] or 'no outcome yet'}, "
        f"{job['station']}, {job['opened_at']}"
        for job in document["jobs"]
    ]
    return "\n".join(lines)


def format_history(document: dict[str, Any]) -> str:
    """Return `ampforge.unit-history/1` as text, one line for each event."""
    lines = [f"{document['serial']}  {document['state']}"]
    lines += [
        f"  {event['at']}  {event['station']:<12} {event['step']:<12} {event['phase']:<8}"
        f" {event['hash'][:12]}"
        for event in document["events"]
    ]
    return "\n".join(lines)


def _format_worst(worst: dict[str, Any]) -> str:
    return (
        f"    {worst['mode']:<9} level {worst['level_index'] + 1}: worst error "
        f"{worst['error_na'] / _NANOAMPS_PER_MICROAMP:+.3f} µA of "
        f"±{worst['limit_na'] / _NANOAMPS_PER_MICROAMP:.3f} µA at {worst['load_ohm']} Ω, "
        f"U = {worst['expanded_uncertainty_na'] / _NANOAMPS_PER_MICROAMP:.3f} µA"
    )


def _format_recipe(recipe: dict[str, Any]) -> str:
    content = recipe["content"]
    instrument, fixture = content["instrument"], content["fixture"]
    certificate = content["certificate"]
    return (
        f"  recipe     {recipe['sha256']}\n"
        f"    {content['software']}, release {content['release']['version']}, {fixture['station']} "
        f"slot {fixture['slot']}, {instrument['manufacturer']} {instrument['model']} "
        f"{instrument['serial_number']}, "
        + (f"certificate {certificate}" if certificate else "no certificate on file")
    )
