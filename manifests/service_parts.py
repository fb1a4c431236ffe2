"""What the services of one server work with: one value that application and services both take."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from manifests.client_address import ClientAddresses
from manifests.server_metrics import ServerCounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from manifests.denied_devices import DeniedDevices
    from manifests.fleet import FleetStore
    from manifests.rate_limit import RateLimit
    from manifests.report_database_check import ReportDatabaseChecks
    from manifests.report_verifiers import ReportVerifiers
    from signing.signers import Signer
    from signing.trust_record import TrustRecord


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParts:
    """The parts of one server's services; what is left out is not offered.

    Attributes:
        trust: The product's trust record: devices' factory CA, and who signs assignments.
        freshness_signer: Signs answers to nonces; `None` leaves `/api/freshness` out.
        fleet: Where reports go; `None` leaves `/api/reports` out.
        database_checks: Look for damage where reports go; `None` leaves that out.
        verifiers: Verify reports in other processes; `None` has it done in this one.
        denials: Devices whose reports are refused; `None` refuses none.
        limit: How many nonces and reports a client may ask for; `None` sets no limit.
        addresses: Says who the client is.
        counts: Takes note of what the services do.
        clock: The present, UTC.
    """

    trust: TrustRecord | None = None
    freshness_signer: Signer | None = None
    fleet: FleetStore | None = None
    database_checks: ReportDatabaseChecks | None = None
    verifiers: ReportVerifiers | None = None
    denials: DeniedDevices | None = None
    limit: RateLimit | None = None
    addresses: ClientAddresses = field(default_factory=ClientAddresses)
    counts: ServerCounts = field(default_factory=ServerCounts)
    clock: Callable[[], datetime] = _now
