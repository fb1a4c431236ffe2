"""Whatever is signed and assigned, the C verifier decides about it as our updater does.

The messages are well-formed and signed by the true keys; what is drawn is what they say and what
the device is and remembers, from so few values that bounds meet. Reading changed bytes alike is
`test_differential`; here it is the order and the bounds of the decisions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from hypothesis import event, given, settings
from hypothesis import strategies as st

from firmware_images.device_record import UpdateState
from firmware_images.release_constraints import ReleaseConstraints
from firmware_images.waveform_slot import parse_waveform_slot
from manifests.assignment import ASSIGNMENT_CONTENT_TYPE, serialize_assignment
from manifests.errors import TransportError
from manifests.freshness import sign_freshness
from manifests.manifest import MANIFEST_CONTENT_TYPE, message_digest, serialize_manifest
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.poll_memory import PollMemory
from manifests.transfer import run_session
from manifests.update_outcome import Remembered
from manifests.updater import update_device
from signing.cose import sign_many, sign_one
from signing.refusal import Refusal
from tests.c_verifier.witness import Recording, Witness
from tests.manifests.test_device_messages import ASSIGNMENT, FRESHNESS, MANIFEST
from tests.manifests.update_lives import QuickBoard
from tests.manifests.world import HARDWARE_CLASS, RULES, SERIAL, make_device, signer

if TYPE_CHECKING:
    from manifests.update_device import UpdateDevice


def mostly(usual, *others):
    """The usual value in nine of ten draws: else hardly a session would come to its later steps."""
    return st.sampled_from([usual] * 9 * len(others) + list(others))


EXPIRY, NOW_S = mostly(101, 0, 100, 10**9), mostly(100, 0, 101)
CLASSES = mostly(HARDWARE_CLASS, "flare-c6", "flare-c")


class ReachedSlotError(TransportError):
    """Raised instead of the waveform slot image: every message before it was accepted."""


class Messages:
    """A transport of signed messages, and of nothing else."""

    def __init__(self, assignment, manifests, freshness, board):
        self.assignment, self.manifests, self.freshness = assignment, manifests, freshness
        self.board = board

    def fetch(self, fetch):
        if fetch.path.endswith("assignment.cose"):
            return self.assignment
        if "manifests/" in fetch.path:
            return self.manifests[fetch.path]
        if fetch.path == "api/freshness":
            nonce = self.board.nonces.to_bytes(16, "big")
            fresh = replace(self.freshness, nonce=nonce)
            return sign_freshness(fresh, signer("freshness-1"))
        if "artifacts/" in fetch.path:
            raise ReachedSlotError("no artifact")
        raise TransportError("nothing else is there")


@st.composite
def signed_manifests(draw, counter, earlier):
    expires = draw(EXPIRY)
    support = draw(st.sampled_from([0, 0, expires, expires + 1]))
    # A bound is met where a release asks for exactly the counter of another one.
    lowest = draw(st.sampled_from([0, counter - 1, *earlier]))
    low = draw(mostly(0, 1, 2, 3))
    is_running = draw(mostly(False, True))
    running = world()
    manifest = replace(
        MANIFEST,
        hardware_class=draw(CLASSES),
        release_counter=counter,
        hardware_revision_min=low,
        hardware_revision_max=draw(mostly(3, low)),
        app=replace(
            MANIFEST.app,
            sha256=running.app_sha256 if is_running else b"a" * 32,
            size_bytes=draw(mostly(65_936, 2**24)),
            secure_version=draw(mostly(1, 0, 2)),
        ),
        waveform=replace(
            MANIFEST.waveform,
            sha256=running.wave_sha256 if draw(st.booleans()) else b"w" * 32,
            size_bytes=draw(st.sampled_from([running.wave_bytes, running.wave_bytes, 65_536])),
            policy_version=draw(mostly(2, 1, 3)),
        ),
        issued_at_s=0,
        expires_at_s=expires,
        constraints=ReleaseConstraints(minimum_current_counter=lowest, support_ends_at_s=support),
    )
    names = draw(mostly(("release-1", "release-2-ed"), ("release-1",)))
    return sign_many(
        serialize_manifest(manifest),
        [signer(name) for name in names],
        content_type=MANIFEST_CONTENT_TYPE,
    )


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
    device = replace(device, board=QuickBoard(device.medium))
    partition = device.waveform_partition(device.board.running_slot)
    content = device.medium.read(partition.offset_bytes, partition.size_bytes)
    assert parse_waveform_slot(content)
    image = content.rstrip(b"\xff")
    return World(
        device, device.board.running_app_sha256, hashlib.sha256(image).digest(), len(image)
    )


@settings(max_examples=40)
@given(data=st.data())
def test_any_signed_bytes_lead_both_to_the_same_decision(c_verifier, data):
    draw = data.draw
    counters = sorted(draw(st.lists(st.integers(1, 6), min_size=1, max_size=5, unique=True)))
    messages = [
        draw(signed_manifests(counter, counters[:at])) for at, counter in enumerate(counters)
    ]
    messages = draw(mostly(messages, messages[::-1]))
    *names, assigned = (message_digest(message) for message in messages)
    assignment = replace(
        ASSIGNMENT,
        hardware_class=draw(CLASSES),
        sequence=draw(mostly(4, 1, 3, 5)),
        manifest_sha256=assigned,
        drawn_ppm=draw(mostly(10**6, 500_000, 0)),
        pinned_serial_numbers=draw(st.sampled_from([(), (SERIAL,)])),
        is_halted=draw(mostly(False, True)),
        issued_at_s=0,
        expires_at_s=draw(EXPIRY),
        steps_sha256=tuple(names),
    )
    shown = draw(mostly(messages, messages[::-1]))
    by_path = {
        f"device/manifests/{name.hex()}.cose": message
        for name, message in zip([*names, assigned], shown, strict=True)
    }
    signed = sign_one(
        serialize_assignment(assignment),
        signer("campaign-1"),
        content_type=ASSIGNMENT_CONTENT_TYPE,
    )
    assert len(signed) <= MESSAGE_MAX_BYTES
    freshness = replace(
        FRESHNESS,
        sequence=draw(mostly(3, 2, 4)),
        time_s=draw(NOW_S),
        assignment_sequence=draw(mostly(assignment.sequence, 1)),
    )
    device = replace(world().device, memory=PollMemory())  # as after a boot
    device.board.hardware_revision = draw(mostly(1, 0, 2, 3))
    device.board.secure_version = draw(mostly(1, 0, 2))
    given_up = draw(mostly(None, *names, assigned))
    device.record.update_state.erase()
    device.record.save_update_state(
        UpdateState(
            release_counter=draw(mostly(1, 0, 2, 3, 4)),
            assignment_sequence=draw(mostly(4, 3, 5)),
            freshness_sequence=draw(mostly(3, 2, 4)),
            policy_version_floor=draw(mostly(2, 1, 3)),
            last_outcome="" if given_up is None else f"{Remembered.REVERTED}: it failed",
            last_manifest_digest=given_up or b"",
        )
    )
    recording = Recording(Messages(signed, by_path, freshness, device.board))
    witness = Witness(c_verifier, device)
    try:
        ending = run_session(update_device(device, RULES), recording)
    except ReachedSlotError:
        code = witness.ask(recording)
        assert code == "ok"
    except Refusal as refusal:
        code = witness.compare(recording, refusal)
        assert code is not None
    else:
        code = witness.compare(recording, ending)
    event(f"{code}, {sum(kind.startswith('step-') for kind in recording.came)} steps looked at")
