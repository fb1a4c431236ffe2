"""A device report on its way into the fleet's memory and out of it: values, and no database.

The store itself is `fleet`; what a device signs is `device_report`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from manifests.device_report import DeviceReport, ReportedResult, serialize_device_report

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report and when it came.

    Attributes:
        received_at: When the server took it, UTC.
        report: What the device said; its signature was verified before it was stored.
    """

    received_at: datetime
    report: DeviceReport


class StoredMessage(NamedTuple):
    """A report as it came.

    Attributes:
        received_at_s: When, seconds since 1970.
        serial_number: Whose it is.
        message: Its bytes, certificate and signature included.
    """

    received_at_s: int
    serial_number: str
    message: bytes


class ReceivedReport(NamedTuple):
    """A verified report as it is stored, and who signed it.

    A tuple, because one is made for every report of every device. All but the last two values are
    the database's row, in the order of its columns.

    Attributes:
        digest: SHA-256 of what was signed (docs/decisions/0075).
        received_at_s: When it came, seconds since 1970.
        serial_number: Of `DeviceReport`, as all that follows to `reason`.
        message: The bytes it came in, certificate and signature included.
        mac: MAC address in the device's certificate.
        key_id: Id of the key that signed.
    """

    digest: bytes
    received_at_s: int
    serial_number: str
    hardware_class: str
    result: int
    release_counter: int
    app_sha256: bytes
    table_sha256: bytes
    manifest_sha256: bytes
    assignment_sequence: int
    freshness_sequence: int
    reason: str
    message: bytes
    mac: str
    key_id: bytes

    @property
    def report(self) -> DeviceReport:
        """What the device said."""
        return DeviceReport(
            result=ReportedResult(self.result),
            **{name: getattr(self, name) for name in _REPORT_FIELDS if name != "result"},
        )


_REPORT_FIELDS = ReceivedReport._fields[2:12]
ROW_LENGTH = 13


def receive_report(
    report: DeviceReport, message: bytes, *, now: datetime, mac: str = "", key_id: bytes = b""
) -> ReceivedReport:
    """Return a verified report as it is stored.

    Args:
        report: What the device said.
        message: The bytes it came in.
        now: The present, UTC.
        mac: MAC address in the device's certificate.
        key_id: Id of the key that signed.
    """
    return ReceivedReport(
        digest=digest_of(report),
        received_at_s=int(now.timestamp()),
        **{name: getattr(report, name) for name in _REPORT_FIELDS},
        message=message,
        mac=mac,
        key_id=key_id,
    )


def digest_of(report: DeviceReport) -> bytes:
    """Return a report's key: SHA-256 of what the device signed (docs/decisions/0075)."""
    return hashlib.sha256(serialize_device_report(report)).digest()
