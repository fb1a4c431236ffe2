"""A certificate that was verified is known by its bytes; all else is verified, and time always."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from signing import certificate_memory
from signing.certificate_fields import CertificateKind
from signing.certificate_issuing import create_ca_certificate, issue_certificate
from signing.certificate_memory import CertificateMemory
from signing.certificate_requests import create_csr
from signing.errors import CertificateError, RevokedKeyError
from signing.roles import Role, RoleKeys
from signing.trust_record import TrustRecord
from tests.firmware_images.release_parts import signer

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(days=1)
CA = create_ca_certificate(signer("factory-ca"), common_name="Flare CA", not_before=BEFORE)
TRUST = TrustRecord(
    product="flare",
    version=1,
    roles={
        Role.ROOT: RoleKeys(
            threshold=1, keys=(signer("root-1").public_key, signer("root-2").public_key)
        )
    },
    minimum_policy_version=1,
    factory_ca_der=CA,
)


def issue(number: int) -> bytes:
    serial, mac, job = f"FL26A{number:06d}", f"02:a1:b2:00:00:{number:02x}", "job-1"
    return issue_certificate(
        signer("factory-ca"),
        CA,
        create_csr(signer("device-key"), serial_number=serial, mac=mac, job_id=job),
        expected_serial_number=serial,
        expected_mac=mac,
        expected_job_id=job,
        not_before=BEFORE,
    )


@pytest.fixture
def asked(monkeypatch):
    """What the trust record itself was asked to verify."""
    asked = []
    verify = TrustRecord.verify_certificate

    def noting(self, untrusted_der, **options):
        asked.append(untrusted_der)
        return verify(self, untrusted_der, **options)

    monkeypatch.setattr(TrustRecord, "verify_certificate", noting)
    return asked


def verify(memory, der, *, now=NOW, kind=CertificateKind.DEVICE):
    return memory.verify_certificate(der, now=now, kind=kind)


def test_the_same_bytes_are_verified_once_and_read_alike(asked):
    memory, der = CertificateMemory(TRUST), issue(1)
    first, second = verify(memory, der), verify(memory, bytes(bytearray(der)))
    assert first == second
    assert first.serial_number == "FL26A000001"
    assert asked == [der]


def test_any_flipped_bit_of_a_remembered_certificate_is_refused():
    memory, der = CertificateMemory(TRUST), issue(1)
    verify(memory, der)
    for place in range(len(der)):
        forged = bytearray(der)
        forged[place] ^= 1 << place % 8
        with pytest.raises(CertificateError):
            verify(memory, bytes(forged))
    assert verify(memory, der).serial_number == "FL26A000001"


def test_time_and_kind_are_judged_each_time():
    memory, der = CertificateMemory(TRUST), issue(1)
    verify(memory, der)
    with pytest.raises(CertificateError, match="not valid at this time"):
        verify(memory, der, now=BEFORE - timedelta(seconds=1))
    with pytest.raises(CertificateError, match="another kind"):
        verify(memory, der, kind=CertificateKind.STATION)
    assert verify(memory, der)


def test_a_refusal_is_not_remembered(asked):
    key_id = signer("device-key").public_key.key_id
    memory = CertificateMemory(replace(TRUST, revoked_key_ids=frozenset({key_id})))
    for _ in range(2):
        with pytest.raises(RevokedKeyError):
            verify(memory, issue(1))
    assert len(asked) == 2


def test_the_memory_is_bounded_and_keeps_what_is_in_use(asked, monkeypatch):
    monkeypatch.setattr(certificate_memory, "REMEMBERED_MAX", 2)
    memory = CertificateMemory(TRUST)
    ders = [issue(number) for number in range(3)]
    for number in (0, 1, 0, 2, 0):
        verify(memory, ders[number])
    assert asked == ders
    verify(memory, ders[1])
    assert asked == [*ders, ders[1]]
