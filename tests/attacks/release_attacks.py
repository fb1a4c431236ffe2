"""Attacks on what is installed: policies, tables, releases, replays, deltas."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_images.approval import build_approval, sign_approval
from firmware_images.delta import create_delta
from firmware_images.waveform_slot import parse_waveform_slot, serialize_waveform_slot
from manifests.freshness import NONCE_BYTES, FreshnessRequest, serialize_freshness_request
from manifests.manifest import DeltaFacts, Manifest, WaveformFacts, message_digest
from tests.attacks.attack import (
    CLIENTS,
    STEPS,
    Attack,
    Blind,
    Origin,
    Reader,
    Refuses,
    Scene,
    Takes,
    up_to,
)
from tests.attacks.ground import ASSIGNMENT, EARLIER, IN_FORCE, NEXT, release
from tests.attacks.lies import Answering
from tests.attacks.stolen_keys import (
    ALL,
    FRESHNESS,
    ONLINE,
    RELEASE,
    answering,
    sign_assignment,
    sign_manifest,
)
from tests.firmware_images.release_parts import APP_1_4_0, FOREIGN_APP, HEATSHRINK
from tests.manifests.trust_steps import first_step, next_step
from tests.manifests.world import HARDWARE_CLASS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.attacks.ground import Ground
    from tests.attacks.lies import Tree

PATCHED_BYTES = 1 << 20


def published(
    ground: Ground, manifest: Manifest, artifacts: Mapping[str, bytes], *, sequence: int = 9
) -> Tree:
    """A release that whoever holds release and online keys publishes, and what freshness says."""
    message = sign_manifest(manifest)
    assignment = replace(
        ground.assignment(), manifest_sha256=message_digest(message), sequence=sequence
    )
    forged = ground.forge(
        files={f"manifests/{message_digest(message).hex()}.cose": message, **artifacts},
        assignments={ASSIGNMENT: sign_assignment(assignment)},
        by=ALL,
    )
    return {**forged, **answering(sequence)}


def assigned_by_thief(ground: Ground, manifest_message: bytes) -> bytes:
    """An assignment of a manifest, by the stolen campaign key."""
    digest = message_digest(manifest_message)
    return sign_assignment(replace(ground.assignment(), manifest_sha256=digest, sequence=9))


def laxer_policy(ground: Ground) -> Scene:
    """Root has raised the minimum policy version; a release key holder uses the old policy."""
    step = next_step(first_step(), minimum_policy_version=2)
    laxer = ground.publish_later("laxer", release(NEXT))
    stricter = ground.publish_later("stricter", release(NEXT + 1, policy_version=2), base=laxer)
    sequence = ground.assignment(laxer).sequence
    return Scene(
        lies={**ground.instead(laxer), **answering(sequence)},
        truth={**ground.instead(stricter), **answering(sequence + 1)},
        prepare=lambda device: device.record.trust.save(step.signed),
        comes_to=NEXT + 1,
    )


def unapproved_table(ground: Ground) -> Scene:
    """A table that the release role approves by itself."""
    shown = ground.shown(IN_FORCE).manifest
    image = ground.target(f"artifacts/{shown.waveform.sha256.hex()}")
    table, _ = parse_waveform_slot(image)
    own = serialize_waveform_slot(table, sign_approval(build_approval(table), [RELEASE[0]]))
    digest = hashlib.sha256(own).digest()
    facts = WaveformFacts(
        size_bytes=len(own),
        sha256=digest,
        table_sha256=shown.waveform.table_sha256,
        policy_version=shown.waveform.policy_version,
        peak_na=shown.waveform.peak_na,
    )
    manifest = replace(shown, release_counter=NEXT, waveform=facts)
    lies = published(ground, manifest, {f"artifacts/{digest.hex()}": own})
    return Scene(lies=lies, truth=ground.signed_again())


def mixed_releases(ground: Ground) -> Scene:
    lie = ground.target(ground.shown(EARLIER).waveform_path)
    return Scene(lies=ground.swap(ground.shown(IN_FORCE).waveform_path, lie))


def older_release(ground: Ground) -> Scene:
    """A newer assignment of an older release, to boards that run a later one."""
    assignment = assigned_by_thief(ground, ground.shown(EARLIER).message)
    return Scene(
        lies=ground.forge(assignments={ASSIGNMENT: assignment}, by=ONLINE),
        truth=ground.signed_again(),
        starts_updated=True,
    )


def older_targets(ground: Ground) -> Scene:
    return Scene(
        lies=ground.forge(by=ONLINE, older_targets="earlier"),
        truth=ground.signed_again(),
        starts_updated=True,
    )


def replayed_manifest(ground: Ground) -> Scene:
    lie = ground.shown(EARLIER).message
    return Scene(lies=ground.swap(ground.shown(IN_FORCE).manifest_path, lie))


def replayed_assignment(ground: Ground) -> Scene:
    lie = ground.target(ASSIGNMENT, "earlier")
    return Scene(lies=ground.swap(ASSIGNMENT, lie), starts_updated=True)


def replayed_nonce(ground: Ground) -> Scene:
    """The real server's answer, to somebody else's nonce."""
    other = serialize_freshness_request(
        FreshnessRequest(nonce=b"o" * NONCE_BYTES, hardware_class=HARDWARE_CLASS)
    )
    return Scene(lies={FRESHNESS: Answering(lambda _, ask_server: ask_server(other))})


def wrong_base(ground: Ground) -> Scene:
    """A delta that is said to start from what boards run, and was made from something else."""
    shown = ground.shown(IN_FORCE)
    app = ground.target(shown.app_path)
    patch = create_delta(FOREIGN_APP.read_bytes(), app, [HEATSHRINK]).patch
    return _with_patch(ground, patch)


def patch_bomb(ground: Ground) -> Scene:
    """A patch that would make far more than the image that it says it makes."""
    patch = create_delta(APP_1_4_0.read_bytes(), bytes(PATCHED_BYTES), [HEATSHRINK]).patch
    return _with_patch(ground, patch)


def _with_patch(ground: Ground, patch: bytes) -> Scene:
    base = APP_1_4_0.read_bytes()
    facts = DeltaFacts(
        base_size_bytes=len(base),
        base_sha256=hashlib.sha256(base).digest(),
        patch_size_bytes=len(patch),
        patch_sha256=hashlib.sha256(patch).digest(),
        encoding=HEATSHRINK,
    )
    shown = ground.shown(IN_FORCE).manifest
    manifest = replace(shown, release_counter=NEXT, deltas=(facts,))
    lies = published(ground, manifest, {f"artifacts/{facts.patch_sha256.hex()}": patch})
    return Scene(lies=lies, truth=lies, comes_to=NEXT)


RELEASE_ATTACKS = (
    Attack(
        name="older, laxer policy",
        origin=Origin.FLEET,
        holds="the release and online keys",
        does="publishes a table that was approved under a policy which root has retired",
        stage=laxer_policy,
        expected={
            Reader.UPDATER: Refuses("policy is one that no longer counts"),
            Reader.C: Refuses("policy-version"),
            Reader.GATEWAY: Refuses("policy is one that no longer counts", up_to("artifacts")),
            Reader.PYTHON_TUF: Takes(NEXT, "TUF knows no policies; the board does"),
            Reader.TUF_JS: Takes(NEXT, "TUF knows no policies; the board does"),
        },
    ),
    Attack(
        name="unapproved table",
        origin=Origin.FLEET,
        holds="the release and online keys",
        does="publishes a table that the release role approved by itself",
        stage=unapproved_table,
        expected={
            Reader.UPDATER: Refuses("no key of the role policy"),
            Reader.C: Refuses("no-key-of-role"),
            Reader.GATEWAY: Refuses("no key of the role policy", up_to("artifacts")),
            Reader.PYTHON_TUF: Takes(NEXT, "TUF knows no policies; the board does"),
            Reader.TUF_JS: Takes(NEXT, "TUF knows no policies; the board does"),
        },
    ),
    Attack(
        name="app and table of different releases",
        origin=Origin.FLEET,
        holds="the network",
        does="serves the waveform image of the release before",
        stage=mixed_releases,
        expected={
            Reader.UPDATER: Refuses("not the one that the manifest names"),
            Reader.C: Refuses("slot-digest"),
            Reader.GATEWAY: Refuses("does not verify", up_to("manifest")),
            Reader.PYTHON_TUF: Refuses("LengthOrHashMismatchError", up_to("artifacts")),
            Reader.TUF_JS: Refuses("LengthOrHashMismatchError", up_to("artifacts")),
        },
    ),
    Attack(
        name="older release under a newer assignment",
        origin=Origin.FLEET,
        holds="the online keys",
        does="assigns the release before to boards that run a later one",
        stage=older_release,
        expected={
            Reader.UPDATER: Refuses("release counter would go back"),
            Reader.C: Refuses("release-counter"),
            Reader.GATEWAY: Refuses(
                "release counter would go back", up_to("manifest") - {STEPS["targets"]}
            ),
            **{
                reader: Takes(EARLIER, "campaign may name any signed release; the board refuses")
                for reader in CLIENTS
            },
        },
    ),
    Attack(
        name="older releases under newer metadata",
        origin=Origin.FLEET,
        holds="the online keys",
        does="signs a newer snapshot of the older list of releases",
        stage=older_targets,
        expected={
            Reader.UPDATER: Blind("boards read no TUF metadata"),
            Reader.GATEWAY: Refuses("does not verify", up_to("timestamp")),
            Reader.PYTHON_TUF: Refuses("BadVersionNumberError", up_to("timestamp")),
            Reader.TUF_JS: Refuses("is less than current version", up_to("timestamp")),
        },
    ),
    Attack(
        name="replayed manifest",
        origin=Origin.FLEET,
        holds="the network",
        does="shows the manifest of the release before under the name of the present one",
        stage=replayed_manifest,
        expected={
            Reader.UPDATER: Refuses("not the one that the assignment names"),
            Reader.C: Refuses("manifest-digest"),
            Reader.GATEWAY: Refuses("does not verify", up_to("assignment")),
            Reader.PYTHON_TUF: Refuses("LengthOrHashMismatchError", up_to("assignment")),
            Reader.TUF_JS: Refuses("LengthOrHashMismatchError", up_to("assignment")),
        },
    ),
    Attack(
        name="replayed assignment",
        origin=Origin.FLEET,
        holds="the network",
        does="shows the assignment before to who has accepted the present one",
        stage=replayed_assignment,
        expected={
            Reader.UPDATER: Refuses("older than one that the device accepted"),
            Reader.C: Refuses("assignment-sequence"),
            Reader.GATEWAY: Blind("the target is in its cache, verified"),
            Reader.PYTHON_TUF: Refuses("LengthOrHashMismatchError"),
            Reader.TUF_JS: Refuses("LengthOrHashMismatchError"),
        },
    ),
    Attack(
        name="replayed nonce",
        origin=Origin.FLEET,
        holds="the network",
        does="answers with what the server said to another nonce",
        stage=replayed_nonce,
        expected={
            Reader.UPDATER: Refuses("not for this request"),
            Reader.C: Refuses("nonce"),
            Reader.GATEWAY: Refuses("not for this request", up_to("manifest")),
            **{reader: Blind("TUF clients have a clock and ask for none") for reader in CLIENTS},
        },
    ),
    Attack(
        name="delta on the wrong base",
        origin=Origin.FLEET,
        holds="the release and online keys",
        does="signs a patch that was made from another application than it says",
        stage=wrong_base,
        expected={
            Reader.UPDATER: Takes(NEXT, "the patch is left, and the full image taken"),
            Reader.C: Takes(NEXT, "the messages are in order"),
            Reader.GATEWAY: Takes(NEXT, "the patch is left, and the full image taken"),
        },
    ),
    Attack(
        name="decompression bomb, patch",
        origin=Origin.FLEET,
        holds="the release and online keys",
        does="signs a patch that would make sixteen times the image",
        stage=patch_bomb,
        expected={
            Reader.UPDATER: Takes(NEXT, "the patch is left, and the full image taken"),
            Reader.C: Takes(NEXT, "the messages are in order"),
            Reader.GATEWAY: Takes(NEXT, "the patch is left, and the full image taken"),
        },
    ),
)
