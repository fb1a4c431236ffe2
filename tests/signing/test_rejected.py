"""The gallery of messages, trust records and certificates that must be refused, as files."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from signing.certificates import verify_certificate
from signing.cose import verify_many, verify_one
from signing.trust import verify_trust_record
from tests.signing.golden_vectors import (
    CONTENT_TYPE,
    ED25519,
    P256,
    P384,
    POLICY,
    RSA,
    build_vectors,
)
from tests.signing.rejected_vectors import EXPECTED, FOLDER, build_rejected

KEYS = [signer.public_key for signer in (P256, ED25519, POLICY, P384, RSA)]
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def verify(name: str, content: bytes) -> object:
    match name.partition("-")[0]:
        case "one":
            return verify_one(content, KEYS, content_type=CONTENT_TYPE)
        case "two":
            return verify_many(content, KEYS, threshold=2, content_type=CONTENT_TYPE)
        case "trust":
            return verify_trust_record(content, current=None)
        case _:
            return verify_certificate(content, build_vectors()["factory-ca.der"], now=NOW)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_file_is_refused_for_what_its_name_says(name):
    error, message = EXPECTED[name]
    with pytest.raises(error, match=message) as refused:
        verify(name, (FOLDER / name).read_bytes())
    assert type(refused.value) is error


def test_the_gallery_is_what_its_builder_writes():
    rejected = build_rejected()
    assert sorted(rejected) == sorted(EXPECTED)
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix != ".md"}
    assert files == rejected


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("one-", "sign1-p256.cose"),
        ("one-", "sign1-p384.cose"),
        ("one-", "sign1-rsa.cose"),
        ("two-", "sign-two.cose"),
        ("trust-", "trust-record-1.cose"),
        ("trust-", "trust-record-3.cose"),
        ("station-", "station.der"),
    ],
)
def test_the_same_check_accepts_the_golden_file(name, golden):
    assert verify(name, build_vectors()[golden])
