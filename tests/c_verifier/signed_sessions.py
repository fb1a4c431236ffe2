"""Sessions of well-formed messages that true keys signed, for `test_decisions`.

What is drawn is what they say, and what the device is and remembers. Usually every bound is just
met, so that a comparison which is one off shows at once; what is odd is named, so that a session
comes to the decision about it and is not stopped before.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from firmware_images.bundle import verify_bundle
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.device_record import UpdateState
from firmware_images.release_constraints import ReleaseConstraints
from firmware_images.waveform_slot import parse_waveform_slot
from manifests.assignment import ASSIGNMENT_CONTENT_TYPE, draw_ppm, serialize_assignment
from manifests.errors import TransportError
from manifests.freshness import sign_freshness
from manifests.manifest import (
    MANIFEST_CONTENT_TYPE,
    WaveformFacts,
    serialize_manifest,
)
from manifests.poll_memory import PollMemory
from manifests.update_checks import CLOCKS_APART_MAX_S, table_peak_na
from manifests.update_outcome import Remembered
from signing.cose import sign_many, sign_one
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import ISSUED, build_waived_inputs
from tests.manifests.test_device_messages import ASSIGNMENT, FRESHNESS, MANIFEST
from tests.manifests.update_lives import QuickBoard
from tests.manifests.world import (
    HARDWARE_CLASS,
    PARTITIONS,
    SERIAL,
    bundle,
    calibration,
    make_device,
    signer,
    trust,
)

if TYPE_CHECKING:
    from manifests.update_device import UpdateDevice

WAIVED_UNTIL_S = int((ISSUED + timedelta(days=200)).timestamp())
APP_ROOM = PARTITIONS.find("ota_1").size_bytes
SLOT_ROOM = 0x8000  # less than a manifest may name: half of what the example product has
OTHER_CLASS = "flare-c6"
SALT = ASSIGNMENT.salt
REVOKED = "release-3"
OF_A_MANIFEST = (
    "class", "revision low", "revision high", "counter equal", "counter below", "secure version",
    "policy", "table policy", "app size", "slot full", "slot too large", "table digest",
    "peak below", "peak above", "app runs", "slot runs", "both run", "manifest expired",
    "step asked", "signer missing", "signer of a role", "signer revoked",
)  # fmt: skip
OF_A_SESSION = (
    "assignment class", "assignment sequence", "assignment expired", "assignment signer",
    "halted", "not drawn", "just drawn", "just not drawn", "pinned", "halted and pinned",
    "freshness class", "freshness sequence", "freshness signer", "nonce", "not in force",
    "no more in force", "waived", "waiver expired", "span low", "span high", "given up",
    "other outcome", "swapped", "time before issue",
)  # fmt: skip
# How far above the device's counter each release is, and what it asks for: steps, then the release.
WAYS = {
    "one step": ((1, 0), (2, 1)),
    "step repeated": ((1, 0), (2, 1)),
    "step is the release": ((1, 0), (2, 1)),
    "step given up": ((1, 0), (2, 1)),
    "chain": ((1, 0), (2, 1), (3, 2)),
    "latest of two steps": ((1, 0), (2, 0), (3, 1)),
    "step too low": ((1, 0), (3, 2)),
    "step asks too much": ((2, 1), (3, 2)),
    "step like the release": ((2, 0), (2, 1)),
    "step above the release": ((3, 0), (2, 1)),
    "step for other boards": ((1, 0), (2, 0), (3, 1)),
}
ODD = (*OF_A_MANIFEST, *OF_A_SESSION, *WAYS)


class ReachedAppError(TransportError):
    """Raised instead of the application: everything before it was accepted."""


class Messages:
    """A transport of signed messages and one waveform image."""

    def __init__(self, assignment, manifests, freshness, image):
        self.assignment, self.manifests, self.freshness = assignment, manifests, freshness
        self.image = image

    def fetch(self, fetch):
        if fetch.path.endswith("assignment.cose"):
            return self.assignment
        if "manifests/" in fetch.path:
            return self.manifests[fetch.path]
        if fetch.path == "api/freshness":
            return self.freshness
        if fetch.path.endswith(hashlib.sha256(self.image).hexdigest()):
            return self.image[fetch.offset_bytes :][: fetch.max_bytes]
        if "artifacts/" in fetch.path:
            raise ReachedAppError("no application is there")
        raise TransportError("nothing else is there")


@dataclass(frozen=True)
class Image:
    """A waveform image that the policy role approved, and what a manifest says of it."""

    content: bytes
    facts: WaveformFacts


@cache
def image(*, waived: bool = False, policy_version: int = 2, peak_na: int = 200_000) -> Image:
    if waived:
        inputs = build_waived_inputs(issued_at=ISSUED)
        content = sign_bundle(build_bundle(inputs), [signer("release-1"), signer("release-2-ed")])
    else:
        content = bundle(policy_version=policy_version, peak_na=peak_na)
    verified = verify_bundle(content, trust())
    slot = verified.waveform_slot_image
    table, _ = parse_waveform_slot(slot)
    facts = WaveformFacts(
        size_bytes=len(slot),
        sha256=hashlib.sha256(slot).digest(),
        table_sha256=hashlib.sha256(table).digest(),
        policy_version=verified.statement.policy_version,
        peak_na=table_peak_na(verified.waveform_table),
    )
    return Image(slot, facts)


@dataclass(frozen=True)
class World:
    """One device for all examples, and what runs on it as a manifest would say it."""

    device: UpdateDevice
    app_sha256: bytes
    wave_sha256: bytes
    wave_bytes: int


@cache
def world() -> World:
    device = make_device()
    record = replace(trust(), revoked_key_ids=frozenset({signer(REVOKED).public_key.key_id}))
    device.record.trust.save(sign_trust_record(record, [signer("root-1")]))
    entries = tuple(
        replace(one, size_bytes=SLOT_ROOM) if one.name == "wave_1" else one
        for one in PARTITIONS.partitions
    )
    device = replace(
        device,
        board=QuickBoard(device.medium),
        partitions=replace(PARTITIONS, partitions=entries),
    )
    partition = device.waveform_partition(device.board.running_slot)
    running = device.medium.read(partition.offset_bytes, partition.size_bytes).rstrip(b"\xff")
    return World(
        device, device.board.running_app_sha256, hashlib.sha256(running).digest(), len(running)
    )


@cache
def calibrated(lowest_na: int, highest_na: int) -> bytes:
    return calibration(span_na=highest_na, lowest_na=lowest_na)


@dataclass(frozen=True)
class Case:
    """What is drawn once for a session."""

    odd: frozenset[str]
    counter: int
    revision: int
    now_s: int
    image: Image


@st.composite
def cases(draw, odd: frozenset[str]) -> Case:
    is_waived = not odd.isdisjoint({"waived", "waiver expired"})
    return Case(
        odd=odd,
        counter=draw(st.integers(0, 4)),
        revision=draw(st.integers(0, 3)),
        now_s=WAIVED_UNTIL_S if "waiver expired" in odd else WAIVED_UNTIL_S - 1,
        image=image(waived=is_waived),
    )


@st.composite
def signed_manifests(draw, case: Case, odd: frozenset[str], counter: int, lowest: int):
    """A signed manifest whose bounds are met exactly, but for what is odd."""
    running = world()
    wave = case.image.facts
    if not odd.isdisjoint({"slot full", "slot too large"}):
        wave = replace(wave, size_bytes=SLOT_ROOM + ("slot too large" in odd))
    if not odd.isdisjoint({"slot runs", "both run"}):
        wave = replace(wave, sha256=running.wave_sha256, size_bytes=running.wave_bytes)
    if "policy" in odd:
        wave = replace(wave, policy_version=max(wave.policy_version - 1, 1))
    if "table policy" in odd:
        wave = replace(wave, policy_version=wave.policy_version + 1)
    if "table digest" in odd:
        wave = replace(wave, table_sha256=bytes(32))
    wave = replace(wave, peak_na=wave.peak_na + ("peak above" in odd) - ("peak below" in odd))
    runs = not odd.isdisjoint({"app runs", "both run"})
    low = case.revision + (1 if "revision low" in odd else 0)
    high = case.revision - (1 if "revision high" in odd and case.revision else 0)
    expires = case.now_s + (0 if "manifest expired" in odd else 1)
    support = draw(st.sampled_from([0, 0, expires, expires + 1]))
    manifest = replace(
        MANIFEST,
        hardware_class=OTHER_CLASS if "class" in odd else HARDWARE_CLASS,
        release_counter=counter,
        hardware_revision_min=min(low, high) if "revision high" in odd else low,
        hardware_revision_max=max(low, high) if "revision low" in odd else high,
        app=replace(
            MANIFEST.app,
            sha256=running.app_sha256 if runs else b"a" * 32,
            size_bytes=APP_ROOM + ("app size" in odd),
            secure_version=0 if "secure version" in odd else 1,
        ),
        waveform=wave,
        issued_at_s=0,
        expires_at_s=expires,
        deltas=(),
        constraints=ReleaseConstraints(minimum_current_counter=lowest, support_ends_at_s=support),
    )
    names = ["release-1", "release-2-ed"]
    if "signer missing" in odd:
        names = names[:1]
    if "signer of a role" in odd:
        names[1] = "policy-1"
    if "signer revoked" in odd:
        names[1] = REVOKED
    return sign_many(
        serialize_manifest(manifest),
        [signer(name) for name in names],
        content_type=MANIFEST_CONTENT_TYPE,
    )


@st.composite
def drawn_ways(draw, case: Case) -> list[tuple[int, int]]:
    """Counters of steps and release, and the lowest counter that each of them asks for."""
    device = case.counter
    assigned = device + draw(st.integers(1, 3))
    if "counter equal" in case.odd:
        assigned = max(device, 1)
    if "counter below" in case.odd:
        assigned = max(device - 1, 1)
    steps = draw(st.sampled_from([0, 0, 1, 2, 3, 4]))
    # Near enough that bounds meet: of the device, of the release, and of each other.
    near = st.integers(max(device, 1), assigned + 1)
    counters = draw(st.lists(near, min_size=steps, max_size=steps))
    if draw(st.booleans()):
        counters.sort()
    way = []
    for at, counter in enumerate([*counters, assigned]):
        asked = [0, device, device, device + 1, counter - 1, *counters]
        if not steps:
            asked = [device + 1] if "step asked" in case.odd else [0, device]
        elif at == steps:
            asked = [device + 1, device + 1, assigned - 1, *counters]
        way.append((counter, draw(st.sampled_from([n for n in asked if n < counter] or [0]))))
    return way


@st.composite
def signed_releases(draw, case: Case) -> list[bytes]:
    """The manifests of the steps and then that of the release; one of them has what is odd."""
    way = next((WAYS[word] for word in WAYS if word in case.odd), None)
    plan = draw(drawn_ways(case)) if way is None else [
        (case.counter + above, case.counter + asked if asked else 0) for above, asked in way
    ]  # fmt: skip
    at_odd = draw(st.sampled_from([*range(len(plan)), len(plan) - 1, len(plan) - 1]))
    messages = []
    for at, (counter, asked) in enumerate(plan):
        odd = case.odd if at == at_odd else frozenset()
        if "step for other boards" in case.odd and at == len(plan) - 2:
            odd = frozenset({draw(st.sampled_from(["class", "revision low", "policy"]))})
        messages.append(draw(signed_manifests(case, odd, counter, asked)))
    # Equal ones are one message, and no assignment names a manifest twice.
    return list(dict.fromkeys(messages))


def assign(case: Case, names: list[bytes], sequence: int) -> bytes:
    odd, draw = case.odd, draw_ppm(SALT, SERIAL)
    shares = {"not drawn": 0, "just drawn": draw + 1, "just not drawn": draw, "pinned": 0}
    is_pinned = not odd.isdisjoint({"pinned", "halted and pinned"})
    assignment = replace(
        ASSIGNMENT,
        hardware_class=OTHER_CLASS if "assignment class" in odd else HARDWARE_CLASS,
        sequence=sequence,
        manifest_sha256=names[-1],
        drawn_ppm=next((ppm for word, ppm in shares.items() if word in odd), 10**6),
        pinned_serial_numbers=("FL", SERIAL) if is_pinned else (),
        is_halted=not odd.isdisjoint({"halted", "halted and pinned"}),
        issued_at_s=case.now_s + CLOCKS_APART_MAX_S + ("time before issue" in odd),
        expires_at_s=case.now_s + (0 if "assignment expired" in odd else 1),
        steps_sha256=(
            *names[:-1],
            *(names[:1] if "step repeated" in odd else ()),
            *(names[-1:] if "step is the release" in odd else ()),
        ),
    )
    return sign_one(
        serialize_assignment(assignment),
        signer("release-1" if "assignment signer" in odd else "campaign-1"),
        content_type=ASSIGNMENT_CONTENT_TYPE,
    )


def answer(case: Case, nonce: bytes, sequence: int) -> bytes:
    odd = case.odd
    in_force = sequence + ("not in force" in odd) - ("no more in force" in odd)
    freshness = replace(
        FRESHNESS,
        nonce=bytes(16) if "nonce" in odd else nonce,
        sequence=3 - ("freshness sequence" in odd),
        time_s=case.now_s,
        hardware_class=OTHER_CLASS if "freshness class" in odd else HARDWARE_CLASS,
        assignment_sequence=in_force,
    )
    return sign_freshness(
        freshness, signer("campaign-1" if "freshness signer" in odd else "freshness-1")
    )


def prepare(case: Case, given_up: bytes) -> UpdateDevice:
    """Have the device remember what it is to remember, as after a boot."""
    odd, device = case.odd, replace(world().device, memory=PollMemory())
    device.board.hardware_revision = case.revision
    device.board.secure_version = 1
    peak_na = case.image.facts.peak_na
    device.record.calibration.save(
        calibrated(("span low" in odd) - peak_na, peak_na - ("span high" in odd))
    )
    outcome = ""
    if not odd.isdisjoint({"given up", "step given up"}):
        outcome = f"{Remembered.REVERTED}: it failed"
    elif "other outcome" in odd:
        outcome = str(Remembered.INSTALLED)
    device.record.update_state.erase()
    device.record.save_update_state(
        UpdateState(
            release_counter=case.counter,
            assignment_sequence=4,
            freshness_sequence=3,
            policy_version_floor=case.image.facts.policy_version,
            last_outcome=outcome,
            last_manifest_digest=given_up if outcome else b"",
        )
    )
    return device
