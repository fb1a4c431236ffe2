"""What becomes of device reports that come in: verified, allowed, stored, and told in a word.

A report comes alone, from its device, or with others, carried by a gateway or forwarded by another
server. Each is signed by its device, so nobody who carries one need be trusted, and each has an
outcome of its own. Implements docs/spec/device-report.md §2, §3 and §6.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from manifests.device_report import REPORT_MAX_BYTES, verify_whole_report
from manifests.errors import DeniedDeviceError, FleetStoreError
from manifests.received_report import receive_report
from manifests.report_batches import ReportBatches
from manifests.rsgi import BAD_REQUEST, CREATED, FORBIDDEN, OK, UNAVAILABLE
from signing.certificate_memory import CertificateMemory
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from manifests.fleet import FleetStore
    from manifests.received_report import ReceivedReport
    from manifests.service_parts import ServiceParts
    from signing.trust_record import TrustRecord


class ReportOutcome(NamedTuple):
    """What became of one report.

    Attributes:
        word: How it is counted, of `REPORT_OUTCOMES`.
        status: HTTP status (docs/spec/device-report.md §3).
        text: For people.
    """

    word: str
    status: int
    text: str


STORED: Final = ReportOutcome("stored", CREATED, "stored")
KNOWN: Final = ReportOutcome("known", OK, "known")


class ReportIntake:
    """Takes reports, from an event loop.

    Args:
        parts: Verifiers, denials, clock and counters.
        trust: Verifies where there are no verifying processes.
        fleet: Where reports go; its owner closes it after `close`.

    Attributes:
        batches: Stores them.
    """

    def __init__(self, parts: ServiceParts, trust: TrustRecord, fleet: FleetStore) -> None:
        self._parts = parts
        self._certificates = CertificateMemory(trust)
        self.batches = ReportBatches(fleet)

    def close(self) -> None:
        """Store the reports that wait."""
        self.batches.close()

    async def take(self, body: bytes) -> ReportOutcome:
        """Return what became of a report that its device sent."""
        (outcome,) = await self.take_all([body])
        return outcome

    async def take_all(self, bodies: Sequence[bytes]) -> list[ReportOutcome]:
        """Return what became of each of some reports, in their order."""
        now = self._parts.clock()
        asked = [self._begin_to_verify(body, now) for body in bodies]
        begun: list[asyncio.Future[bool] | ReportOutcome] = []
        with self.batches.expecting():
            for verified in asked:
                try:
                    begun.append(self._begin_to_store(await verified))
                except Refusal as error:
                    begun.append(_outcome_of(error))
        outcomes = []
        for one in begun:
            outcome = one if isinstance(one, ReportOutcome) else await _stored(one)
            self._parts.counts.reports[outcome.word] += 1
            outcomes.append(outcome)
        return outcomes

    def _begin_to_verify(self, body: bytes, now: datetime) -> asyncio.Future[ReceivedReport]:
        # What is too long is refused before anything is verified, and need not wait in memory.
        if self._parts.verifiers is not None and len(body) <= REPORT_MAX_BYTES:
            return self._parts.verifiers.begin(body, now=now)
        judged: asyncio.Future[ReceivedReport] = asyncio.get_running_loop().create_future()
        try:
            verified = verify_whole_report(body, self._certificates, now=now)
        except Refusal as error:
            judged.set_exception(error)
            return judged
        certificate = verified.certificate
        judged.set_result(
            receive_report(
                verified.report,
                body,
                now=now,
                mac=certificate.common_name,
                key_id=certificate.public_key.key_id,
            )
        )
        return judged

    def _begin_to_store(self, received: ReceivedReport) -> asyncio.Future[bool]:
        # Only now: an answer of its own is for who has the device's key.
        if self._parts.denials is not None:
            self._parts.denials.refuse(received)
        return self.batches.begin(received)


async def _stored(is_new: asyncio.Future[bool]) -> ReportOutcome:
    try:
        return STORED if await is_new else KNOWN
    except FleetStoreError as error:
        return _outcome_of(error)


def _outcome_of(error: Refusal) -> ReportOutcome:
    if isinstance(error, FleetStoreError):
        # Where the database lies is not the client's business.
        text = f"{error.what}: {error.hint}" if error.hint else error.what
        return ReportOutcome("failed", UNAVAILABLE, text)
    if isinstance(error, DeniedDeviceError):
        return ReportOutcome("denied", FORBIDDEN, str(error))
    return ReportOutcome("refused", BAD_REQUEST, str(error))
