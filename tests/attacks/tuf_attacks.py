"""The attacks that the TUF specification names (1.0.34, §1.5.2), against every reader."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from manifests.assignment import ASSIGNMENT_CONTENT_TYPE, serialize_assignment, verify_assignment
from manifests.manifest import message_digest
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import sign_one
from signing.roles import Role
from tests.attacks.attack import (
    BOARDS,
    CLIENTS,
    NOTE,
    SLOT,
    Attack,
    Origin,
    Reader,
    Refuses,
    Scene,
    Takes,
    up_to,
)
from tests.attacks.ground import ASSIGNMENT, EARLIER, IN_FORCE, NEXT, device_path, release
from tests.attacks.lies import Dripping, DrippingHead, Endless, Stalling
from tests.attacks.stolen_keys import (
    CAMPAIGN,
    ONLINE,
    RELEASE,
    STALE,
    answering,
    sign_assignment,
    sign_manifest,
)
from tests.manifests.trust_steps import first_step, next_step
from tests.manifests.world import HARDWARE_CLASS, NOW, trust

if TYPE_CHECKING:
    from tests.attacks.ground import Ground
    from tests.attacks.lies import Tree

LAST_SEQUENCE = 2**32 - 1


def arbitrary_software(ground: Ground) -> Scene:
    path = ground.shown(IN_FORCE).app_path
    return Scene(lies=ground.swap(path, bytes(byte ^ 0xFF for byte in ground.target(path))))


def endless_data(ground: Ground) -> Scene:
    lies: Tree = {
        "metadata/timestamp.json": Endless(b"{"),
        device_path(ASSIGNMENT): Endless(ground.target(ASSIGNMENT)),
    }
    return Scene(lies=lies)


def extraneous_dependencies(ground: Ground) -> Scene:
    fields = parse_cbor(serialize_assignment(ground.assignment()), max_bytes=1024)
    payload = serialize_cbor({**fields, 13: ["artifacts/extra"]})
    needing = sign_one(payload, CAMPAIGN, content_type=ASSIGNMENT_CONTENT_TYPE)
    files = {ASSIGNMENT: needing, "artifacts/extra": b"also wanted"}
    return Scene(
        lies=ground.forge(assignments=files, by=ONLINE),
        truth=ground.signed_again(),
        wanted="artifacts/extra",
    )


def fast_forward(ground: Ground) -> Scene:
    assignment = sign_assignment(replace(ground.assignment(), sequence=LAST_SEQUENCE))
    lies = {
        **ground.forge(assignments={ASSIGNMENT: assignment}, by=ONLINE, leap=1 << 30),
        **answering(LAST_SEQUENCE, sequence=LAST_SEQUENCE),
    }
    return Scene(lies=lies, truth=after_the_theft(ground, lies), comes_to=NEXT)


def after_the_theft(ground: Ground, written: Tree) -> Tree:
    """Root has replaced every online key, and release 4 is published with the new ones.

    Args:
        ground: The repository.
        written: What the thief wrote into that very repository before.
    """
    step = first_step()
    for role, old, new in (
        (Role.CAMPAIGN, "campaign-1", "campaign-2"),
        (Role.FRESHNESS, "freshness-1", "freshness-2"),
        (Role.SNAPSHOT, "snapshot-1", "snapshot-2"),
        (Role.TIMESTAMP, "timestamp-1-ed", "timestamp-2-ed"),
    ):
        step = next_step(step, role, old, new)

    def recover(publisher) -> None:
        folder = publisher.store.root
        for path, content in written.items():
            if isinstance(content, bytes):
                publisher.store.write(path, content)
        step.publish(folder)
        step.publisher(folder).publish_bundle(release(NEXT), None, now=NOW)

    name = ground.later("after-the-theft", recover)
    sequence = ground.assignment(name, step.record).sequence
    return {**ground.instead(name), **answering(sequence, key="freshness-2")}


def indefinite_freeze(ground: Ground) -> Scene:
    lies = ground.instead(ground.begin("stale", now=NOW - STALE))
    del lies["metadata/1.root.json"]
    return Scene(lies=lies)


def malicious_mirror(ground: Ground) -> Scene:
    return Scene(lies=dict.fromkeys(ground.tree()))


def mix_and_match(ground: Ground) -> Scene:
    snapshot = ground.latest("snapshot")
    lies: Tree = {snapshot: ground.tree("earlier")[ground.latest("snapshot", "earlier")]}
    lies |= ground.swap(ground.shown(IN_FORCE).manifest_path, ground.shown(EARLIER).message)
    return Scene(lies=lies)


def rollback(ground: Ground) -> Scene:
    return Scene(lies=ground.instead("earlier"), starts_updated=True)


def dripping(ground: Ground) -> Scene:
    lies: Tree = {
        path: Dripping(content, prompt_bytes=len(content) - 60)
        for path, content in (
            ("metadata/timestamp.json", ground.tree()["metadata/timestamp.json"]),
            (device_path(ASSIGNMENT), ground.target(ASSIGNMENT)),
        )
    }
    return Scene(lies=lies, patience_s=0.3)


def dripping_head(ground: Ground) -> Scene:
    lies: Tree = {
        path: DrippingHead(content, head_bytes=100)
        for path, content in (
            ("metadata/timestamp.json", ground.tree()["metadata/timestamp.json"]),
            (device_path(ASSIGNMENT), ground.target(ASSIGNMENT)),
        )
    }
    return Scene(lies=lies, patience_s=0.3)


def silence(ground: Ground) -> Scene:
    lies: Tree = {
        "metadata/timestamp.json": Stalling(ground.tree()["metadata/timestamp.json"]),
        device_path(ASSIGNMENT): Stalling(ground.target(ASSIGNMENT)),
    }
    return Scene(lies=lies, patience_s=0.3)


def one_release_key(ground: Ground) -> Scene:
    shown = replace(ground.shown(IN_FORCE).manifest, release_counter=NEXT)
    manifest = sign_manifest(shown, RELEASE[0])
    assignment = replace(ground.assignment(), manifest_sha256=message_digest(manifest), sequence=9)
    lies = ground.forge(
        files={f"manifests/{message_digest(manifest).hex()}.cose": manifest},
        assignments={ASSIGNMENT: sign_assignment(assignment)},
        by={**ONLINE, Role.RELEASE: RELEASE[:1]},
    )
    return Scene(lies=lies, truth=ground.signed_again())


def wrong_software(ground: Ground) -> Scene:
    name = ground.publish_later("glow", release(NEXT, hardware_class="glow-c3"))
    theirs = ground.target("campaigns/glow-c3/assignment.cose", name)
    assignment = replace(
        verify_assignment(theirs, trust()), hardware_class=HARDWARE_CLASS, sequence=9
    )
    forged = ground.forge(
        assignments={ASSIGNMENT: sign_assignment(assignment)}, by=ONLINE, name=name
    )
    return Scene(lies={**ground.instead(name), **forged}, truth=ground.signed_again(name))


TUF_ATTACKS = (
    Attack(
        name="arbitrary software",
        origin=Origin.TUF,
        holds="the network",
        does="serves an application of its own, as long, under the name of the signed one",
        stage=arbitrary_software,
        expected={
            Reader.UPDATER: Refuses("not the one that the manifest names", SLOT),
            Reader.GATEWAY: Refuses("does not verify", NOTE | up_to("artifacts")),
            Reader.PYTHON_TUF: Refuses("LengthOrHashMismatchError", up_to("manifest")),
            Reader.TUF_JS: Refuses("LengthOrHashMismatchError", up_to("manifest")),
        },
    ),
    Attack(
        name="endless data",
        origin=Origin.TUF,
        holds="the network",
        does="never ends the timestamp, or the assignment",
        stage=endless_data,
        expected={
            Reader.UPDATER: Refuses("sends more than was asked for"),
            Reader.GATEWAY: Refuses("broke off"),
            Reader.PYTHON_TUF: Refuses("DownloadLengthMismatchError"),
            Reader.TUF_JS: Refuses("DownloadLengthMismatchError"),
        },
    ),
    Attack(
        name="extraneous dependencies",
        origin=Origin.TUF,
        holds="the online keys",
        does="lists a further file, and says in the assignment that it is needed",
        stage=extraneous_dependencies,
        expected={
            Reader.UPDATER: Refuses("field that its format does not know"),
            Reader.C: Refuses("fields"),
            Reader.GATEWAY: Refuses("field that its format does not know", up_to("assignment")),
            Reader.PYTHON_TUF: Refuses("no such target", up_to("targets")),
            Reader.TUF_JS: Refuses("no such target", up_to("targets")),
        },
    ),
    Attack(
        name="fast-forward",
        origin=Origin.TUF,
        holds="the online keys",
        does="drives every version and sequence to its end; then root replaces the keys",
        stage=fast_forward,
        expected={
            reader: Takes(
                IN_FORCE, "it is the signed release; and comes back when the keys are replaced"
            )
            for reader in (*BOARDS, *CLIENTS)
        },
    ),
    Attack(
        name="indefinite freeze",
        origin=Origin.TUF,
        holds="the network",
        does="shows for ever what was true weeks ago",
        stage=indefinite_freeze,
        expected={
            Reader.UPDATER: Refuses("another assignment is in force"),
            Reader.C: Refuses("not-in-force"),
            Reader.GATEWAY: Refuses("expired"),
            Reader.PYTHON_TUF: Refuses("ExpiredMetadataError"),
            Reader.TUF_JS: Refuses("ExpiredMetadataError"),
        },
    ),
    Attack(
        name="malicious mirror",
        origin=Origin.TUF,
        holds="one mirror",
        does="has none of the files",
        stage=malicious_mirror,
        expected={
            Reader.UPDATER: Refuses("refuses the request"),
            Reader.GATEWAY: Refuses("broke off"),
            Reader.PYTHON_TUF: Refuses("DownloadHTTPError"),
            Reader.TUF_JS: Refuses("Failed to download"),
        },
    ),
    Attack(
        name="mix-and-match",
        origin=Origin.TUF,
        holds="the network",
        does="shows an old snapshot and manifest under the present timestamp and assignment",
        stage=mix_and_match,
        expected={
            Reader.UPDATER: Refuses("not the one that the assignment names"),
            Reader.C: Refuses("manifest-digest"),
            Reader.GATEWAY: Refuses("does not verify|allowed length", up_to("timestamp")),
            Reader.PYTHON_TUF: Refuses("MismatchError", up_to("timestamp")),
            Reader.TUF_JS: Refuses("Unable to load snapshot", up_to("timestamp")),
        },
    ),
    Attack(
        name="rollback",
        origin=Origin.TUF,
        holds="the network",
        does="shows the whole repository as it was before, to who has seen the present one",
        stage=rollback,
        expected={
            Reader.UPDATER: Refuses("older than one that the device accepted"),
            Reader.C: Refuses("assignment-sequence"),
            Reader.GATEWAY: Refuses("does not verify"),
            Reader.PYTHON_TUF: Refuses("BadVersionNumberError"),
            Reader.TUF_JS: Refuses("BadVersionError"),
        },
    ),
    Attack(
        name="slow retrieval",
        origin=Origin.TUF,
        holds="the network",
        does="sends one byte before each timeout",
        stage=dripping,
        expected={
            Reader.UPDATER: Refuses("sends too slowly"),
            Reader.GATEWAY: Refuses("broke off"),
            Reader.PYTHON_TUF: Takes(IN_FORCE, "it bounds each wait and not the whole"),
            Reader.TUF_JS: Refuses("timeout"),
        },
    ),
    Attack(
        name="slow retrieval, in the headers",
        origin=Origin.TUF,
        holds="the network",
        does="sends one byte of a header before each timeout",
        stage=dripping_head,
        expected={
            Reader.UPDATER: Refuses("sends too slowly"),
            Reader.GATEWAY: Refuses("broke off"),
            Reader.PYTHON_TUF: Takes(IN_FORCE, "it bounds each wait and not the whole"),
            Reader.TUF_JS: Refuses("timeout"),
        },
    ),
    Attack(
        name="slow retrieval, silence",
        origin=Origin.TUF,
        holds="the network",
        does="stops sending and keeps the connection open",
        stage=silence,
        expected={
            Reader.UPDATER: Refuses("broke off"),
            Reader.GATEWAY: Refuses("broke off"),
            Reader.PYTHON_TUF: Refuses("SlowRetrievalError"),
            Reader.TUF_JS: Refuses("timeout"),
        },
    ),
    Attack(
        name="key compromise",
        origin=Origin.TUF,
        holds="the online keys, and one release key of the two that are needed",
        does="publishes a release of its own, signed with all of them",
        stage=one_release_key,
        expected={
            Reader.UPDATER: Refuses("too few keys"),
            Reader.C: Refuses("too-few-keys"),
            Reader.GATEWAY: Refuses("does not verify", up_to("snapshot")),
            Reader.PYTHON_TUF: Refuses("UnsignedMetadataError", up_to("snapshot")),
            Reader.TUF_JS: Refuses("Unable to load targets", up_to("snapshot")),
        },
    ),
    Attack(
        name="wrong software",
        origin=Origin.TUF,
        holds="the online keys",
        does="assigns to these boards a release that is signed, for other hardware",
        stage=wrong_software,
        expected={
            Reader.UPDATER: Refuses("manifest is for other hardware"),
            Reader.C: Refuses("hardware-class"),
            Reader.GATEWAY: Refuses("manifest is for other hardware", up_to("manifest")),
            Reader.PYTHON_TUF: Takes(NEXT, "TUF knows no hardware; the board does"),
            Reader.TUF_JS: Takes(NEXT, "TUF knows no hardware; the board does"),
        },
    ),
)
