"""A message with several things wrong is refused for the first of them, in the order of the spec.

docs/spec/manifest.md §4 and cose.md §4.3: length, shape, content type, key, algorithm, signature,
threshold, and only then what the message says. So nobody without a key is ever parsed, or learns
from a refusal what a parser makes of his bytes. The verifier in C is asked, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from manifests.assignment import (
    ASSIGNMENT_CONTENT_TYPE,
    serialize_assignment,
    verify_assignment,
)
from manifests.device_report import (
    REPORT_CONTENT_TYPE,
    REPORT_MAX_BYTES,
    serialize_device_report,
    verify_device_report,
)
from manifests.freshness import FRESHNESS_CONTENT_TYPE, sign_freshness, verify_freshness
from manifests.manifest import MANIFEST_CONTENT_TYPE, serialize_manifest, verify_manifest
from manifests.message_fields import MESSAGE_MAX_BYTES
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.certificate_issuing import create_ca_certificate, issue_certificate
from signing.certificate_requests import create_csr
from signing.cose import sign_one
from signing.cose_message import (
    CoseSignature,
    kid_of,
    parse_message,
    serialize_body_header,
    serialize_sign,
    serialize_sign1,
    serialize_sign1_header,
    serialize_signature_header,
    sign1_structure,
    sign_structure,
)
from signing.refusal import Refusal
from tests.c_verifier.verdicts import our_codes
from tests.firmware_images.release_parts import signer
from tests.manifests.test_device_messages import (
    ASSIGNMENT,
    FRESHNESS,
    MANIFEST,
    REPORT,
    REQUEST,
    signed_report,
)
from tests.manifests.world import BEFORE, JOB, MAC, NOW, SERIAL, trust, trust_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

# What may be wrong, in the order in which it has to be told; the code is that of `af_codes.h`.
STAGES = (
    "length",
    "shape",
    "content-type",
    "no-key-of-role",
    "algorithm",
    "signature",
    "too-few-keys",
    "fields",
    "product",
    "nonce",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A message, who signs it, who does not, and who reads it."""

    payload: bytes
    content_type: str
    names: tuple[str, ...]
    verify: Callable[[bytes], object]
    without: frozenset[str] = frozenset()


KINDS = {
    "manifest": Kind(
        payload=serialize_manifest(MANIFEST),
        content_type=MANIFEST_CONTENT_TYPE,
        names=("release-1", "release-2-ed"),
        verify=lambda message: verify_manifest(message, trust()),
        without=frozenset({"nonce"}),
    ),
    "assignment": Kind(
        payload=serialize_assignment(ASSIGNMENT),
        content_type=ASSIGNMENT_CONTENT_TYPE,
        names=("campaign-1",),
        verify=lambda message: verify_assignment(message, trust()),
        without=frozenset({"nonce", "too-few-keys"}),
    ),
    "freshness": Kind(
        payload=parse_message(sign_freshness(FRESHNESS, signer("freshness-1"))).payload,
        content_type=FRESHNESS_CONTENT_TYPE,
        names=("freshness-1",),
        verify=lambda message: verify_freshness(message, trust(), request=REQUEST),
        without=frozenset({"product", "too-few-keys"}),
    ),
}


def build(kind: Kind, wrong: set[str]) -> bytes:
    """Return a message with these things wrong, and signed over what it says otherwise."""
    fields = parse_cbor(kind.payload, max_bytes=MESSAGE_MAX_BYTES)
    assert isinstance(fields, dict)
    fields |= {2: "other"} if "product" in wrong else {}
    fields |= {2: b"x" * 16} if "nonce" in wrong else {}
    fields |= {99: 0} if "fields" in wrong else {}
    payload = serialize_cbor(fields)
    content_type = "application/x" if "content-type" in wrong else kind.content_type
    names = ("policy-1", "root-1") if "no-key-of-role" in wrong else kind.names
    keys = [signer(name) for name in names[: len(kind.names) - ("too-few-keys" in wrong)]]
    is_sign1 = len(kind.names) == 1
    body = serialize_body_header(content_type)
    signatures = []
    for key in keys:
        protected = (
            serialize_sign1_header(content_type, key.public_key)
            if is_sign1
            else serialize_signature_header(key.public_key)
        )
        if "algorithm" in wrong:  # ES256 becomes EdDSA, and EdDSA ES256
            swap = bytes.maketrans(b"\x26\x27", b"\x27\x26")
            protected = protected[:3].translate(swap) + protected[3:]
        structure = (
            sign1_structure(protected, payload)
            if is_sign1
            else sign_structure(body, protected, payload)
        )
        signature = key.sign(structure)
        if "signature" in wrong:
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        signatures.append((key, protected, signature))
    if is_sign1:
        ((_, protected, signature),) = signatures
        message = serialize_sign1(protected, payload, signature)
    else:
        parts = [
            CoseSignature(
                kid=kid_of(key.public_key), algorithm_id=0, protected=protected, signature=signature
            )
            for key, protected, signature in signatures
        ]
        message = serialize_sign(body, payload, parts)
    if "shape" in wrong:
        message += b"\0"
    return message.ljust(MESSAGE_MAX_BYTES + 1, b"\0") if "length" in wrong else message


@pytest.mark.parametrize("name", KINDS)
def test_of_any_two_things_that_are_wrong_the_earlier_is_told(name, c_verifier_if_any):
    kind = KINDS[name]
    stages = [stage for stage in STAGES if stage not in kind.without]
    faults = [{stage} for stage in stages] + [set(two) for two in combinations(stages, 2)]
    for wrong in [set(), *faults, set(stages)]:
        message = build(kind, wrong)
        first = next((stage for stage in stages if stage in wrong), "ok")
        assert first in our_codes(partial(kind.verify, message)), wrong
        if c_verifier_if_any is not None and first != "nonce":
            # Which nonce was asked with is known to the whole session alone.
            code = c_verifier_if_any.code(name, trust=trust_bytes(), message=message)
            assert code == first, wrong


# What may be wrong with a report (docs/spec/device-report.md §2), and words that tell it.
REPORT_STAGES = {
    "length": "length that no valid one has",
    "envelope": r"does not know: got 3 \(device report",
    "certificate": "not issued by the factory CA",
    "kind": "another kind",
    "signature": "signature",
    "fields": r"does not know: got 99 \(device report",
    "serial": "not its own",
}


def build_report(wrong: set[str]) -> bytes:
    """Return what a device posts, with these things wrong, and signed over what it says."""
    fields = parse_cbor(serialize_device_report(REPORT), max_bytes=MESSAGE_MAX_BYTES)
    certificate = parse_cbor(signed_report(), max_bytes=REPORT_MAX_BYTES, max_depth=2)[1]
    fields |= {2: "FL26A000025"} if "serial" in wrong else {}
    fields |= {99: 0} if "fields" in wrong else {}
    content_type = "application/x" if "kind" in wrong else REPORT_CONTENT_TYPE
    message = sign_one(serialize_cbor(fields), signer("device-key"), content_type=content_type)
    if "signature" in wrong:
        message = message[:-1] + bytes([message[-1] ^ 1])
    if "certificate" in wrong:
        other = create_ca_certificate(signer("new"), common_name="Other CA", not_before=BEFORE)
        csr = create_csr(signer("device-key"), serial_number=SERIAL, mac=MAC.hex(":"), job_id=JOB)
        certificate = issue_certificate(
            signer("new"),
            other,
            csr,
            expected_serial_number=SERIAL,
            expected_mac=MAC.hex(":"),
            expected_job_id=JOB,
            not_before=BEFORE,
        )
    body = serialize_cbor({1: certificate, 2: message} | ({3: 0} if "envelope" in wrong else {}))
    return body.ljust(REPORT_MAX_BYTES + 1, b"\0") if "length" in wrong else body


def test_of_any_two_things_that_are_wrong_with_a_report_the_earlier_is_told():
    verify_device_report(build_report(set()), trust(), now=NOW)
    stages = list(REPORT_STAGES)
    for wrong in [*({one} for one in stages), *map(set, combinations(stages, 2)), set(stages)]:
        first = next(stage for stage in stages if stage in wrong)
        with pytest.raises(Refusal, match=REPORT_STAGES[first]):
            verify_device_report(build_report(wrong), trust(), now=NOW)
