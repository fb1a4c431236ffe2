"""What is to be published, and what a publication put in force."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from manifests.assignment import (
    ALL_DEVICES_PPM,
    CAMPAIGN_MAX_LENGTH,
    PINNED_MAX_COUNT,
    SERIAL_MAX_LENGTH,
)
from manifests.errors import RepositoryError
from manifests.release_steps import StepPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from manifests.assignment import Assignment
    from manifests.manifest import Manifest
    from manifests.release_admission import SecureVersionCost
    from manifests.release_deltas import ReleaseDelta

SHARE_INSTEAD = "a share (--percent) reaches devices without naming them"
"""Said where too many devices are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentPlan:
    """Who is to install a release.

    Attributes:
        campaign: Name, for people; a plan under the same name keeps the devices drawn before.
            Empty for a release that is being published: the release's name.
        drawn_ppm: Share of the devices, parts per million.
        pinned_serial_numbers: Devices that install whatever they drew.
        is_halted: Whether nobody installs.
    """

    campaign: str = ""
    drawn_ppm: int = ALL_DEVICES_PPM
    pinned_serial_numbers: tuple[str, ...] = ()
    is_halted: bool = False

    def __post_init__(self) -> None:
        """Refuse what no assignment can say, before anything is read or signed.

        Raises:
            RepositoryError: The campaign's name or a serial number is too long, or not plain, or
                too many devices are pinned.
        """
        if not _is_plain(self.campaign, CAMPAIGN_MAX_LENGTH):
            raise RepositoryError(
                "a campaign cannot have this name",
                expected=f"1 to {CAMPAIGN_MAX_LENGTH} printable ASCII characters",
                got=ascii(self.campaign[:80]),
                where="campaign",
                hint="give it a short plain name; boards may show it",
            )
        pinned = len(self.pinned_serial_numbers)
        if pinned > PINNED_MAX_COUNT:
            raise RepositoryError(
                "an assignment cannot pin so many devices",
                expected=f"at most {PINNED_MAX_COUNT} serial numbers",
                got=f"{pinned}",
                where="pinned devices",
                hint=f"pin {pinned - PINNED_MAX_COUNT} fewer; {SHARE_INSTEAD}",
            )
        for serial in self.pinned_serial_numbers:
            if not serial or not _is_plain(serial, SERIAL_MAX_LENGTH):
                raise RepositoryError(
                    "a pinned device has no such serial number",
                    expected=f"1 to {SERIAL_MAX_LENGTH} printable ASCII characters",
                    got=ascii(serial[:80]),
                    where="pinned devices",
                    hint="name it as its label does; `ampforge serials status` lists them",
                )


def _is_plain(text: str, most: int) -> bool:
    return len(text) <= most and text.isascii() and text.isprintable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What a publication put in force.

    Attributes:
        manifest: What is installed.
        manifest_sha256: Names its signed message.
        assignment: Who installs it.
        is_new_release: Whether the release was not published before.
        cost: What a release that was not published before does to the boards' eFuses.
        way: The releases that devices below its lowest current counter take first.
        is_first_constrained: Whether it is the first for its hardware class that states step or
            support after others that do not: devices that know manifests of format 1 alone refuse
            it.
        waivers: What of the limits was waived for it, as `LimitWaiver.to_json` says it.
        deltas: Those that were asked for and made; the manifest names the worthwhile ones.
    """

    manifest: Manifest
    manifest_sha256: bytes
    assignment: Assignment
    is_new_release: bool
    cost: SecureVersionCost | None = None
    way: StepPlan = field(default_factory=StepPlan)
    is_first_constrained: bool = False
    waivers: tuple[Mapping[str, Any], ...] = ()
    deltas: tuple[ReleaseDelta, ...] = ()
