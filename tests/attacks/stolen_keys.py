"""The keys that are stolen, and what is signed with them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from manifests.assignment import (
    ASSIGNMENT_CONTENT_TYPE,
    Assignment,
    serialize_assignment,
)
from manifests.freshness import Freshness, parse_freshness_request, sign_freshness
from manifests.manifest import (
    MANIFEST_CONTENT_TYPE,
    Manifest,
    serialize_manifest,
)
from signing.cose import sign_many, sign_one
from signing.roles import Role
from tests.attacks.lies import Answering
from tests.firmware_images.release_parts import signer
from tests.manifests.world import (
    NOW,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signing.signers import SoftwareSigner
    from tests.attacks.lies import Tree

FRESHNESS = "api/freshness"
CAMPAIGN = signer("campaign-1")
RELEASE = (signer("release-1"), signer("release-2-ed"))
STALE = timedelta(days=20)
"""Older than a timestamp holds."""

Keys = dict[Role, "Sequence[SoftwareSigner]"]
ONLINE: Keys = {
    Role.CAMPAIGN: (CAMPAIGN,),
    Role.SNAPSHOT: (signer("snapshot-1"),),
    Role.TIMESTAMP: (signer("timestamp-1-ed"),),
}
ALL: Keys = {**ONLINE, Role.RELEASE: RELEASE}


def answering(
    assignment_sequence: int,
    *,
    key: str = "freshness-1",
    sequence: int | None = None,
    time_s: int | None = None,
) -> Tree:
    """Answers to nonces by who holds the freshness key, and says what is in force, and when."""

    def answer(body: bytes, _) -> bytes:
        request = parse_freshness_request(body)
        now_s = int(NOW.timestamp())
        freshness = Freshness(
            nonce=request.nonce,
            sequence=now_s if sequence is None else sequence,
            time_s=now_s if time_s is None else time_s,
            hardware_class=request.hardware_class,
            assignment_sequence=assignment_sequence,
        )
        return sign_freshness(freshness, signer(key))

    return {FRESHNESS: Answering(answer)}


def sign_assignment(assignment: Assignment, key: SoftwareSigner = CAMPAIGN) -> bytes:
    return sign_one(serialize_assignment(assignment), key, content_type=ASSIGNMENT_CONTENT_TYPE)


def sign_manifest(manifest: Manifest, *keys: SoftwareSigner) -> bytes:
    return sign_many(
        serialize_manifest(manifest), keys or RELEASE, content_type=MANIFEST_CONTENT_TYPE
    )
