"""From an assignment to the file that devices read: signed, and verified as a device does it.

What does not fit into a device message is refused here, before anything of a publication is
written, with what to leave out. What an assignment says is `assignment`'s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from manifests.assignment import (
    ASSIGNMENT_CONTENT_TYPE,
    serialize_assignment,
    verify_assignment,
)
from manifests.errors import RepositoryError
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.publication import SHARE_INSTEAD
from manifests.published_releases import ASSIGNMENT_KIND, assignment_target_path, list_releases
from manifests.repository import NewFile
from signing.cose import sign_one

if TYPE_CHECKING:
    from manifests.assignment import Assignment
    from manifests.tuf_metadata import RepositoryMetadata
    from signing.signers import Signer
    from signing.trust_record import TrustRecord


def build_assignment_file(
    assignment: Assignment, signer: Signer, trust: TrustRecord, current: RepositoryMetadata
) -> NewFile:
    """Sign an assignment, verify it as a device does, and return its file.

    Args:
        assignment: What is signed.
        signer: A key of the campaign role.
        trust: The product's trust record.
        current: The state that it follows, whose releases it names as steps.

    Raises:
        RepositoryError: It is longer than a device message.
        DeviceMessageError, SigningError: Devices would refuse it.
    """
    payload = serialize_assignment(assignment)
    message = sign_one(payload, signer, content_type=ASSIGNMENT_CONTENT_TYPE)
    if len(message) > MESSAGE_MAX_BYTES:
        raise _too_long(assignment, len(message), current)
    verify_assignment(message, trust)
    return NewFile(
        path=assignment_target_path(assignment.hardware_class),
        content=message,
        custom={
            "kind": ASSIGNMENT_KIND,
            "sequence": assignment.sequence,
            "campaign": assignment.campaign,
        },
        device_path=f"device/{assignment.hardware_class}/assignment.cose",
    )


def _too_long(
    assignment: Assignment, message_bytes: int, current: RepositoryMetadata
) -> RepositoryError:
    excess_bytes = message_bytes - MESSAGE_MAX_BYTES
    parts = []
    if assignment.steps_sha256:
        named = {
            one.manifest_sha256: f"{one.version} ({one.release_counter})"
            for one in list_releases(current)
        }
        steps = ", ".join(named.get(one, one.hex()[:8]) for one in assignment.steps_sha256)
        size_bytes = _size_bytes(assignment) - _size_bytes(replace(assignment, steps_sha256=()))
        parts.append(f"{size_bytes} for steps by {steps}")
    pinned = assignment.pinned_serial_numbers
    if pinned:
        size_bytes = _size_bytes(assignment) - _size_bytes(_without_pins(assignment, len(pinned)))
        parts.append(f"{size_bytes} for {len(pinned)} pinned: {', '.join(pinned)}")
    fewer = next(
        (
            count
            for count in range(1, len(pinned) + 1)
            if _size_bytes(assignment) - _size_bytes(_without_pins(assignment, count))
            >= excess_bytes
        ),
        None,
    )
    shorten = "publish a release that asks for fewer steps, or shorten the campaign's name"
    if fewer is not None:
        shorten = f"nothing was written: pin {fewer} fewer, {SHARE_INSTEAD}; or {shorten}"
    return RepositoryError(
        "the assignment does not fit into a device message",
        expected=f"at most {MESSAGE_MAX_BYTES} bytes",
        got=f"{message_bytes} bytes, {excess_bytes} too many ({'; '.join(parts)})"
        if parts
        else f"{message_bytes} bytes, {excess_bytes} too many",
        hint=shorten,
    )


def _without_pins(assignment: Assignment, count: int) -> Assignment:
    """Return an assignment without so many of its pinned serial numbers, the shortest."""
    pinned = sorted(assignment.pinned_serial_numbers, key=len)[count:]
    return replace(assignment, pinned_serial_numbers=tuple(pinned))


def _size_bytes(assignment: Assignment) -> int:
    return len(serialize_assignment(assignment))
