"""What the differences of two releases mean for boards in the field and for whoever signs.

A remark states a consequence of the formats, never an opinion about a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_images.bundle_contents import BOOTLOADER, PARTITION_TABLE
from firmware_images.limits_policy import format_value
from firmware_images.waiver_text import format_waiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.release_view import ReleaseView

_NO_BOUND: Final = frozenset({"VC_LOAD"})
"""Limits whose figure is not a bound on the output: a larger one is not a laxer one."""


def find_remarks(before: ReleaseView, after: ReleaseView) -> tuple[str, ...]:
    """The consequences of going from one release to another, the gravest kind first."""
    return (
        *_remark_installing(before, after),
        *_remark_limits(before.contents.policy, after.contents.policy),
        *_remark_waivers(before, after),
        *_remark_flash(before, after),
    )


def _remark_installing(before: ReleaseView, after: ReleaseView) -> Iterator[str]:
    one, other = before.statement, after.statement
    for what, was, becomes in (
        ("product", one.product, other.product),
        ("hardware class", one.hardware_class, other.hardware_class),
        ("chip", one.chip, other.chip),
    ):
        if was != becomes:
            yield f"the {what} is another one: a board of {was} does not take this release"
    if before.digest != after.digest and other.release_counter <= one.release_counter:
        yield (
            f"the release counter does not rise ({one.release_counter} to "
            f"{other.release_counter}): a board that has the first release refuses the second"
        )
    step = other.constraints.minimum_current_counter
    if one.release_counter < step:
        yield (
            f"a board that has the first release must take the one with release counter {step} "
            "before the second"
        )
    dropped = [
        str(revision)
        for revision in (one.hardware_revision_min, one.hardware_revision_max)
        if not other.hardware_revision_min <= revision <= other.hardware_revision_max
    ]
    if dropped:
        yield f"hardware revision {' and '.join(dict.fromkeys(dropped))} is no longer covered"
    was_secure, is_secure = one.app.secure_version or 0, other.app.secure_version or 0
    if is_secure < was_secure:
        yield (
            f"the app's secure version falls from {was_secure} to {is_secure}: a board with "
            "anti-rollback that counted to the first one does not start the second"
        )
    elif is_secure > was_secure:
        yield (
            f"the app's secure version rises from {was_secure} to {is_secure}: a board with "
            "anti-rollback never starts the first release again"
        )
    apps = before.contents.image, after.contents.image
    if apps[0].version == apps[1].version and apps[0].image_sha256 != apps[1].image_sha256:
        yield f"the app is another one under the same version {apps[0].version or '(none)'}"


def _remark_limits(before: LimitsPolicy, after: LimitsPolicy) -> Iterator[str]:
    if after.version < before.version:
        yield f"the limits policy is an older one: version {before.version} to {after.version}"
    elif after.version == before.version and after.digest != before.digest:
        yield f"the limits policy is another one under the same version {after.version}"
    for key, figure in before.limits.items():
        becomes = after.limits[key]
        if key not in _NO_BOUND and becomes.value != figure.value:
            direction = "wider" if becomes.value > figure.value else "tighter"
            yield (
                f"limit {key} is {direction}: {format_value(figure.value)} to "
                f"{format_value(becomes.value)} {becomes.unit}"
            )
    for name, mode in before.modes.items():
        becomes_mode = after.modes.get(name)
        if becomes_mode is not None and mode.is_slope_limited and not becomes_mode.is_slope_limited:
            yield f"limit SLOPE no longer applies to mode {name}"


def _remark_waivers(before: ReleaseView, after: ReleaseView) -> Iterator[str]:
    known = {waiver.digest for waiver in before.contents.waivers}
    for waiver in after.contents.waivers:
        if waiver.digest not in known:
            yield f"a limit is waived: {format_waiver(waiver.to_json(), now=None)}"


def _remark_flash(before: ReleaseView, after: ReleaseView) -> Iterator[str]:
    for name, what in ((PARTITION_TABLE, "partition table"), (BOOTLOADER, "bootloader")):
        if before.parts.get(name) != after.parts.get(name):
            yield f"the {what} changed: only the factory writes it, boards in the field keep theirs"
