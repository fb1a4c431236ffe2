"""Builds the golden files of tests/golden/signing; `python -m tests.signing.golden_vectors` writes.

The keys are made from names, ECDSA is deterministic, and times are fixed: the bytes come out the
same in every run. Changing them changes a format that fielded devices read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from signing.canonical_cbor import serialize_cbor
from signing.certificate_issuing import (
    create_ca_certificate,
    issue_certificate,
    issue_station_certificate,
)
from signing.certificate_requests import create_csr
from signing.cose import sign_many, sign_one
from signing.hash_chain import GENESIS, link_hash
from signing.keys import Algorithm
from signing.roles import Role, RoleKeys
from signing.trust import sign_trust_record
from signing.trust_record import TrustRecord
from tests.signing.fixed_keys import RepeatablePss, fixed_signer

FOLDER = Path(__file__).parent.parent / "golden" / "signing"
CONTENT_TYPE = "application/vnd.ampforge.example"
PAYLOAD = serialize_cbor({1: "flare", 2: 240000})
NOT_BEFORE = datetime(2026, 3, 1, 12, tzinfo=UTC)

P256 = fixed_signer("golden p256")
ED25519 = fixed_signer("golden ed25519", Algorithm.ED25519)
P384 = fixed_signer("golden p384", Algorithm.ECDSA_P384)
RSA = RepeatablePss()
ROOTS = tuple(fixed_signer(f"golden root {number}") for number in (1, 2, 3))
NEW_ROOT = fixed_signer("golden root 4", Algorithm.ED25519)
POLICY = fixed_signer("golden policy")
CA, DEVICE, STATION = (fixed_signer(f"golden {name}") for name in ("ca", "device", "station"))


def roots(*signers) -> RoleKeys:
    return RoleKeys(threshold=2, keys=tuple(signer.public_key for signer in signers))


def trust_record(ca_der: bytes, version: int) -> TrustRecord:
    """Return the first record, or its successor that replaces and revokes the first root key."""
    is_first = version == 1
    return TrustRecord(
        product="flare",
        version=version,
        roles={
            Role.ROOT: roots(*ROOTS) if is_first else roots(ROOTS[1], ROOTS[2], NEW_ROOT),
            Role.POLICY: RoleKeys(threshold=1, keys=(POLICY.public_key,)),
        },
        minimum_policy_version=version,
        revoked_key_ids=frozenset() if is_first else frozenset([ROOTS[0].public_key.key_id]),
        factory_ca_der=ca_der,
    )


def further_record(ca_der: bytes) -> TrustRecord:
    """Return the third record: its boards verify P-384, too, and the release role signs with it."""
    second = trust_record(ca_der, 2)
    return replace(
        second,
        version=3,
        roles={
            **second.roles,
            Role.RELEASE: RoleKeys(threshold=1, keys=(P384.public_key,)),
            Role.SECURE_BOOT: RoleKeys(threshold=1, keys=(RSA.public_key,)),
        },
        boards_verify=frozenset([Algorithm.ECDSA_P384]),
    )


def build_vectors() -> dict[str, bytes]:
    """Return each golden file's name and content."""
    ca_der = create_ca_certificate(CA, common_name="Flare factory CA", not_before=NOT_BEFORE)
    csr_der = create_csr(
        DEVICE, serial_number="FL26A0001K", mac="60:55:f9:00:00:01", job_id="job-0001"
    )
    device_der = issue_certificate(
        CA,
        ca_der,
        csr_der,
        expected_serial_number="FL26A0001K",
        expected_mac="60:55:f9:00:00:01",
        expected_job_id="job-0001",
        not_before=NOT_BEFORE,
    )
    station_der = issue_station_certificate(
        CA, ca_der, STATION.public_key, station_name="station-1", not_before=NOT_BEFORE
    )
    first = link_hash(GENESIS, b"first")
    return {
        "keys.json": _describe_keys(),
        "sign1-p256.cose": sign_one(PAYLOAD, P256, content_type=CONTENT_TYPE),
        "sign1-p384.cose": sign_one(PAYLOAD, P384, content_type=CONTENT_TYPE),
        "sign1-rsa.cose": sign_one(PAYLOAD, RSA, content_type=CONTENT_TYPE),
        "sign1-ed25519.cose": sign_one(PAYLOAD, ED25519, content_type=CONTENT_TYPE),
        "sign1-aad.cose": sign_one(
            PAYLOAD, ED25519, content_type=CONTENT_TYPE, external_aad=b"nonce"
        ),
        "sign-two.cose": sign_many(PAYLOAD, [P256, ED25519], content_type=CONTENT_TYPE),
        "trust-record-1.cose": sign_trust_record(trust_record(ca_der, 1), ROOTS[:2]),
        "trust-record-2.cose": sign_trust_record(
            trust_record(ca_der, 2), [ROOTS[1], ROOTS[2], NEW_ROOT]
        ),
        "trust-record-3.cose": sign_trust_record(further_record(ca_der), [ROOTS[1], ROOTS[2]]),
        "factory-ca.der": ca_der,
        "device.csr.der": csr_der,
        "device.der": device_der,
        "station.der": station_der,
        "chain.txt": f"{first.hex()}\n{link_hash(first, b'second').hex()}\n".encode(),
    }


def _describe_keys() -> bytes:
    keys = {
        name: {
            "algorithm": str(signer.public_key.algorithm),
            "spki_der": signer.public_key.spki_der.hex(),
            "key_id": signer.public_key.key_id.hex(),
        }
        for name, signer in (
            ("p256", P256),
            ("ed25519", ED25519),
            ("p384", P384),
            ("rsa", RSA),
            *((f"root-{number}", signer) for number, signer in enumerate(ROOTS, 1)),
            ("root-4", NEW_ROOT),
            ("policy", POLICY),
            ("ca", CA),
            ("device", DEVICE),
            ("station", STATION),
        )
    }
    return (json.dumps(keys, indent=2) + "\n").encode()


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file_name, content in build_vectors().items():
        (FOLDER / file_name).write_bytes(content)
