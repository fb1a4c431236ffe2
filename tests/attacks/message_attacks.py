"""Attacks on signatures, keys, roles and trust."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from manifests.assignment import serialize_assignment
from manifests.manifest import MANIFEST_CONTENT_TYPE, message_digest, serialize_manifest
from manifests.tuf_metadata import build_root, serialize_document
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import sign_many
from signing.roles import Role
from signing.trust import sign_trust_record
from signing.tuf_signers import as_tuf_signer
from tests.attacks.attack import NEW_ROOT, STEPS, Attack, Origin, Reader, Refuses, Scene, up_to
from tests.attacks.ground import ASSIGNMENT, IN_FORCE, NEXT, device_path
from tests.attacks.stolen_keys import CAMPAIGN, ONLINE, RELEASE, sign_assignment, sign_manifest
from tests.firmware_images.release_parts import role_keys, signer
from tests.manifests.trust_steps import first_step, next_step
from tests.manifests.world import trust

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.attacks.ground import Ground
    from tests.attacks.lies import Tree

THIEF = signer("thief")
ALGORITHM, KEY_ID = 1, 4
SIGN1_TAG, SIGN_TAG = 1, 2
"""Bytes of the tags 18 and 98."""


class Posing:
    """Signs with the thief's key, and says that it was another one."""

    def __init__(self, posing_as) -> None:
        self.public_key = posing_as.public_key

    def sign(self, message: bytes) -> bytes:
        return THIEF.sign(message)


def edit(message: bytes, tag_bytes: int, change: Callable[[list], list]) -> bytes:
    """A COSE message with other parts, encoded again."""
    parts = parse_cbor(message[tag_bytes:], max_bytes=4096)
    return message[:tag_bytes] + serialize_cbor(change(parts))


def reserialised(ground: Ground) -> Scene:
    true = ground.target(ASSIGNMENT)
    payload = parse_cbor(true[SIGN1_TAG:], max_bytes=4096)[2]
    assert payload[1:3] == b"\x01\x01"  # key 1, value 1: and now value 1 in two bytes
    other = payload[:2] + b"\x18\x01" + payload[3:]
    lie = edit(true, SIGN1_TAG, lambda parts: [*parts[:2], other, parts[3]])
    snapshot = ground.latest("snapshot")
    content = json.loads(ground.tree()[snapshot])
    again = json.dumps(dict(reversed(content.items())), separators=(",", ":")).encode()
    assert len(again) == len(ground.tree()[snapshot])
    return Scene(lies={device_path(ASSIGNMENT): lie, snapshot: again})


def other_algorithm(ground: Ground) -> Scene:
    def change(parts: list) -> list:
        header = parse_cbor(parts[0], max_bytes=256)
        return [serialize_cbor({**header, ALGORITHM: -8}), *parts[1:]]

    root = json.loads(ground.tree()["metadata/1.root.json"])
    root["signed"]["version"] = 2
    for key in root["signed"]["keys"].values():
        key["scheme"] = "ecdsa-sha2-nistp256" if key["keytype"] == "ed25519" else "ed25519"
    lies: Tree = {
        device_path(ASSIGNMENT): edit(ground.target(ASSIGNMENT), SIGN1_TAG, change),
        "metadata/2.root.json": json.dumps(root).encode(),
    }
    return Scene(lies=lies)


def other_key_id(ground: Ground) -> Scene:
    assignment = replace(ground.assignment(), sequence=9)
    poses = {role: (Posing(keys[0]),) for role, keys in ONLINE.items()}
    forged = sign_assignment(assignment, Posing(CAMPAIGN))
    return Scene(lies=ground.forge(assignments={ASSIGNMENT: forged}, by=poses))


def wrong_role(ground: Ground) -> Scene:
    freshness, snapshot = signer("freshness-1"), ONLINE[Role.SNAPSHOT]
    forged = sign_assignment(replace(ground.assignment(), sequence=9), freshness)
    keys = {
        Role.CAMPAIGN: (freshness,), Role.SNAPSHOT: snapshot, Role.TIMESTAMP: snapshot,
    }  # fmt: skip
    return Scene(lies=ground.forge(assignments={ASSIGNMENT: forged}, by=keys))


def one_key_twice(ground: Ground) -> Scene:
    payload = serialize_manifest(replace(ground.shown(IN_FORCE).manifest, release_counter=NEXT))
    once = sign_many(payload, RELEASE[:1], content_type=MANIFEST_CONTENT_TYPE)
    manifest = edit(once, SIGN_TAG, lambda parts: [*parts[:3], parts[3] * 2])
    return _published(ground, manifest, by={**ONLINE, Role.RELEASE: RELEASE[:1]}, twice=True)


def _published(ground: Ground, manifest: bytes, *, by, twice: bool = False) -> Scene:
    assignment = replace(ground.assignment(), manifest_sha256=message_digest(manifest), sequence=9)
    lies = ground.forge(
        files={f"manifests/{message_digest(manifest).hex()}.cose": manifest},
        assignments={ASSIGNMENT: sign_assignment(assignment)},
        by=by,
        is_signed_twice=twice,
    )
    return Scene(lies=lies, truth=ground.signed_again())


def revoked_key(ground: Ground) -> Scene:
    """The board knows the record that revokes it; TUF clients meet the root that does."""
    step = next_step(first_step(), Role.CAMPAIGN, "campaign-1", "campaign-2")
    name = ground.later("rotated", lambda publisher: step.publish(publisher.store.root))
    forged = sign_assignment(replace(ground.assignment(), sequence=90))
    stolen = ground.forge(assignments={ASSIGNMENT: forged}, by=ONLINE, name=name)
    return Scene(
        lies={**ground.instead(name), **stolen},
        truth=ground.signed_again(name, campaign=signer("campaign-2"), record=step.record),
        prepare=lambda device: device.record.trust.save(step.signed),
    )


def own_root(ground: Ground) -> Scene:
    """A record and a root of the thief's own, which only its own keys sign."""
    first = trust()
    roots = role_keys(1, "thief", "thief-2")
    record = replace(first, version=2, roles={**first.roles, Role.ROOT: roots})
    root = build_root(record.roles, version=2, expires=ground.expires)
    root.sign(as_tuf_signer(THIEF), append=True)
    lies: Tree = {
        "device/trust/after-1.cose": sign_trust_record(record, [THIEF]),
        "metadata/2.root.json": serialize_document(root),
    }
    return Scene(lies=lies)


def never_signed(ground: Ground) -> Scene:
    """Everything that online keys can do to bring in a release: they sign its manifest, too."""
    shown = replace(ground.shown(IN_FORCE).manifest, release_counter=NEXT)
    manifest = sign_manifest(shown, CAMPAIGN)
    assignment = replace(ground.assignment(), manifest_sha256=message_digest(manifest), sequence=9)
    files = {
        ASSIGNMENT: sign_assignment(assignment),
        f"manifests/{message_digest(manifest).hex()}.cose": manifest,
    }
    return Scene(lies=ground.forge(assignments=files, by=ONLINE), truth=ground.signed_again())


def unapproved_cohort(ground: Ground) -> Scene:
    """An assignment to other devices than campaign chose."""
    payload = serialize_assignment(
        replace(ground.assignment(), drawn_ppm=1, pinned_serial_numbers=("FL26A000017",))
    )
    lie = edit(ground.target(ASSIGNMENT), SIGN1_TAG, lambda p: [*p[:2], payload, p[3]])
    return Scene(lies=ground.swap(ASSIGNMENT, lie))


MESSAGE_ATTACKS = (
    Attack(
        name="signature over re-serialised bytes",
        origin=Origin.FLEET,
        holds="the network",
        does="encodes assignment and snapshot anew: other bytes that mean the same",
        stage=reserialised,
        expected={
            Reader.UPDATER: Refuses("signature"),
            Reader.C: Refuses("signature"),
            Reader.GATEWAY: Refuses("does not verify", up_to("timestamp")),
            Reader.PYTHON_TUF: Refuses("LengthOrHashMismatchError", up_to("timestamp")),
            Reader.TUF_JS: Refuses("Unable to load snapshot", up_to("timestamp")),
        },
    ),
    Attack(
        name="algorithm confusion",
        origin=Origin.FLEET,
        holds="the network",
        does="says that a signature, or every key of the root, is of another algorithm",
        stage=other_algorithm,
        expected={
            Reader.UPDATER: Refuses("algorithm"),
            Reader.C: Refuses("algorithm"),
            Reader.GATEWAY: Refuses("does not verify"),
            Reader.PYTHON_TUF: Refuses("DeserializationError"),
            Reader.TUF_JS: Refuses("UnsignedMetadataError"),
        },
    ),
    Attack(
        name="key-id confusion",
        origin=Origin.FLEET,
        holds="the network, and a key of its own",
        does="signs with it under the ids of the online keys",
        stage=other_key_id,
        expected={
            Reader.UPDATER: Refuses("signature"),
            Reader.C: Refuses("signature"),
            Reader.GATEWAY: Refuses("does not verify"),
            Reader.PYTHON_TUF: Refuses("UnsignedMetadataError"),
            Reader.TUF_JS: Refuses("UnsignedMetadataError"),
        },
    ),
    Attack(
        name="wrong role",
        origin=Origin.FLEET,
        holds="the freshness and snapshot keys",
        does="signs an assignment with the one and a timestamp with the other",
        stage=wrong_role,
        expected={
            Reader.UPDATER: Refuses("no key of the role campaign"),
            Reader.C: Refuses("no-key-of-role"),
            Reader.GATEWAY: Refuses("does not verify"),
            Reader.PYTHON_TUF: Refuses("UnsignedMetadataError"),
            Reader.TUF_JS: Refuses("UnsignedMetadataError"),
        },
    ),
    Attack(
        name="one key counted twice",
        origin=Origin.FLEET,
        holds="the online keys, and one release key of the two that are needed",
        does="repeats its signature under manifest and targets",
        stage=one_key_twice,
        expected={
            Reader.UPDATER: Refuses("signed a message twice"),
            Reader.C: Refuses("signed-twice"),
            Reader.GATEWAY: Refuses("does not verify", up_to("snapshot")),
            Reader.PYTHON_TUF: Refuses("DeserializationError", up_to("snapshot")),
            Reader.TUF_JS: Refuses("Unable to load targets", up_to("snapshot")),
        },
    ),
    Attack(
        name="revoked key",
        origin=Origin.FLEET,
        holds="the campaign key that was revoked, snapshot and timestamp",
        does="goes on to assign",
        stage=revoked_key,
        expected={
            Reader.UPDATER: Refuses("revoked key"),
            Reader.C: Refuses("revoked-key"),
            Reader.GATEWAY: Refuses("does not verify", NEW_ROOT | up_to("targets")),
            Reader.PYTHON_TUF: Refuses("UnsignedMetadataError", NEW_ROOT | up_to("targets")),
            Reader.TUF_JS: Refuses("was signed by 0/1 keys", {STEPS["root"]} | up_to("targets")),
        },
    ),
    Attack(
        name="threshold not met",
        origin=Origin.FLEET,
        holds="a root key of its own",
        does="shows a trust record and a root that name it, signed by it alone",
        stage=own_root,
        expected={
            Reader.UPDATER: Refuses("role root"),
            Reader.C: Refuses("no-key-of-role"),
            Reader.GATEWAY: Refuses("does not verify"),
            Reader.PYTHON_TUF: Refuses("UnsignedMetadataError"),
            Reader.TUF_JS: Refuses("UnsignedMetadataError"),
        },
    ),
    Attack(
        name="a release that was never signed",
        origin=Origin.FLEET,
        holds="the online keys",
        does="names a manifest that they sign themselves",
        stage=never_signed,
        expected={
            Reader.UPDATER: Refuses("no key of the role release"),
            Reader.C: Refuses("no-key-of-role"),
            Reader.GATEWAY: Refuses("lists no such target", up_to("assignment")),
            Reader.PYTHON_TUF: Refuses("no such target", up_to("assignment")),
            Reader.TUF_JS: Refuses("no such target", up_to("assignment")),
        },
    ),
    Attack(
        name="forged cohort",
        origin=Origin.FLEET,
        holds="the network",
        does="changes which devices an assignment selects",
        stage=unapproved_cohort,
        expected={
            Reader.UPDATER: Refuses("signature"),
            Reader.C: Refuses("signature"),
            Reader.GATEWAY: Refuses("maximum allowed length", up_to("campaign")),
            Reader.PYTHON_TUF: Refuses("DownloadLengthMismatchError", up_to("campaign")),
            Reader.TUF_JS: Refuses("DownloadLengthMismatchError", up_to("campaign")),
        },
    ),
)
