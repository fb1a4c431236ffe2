"""The golden messages: built from fixed values and fixed keys, so that their bytes never change.

    python -m tests.manifests.golden_messages

writes them anew; do that only together with a new format version in docs/spec.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from manifests.assignment import ASSIGNMENT_CONTENT_TYPE, serialize_assignment
from manifests.carried_reports import serialize_carried_reports
from manifests.device_report import sign_device_report
from manifests.freshness import serialize_freshness_request, sign_freshness
from manifests.manifest import MANIFEST_CONTENT_TYPE, serialize_manifest
from signing.cose import sign_many, sign_one
from signing.keys import Algorithm
from signing.roles import Role, RoleKeys
from signing.trust import sign_trust_record
from signing.trust_record import TrustRecord
from tests.manifests.test_device_messages import (
    ASSIGNMENT,
    CONSTRAINED,
    FRESHNESS,
    MANIFEST,
    REPORT,
    REQUEST,
    STEPPED,
)
from tests.signing.fixed_keys import fixed_signer

FOLDER = Path(__file__).parents[1] / "golden" / "manifests"
SIGNING = FOLDER.parent / "signing"
# That of `../signing/device.der`, and its key.
CERTIFIED = fixed_signer("golden device")
CERTIFIED_REPORT = replace(REPORT, serial_number="FL26A0001K")
PLACEHOLDER_CERTIFICATE = bytes.fromhex("3000")
RELEASE = (fixed_signer("release-1"), fixed_signer("release-2", Algorithm.ED25519))
POLICY = fixed_signer("policy", Algorithm.ED25519)
CAMPAIGN, FRESH, DEVICE = (fixed_signer(name) for name in ("campaign", "freshness", "device"))


def golden_trust() -> TrustRecord:
    """A trust record in which the fixed keys hold the roles that devices ask for."""

    def held(threshold, *signers):
        return RoleKeys(threshold=threshold, keys=tuple(s.public_key for s in signers))

    return TrustRecord(
        product="flare",
        version=1,
        roles={
            Role.ROOT: held(1, fixed_signer("root-1"), fixed_signer("root-2")),
            Role.POLICY: held(1, POLICY),
            Role.RELEASE: held(2, *RELEASE),
            Role.CAMPAIGN: held(1, CAMPAIGN),
            Role.FRESHNESS: held(1, FRESH),
        },
        minimum_policy_version=1,
    )


def build() -> dict[str, bytes]:
    """Return each golden file's name and bytes."""
    manifest, assignment = serialize_manifest(MANIFEST), serialize_assignment(ASSIGNMENT)
    constrained = serialize_manifest(CONSTRAINED)
    stepped = serialize_assignment(STEPPED)
    placeholder = sign_device_report(REPORT, DEVICE, PLACEHOLDER_CERTIFICATE)
    certified = sign_device_report(
        CERTIFIED_REPORT, CERTIFIED, (SIGNING / "device.der").read_bytes()
    )
    return {
        "trust-record.cose": sign_trust_record(golden_trust(), [fixed_signer("root-1")]),
        "manifest.cbor": manifest,
        "manifest.cose": sign_many(manifest, RELEASE, content_type=MANIFEST_CONTENT_TYPE),
        "manifest-2.cbor": constrained,
        "manifest-2.cose": sign_many(constrained, RELEASE, content_type=MANIFEST_CONTENT_TYPE),
        "assignment.cbor": assignment,
        "assignment.cose": sign_one(assignment, CAMPAIGN, content_type=ASSIGNMENT_CONTENT_TYPE),
        "assignment-2.cbor": stepped,
        "assignment-2.cose": sign_one(stepped, CAMPAIGN, content_type=ASSIGNMENT_CONTENT_TYPE),
        "freshness-request.cbor": serialize_freshness_request(REQUEST),
        "freshness.cose": sign_freshness(FRESHNESS, FRESH),
        "report.cbor": placeholder,
        "report-certified.cbor": certified,
        "report-batch.cbor": serialize_carried_reports([certified, placeholder, certified]),
    }


if __name__ == "__main__":
    for file_name, content in build().items():
        (FOLDER / file_name).write_bytes(content)
