"""What a board tells of waivers: its approval names them by digest, reasons stay with the release.

For commands that show what a board runs (docs/spec/policy-and-approval.md §8.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from firmware_images.waiver_text import ApprovedWaivers
    from manifests.update_device import UpdateDevice


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
