"""One version names one limits policy: whoever signs looks at what was signed before.

Root retires limits by their version (docs/spec/policy-and-approval.md §6). Of two policies with one
version it can retire both or neither. What this module sees is what lies in the places that it is
given; it does not know what was signed and lies there no longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from firmware_images.approval import APPROVAL_CONTENT_TYPE, parse_approval
from firmware_images.bounded_file import read_bounded
from firmware_images.errors import ApprovalError
from firmware_images.limits_policy import POLICY_CONTENT_TYPE
from firmware_images.limits_policy_bytes import parse_policy
from signing.cose_message import MAX_MESSAGE_BYTES, parse_message
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from firmware_images.limits import LimitsPolicy


class _Signed(NamedTuple):
    version: int
    digest: bytes
    place: Path


def refuse_reused_version(policy: LimitsPolicy, places: Iterable[Path]) -> None:
    """Refuse a policy whose version other limits were signed under before.

    Args:
        policy: What is about to be signed, or approved by.
        places: Where signed policies and approvals may lie. Who signed them is not judged.

    Raises:
        ApprovalError: One of them has the version and is of another policy.
    """
    signed = [found for place in places if (found := _read_signed(place)) is not None]
    for one in signed:
        if one.version == policy.version and one.digest != policy.digest:
            raise ApprovalError(
                "other limits were signed under this policy version before",
                expected=f"version {one.version} for policy {one.digest.hex()} alone",
                got=f"policy {policy.digest.hex()}",
                where=one.place,
                hint=f"set version = {max(known.version for known in signed) + 1} in the limits: "
                "nobody could retire one of two policies that have the same version",
            )


def _read_signed(place: Path) -> _Signed | None:
    try:
        content = read_bounded(place, MAX_MESSAGE_BYTES, ApprovalError)
        message = parse_message(content, max_bytes=MAX_MESSAGE_BYTES)
        if message.content_type == APPROVAL_CONTENT_TYPE:
            approval = parse_approval(message.payload)
            return _Signed(approval.policy_version, approval.policy_digest, place)
        if message.content_type == POLICY_CONTENT_TYPE:
            policy = parse_policy(message.payload)
            return _Signed(policy.version, policy.digest, place)
    except Refusal:
        pass  # there is none, or whoever saves refuses what is there
    return None
