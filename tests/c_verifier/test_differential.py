"""Whatever the bytes, the C verifier and ours accept the same and refuse for the same reason."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_images.approval import parse_approval
from firmware_images.calibration_values import parse_calibration_record
from firmware_images.waveform_slot import parse_waveform_slot
from firmware_images.waveform_table import parse_waveform_table, serialize_waveform_table
from manifests.assignment import ASSIGNMENT_CONTENT_TYPE, serialize_assignment, verify_assignment
from manifests.freshness import FRESHNESS_CONTENT_TYPE, verify_freshness
from manifests.manifest import MANIFEST_CONTENT_TYPE, serialize_manifest, verify_manifest
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import sign_many, sign_one
from signing.errors import SignatureError
from signing.keys import Algorithm
from signing.roles import Role
from signing.trust import TRUST_RECORD_CONTENT_TYPE, verify_trust_record
from tests.c_verifier.mutations import changes, other_documents
from tests.c_verifier.verdicts import our_codes
from tests.c_verifier.verifier import GOLDEN
from tests.firmware_images.waveform_builders import flare_table, tables
from tests.manifests.golden_messages import CAMPAIGN, FRESH, POLICY, RELEASE, golden_trust
from tests.manifests.test_device_messages import ASSIGNMENTS, MANIFESTS, REQUEST
from tests.signing.fixed_keys import fixed_signer
from tests.signing.golden_vectors import ED25519, P256, P384, RSA

pytestmark = pytest.mark.no_cover  # what it repeats is counted elsewhere

SAMPLE = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
RECORD = golden_trust()
TRUST = (GOLDEN / "manifests" / "trust-record.cose").read_bytes()
MESSAGES = {
    kind: (GOLDEN / "manifests" / f"{kind}.cose").read_bytes()
    for kind in ("manifest", "manifest-2", "assignment", "assignment-2", "freshness")
}
PAYLOADS = {
    kind: parse_cbor(parse_cbor(message[start:], max_bytes=1024)[2], max_bytes=1024)
    for (kind, message), start in zip(MESSAGES.items(), (2, 2, 1, 1, 1), strict=True)
}
SECOND, THIRD = (
    (GOLDEN / "signing" / f"trust-record-{version}.cose").read_bytes() for version in (2, 3)
)
CALIBRATION = (GOLDEN / "records" / "calibration.cbor").read_bytes()
APPROVAL = (GOLDEN / "waveforms" / "tighten.approval-payload.cbor").read_bytes()
WAIVED = (GOLDEN / "waveforms" / "tighten.waived-approval-payload.cbor").read_bytes()
TABLE = (GOLDEN / "waveforms" / "tighten.table").read_bytes()
SLOT = (GOLDEN / "waveforms" / "tighten.slot").read_bytes()


def sign(kind: str, payload: bytes) -> bytes:
    match kind:
        case "manifest" | "manifest-2":
            return sign_many(payload, RELEASE, content_type=MANIFEST_CONTENT_TYPE)
        case "assignment" | "assignment-2":
            return sign_one(payload, CAMPAIGN, content_type=ASSIGNMENT_CONTENT_TYPE)
        case _:
            return sign_one(payload, FRESH, content_type=FRESHNESS_CONTENT_TYPE)


def ours(kind: str, message: bytes):
    match kind:
        case "manifest" | "manifest-2":
            return our_codes(lambda: verify_manifest(message, RECORD))
        case "assignment" | "assignment-2":
            return our_codes(lambda: verify_assignment(message, RECORD))
        case _:
            codes = our_codes(lambda: verify_freshness(message, RECORD, request=REQUEST))
            # Nonce and class are compared by who asked: reading alone accepts them.
            return frozenset({"ok"}) if codes & {"nonce", "hardware-class"} else codes


@pytest.mark.parametrize("kind", MESSAGES)
@SAMPLE
@given(data=st.data())
def test_mutated_bytes_of_a_signed_message_get_the_same_verdict(c_verifier, kind, data):
    message = data.draw(changes(MESSAGES[kind]))
    code = c_verifier.code(kind.partition("-")[0], trust=TRUST, message=message)
    assert code in ours(kind, message)


@pytest.mark.parametrize("kind", MESSAGES)
@SAMPLE
@given(data=st.data())
def test_mutated_bytes_that_were_signed_get_the_same_verdict(c_verifier, kind, data):
    message = sign(kind, data.draw(changes(serialize_cbor(PAYLOADS[kind]))))
    code = c_verifier.code(kind.partition("-")[0], trust=TRUST, message=message)
    assert code in ours(kind, message)


@pytest.mark.parametrize("kind", MESSAGES)
@SAMPLE
@given(data=st.data())
def test_other_fields_that_were_signed_get_the_same_verdict(c_verifier, kind, data):
    message = sign(kind, serialize_cbor(data.draw(other_documents(PAYLOADS[kind]))))
    code = c_verifier.code(kind.partition("-")[0], trust=TRUST, message=message)
    assert code in ours(kind, message)


@SAMPLE
@given(
    manifest=MANIFESTS, assignment=ASSIGNMENTS, serial=st.text("FL26A0", min_size=1, max_size=20)
)
def test_every_valid_manifest_and_assignment_is_accepted_and_selects_alike(
    c_verifier, manifest, assignment, serial
):
    manifest = replace(manifest, product="flare")
    assignment = replace(assignment, product="flare")
    signed = sign("manifest", serialize_manifest(manifest))
    told = c_verifier.ask("manifest", {"trust": TRUST, "message": signed})
    assert told["code"] in ours("manifest", signed)
    assert told["code"] == "ok" or len(signed) > 1024
    signed = sign("assignment", serialize_assignment(assignment))
    words = {"trust": TRUST, "message": signed, "serial": serial}
    told = c_verifier.ask("select", words)
    if len(signed) <= 1024:
        expected = "halted" if assignment.is_halted else (
            "ok" if assignment.selects(serial) else "not-selected"
        )  # fmt: skip
        assert told["code"] == expected


@SAMPLE
@given(data=st.data())
def test_mutated_bytes_of_a_trust_record_get_the_same_verdict(c_verifier, data):
    record = data.draw(changes(data.draw(st.sampled_from([TRUST, SECOND, THIRD]))))
    codes = our_codes(lambda: verify_trust_record(record, current=None))
    assert c_verifier.code("trust", message=record) in codes


KEY_DERS = st.sampled_from(
    [
        s.public_key.spki_der
        for s in (P256, ED25519, P384, RSA, CAMPAIGN, *(fixed_signer(f"d {n}") for n in range(9)))
    ]
)


@st.composite
def role_maps(draw, root: list[object]) -> dict[str, object]:
    names = draw(st.lists(st.sampled_from([*Role, "auditor"]), max_size=5, unique=True))
    roles: dict[str, object] = {"root": root}
    for name in names:
        if name != "root":
            keys = draw(st.lists(KEY_DERS, max_size=9 if draw(st.booleans()) else 3, unique=True))
            ordered = sorted(keys, key=lambda der: hashlib.sha256(der).digest())
            roles[str(name)] = [draw(st.integers(0, 4)), ordered]
    return roles


@SAMPLE
@given(data=st.data())
def test_other_trust_records_that_root_signed_get_the_same_verdict(c_verifier, data):
    roots = [fixed_signer("root-1"), fixed_signer("root-2")]
    ders = sorted(
        (root.public_key.spki_der for root in roots), key=lambda der: hashlib.sha256(der).digest()
    )
    ids = sorted(hashlib.sha256(der).digest() for der in ders)
    document: object = {
        1: 1,
        2: "flare",
        3: data.draw(st.integers(1, 3)),
        4: data.draw(role_maps([1, ders])),
        5: data.draw(st.integers(0, 2)),
        6: data.draw(st.sampled_from([[], [], [ids[0]], [bytes(32)], [bytes(32), b"\1" * 32]])),
        7: b"",
    }
    further = data.draw(st.sampled_from([None, None, [-35], [-37], [-35, -37], [-37, -35], []]))
    if further is not None:
        document = {**document, 8: further}  # type: ignore[dict-item]
    if data.draw(st.integers(0, 2)) == 0:
        document = data.draw(other_documents(document))
    signers = data.draw(st.sampled_from([roots, roots[:1], roots[1:]]))
    record = sign_many(serialize_cbor(document), signers, content_type=TRUST_RECORD_CONTENT_TYPE)
    codes = our_codes(lambda: verify_trust_record(record, current=None))
    assert c_verifier.code("trust", message=record) in codes
    current = verify_trust_record(TRUST, current=None)
    codes = our_codes(lambda: verify_trust_record(record, current=current))
    assert c_verifier.code("trust", message=record, current=TRUST) in codes


@SAMPLE
@given(data=st.data())
def test_mutated_bytes_of_a_calibration_get_the_same_verdict(c_verifier, data):
    document = parse_cbor(CALIBRATION, max_bytes=4096)
    payload = data.draw(changes(CALIBRATION) | other_documents(document).map(serialize_cbor))
    codes = our_codes(lambda: parse_calibration_record(payload))
    assert c_verifier.code("calibration", payload=payload) in codes


@SAMPLE
@given(data=st.data())
def test_mutated_bytes_of_an_approval_that_were_signed_get_the_same_verdict(c_verifier, data):
    payload = data.draw(st.sampled_from([APPROVAL, WAIVED]))
    document = parse_cbor(payload, max_bytes=512)
    changed = data.draw(changes(payload) | other_documents(document).map(serialize_cbor))
    kind = "application/vnd.ampforge.table-approval+cbor"
    codes = our_codes(lambda: parse_approval(changed))
    for message in (
        sign_many(changed, [POLICY], content_type=kind),
        sign_one(changed, POLICY, content_type=kind),
    ):
        assert c_verifier.code("approval", trust=TRUST, message=message) in codes


def seal(content: bytes) -> bytes:
    """A table with its size and trailing digest made right, so that its values are looked at."""
    body = bytearray(content[:-32]) if len(content) >= 136 else bytearray(content)
    if len(body) >= 12:
        body[8:12] = (len(body) + 32).to_bytes(4, "little")
    return bytes(body) + hashlib.sha256(body).digest()


@SAMPLE
@given(data=st.data())
def test_mutated_bytes_of_a_table_get_the_same_verdict(c_verifier, data):
    content = data.draw(
        st.sampled_from([TABLE, serialize_waveform_table(flare_table())])
        | tables().map(serialize_waveform_table)
    )
    if data.draw(st.integers(0, 5)):
        at = data.draw(st.integers(0, min(len(content), 700) - 33))
        word = data.draw(st.sampled_from([0, 1, 2, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 65536]))
        width = data.draw(st.sampled_from([1, 2, 4]))
        piece = (word & ((1 << 8 * width) - 1)).to_bytes(width, "little")
        content = seal(content[:at] + piece + content[at + width :])
    if data.draw(st.integers(0, 3)) == 0:
        content = data.draw(changes(content))
    codes = our_codes(lambda: parse_waveform_table(content))
    assert c_verifier.code("table", bytes=content) in codes


@SAMPLE
@given(data=st.data())
def test_mutated_bytes_of_a_slot_get_the_same_verdict(c_verifier, data):
    content = data.draw(changes(SLOT + b"\xff" * data.draw(st.sampled_from([0, 1, 3624, 9000]))))
    codes = our_codes(lambda: parse_waveform_slot(content))
    assert c_verifier.code("slot", image=content) in codes


@SAMPLE
@given(message=st.binary(max_size=200), flip=st.integers(-1, 64 * 8 - 1), key=st.integers(0, 3))
def test_ed25519_gives_the_same_verdict_as_openssl(c_verifier, message, flip, key):
    signer = fixed_signer(f"curve {key}", Algorithm.ED25519)
    signature = bytearray(signer.sign(message))
    if flip >= 0:
        signature[flip // 8] ^= 1 << flip % 8
    try:
        signer.public_key.verify(message, bytes(signature))
        expected = "ok"
    except SignatureError:
        expected = "signature"
    words = {"key": signer.public_key.raw, "message": message, "signature": bytes(signature)}
    assert c_verifier.code("ed25519", **words) == expected


@SAMPLE
@given(content=st.binary(max_size=1100))
def test_arbitrary_bytes_are_refused_by_every_reader(c_verifier, content):
    for kind in MESSAGES:
        assert c_verifier.code(kind.partition("-")[0], trust=TRUST, message=content) != "ok"
    assert c_verifier.code("trust", message=content) != "ok"
    assert c_verifier.code("approval", trust=TRUST, message=content) != "ok"
    assert c_verifier.code("table", bytes=content) != "ok"
    assert c_verifier.code("slot", image=content) != "ok"
    assert c_verifier.code("calibration", payload=content) != "ok"
