"""What a board proves when it is adopted, made without a board."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from firmware_images.calibration_record import sign_calibration_record
from provisioning.board_evidence import (
    BoardEvidence,
    Loader,
    VerifiedEvidence,
    serialize_evidence,
    verify_evidence,
)
from provisioning.ledger_adoption import carry_out_adoption, prepare_adoption
from provisioning.link_identity import CHALLENGE_CONTENT_TYPE
from provisioning.supervision import sign_act
from signing.canonical_cbor import serialize_cbor
from signing.certificate_issuing import issue_certificate
from signing.certificate_requests import create_csr
from signing.cose import sign_one
from tests.firmware_images.test_calibration_record import RECORD
from tests.provisioning.ledger_sites import BUNDLE, START
from tests.provisioning.tampered_ledger import NOW, keys_of
from tests.signing.fixed_keys import fixed_signer

NONCE = bytes(range(32))
APP = bytes(reversed(range(32)))
PLAN = b"p" * 32


@cache
def make_evidence(serial: str, mac: bytes, ca: str = "tampered ca") -> BoardEvidence:
    """A locked board of a factory, made by two plans."""
    keys, device = keys_of("station-1", ca), fixed_signer(f"device {mac.hex()}")
    named = {"serial_number": serial, "mac": mac.hex(":"), "job_id": "lost-job"}
    certificate = issue_certificate(
        keys.ca_signer, keys.ca_der, create_csr(device, **named), expected_serial_number=serial,
        expected_mac=mac.hex(":"), expected_job_id="lost-job", not_before=START,
    )  # fmt: skip
    answer = serialize_cbor({1: NONCE, 2: serial, 3: mac, 4: APP})
    return BoardEvidence(
        ca_der=keys.ca_der,
        certificate_der=certificate,
        nonce=NONCE,
        challenge=sign_one(answer, device, content_type=CHALLENGE_CONTENT_TYPE),
        app_sha256=APP,
        record=sign_calibration_record(
            replace(RECORD, serial=serial, mac=mac), keys.station_signer, keys.station_der
        ),
        loader=Loader.SECURE,
        key_block=4,
        nvs_plan=PLAN,
        efuse_plan=PLAN,
    )


def prove(evidence: BoardEvidence) -> tuple[VerifiedEvidence, bytes]:
    content = serialize_evidence(evidence)
    return verify_evidence(content, now=NOW, where="slot 1"), content


def adopt_in(ledger: Any, writer: Any, evidence: BoardEvidence, *, signed_for: Any = None) -> Any:
    """Have a ledger adopt a board that is in quarantine there."""
    proved, content = prove(evidence)
    order = prepare_adoption(
        ledger, writer, proved=proved, evidence_bytes=content, reason="lost with the ledger"
    )
    if signed_for is not None:
        order = signed_for(order)
    signed = sign_act(order, [fixed_signer("supervisor")])
    return carry_out_adoption(
        ledger, writer, order, signed, proved=proved, evidence_bytes=content, bundle_digest=BUNDLE
    )
