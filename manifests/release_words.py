"""What a release asks of devices, in words: who takes what first, and how long it is supported."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from firmware_images.release_constraints import last_day_of

if TYPE_CHECKING:
    from datetime import datetime

    from manifests.manifest import Manifest
    from manifests.published_releases import PublishedRelease
    from manifests.release_steps import StepPlan

SUPPORT_ENDS_SOON = timedelta(days=90)
"""How long before the end of support `repo status` and `repo verify` speak of it."""


def describe_asked(
    plan: StepPlan, release: Manifest | PublishedRelease, *, now: datetime
) -> tuple[str, ...]:
    """Return in words what a release asks of devices, and whether that can still be had.

    Args:
        plan: What `plan_steps` found.
        release: The release.
        now: The present, UTC.
    """
    lines = []
    if minimum := release.constraints.minimum_current_counter:
        steps = ", then ".join(
            f"{step.version} (counter {step.release_counter})" for step in plan.steps
        )
        line = f"only for devices with release counter {minimum} or later"
        lines.append(f"{line}; others take {steps} first" if steps else line)
        lines += [f"NOTHING PUBLISHED LEADS TO IT for {gap}: publish a step" for gap in plan.gaps]
    if ends_at := release.constraints.support_ends_at:
        day = last_day_of(ends_at)
        remedy = "publish a release with a later supported_until"
        if now >= ends_at:
            lines.append(f"SUPPORT ENDED on {day}: no device installs it; {remedy}")
        elif ends_at - now <= SUPPORT_ENDS_SOON:
            lines.append(f"supported until {day}, which is soon: {remedy}")
        else:
            lines.append(f"supported until {day}")
    return tuple(lines)
