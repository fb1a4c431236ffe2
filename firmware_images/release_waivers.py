"""The waivers that a release carries: their member names, and which of them count.

The approval names each by digest, so that nobody can add or take one away; each is signed by the
policy role itself, so that it can be shown and checked without the rest. Implements
docs/spec/policy-and-approval.md §8.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_images.errors import WaiverError
from firmware_images.waiver import read_waiver, verify_waiver
from firmware_images.waiver_judging import order_waivers
from signing.errors import SigningError
from signing.refusal import refusing_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firmware_images.approval import TableApproval
    from firmware_images.waiver import LimitWaiver
    from signing.trust import TrustRecord

WAIVERS: Final = "waivers/"
_NAME_DIGITS: Final = 16


def name_waivers(signed_waivers: Sequence[bytes]) -> dict[str, bytes]:
    """Return signed waivers by the member name that each has in a bundle.

    Raises:
        SigningError, WaiverError: One is not a waiver, or is there twice.
    """
    named = {_member_name(read_waiver(signed)): signed for signed in signed_waivers}
    if len(named) < len(signed_waivers):
        raise WaiverError("a waiver is given twice", hint="name each waiver once")
    return named


def read_release_waivers(
    parts: Mapping[str, bytes], approval: TableApproval, *, trust: TrustRecord | None
) -> tuple[LimitWaiver, ...]:
    """Return a release's waivers, which are exactly those that its approval names.

    Args:
        parts: Content by name.
        approval: The approval; verified if there is a trust record.
        trust: With it, each waiver's signatures are verified.

    Raises:
        SigningError: The policy role did not sign one.
        WaiverError: One is missing, too many, or not under its name.
    """
    waivers = []
    for name in sorted(name for name in parts if name.startswith(WAIVERS)):
        with refusing_in(name):
            signed = parts[name]
            waiver = read_waiver(signed) if trust is None else verify_waiver(signed, trust)
            if name != _member_name(waiver):
                raise WaiverError(
                    "a waiver is not under its own name",
                    expected=_member_name(waiver),
                    got=name,
                    hint="get the bundle again from whoever built it; never repack it",
                )
        waivers.append(waiver)
    return match_waivers(waivers, approval)


def describe_waivers(parts: Mapping[str, bytes]) -> list[dict[str, object]]:
    """Return what the waivers of a bundle say, nothing verified; what is none is left out."""
    waivers = []
    for name in sorted(name for name in parts if name.startswith(WAIVERS)):
        try:
            waivers.append(read_waiver(parts[name]).to_json())
        except (WaiverError, SigningError):
            continue  # whoever judges the release refuses it
    return waivers


def match_waivers(
    waivers: Sequence[LimitWaiver], approval: TableApproval
) -> tuple[LimitWaiver, ...]:
    """Return waivers in their order, if they are exactly those that an approval names.

    Raises:
        WaiverError: They are others, fewer or more, or expire at another time.
    """
    ordered = order_waivers(waivers)
    expected, got = approval.waiver_digests, tuple(waiver.digest for waiver in ordered)
    if expected != got:
        raise WaiverError(
            "the approval was given with other waivers",
            expected=_list_digests(expected),
            got=_list_digests(got),
            hint="name the same waivers to `policy approve` and to `bundle build`",
        )
    first = min((waiver.expires_at_s for waiver in ordered), default=None)
    if approval.waivers_expire_at_s != first:
        raise WaiverError(
            "the approval does not end with the first of its waivers",
            expected=first,
            got=approval.waivers_expire_at_s,
            hint="have the policy role approve the table again: `ampforge policy approve`",
        )
    return ordered


def _member_name(waiver: LimitWaiver) -> str:
    return f"{WAIVERS}{waiver.digest.hex()[:_NAME_DIGITS]}.cose"


def _list_digests(digests: Sequence[bytes]) -> str:
    return ", ".join(digest.hex()[:_NAME_DIGITS] for digest in digests) or "none"
