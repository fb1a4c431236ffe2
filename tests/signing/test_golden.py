"""The golden bytes: what is written today, what is read, and what the specifications print."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from signing.certificate_requests import parse_csr
from signing.certificates import verify_certificate
from signing.cose import verify_many, verify_one
from signing.errors import RevokedKeyError, RollbackError, TrustError
from signing.keys import Algorithm, PublicKey
from signing.roles import Role
from signing.trust import verify_trust_record
from tests.signing.golden_vectors import CONTENT_TYPE, FOLDER, PAYLOAD, build_vectors

SPECIFICATIONS = Path(__file__).parents[2] / "docs" / "spec"
NAMES = sorted(build_vectors())


def golden(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def keys() -> dict[str, PublicKey]:
    return {
        name: PublicKey(
            algorithm=Algorithm(entry["algorithm"]), spki_der=bytes.fromhex(entry["spki_der"])
        )
        for name, entry in json.loads(golden("keys.json")).items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_code_still_writes_these_bytes(name):
    assert build_vectors()[name] == golden(name)


def test_no_golden_file_is_left_without_its_origin():
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted([*NAMES, "README.md"])


def test_the_messages_verify():
    named = keys()
    for name, key in (
        ("sign1-p256", "p256"),
        ("sign1-p384", "p384"),
        ("sign1-ed25519", "ed25519"),
        ("sign1-rsa", "rsa"),
    ):
        verified = verify_one(golden(f"{name}.cose"), named.values(), content_type=CONTENT_TYPE)
        assert verified.payload == PAYLOAD
        assert verified.key_ids == {named[key].key_id}
    assert verify_one(
        golden("sign1-aad.cose"),
        [named["ed25519"]],
        content_type=CONTENT_TYPE,
        external_aad=b"nonce",
    )
    pair = [named["p256"], named["ed25519"]]
    verify_many(golden("sign-two.cose"), pair, threshold=2, content_type=CONTENT_TYPE)


def test_the_second_trust_record_follows_the_first_and_not_the_other_way_round():
    first = verify_trust_record(golden("trust-record-1.cose"), current=None)
    second = verify_trust_record(golden("trust-record-2.cose"), current=first)
    assert second.version == 2
    assert second.revoked_key_ids == {keys()["root-1"].key_id}
    with pytest.raises(RollbackError, match="not newer"):
        verify_trust_record(golden("trust-record-2.cose"), current=second)


def test_the_third_trust_record_has_boards_that_verify_more():
    second = verify_trust_record(golden("trust-record-2.cose"), current=None)
    third = verify_trust_record(golden("trust-record-3.cose"), current=second)
    assert third.boards_verify == {Algorithm.ECDSA_P384}
    assert third.keys_of(Role.RELEASE).keys == (keys()["p384"],)
    assert third.keys_of(Role.SECURE_BOOT).keys == (keys()["rsa"],)


def test_the_certificates_verify_and_name_the_golden_keys():
    first = verify_trust_record(golden("trust-record-1.cose"), current=None)
    assert first.factory_ca_der == golden("factory-ca.der")
    now = datetime(2030, 1, 1, tzinfo=UTC)
    for name in ("device", "station"):
        certificate = verify_certificate(golden(f"{name}.der"), first.factory_ca_der, now=now)
        assert certificate.kind == name
        assert certificate.public_key == keys()[name]
    assert parse_csr(golden("device.csr.der")).serial_number == "FL26A0001K"


def test_a_record_verifies_certificates_of_its_factory_and_refuses_revoked_ones():
    first = verify_trust_record(golden("trust-record-1.cose"), current=None)
    now = datetime(2030, 1, 1, tzinfo=UTC)
    certificate = first.verify_certificate(golden("station.der"), now=now)
    assert certificate.common_name == "station-1"
    revoked = replace(first, revoked_key_ids=frozenset([certificate.public_key.key_id]))
    with pytest.raises(RevokedKeyError, match=certificate.public_key.key_id.hex()):
        revoked.verify_certificate(golden("station.der"), now=now)
    with pytest.raises(TrustError, match="names no factory CA"):
        replace(first, factory_ca_der=b"").verify_certificate(golden("station.der"), now=now)


def test_the_key_ids_are_those_of_the_keys():
    for name, entry in json.loads(golden("keys.json")).items():
        assert keys()[name].key_id.hex() == entry["key_id"]


def test_the_specification_prints_the_golden_messages():
    text = (SPECIFICATIONS / "cose.md").read_text()
    printed = re.findall(r"`(sign[-\w]*\.cose)`[^\n]*\n```\n([0-9a-f\n]+)```", text)
    assert {name for name, _ in printed} == {name for name in NAMES if name.startswith("sign")}
    for name, block in printed:
        assert bytes.fromhex(block) == golden(name)


def test_the_specification_names_the_golden_records_by_their_digests():
    text = (SPECIFICATIONS / "trust.md").read_text()
    for name in ("trust-record-1.cose", "trust-record-2.cose", "trust-record-3.cose"):
        assert hashlib.sha256(golden(name)).hexdigest() in text
