"""The devices and gateways of the reports' benchmark: what they send, and how they send it."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from manifests.carried_reports import serialize_carried_reports
from manifests.device_report import DeviceReport, ReportedResult, sign_device_report
from manifests.server_paths import REPORT_BATCHES_PATH, REPORTS_PATH
from signing.algorithms import Algorithm
from signing.certificate_issuing import create_ca_certificate, issue_certificate
from signing.certificate_requests import create_csr
from signing.roles import Role, RoleKeys
from signing.signers import SoftwareSigner
from signing.trust import sign_trust_record
from signing.trust_record import TrustRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

REPORTS_AGAIN: Final = 3
WARM_UP: Final = 64
NOW: Final = dt.datetime.now(dt.UTC).replace(microsecond=0)
BEFORE: Final = NOW - dt.timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the devices send.

    Attributes:
        trust_record: The signed record that names the devices' factory CA.
        warm_up: Reports that are not measured.
        first: One report of each device.
        again: More of each.
        carried: More of each, which gateways carry.
        carried_before: One of each, after which every verifying process knows the devices.
    """

    trust_record: bytes
    warm_up: tuple[bytes, ...]
    first: tuple[bytes, ...]
    again: tuple[bytes, ...]
    carried: tuple[bytes, ...]
    carried_before: tuple[bytes, ...]


def make_fleet(devices: int) -> Fleet:
    """Make a factory CA, devices with keys and certificates of their own, and their reports."""
    ca, *roots = (SoftwareSigner.generate(Algorithm.ECDSA_P256) for _ in range(3))
    ca_der = create_ca_certificate(ca, common_name="Flare CA", not_before=BEFORE)
    record = TrustRecord(
        product="flare",
        version=1,
        roles={Role.ROOT: RoleKeys(threshold=1, keys=tuple(root.public_key for root in roots))},
        minimum_policy_version=1,
        factory_ca_der=ca_der,
    )
    bodies: list[list[bytes]] = [[] for _ in range(2 + 2 * REPORTS_AGAIN)]
    for number in range(devices + WARM_UP):
        key = SoftwareSigner.generate(Algorithm.ECDSA_P256)
        serial, mac = f"FL26A{number:06d}", (0x02A1B2000000 + number).to_bytes(6, "big").hex(":")
        certificate = issue_certificate(
            ca,
            ca_der,
            create_csr(key, serial_number=serial, mac=mac, job_id="job-1"),
            expected_serial_number=serial,
            expected_mac=mac,
            expected_job_id="job-1",
            not_before=BEFORE,
        )
        for attempt, sent in enumerate(bodies):
            sent.append(sign_device_report(_report(serial, attempt), key, certificate))
    return Fleet(
        trust_record=sign_trust_record(record, roots[:1]),
        warm_up=tuple(bodies[0][devices:]),
        first=tuple(bodies[0][:devices]),
        again=tuple(body for sent in bodies[1 : 1 + REPORTS_AGAIN] for body in sent[:devices]),
        carried=tuple(body for sent in bodies[2 + REPORTS_AGAIN :] for body in sent[:devices]),
        carried_before=tuple(bodies[1 + REPORTS_AGAIN][:devices]),
    )


def _report(serial: str, attempt: int) -> DeviceReport:
    return DeviceReport(
        serial_number=serial,
        hardware_class="flare-c3",
        result=ReportedResult.INSTALLED,
        release_counter=7,
        app_sha256=bytes(range(32)),
        table_sha256=bytes(range(32, 64)),
        manifest_sha256=bytes(range(64, 96)),
        assignment_sequence=12,
        freshness_sequence=1_800_000_000 + attempt,
        reason="",
    )


class _Poster(asyncio.Protocol):
    """One device's or gateway's connection: posts the next body when one is answered."""

    def __init__(
        self, bodies: Iterable[Sequence[bytes]], on_end: Callable[[str], None], *, is_carrying: bool
    ) -> None:
        self._bodies = iter(bodies)
        self._on_end = on_end
        self._is_carrying = is_carrying
        self._expected = 0
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or not body.endswith(b"\n"):
            return
        if self._is_carrying:
            is_stored = body.count(b'{"status": 201, "text": "stored"}') == self._expected
        else:
            is_stored = head.startswith(b"HTTP/1.1 201 ")
        if not is_stored:
            self._on_end(f"the server answered {self._answer[:300]!r}")
            return
        self._answer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end(f"a connection ended: {exc}")

    def _next(self) -> None:
        bodies = next(self._bodies, None)
        if bodies is None:
            self._on_end("")
            return
        self._expected = len(bodies)
        path, body = REPORTS_PATH, bodies[0]
        if self._is_carrying:
            path, body = REPORT_BATCHES_PATH, serialize_carried_reports(bodies)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: ampforge\r\nContent-Type: application/cbor\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)  # type: ignore[attr-defined]


async def post_all(
    url: str, bodies: Sequence[bytes], *, connections: int, carried: int = 0
) -> float:
    """Post bodies over so many connections; return how long it took until all were stored.

    Args:
        url: The server's root.
        bodies: Reports.
        connections: How many.
        carried: Reports in one request; 0 for devices that report themselves.
    """
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    address = (parts.hostname, parts.port)
    step = carried or 1
    shared = iter([bodies[begin : begin + step] for begin in range(0, len(bodies), step)])
    ended = [loop.create_future() for _ in range(connections)]

    def end(number: int) -> Callable[[str], None]:
        return lambda text: None if ended[number].done() else ended[number].set_result(text)

    start_s = time.perf_counter()
    opened = [
        await loop.create_connection(
            lambda number=number: _Poster(shared, end(number), is_carrying=bool(carried)), *address
        )
        for number in range(connections)
    ]
    failures = [text for text in await asyncio.gather(*ended) if text]
    duration_s = time.perf_counter() - start_s
    for transport, _ in opened:
        transport.close()
    if failures:
        raise SystemExit(failures[0])
    return duration_s
