"""The board's way to a new release, as a generator: it yields wishes and is sent bytes.

No network, no clock, no thread: `transfer.run_session` or a gateway carries the wishes. The order
is the safety of it (docs/spec/manifest.md §5):

1. settle what the last update began, and report it;
2. not in a session, battery charged;
3. assignment: the very message that the last session ended on ends this one, too. Else the trust
   record that follows is asked for first; then the assignment is verified, is not older than the
   last one, for this hardware, and selects this device;
4. manifest, named by the assignment's digest: verified, for this hardware, no counter goes back;
   if the device must take a step first, one of those that the assignment names instead;
5. freshness: the server's signed now, so that nothing expired or superseded is installed;
6. waveform image into memory: digest, approval by the policy role, level span of this unit's
   calibration;
   - up to here the slots and otadata have not changed -
7. application made from the running one by a delta, or streamed, into the slot that does not run,
   waveform image into the slot beside it, both judged by what is read back;
8. the pending update noted, then otadata switched, once; the caller reboots the board.

Reference for a C implementation: docs/spec/updater.md; the state in flash between steps is
docs/spec/device-record.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_images.device_record import PendingUpdate
from firmware_images.otadata import OtaState, spoil_rejected_entry, switch_slot
from firmware_images.unproven import UNCONFIRMED_STATES
from manifests.delta_writer import find_delta, write_by_delta
from manifests.errors import UpdateRefusedError
from manifests.slot_writer import copy_slot, holds, stream_into_slot, write_whole
from manifests.trust_renewal import renew_trust
from manifests.update_checks import refuse_busy_board, refuse_same_release
from manifests.update_outcome import (
    Remembered,
    UpdateOutcome,
    UpdateResult,
    UpdateRules,
    due_report,
    remembered_word,
    unconfirmed_boots,
    unconfirmed_text,
)
from manifests.update_settlement import settle_last_update
from manifests.update_sources import (
    Release,
    accept_assignment,
    fetch_assignment_bytes,
    fetch_freshness,
    fetch_manifest,
    fetch_waveform,
)
from manifests.update_steps import choose_next

if TYPE_CHECKING:
    from collections.abc import Generator

    from firmware_images.device_record import UpdateState
    from manifests.assignment import Assignment
    from manifests.freshness import Freshness
    from manifests.transfer import Fetch
    from manifests.update_device import UpdateDevice
    from signing.trust_record import TrustRecord


def update_device(
    device: UpdateDevice, rules: UpdateRules
) -> Generator[Fetch, bytes, UpdateOutcome]:
    """Run one session: settle the last update, or look for a new one and install it.

    Args:
        device: The board.
        rules: Battery level, chunk size, whether to install again.

    Returns:
        How it ended. After REBOOT_NEEDED the caller reboots the board and runs a new session,
        which confirms or reverts.

    Raises:
        ManifestError, SigningError, FirmwareImageError: Something was refused; the slot that runs
            and otadata are unchanged. Before step 7 so is the whole flash, but for a trust record
            that followed.
    """
    settled = yield from settle_last_update(device, rules)
    if settled is not None:
        return settled
    return (yield from _install_assigned(device, rules))


def _install_assigned(
    device: UpdateDevice, rules: UpdateRules
) -> Generator[Fetch, bytes, UpdateOutcome]:
    refuse_busy_board(device.board, minimum_battery_percent=rules.minimum_battery_percent)
    serial = device.load_identity().serial
    untrusted_assignment = yield from fetch_assignment_bytes(device)
    known = None if rules.allows_reinstall else device.memory.recall(device, untrusted_assignment)
    if known is not None:
        return known
    trust = yield from renew_trust(device)
    assignment = accept_assignment(device, trust, untrusted_assignment)
    if not assignment.selects(serial):
        outcome = _not_selected(device, assignment)
    else:
        release = yield from fetch_manifest(device, trust, assignment)
        if rules.allows_reinstall or not _is_running(device, release):
            return (yield from _install(device, rules, trust, release))
        outcome = _up_to_date(device, release)
    device.memory.remember(device, untrusted_assignment, outcome)
    return outcome


def _install(
    device: UpdateDevice, rules: UpdateRules, trust: TrustRecord, release: Release
) -> Generator[Fetch, bytes, UpdateOutcome]:
    if not rules.allows_reinstall:
        refuse_same_release(release, device.record.load_update_state())
    assigned = release
    # Nobody overrides this one: what a step converts, the release relies on.
    release = yield from choose_next(device, trust, assigned)
    if release is not assigned and not rules.allows_reinstall:
        if _is_running(device, release):
            return _up_to_date(device, release)
        refuse_same_release(release, device.record.load_update_state())
    freshness, now = yield from fetch_freshness(device, trust, release)
    waveform_image = yield from fetch_waveform(device, trust, release, now)
    yield from _write_slots(device, rules, release, waveform_image)
    refuse_busy_board(device.board, minimum_battery_percent=rules.minimum_battery_percent)
    return _switch(device, release, freshness)


def _is_running(device: UpdateDevice, release: Release) -> bool:
    if device.board.running_app_sha256 != release.manifest.app.sha256:
        return False
    running = device.waveform_partition(device.board.running_slot)
    return holds(device.medium, running, release.waveform)


def _up_to_date(device: UpdateDevice, release: Release) -> UpdateOutcome:
    # The factory leaves the counter of the release that it flashed. A board that was flashed by
    # other means has none: it takes that of the signed manifest that describes exactly what runs.
    state = device.record.load_update_state()
    manifest = release.manifest
    is_confirmed = device.running_state() not in UNCONFIRMED_STATES
    if is_confirmed and manifest.release_counter > state.release_counter:
        state = replace(
            state,
            release_counter=manifest.release_counter,
            policy_version_floor=max(state.policy_version_floor, manifest.waveform.policy_version),
        )
        device.record.save_update_state(state)
    return UpdateOutcome(
        result=UpdateResult.UP_TO_DATE,
        message=f"release {manifest.version} runs already",
        release_counter=state.release_counter,
        is_report_due=due_report(state) is not None,
    )


def _not_selected(device: UpdateDevice, assignment: Assignment) -> UpdateOutcome:
    state = device.record.load_update_state()
    halted = assignment.is_halted
    return UpdateOutcome(
        result=UpdateResult.HALTED if halted else UpdateResult.NOT_SELECTED,
        message=f"campaign {assignment.campaign!r} "
        + ("is halted" if halted else "does not select this device yet"),
        release_counter=state.release_counter,
        is_report_due=due_report(state) is not None,
    )


def _write_slots(
    device: UpdateDevice, rules: UpdateRules, release: Release, waveform_image: bytes
) -> Generator[Fetch, bytes, None]:
    medium = device.medium
    running, slot = device.board.running_slot, device.inactive_slot
    target = device.app_partition(slot)
    if not holds(medium, target, release.app):
        resume = _note_download(device, release)
        if device.board.running_app_sha256 == release.app.sha256:
            # Only the waveforms change: slot n belongs to waveform slot n, so the running
            # application goes along into the other slot.
            copy_slot(medium, device.app_partition(running), target, release.app)
        else:
            yield from _fetch_app(device, rules, release, resume=resume)
    write_whole(medium, device.waveform_partition(slot), release.waveform, waveform_image)
    for partition, artifact in (
        (target, release.app),
        (device.waveform_partition(slot), release.waveform),
    ):
        if not holds(medium, partition, artifact):
            raise UpdateRefusedError(
                "the flash does not hold what was written",
                expected=f"SHA-256 {artifact.sha256.hex()}",
                where=f"partition {partition.name}, read back",
                hint="the flash may be worn out: send the unit to a service station",
            )


def _fetch_app(
    device: UpdateDevice, rules: UpdateRules, release: Release, *, resume: bool
) -> Generator[Fetch, bytes, None]:
    """Bring the application into the slot: by a delta where one fits, else whole."""
    medium, slot = device.medium, device.inactive_slot
    running, target = device.app_partition(device.board.running_slot), device.app_partition(slot)

    def before_chunk() -> None:
        refuse_busy_board(device.board, minimum_battery_percent=rules.minimum_battery_percent)

    delta = find_delta(medium, running, target, release)
    if delta is not None:
        is_written = yield from write_by_delta(
            medium,
            running,
            target,
            release.app,
            delta,
            resume=resume,
            chunk_bytes=rules.chunk_bytes,
            before_chunk=before_chunk,
        )
        if is_written:
            return
    yield from stream_into_slot(
        medium,
        target,
        release.app,
        resume=resume,
        chunk_bytes=rules.chunk_bytes,
        before_chunk=before_chunk,
    )


def _note_download(device: UpdateDevice, release: Release) -> bool:
    """Remember what is being written; whether an earlier run was writing the same."""
    state = device.record.load_update_state()
    if (
        remembered_word(state) is Remembered.DOWNLOADING
        and state.last_manifest_digest == release.manifest_sha256
    ):
        return True
    device.record.save_update_state(
        replace(
            state,
            last_outcome=str(Remembered.DOWNLOADING),
            last_manifest_digest=release.manifest_sha256,
        )
    )
    return False


def _switch(device: UpdateDevice, release: Release, freshness: Freshness) -> UpdateOutcome:
    state = device.record.load_update_state()
    slot = device.inactive_slot
    spoil_rejected_entry(device.medium, device.otadata)
    device.record.save_update_state(_with_pending(state, release, freshness, slot))
    device.board.electrodes_off()
    switch_slot(device.medium, device.otadata, slot, OtaState.NEW)
    return UpdateOutcome(
        result=UpdateResult.REBOOT_NEEDED,
        message=f"release {release.manifest.version} is written; the device reboots into it",
        release_counter=state.release_counter,
    )


def _with_pending(
    state: UpdateState, release: Release, freshness: Freshness, slot: int
) -> UpdateState:
    # The sequences of what was accepted rise now; the release's own counters only when it has
    # proved itself (update_settlement). What is remembered of this manifest is no verdict on it.
    first_boots = unconfirmed_boots(state, release.manifest_sha256)
    return replace(
        state,
        last_outcome=unconfirmed_text(Remembered.DOWNLOADING, first_boots),
        last_manifest_digest=release.manifest_sha256,
        assignment_sequence=release.assignment.sequence,
        freshness_sequence=freshness.sequence,
        pending=PendingUpdate(
            manifest_digest=release.manifest_sha256,
            release_counter=release.manifest.release_counter,
            policy_version=release.manifest.waveform.policy_version,
            slot=slot,
            app_sha256=release.manifest.app.sha256,
        ),
    )
