"""Attacks on the server: reports that are replayed or forged, paths that lead outside."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from manifests.carried_reports import serialize_carried_reports
from manifests.device_report import DeviceReport, ReportedResult, sign_device_report
from manifests.server_paths import REPORT_BATCHES_PATH, REPORTS_PATH
from signing.certificate_issuing import create_ca_certificate, issue_certificate
from signing.certificate_requests import create_csr
from tests.attacks.attack import Attack, Origin, Reader, Refuses, Request, Scene
from tests.firmware_images.release_parts import signer
from tests.manifests.world import BEFORE, HARDWARE_CLASS, JOB, MAC, SERIAL, make_device

if TYPE_CHECKING:
    from tests.attacks.ground import Ground

REPORT = DeviceReport(
    serial_number=SERIAL,
    hardware_class=HARDWARE_CLASS,
    result=ReportedResult.INSTALLED,
    release_counter=3,
    app_sha256=b"a" * 32,
    table_sha256=b"t" * 32,
    manifest_sha256=b"m" * 32,
    assignment_sequence=3,
    freshness_sequence=1,
    reason="",
)
TRICKS = (
    "/device/../reports.sqlite",
    "/device/%2e%2e/reports.sqlite",
    "/metadata/..%2f..%2freports.sqlite",
    "/targets//etc/passwd",
    "/targets/./x",
    "/repository.json",
    "/device/..\\reports.sqlite",
    "/metadata/timestamp.json%00",
)


def honest_report(number: int) -> bytes:
    """A report that the server has not seen, by the board of the world."""
    return _signed(replace(REPORT, freshness_sequence=number))


def _signed(report: DeviceReport, key: str = "device-key", certificate: bytes = b"") -> bytes:
    own = certificate or make_device().load_identity().certificate_der
    return sign_device_report(report, signer(key), own)


def _post(body: bytes) -> Request:
    return Request(method="POST", path=REPORTS_PATH, body=body)


def replayed_report(_: Ground) -> Scene:
    report = _post(honest_report(1))
    return Scene(first=(report,), requests=(report, report))


def altered_report(_: Ground) -> Scene:
    report = honest_report(2)
    success = report.replace(b"m" * 32, b"n" * 32)
    assert success != report
    return Scene(requests=(_post(success),))


def _unmade_board_report() -> bytes:
    """A report by a board that no factory made."""
    ca, key = signer("thief-ca"), signer("thief")
    request = create_csr(key, serial_number="FL26A000099", mac=MAC.hex(":"), job_id=JOB)
    certificate = issue_certificate(
        ca,
        create_ca_certificate(ca, common_name="Flare CA", not_before=BEFORE),
        request,
        expected_serial_number="FL26A000099",
        expected_mac=MAC.hex(":"),
        expected_job_id=JOB,
        not_before=BEFORE,
    )
    report = replace(REPORT, serial_number="FL26A000099")
    return _signed(report, "thief", certificate)


def forged_fleet(_: Ground) -> Scene:
    """Boards that no factory made report success, to carry a campaign over its gate."""
    return Scene(requests=(_post(_unmade_board_report()),))


def forged_batch(_: Ground) -> Scene:
    """A carrier puts its own among reports that are true."""
    true = honest_report(3)
    altered = honest_report(4).replace(b"m" * 32, b"n" * 32)
    batch = serialize_carried_reports([true, _unmade_board_report(), altered])
    return Scene(
        first=(_post(true),),
        requests=(Request(method="POST", path=REPORT_BATCHES_PATH, body=batch),),
    )


def another_units_report(_: Ground) -> Scene:
    return Scene(requests=(_post(_signed(replace(REPORT, serial_number="FL26A000025"))),))


def outside_paths(_: Ground) -> Scene:
    return Scene(requests=tuple(Request(method="GET", path=path) for path in TRICKS))


SERVER_ATTACKS = tuple(
    Attack(
        name=name,
        origin=Origin.FLEET,
        holds=holds,
        does=does,
        stage=stage,
        expected={Reader.SERVER: Refuses(telling)},
    )
    for name, holds, does, stage, telling in (
        (
            "replayed report",
            "the network",
            "posts again what a board reported",
            replayed_report,
            "^200 ",
        ),
        (
            "altered report",
            "the network",
            "changes which manifest a report speaks of",
            altered_report,
            "^400 a signature does not match",
        ),
        (
            "forged cohort, reports",
            "keys of its own",
            "reports success for boards that no factory made",
            forged_fleet,
            "^400 a certificate was not issued by the factory CA",
        ),
        (
            "forged reports in a batch",
            "keys of its own",
            "carries true reports, and puts altered and invented ones among them",
            forged_batch,
            '^200 .*"status": 200, .*"status": 400, .*factory CA.*"status": 400, .*not match',
        ),
        (
            "report for another unit",
            "one board",
            "reports under the serial number of another board",
            another_units_report,
            "^400 a device reports under a serial number that is not its own",
        ),
        (
            "path tricks, server",
            "the network",
            "asks for files outside of what is served",
            outside_paths,
            "^404 ",
        ),
    )
)
