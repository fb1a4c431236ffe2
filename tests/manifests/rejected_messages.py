"""Builds tests/rejected/messages; `python -m tests.manifests.rejected_messages` writes it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from manifests.assignment import ASSIGNMENT_CONTENT_TYPE, verify_assignment
from manifests.device_report import REPORT_CONTENT_TYPE, verify_device_report
from manifests.freshness import (
    FRESHNESS_CONTENT_TYPE,
    parse_freshness_request,
    verify_freshness,
)
from manifests.manifest import MANIFEST_CONTENT_TYPE, verify_manifest
from manifests.tuf_metadata import (
    build_delegations,
    build_root,
    build_snapshot,
    build_targets,
    build_timestamp,
    describe_target,
    parse_document,
    serialize_document,
    sign_document,
    verify_document,
)
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.certificate_issuing import create_ca_certificate, issue_certificate
from signing.certificate_requests import create_csr
from signing.cose import sign_many, sign_one
from signing.roles import Role, RoleKeys
from tests.gallery import Gallery, write_gallery
from tests.manifests.golden_messages import CAMPAIGN, DEVICE, FRESH, RELEASE, build, golden_trust
from tests.manifests.test_device_messages import REPORT, REQUEST
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from signing.trust_record import TrustRecord

NOT_BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
EXPIRES = datetime(2027, 1, 1, tzinfo=UTC)
CA = fixed_signer("gallery factory ca")
SIGNATURE_START = '"sig":"'
ABOUT = """Each file has one thing wrong and is named after it; everything else about it is right,
the signatures included wherever they are not the point. Written with the keys of
`tests/manifests/golden_messages.py` by `python -m tests.manifests.rejected_messages`;
`tests/manifests/test_rejected.py` checks each error, word by word. The part before the first dash
of a name says as what the file is read; `tuf-` files are read as the metadata that comes next."""


def gallery_trust() -> TrustRecord:
    """The golden trust record, with a factory CA."""
    return replace(golden_trust(), factory_ca_der=_ca_der())


def read(name: str, content: bytes) -> object:
    """Read a file as the kind of message that its name begins with."""
    trust = gallery_trust()
    match name.partition("-")[0]:
        case "manifest":
            return verify_manifest(content, trust)
        case "assignment":
            return verify_assignment(content, trust)
        case "freshness":
            return verify_freshness(content, trust, request=REQUEST)
        case "request":
            return parse_freshness_request(content)
        case "report":
            return verify_device_report(content, trust, now=NOW)
        case _:
            return read_metadata(name, content)


def read_metadata(name: str, content: bytes) -> object:
    """Read TUF metadata as `repo` and `status` do: parsed, then verified by the root's keys."""
    role = name.split("-")[1]
    kinds = {"root": Root, "targets": Targets, "snapshot": Snapshot, "timestamp": Timestamp}
    document = parse_document(role, content, kinds[role], where=f"{role}.json")
    root = parse_document("root", metadata()["root"], Root, where="root.json")
    verify_document(role, document, root, hint="restore the repository from a copy")
    return document


def build_rejected() -> dict[str, bytes]:
    """Return each file's name and content."""
    return {
        **_manifests(),
        **_assignments(),
        **_freshness(),
        **_reports(),
        **_metadata(),
    }


def _payload(name: str) -> dict:
    return parse_cbor(build()[name], max_bytes=4096)


def _manifests() -> dict[str, bytes]:
    golden, fields = build()["manifest.cose"], _payload("manifest.cbor")
    constrained = _payload("manifest-2.cbor")

    def signed(
        changes: dict, *signers, content_type: str = MANIFEST_CONTENT_TYPE, of: dict = fields
    ) -> bytes:
        payload = serialize_cbor({**of, **changes})
        return sign_many(payload, signers or RELEASE, content_type=content_type)

    without = {key: value for key, value in fields.items() if key != 3}
    (delta,) = fields[13]
    return {
        "manifest-empty.cose": b"",
        "manifest-endless.cose": golden + bytes(8192),
        "manifest-trailing-byte.cose": golden + b"\0",
        "manifest-truncated.cose": golden[:-1],
        "manifest-flipped-version.cose": golden.replace(b"1.5.0", b"1.5.1"),
        "manifest-one-of-two-signatures.cose": signed({}, RELEASE[0]),
        "manifest-signed-by-campaign.cose": signed({}, CAMPAIGN, RELEASE[0]),
        "manifest-signed-as-assignment.cose": signed({}, content_type=ASSIGNMENT_CONTENT_TYPE),
        "manifest-counter-zero.cose": signed({3: 0}),
        "manifest-counter-as-text.cose": signed({3: "2"}),
        "manifest-format-2-of-1.cose": signed({1: 2}),
        "manifest-format-3.cose": signed({1: 3}),
        "manifest-step-after-itself.cose": signed({14: constrained[3]}, of=constrained),
        "manifest-outlives-support.cose": signed({15: constrained[12] - 1}, of=constrained),
        "manifest-support-for-ever.cose": signed({15: 2**63}, of=constrained),
        "manifest-asks-nothing.cose": signed({14: 0, 15: 0}, of=constrained),
        "manifest-support-in-format-1.cose": signed({1: 1}, of=constrained),
        "manifest-unknown-field.cose": signed({14: 0}),
        "manifest-of-another-product.cose": signed({2: "glow"}),
        "manifest-without-counter.cose": sign_many(
            serialize_cbor(without), RELEASE, content_type=MANIFEST_CONTENT_TYPE
        ),
        "manifest-revisions-reversed.cose": signed({6: 3, 7: 2}),
        "manifest-four-deltas.cose": signed({13: fields[13] * 4}),
        "manifest-delta-base-twice.cose": signed({13: fields[13] * 2}),
        "manifest-delta-from-its-result.cose": signed({13: [{**delta, 2: fields[8][2]}]}),
        "manifest-delta-larger-than-image.cose": signed({13: [{**delta, 3: fields[8][1]}]}),
        "manifest-delta-by-lzma.cose": signed({13: [{**delta, 5: 1}]}),
        "manifest-delta-endless-window.cose": signed({13: [{**delta, 6: 15}]}),
        "manifest-delta-without-patch-digest.cose": signed(
            {13: [{key: value for key, value in delta.items() if key != 4}]}
        ),
    }


def _assignments() -> dict[str, bytes]:
    fields = _payload("assignment.cbor")

    def signed(changes: dict, signer=CAMPAIGN) -> bytes:
        payload = serialize_cbor({**fields, **changes})
        return sign_one(payload, signer, content_type=ASSIGNMENT_CONTENT_TYPE)

    return {
        "assignment-signed-by-release.cose": signed({}, RELEASE[0]),
        "assignment-flipped-share.cose": signed({8: 250_000}).replace(
            (250_000).to_bytes(4, "big"), (950_000).to_bytes(4, "big")
        ),
        "assignment-share-above-all.cose": signed({8: 1_000_001}),
        "assignment-sequence-zero.cose": signed({4: 0}),
        "assignment-short-digest.cose": signed({5: bytes(31)}),
        "assignment-short-salt.cose": signed({7: bytes(15)}),
        "assignment-halted-as-number.cose": signed({10: 1}),
        "assignment-too-many-pins.cose": signed({9: [f"FL26A{n:06}" for n in range(200)]}),
        "assignment-of-another-product.cose": signed({2: "glow"}),
        "assignment-without-its-steps.cose": signed({1: 2}),
        "assignment-steps-in-format-1.cose": signed({13: [bytes(32)]}),
        "assignment-steps-empty.cose": signed({1: 2, 13: []}),
        "assignment-steps-too-many.cose": signed({1: 2, 13: [bytes([n]) * 32 for n in range(9)]}),
        "assignment-step-short.cose": signed({1: 2, 13: [bytes(31)]}),
        "assignment-step-twice.cose": signed({1: 2, 13: [bytes(32), bytes(32)]}),
        "assignment-step-to-itself.cose": signed({1: 2, 13: [fields[5]]}),
        "assignment-format-3.cose": signed({1: 3, 13: [bytes(32)]}),
    }


def _freshness() -> dict[str, bytes]:
    fields = {
        1: 1, 2: b"n" * 16, 3: 1_767_225_600, 4: 1_767_225_600, 5: "flare-c3", 6: 7,
    }  # fmt: skip

    def signed(changes: dict, signer=FRESH) -> bytes:
        payload = serialize_cbor({**fields, **changes})
        return sign_one(payload, signer, content_type=FRESHNESS_CONTENT_TYPE)

    return {
        "freshness-to-another-request.cose": signed({2: b"m" * 16}),
        "freshness-for-another-class.cose": signed({5: "glow-c3"}),
        "freshness-signed-by-campaign.cose": signed({}, CAMPAIGN),
        "freshness-time-negative.cose": signed({4: -1}),
        "freshness-without-assignment.cose": sign_one(
            serialize_cbor({key: value for key, value in fields.items() if key != 6}),
            FRESH,
            content_type=FRESHNESS_CONTENT_TYPE,
        ),
        "request-nonce-too-short.cbor": serialize_cbor({1: 1, 2: bytes(15), 3: "flare-c3"}),
        "request-not-cbor.cbor": b"\xff",
        "request-is-a-list.cbor": serialize_cbor([1, 2, 3]),
    }


def _ca_der() -> bytes:
    return create_ca_certificate(CA, common_name="Flare factory CA", not_before=NOT_BEFORE)


def certificate(ca=CA, *, serial_number: str = REPORT.serial_number) -> bytes:
    """A device's certificate."""
    names = {"mac": "60:55:f9:00:00:01", "job_id": "job-1"}
    return issue_certificate(
        ca,
        create_ca_certificate(ca, common_name="Flare factory CA", not_before=NOT_BEFORE),
        create_csr(DEVICE, serial_number=serial_number, **names),
        expected_serial_number=serial_number,
        expected_mac=names["mac"],
        expected_job_id=names["job_id"],
        not_before=NOT_BEFORE,
    )


def _reports() -> dict[str, bytes]:
    message = parse_cbor(build()["report.cbor"], max_bytes=4096)[2]
    fields = parse_cbor(parse_cbor(message[1:], max_bytes=4096)[2], max_bytes=4096)

    def enveloped(message_bytes: bytes, certificate_der: bytes) -> bytes:
        return serialize_cbor({1: certificate_der, 2: message_bytes})

    def signed(changes: dict, signer=DEVICE) -> bytes:
        payload = serialize_cbor({**fields, **changes})
        return sign_one(payload, signer, content_type=REPORT_CONTENT_TYPE)

    return {
        "report-empty.cbor": b"",
        "report-is-a-number.cbor": serialize_cbor(7),
        "report-certificate-of-another-factory.cbor": enveloped(
            signed({}), certificate(fixed_signer("gallery other ca"))
        ),
        "report-certificate-is-no-certificate.cbor": enveloped(signed({}), b"0\0"),
        "report-signed-by-another-device.cbor": enveloped(
            signed({}, fixed_signer("gallery other device")), certificate()
        ),
        "report-for-another-serial.cbor": enveloped(signed({2: "FL26A000099"}), certificate()),
        "report-unknown-result.cbor": enveloped(signed({4: 99}), certificate()),
        "report-short-digest.cbor": enveloped(signed({6: bytes(3)}), certificate()),
        "report-endless-reason.cbor": enveloped(signed({11: "x" * 500}), certificate()),
    }


@cache
def metadata() -> dict[str, bytes]:
    """A small repository's metadata, with fixed keys: the same bytes every time."""
    snapshot_key, timestamp_key = fixed_signer("snapshot"), fixed_signer("timestamp")
    signers = {
        Role.ROOT: (fixed_signer("root-1"), fixed_signer("root-2")),
        Role.RELEASE: RELEASE,
        Role.CAMPAIGN: (CAMPAIGN,),
        Role.SNAPSHOT: (snapshot_key,),
        Role.TIMESTAMP: (timestamp_key,),
    }
    held = {
        role: RoleKeys(threshold=len(keys), keys=tuple(signer.public_key for signer in keys))
        for role, keys in signers.items()
    }
    common = {"version": 1, "expires": EXPIRES}
    root = build_root(held, **common)
    sign_document("root", root, signers, root)
    files = {"releases/flare.bin": describe_target("releases/flare.bin", b"release", {})}
    delegations = build_delegations(held)
    targets = build_targets(files=files, delegations=delegations, **common)
    sign_document("targets", targets, signers, root)
    campaign = build_targets(files={}, delegations=None, **common)
    sign_document("campaign", campaign, signers, targets)
    snapshot = build_snapshot(targets=targets, campaign=campaign, **common)
    sign_document("snapshot", snapshot, signers, root)
    timestamp = build_timestamp(snapshot=snapshot, **common)
    sign_document("timestamp", timestamp, signers, root)
    return {
        "root": serialize_document(root),
        "targets": serialize_document(targets),
        "snapshot": serialize_document(snapshot),
        "timestamp": serialize_document(timestamp),
    }


def _metadata() -> dict[str, bytes]:
    whole = metadata()

    def edited(name: str, old: str, new: str) -> bytes:
        text = whole[name].decode()
        assert text.count(old) >= 1, (name, old)
        return text.replace(old, new, 1).encode()

    root = json.loads(whole["root"])
    doubled = {**root, "signatures": [*root["signatures"], root["signatures"][0]]}
    unsigned = {**root, "signatures": []}
    return {
        "tuf-root-not-json.json": b"\x00\x01",
        "tuf-root-empty-object.json": b"{}",
        "tuf-root-unsigned.json": json.dumps(unsigned).encode(),
        "tuf-root-one-signature-twice.json": json.dumps(doubled).encode(),
        "tuf-root-threshold-lowered.json": edited("root", '"threshold":2', '"threshold":1'),
        "tuf-root-nested-too-deep.json": b"[" * 100_000,
        "tuf-targets-length-changed.json": edited("targets", '"length":7', '"length":8'),
        "tuf-targets-is-a-snapshot.json": whole["snapshot"],
        "tuf-snapshot-version-raised.json": edited("snapshot", '"version":1', '"version":2'),
        "tuf-snapshot-signature-changed.json": edited(
            "snapshot", SIGNATURE_START + "30", SIGNATURE_START + "31"
        ),
        "tuf-timestamp-expiry-moved.json": edited("timestamp", '"2027-', '"2057-'),
        "tuf-timestamp-without-expiry.json": edited("timestamp", '"expires"', '"expired"'),
    }


GALLERY = Gallery(
    name="messages",
    title="Device messages and repository metadata that are refused",
    about=ABOUT,
    build=build_rejected,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
