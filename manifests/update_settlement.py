"""After a boot: confirm the release that was switched to, or give it up, and report.

Counters rise here and only here, after the new application passed its self-test and otadata says
VALID: until then every older rule still holds and the old slot is a valid way back
(docs/spec/manifest.md §7). The verdict is noted in the update state before otadata shows it, and
counts only when it is noted: an entry of otadata whose write was torn may say anything. Each step
is idempotent, so a cut between any two is settled by the next boot.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_images.otadata import OtaState, mark_state
from manifests.device_report import ReportedResult
from manifests.errors import TransportError
from manifests.transfer import Fetch
from manifests.update_checks import refuse_busy_board
from manifests.update_outcome import (
    FIRST_BOOTS_MAX,
    Remembered,
    UpdateOutcome,
    UpdateResult,
    due_report,
    noted_verdict,
    remembered_reason,
    reverted_text,
    unconfirmed_boots,
    unconfirmed_text,
)
from manifests.update_report import REPORT_ANSWER_MAX_BYTES, REPORT_PATH, build_report

if TYPE_CHECKING:
    from collections.abc import Generator

    from firmware_images.device_record import PendingUpdate, UpdateState
    from manifests.update_device import UpdateDevice
    from manifests.update_outcome import UpdateRules


def settle_last_update(
    device: UpdateDevice, rules: UpdateRules
) -> Generator[Fetch, bytes, UpdateOutcome | None]:
    """Finish what the last update began; `None` when the session goes on.

    Returns:
        INSTALLED or REVERTED when the switch is settled now, REBOOT_NEEDED when the slot that
        should run does not run yet, or when the self-test failed.

    Raises:
        UpdateRefusedError: A reboot is due, and the device is in use or its battery low.
    """
    state = device.record.load_update_state()
    if state.pending is None:
        yield from _deliver_due_report(device)
        return None
    pending = state.pending
    if device.board.running_slot == pending.slot:
        device.board.electrodes_off()
        failure = _judge_running(device, state, pending)
        if failure is not None:
            return _give_up(device, state, failure)
        _confirm(device, state, pending)
        device.board.electrodes_allowed()
    elif noted_verdict(state) is Remembered.REVERTED_REPORT_DUE:
        # Cut after the verdict was noted, and perhaps before otadata showed it.
        _save(device, state, state.last_outcome, pending.manifest_digest)
    elif device.has_state(pending.slot, OtaState.ABORTED):
        first_boots = unconfirmed_boots(state, pending.manifest_digest) + 1
        if first_boots < FIRST_BOOTS_MAX:
            # The bootloader cannot tell a crash from a power cut: the next session tries again.
            _begin_again(device, state, first_boots)
            return None
        _remember_reverted(device, state, f"it did not confirm {first_boots} first boots")
    elif device.boots_next() == pending.slot:
        refuse_busy_board(device.board, minimum_battery_percent=rules.minimum_battery_percent)
        return _outcome(device, UpdateResult.REBOOT_NEEDED, "a written release waits for a reboot")
    else:
        # Cut after the pending update was noted and before otadata was switched, or a torn write
        # lost the entry: what was written is still there, and the next install goes on from it.
        _begin_again(device, state, unconfirmed_boots(state, pending.manifest_digest))
        return None
    yield from _deliver_due_report(device)
    return _settled_outcome(device)


def _judge_running(device: UpdateDevice, state: UpdateState, pending: PendingUpdate) -> str | None:
    if device.board.running_app_sha256 != pending.app_sha256:
        return "another application runs than the one written"
    match noted_verdict(state):
        case Remembered.REVERTED_REPORT_DUE:
            # Otadata did not take the verdict, and the new release was started once more.
            return remembered_reason(state)
        case Remembered.PASSED if device.running_state() is OtaState.VALID:
            # The power failed between the verdict and the counters: the verdict stands.
            return None
        case _:
            return device.board.self_test()


def _confirm(device: UpdateDevice, state: UpdateState, pending: PendingUpdate) -> None:
    first_boots = unconfirmed_boots(state, pending.manifest_digest)
    _note_verdict(device, state, unconfirmed_text(Remembered.PASSED, first_boots))
    mark_state(device.medium, device.otadata, OtaState.VALID)
    # Before the pending update is forgotten: a cut here is settled by the next boot once more.
    device.board.raise_secure_version()
    device.record.save_update_state(
        replace(
            state,
            release_counter=max(state.release_counter, pending.release_counter),
            policy_version_floor=max(state.policy_version_floor, pending.policy_version),
            pending=None,
            last_outcome=str(Remembered.INSTALLED_REPORT_DUE),
            last_manifest_digest=pending.manifest_digest,
        )
    )


def _give_up(device: UpdateDevice, state: UpdateState, failure: str) -> UpdateOutcome:
    # The update stays pending until otadata shows the verdict: a flash that does not keep it leaves
    # the electrodes off, and no later session takes the release for one that is in order.
    _note_verdict(device, state, reverted_text(Remembered.REVERTED_REPORT_DUE, failure))
    mark_state(device.medium, device.otadata, OtaState.INVALID)
    _remember_reverted(device, state, failure)
    return _outcome(
        device,
        UpdateResult.REBOOT_NEEDED,
        f"the new release failed its self-test ({failure}); the device returns to the old one",
    )


def _note_verdict(device: UpdateDevice, state: UpdateState, text: str) -> None:
    assert state.pending is not None
    device.record.save_update_state(
        replace(state, last_outcome=text, last_manifest_digest=state.pending.manifest_digest)
    )


def _begin_again(device: UpdateDevice, state: UpdateState, first_boots: int) -> None:
    assert state.pending is not None
    text = unconfirmed_text(Remembered.DOWNLOADING, first_boots)
    _save(device, state, text, state.pending.manifest_digest)


def _remember_reverted(device: UpdateDevice, state: UpdateState, reason: str) -> None:
    assert state.pending is not None
    text = reverted_text(Remembered.REVERTED_REPORT_DUE, reason)
    _save(device, state, text, state.pending.manifest_digest)


def _save(device: UpdateDevice, state: UpdateState, text: str, manifest_digest: bytes) -> None:
    device.record.save_update_state(
        replace(state, pending=None, last_outcome=str(text), last_manifest_digest=manifest_digest)
    )


def _deliver_due_report(device: UpdateDevice) -> Generator[Fetch, bytes, None]:
    state = device.record.load_update_state()
    result = due_report(state)
    if result is None:
        return
    try:
        yield Fetch(
            path=REPORT_PATH,
            max_bytes=REPORT_ANSWER_MAX_BYTES,
            body=build_report(
                device,
                result,
                manifest_sha256=state.last_manifest_digest,
                reason=remembered_reason(state),
            ),
        )
    except TransportError:
        # It stays due and is tried again at the next poll; the device itself is in order.
        return
    text = (
        str(Remembered.INSTALLED)
        if result is ReportedResult.INSTALLED
        else reverted_text(Remembered.REVERTED, remembered_reason(state))
    )
    device.record.save_update_state(replace(state, last_outcome=text))


def _settled_outcome(device: UpdateDevice) -> UpdateOutcome:
    state = device.record.load_update_state()
    if state.last_outcome.startswith(Remembered.INSTALLED):
        message = f"release {state.release_counter} is installed and confirmed"
        return _outcome(device, UpdateResult.INSTALLED, message)
    message = f"the update was reverted: {remembered_reason(state)}"
    return _outcome(device, UpdateResult.REVERTED, message)


def _outcome(device: UpdateDevice, result: UpdateResult, message: str) -> UpdateOutcome:
    state = device.record.load_update_state()
    return UpdateOutcome(
        result=result,
        message=message,
        release_counter=state.release_counter,
        is_report_due=due_report(state) is not None,
    )
