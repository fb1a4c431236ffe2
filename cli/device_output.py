"""How the device verbs show a board: documents for scripts, lines for people.

A board tells of waivers what its approval holds: their digests and the first expiry. The reasons
stay with the release (docs/spec/policy-and-approval.md §8.3).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cli.clock import utc_now
from firmware_images.release_constraints import last_day_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.waiver_text import ApprovedWaivers
    from manifests.update_device import UpdateDevice
    from provisioning.simulator.board import SimulatedBoard


def describe_simulated(board: SimulatedBoard) -> dict[str, object]:
    """Return what a simulated board is and runs, read from its flash."""
    from cli.board_update import as_update_device, running_image

    image = running_image(board)
    record = as_update_device(board).record
    identity = record.load_identity()
    state = record.load_update_state()
    return {
        "schema": "ampforge.device-info/1",
        "mac": board.mac.hex(":"),
        "serial": identity.serial if identity else "",
        "application": image.project_name,
        "version": image.version,
        "app_sha256": image.image_sha256.hex(),
        "slot": image.slot,
        "ota_state": board.slot_state().name.lower(),
        "release_counter": state.release_counter,
        "last_update": state.last_outcome,
        "approved_waivers": describe_approved(board),
    }


def describe_approved(board: SimulatedBoard) -> dict[str, object] | None:
    """Return what a simulated board's approval says of waivers, if anything."""
    from cli.board_update import as_update_device

    waivers = read_approved_waivers(as_update_device(board))
    return None if waivers is None else waivers.to_json()


def as_text(fields: Mapping[str, object]) -> dict[str, object]:
    """Return a board's answer with its bytes in hexadecimal."""
    return {
        name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()
    }


def format_info(document: Mapping[str, object]) -> str:
    """Return what `device info` prints for a person."""
    shown = {key: value for key, value in document.items() if key != "approved_waivers"}
    width = max(map(len, shown))
    lines = [f"{key:<{width}}  {value}" for key, value in shown.items()]
    return "\n".join([*lines, *format_device_waivers(document, now=utc_now())])


def format_update(document: Mapping[str, object]) -> str:
    """Return what `device update` prints for a person."""
    lines = [f"{document['result']}: {document['message']}"]
    before, after = document.get("version_before"), document.get("version_after")
    if before != after:
        lines.append(f"  {before} -> {after}")
    if document.get("is_report_due"):
        lines.append("  the report still waits for a server that takes it")
    lines += [f"  {line}" for line in format_device_waivers(document, now=utc_now())]
    ends_at = document.get("support_ends_at")
    if isinstance(ends_at, str):
        lines.append(f"  supported until {last_day_of(datetime.fromisoformat(ends_at))}")
    return "\n".join(lines)


def read_approved_waivers(device: UpdateDevice) -> ApprovedWaivers | None:
    """Return what the approval in a board's running slot says of waivers, unverified.

    Returns:
        `None` where the slot holds no approved table, or one without waivers.
    """
    from firmware_images.approval import refuse_other_table
    from firmware_images.errors import FirmwareImageError
    from firmware_images.waiver_text import find_approved_waivers
    from signing.errors import SigningError

    try:
        table_bytes, approval_bytes = device.read_waveform_slot(device.board.running_slot)
        approval = refuse_other_table(approval_bytes, table_bytes=table_bytes)
    except (FirmwareImageError, SigningError):
        # The board refuses such a slot itself, and says so where it matters.
        return None
    return find_approved_waivers(approval)


def format_device_waivers(document: Mapping[str, Any], *, now: datetime) -> list[str]:
    """Return a line for each waiver that a device command's document names.

    Args:
        document: With `waivers` (a gateway knows them in full) or `approved_waivers` (a board knows
            their digests), or neither.
        now: The present, UTC.
    """
    from firmware_images.waiver_text import format_approved_waivers, format_waiver

    lines = [format_waiver(waiver, now=now) for waiver in document.get("waivers", ())]
    if approved := document.get("approved_waivers"):
        lines.append(format_approved_waivers(approved, now=now))
    return lines
