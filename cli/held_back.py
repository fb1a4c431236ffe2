"""Which devices cannot come to the release that is assigned, as their reports say."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cli.configuration import Configuration

SHOWN_MAX = 3
"""Serial numbers named in a line for people; the document has all."""


def describe_held_back(
    configuration: Configuration, status: dict[str, Any]
) -> list[dict[str, Any]] | None:
    """Return the devices that each assignment leaves behind; `None` where no reports lie here.

    Args:
        configuration: Says where `serve` keeps its reports.
        status: What `describe_repository` said.

    Raises:
        FleetStoreError: The reports cannot be read.
    """
    from cli.repository_files import reports_path_of
    from manifests.fleet import FleetStore
    from manifests.report_database_file import refuse_other_kind

    path = reports_path_of(configuration)
    if not path.is_file():
        return None
    refuse_other_kind(path)
    with closing(FleetStore(path)) as fleet:
        return [
            {
                "hardware_class": entry["hardware_class"],
                "version": entry["version"],
                "reason": reason,
                "serial_numbers": list(serials),
            }
            for entry in status["assignments"]
            if not entry["is_halted"]
            for reason, serials in fleet.list_held_back(
                bytes.fromhex(entry["manifest_sha256"])
            ).items()
        ]


def format_held_back(held_back: list[dict[str, Any]] | None) -> str:
    """Return the same as lines for people; empty if there are none."""
    lines = []
    for entry in held_back or ():
        serials = entry["serial_numbers"]
        shown = ", ".join(serials[:SHOWN_MAX]) + (", …" if len(serials) > SHOWN_MAX else "")
        devices = "device says" if len(serials) == 1 else "devices say"
        lines.append(
            f"\n  {entry['hardware_class']}: {len(serials)} {devices} that a step to "
            f"{entry['version']} is missing ({entry['reason']}): {shown}"
        )
    return "\nheld back" + "".join(lines) if lines else ""
