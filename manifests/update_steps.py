"""Which release a device installs now on its way to the one that is assigned to it.

A release may ask that a device has taken an earlier one first (docs/spec/manifest.md §3.1). The
assignment names releases that lead there; the device takes the latest of them that it may. Each
installation is a whole update, and the next session goes on from there. Implements
docs/spec/manifest.md §5.5. Nothing here writes to flash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.release_constraints import describe_span
from manifests.errors import UpdateRefusedError
from manifests.update_report import report_held_back
from manifests.update_sources import fetch_release, judge_release

if TYPE_CHECKING:
    from collections.abc import Generator

    from firmware_images.device_record import UpdateState
    from manifests.manifest import Manifest
    from manifests.transfer import Fetch
    from manifests.update_device import UpdateDevice
    from manifests.update_sources import Release
    from signing.trust_record import TrustRecord


def choose_next(
    device: UpdateDevice, trust: TrustRecord, release: Release
) -> Generator[Fetch, bytes, Release]:
    """Return the release itself, or the latest of its steps that this device may take now.

    The latest is the best: what a device with a lower release counter may take, one with a higher
    counter may take, too, so no step that is left out is missed later.

    Args:
        device: The board.
        trust: The trust record in force.
        release: The one that is assigned, verified and fit for this board.

    A server is told, if one can be reached, when none of them may be taken.

    Raises:
        UpdateRefusedError: It must take a step, and may take none of those that are named; or the
            manifest that came is another one.
        DeviceMessageError, SigningError: A step's manifest does not verify.
    """
    state = device.record.load_update_state()
    unreached = release
    if _may_take(release.manifest, state):
        return release
    for digest in reversed(release.assignment.steps_sha256):
        step = yield from fetch_release(trust, release.assignment, digest)
        if not _leads_on(device, step, unreached, release):
            continue
        if _may_take(step.manifest, state):
            return step
        if _lowest(step) < _lowest(unreached):
            unreached = step
    yield from report_held_back(
        device,
        release.manifest_sha256,
        f"step: counter {_describe_missing(unreached.manifest)}, "
        f"revision {device.board.hardware_revision}",
    )
    raise _step_missing(unreached.manifest, state, device.board.hardware_revision)


def _lowest(release: Release) -> int:
    return release.manifest.constraints.minimum_current_counter


def _describe_missing(manifest: Manifest) -> str:
    lowest = manifest.constraints.minimum_current_counter
    return describe_span(lowest, manifest.release_counter - 1)


def _may_take(manifest: Manifest, state: UpdateState) -> bool:
    return state.release_counter >= manifest.constraints.minimum_current_counter


def _leads_on(device: UpdateDevice, step: Release, unreached: Release, last: Release) -> bool:
    """Whether this board runs the step, and a later release may be taken after it."""
    counter = step.manifest.release_counter
    least = max(_lowest(unreached), device.record.load_update_state().release_counter + 1)
    if not least <= counter < last.manifest.release_counter:
        return False
    try:
        judge_release(device, step)
    except UpdateRefusedError:  # for another hardware revision, say: it may lead other boards
        return False
    return True


def _step_missing(
    manifest: Manifest, state: UpdateState, hardware_revision: int
) -> UpdateRefusedError:
    lowest = manifest.constraints.minimum_current_counter
    return UpdateRefusedError(
        "the device must take a step before this release",
        expected=f"a device with release counter {lowest} or later",
        got=f"release counter {state.release_counter}"
        if state.release_counter
        else "a device that knows of no release counter",
        where=f"manifest of release {manifest.version}, field 14",
        hint="the assignment names no release that leads there: publish one for hardware revision "
        f"{hardware_revision} with counter "
        f"{_describe_missing(manifest)}, or one that asks for less, and "
        "assign the release again with `ampforge campaign create`",
    )
