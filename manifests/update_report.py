"""What a device says of itself to the server: signed by its own key, and never in the way.

What became of an update is reported by `update_settlement`, and remembered in flash until a server
took it. That a device is held back is not: it is true again at each poll, the server keeps the same
words once, and memory alone keeps them from being said at each poll. Implements
docs/spec/device-report.md §4 and §5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.waveform_table import table_digest
from manifests.device_report import DeviceReport, ReportedResult, sign_device_report
from manifests.errors import TransportError
from manifests.transfer import Fetch
from signing.signers import SoftwareSigner

if TYPE_CHECKING:
    from collections.abc import Generator

    from manifests.update_device import UpdateDevice

REPORT_PATH = "api/reports"
REPORT_ANSWER_MAX_BYTES = 256


def build_report(
    device: UpdateDevice, result: ReportedResult, *, manifest_sha256: bytes, reason: str
) -> bytes:
    """Return the body of a report about what runs now, signed by the device.

    Args:
        device: The board; it has an identity.
        result: What is reported.
        manifest_sha256: The signed manifest that it is about.
        reason: Why; empty after an installation.
    """
    identity, state = device.load_identity(), device.record.load_update_state()
    table_bytes, _ = device.read_waveform_slot(device.board.running_slot)
    report = DeviceReport(
        serial_number=identity.serial,
        hardware_class=device.board.hardware_class,
        result=result,
        release_counter=state.release_counter,
        app_sha256=device.board.running_app_sha256,
        table_sha256=table_digest(table_bytes),
        manifest_sha256=manifest_sha256,
        assignment_sequence=state.assignment_sequence,
        freshness_sequence=state.freshness_sequence,
        reason=reason,
    )
    signer = SoftwareSigner.from_pkcs8_der(identity.private_key_der, where="the device's key")
    return sign_device_report(report, signer, identity.certificate_der)


def report_held_back(
    device: UpdateDevice, manifest_sha256: bytes, reason: str
) -> Generator[Fetch, bytes, None]:
    """Say once for each boot that the device cannot come to a release; writes nothing.

    Args:
        device: The board.
        manifest_sha256: The signed manifest that is assigned.
        reason: What is missing, at most 64 characters.
    """
    if not device.memory.has_to_say(manifest_sha256, reason):
        return
    body = build_report(
        device, ReportedResult.HELD_BACK, manifest_sha256=manifest_sha256, reason=reason
    )
    try:
        yield Fetch(path=REPORT_PATH, max_bytes=REPORT_ANSWER_MAX_BYTES, body=body)
    except TransportError:
        return  # at the next poll
    device.memory.said(manifest_sha256, reason)
