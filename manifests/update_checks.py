"""What a device asks of a verified message before it touches its flash.

Each function looks at values only and raises `UpdateRefusedError` with what was expected and what
came. The order in which they are called is `updater`'s (docs/spec/manifest.md §5).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from manifests.errors import UpdateRefusedError
from manifests.update_outcome import Remembered, remembered_reason, remembered_word

if TYPE_CHECKING:
    from firmware_images.device_record import UpdateState
    from firmware_images.partitions import Partition
    from firmware_images.waveform import WaveformTable
    from manifests.assignment import Assignment
    from manifests.freshness import Freshness
    from manifests.manifest import Manifest
    from manifests.update_device import BoardControl
    from manifests.update_sources import Release

CLOCKS_APART_MAX_S: Final = 24 * 3600
"""How far the clock of who assigns may be ahead of that of who signs freshness answers."""


def refuse_busy_board(board: BoardControl, *, minimum_battery_percent: int) -> None:
    """Refuse to install or reboot while the device is in use, or might run empty.

    Raises:
        UpdateRefusedError: A session runs, or the battery is low.
    """
    if board.in_session():
        raise UpdateRefusedError(
            "the device is in a session: nothing is installed and nothing reboots on a face",
            expected="an idle device",
            got="a running session",
            hint="ask again when the session is over",
        )
    battery_percent = board.battery_percent()
    if battery_percent < minimum_battery_percent:
        raise UpdateRefusedError(
            "the battery is too low for an update",
            expected=f"at least {minimum_battery_percent} %",
            got=f"{battery_percent} %",
            hint="charge the device and ask again",
        )


def judge_assignment(assignment: Assignment, board: BoardControl, state: UpdateState) -> None:
    """Refuse an assignment that is old, or for other hardware.

    Raises:
        UpdateRefusedError: Its sequence is below the highest accepted one, or its hardware class
            is not the board's.
    """
    if assignment.sequence < state.assignment_sequence:
        raise UpdateRefusedError(
            "the assignment is older than one that the device accepted before",
            expected=f"sequence {state.assignment_sequence} or later",
            got=f"sequence {assignment.sequence}",
            where="assignment, field 4",
            hint="an older assignment was replayed; check the server and what is between",
        )
    if assignment.hardware_class != board.hardware_class:
        raise _other_hardware("assignment", board.hardware_class, assignment.hardware_class)


def judge_manifest(manifest: Manifest, board: BoardControl, state: UpdateState) -> None:
    """Refuse a release that is for other hardware, or older than what the device has.

    Raises:
        UpdateRefusedError: Hardware class or revision does not fit, or the release counter,
            secure version or policy version would go back.
    """
    if manifest.hardware_class != board.hardware_class:
        raise _other_hardware("manifest", board.hardware_class, manifest.hardware_class)
    if not manifest.accepts_revision(board.hardware_revision):
        raise UpdateRefusedError(
            "the release is not for this hardware revision",
            expected=f"{manifest.hardware_revision_min} to {manifest.hardware_revision_max}",
            got=board.hardware_revision,
            where="manifest, fields 6 and 7",
        )
    for what, floor, got in (
        ("release counter", state.release_counter, manifest.release_counter),
        ("secure version", board.secure_version, manifest.app.secure_version),
        ("policy version", state.policy_version_floor, manifest.waveform.policy_version),
    ):
        if got < floor:
            raise UpdateRefusedError(
                f"the release is older than what the device has: its {what} would go back",
                expected=f"{what} {floor} or later",
                got=got,
                where=f"manifest of release {manifest.version}",
                hint="an older release is never installed; publish the old content as a new one",
            )


def refuse_same_release(release: Release, state: UpdateState) -> None:
    """Refuse other content under the device's own release counter, and what it gave up before.

    Raises:
        UpdateRefusedError: It is one of both.
    """
    if release.manifest.release_counter == state.release_counter:
        raise UpdateRefusedError(
            "another content has the release counter that the device has already",
            expected=f"release counter {state.release_counter + 1} or later",
            got=release.manifest.release_counter,
            where=f"manifest of release {release.manifest.version}",
            hint="publish the content under a new release counter",
        )
    is_same = state.last_manifest_digest == release.manifest_sha256
    if is_same and remembered_word(state) in {
        Remembered.REVERTED,
        Remembered.REVERTED_REPORT_DUE,
    }:
        raise UpdateRefusedError(
            "the device tried this release before and went back",
            got=remembered_reason(state),
            where=f"manifest of release {release.manifest.version}",
            hint="publish a corrected release; a service station may install this one again",
        )


def judge_sizes(
    manifest: Manifest, app_partition: Partition, waveform_partition: Partition
) -> None:
    """Refuse a release that does not fit the slots.

    Raises:
        UpdateRefusedError: An image is larger than its partition.
    """
    for what, size_bytes, partition in (
        ("application", manifest.app.size_bytes, app_partition),
        ("waveform image", manifest.waveform.size_bytes, waveform_partition),
    ):
        if size_bytes > partition.size_bytes:
            raise UpdateRefusedError(
                f"the {what} does not fit its slot",
                expected=f"at most {partition.size_bytes} bytes",
                got=f"{size_bytes} bytes",
                where=f"partition {partition.name}",
            )


def judge_freshness(
    freshness: Freshness, assignment: Assignment, manifest: Manifest, state: UpdateState
) -> datetime:
    """Refuse what is not in force now, and return the signed time.

    Raises:
        UpdateRefusedError: The answer is older than one accepted before, another assignment is in
            force, its time is from before the assignment, or assignment or manifest has expired.
    """
    if freshness.sequence < state.freshness_sequence:
        raise UpdateRefusedError(
            "the freshness answer is older than one that the device accepted before",
            expected=f"sequence {state.freshness_sequence} or later",
            got=f"sequence {freshness.sequence}",
            where="freshness, field 3",
            hint="check the clock of the server that signs freshness answers",
        )
    if freshness.assignment_sequence != assignment.sequence:
        raise UpdateRefusedError(
            "another assignment is in force than the one that was shown",
            expected=f"sequence {freshness.assignment_sequence}",
            got=f"sequence {assignment.sequence}",
            where="freshness, field 6",
            hint="ask again; if it stays so, something between holds updates back",
        )
    if freshness.time_s + CLOCKS_APART_MAX_S < assignment.issued_at_s:
        # At such a time nothing has expired that ever was.
        raise UpdateRefusedError(
            "the server's time is before the assignment was issued",
            expected=f"a time after {_as_text(assignment.issued_at_s - CLOCKS_APART_MAX_S)}",
            got=_as_text(freshness.time_s),
            where="freshness, field 4",
            hint="set the clock of the server that signs freshness answers",
        )
    for what, expires_at_s in (
        ("assignment", assignment.expires_at_s),
        ("manifest", manifest.expires_at_s),
    ):
        if freshness.time_s >= expires_at_s:
            raise UpdateRefusedError(
                f"the {what} has expired",
                expected=f"a {what} valid at {_as_text(freshness.time_s)}",
                got=f"one that expired {_as_text(expires_at_s)}",
                where=what,
                hint="whoever publishes must sign it again: `ampforge campaign create` for the "
                "assignment, `ampforge repo extend` for the manifest",
            )
    return datetime.fromtimestamp(freshness.time_s, UTC)


def judge_table(table: WaveformTable, manifest: Manifest, table_sha256: bytes) -> None:
    """Refuse a waveform table that is not the one the manifest describes.

    Raises:
        UpdateRefusedError: Digest, policy version, peak or hardware class differ.
    """
    facts = manifest.waveform
    for what, expected, got in (
        ("digest", facts.table_sha256.hex(), table_sha256.hex()),
        ("policy version", facts.policy_version, table.policy_version),
        ("highest peak in nA", facts.peak_na, table_peak_na(table)),
        ("hardware class", manifest.hardware_class, table.hardware_class),
    ):
        if expected != got:
            raise UpdateRefusedError(
                f"the waveform table has another {what} than its manifest says",
                expected=expected,
                got=got,
                where=f"waveform image of release {manifest.version}",
            )


def table_peak_na(table: WaveformTable) -> int:
    """Return the highest current of any level of any mode, nanoamps."""
    return max(
        abs(current_na)
        for mode in table.modes
        for level in mode.levels
        for current_na in (
            level.peak_na,
            *(end for segment in level.segments for end in (segment.start_na, segment.end_na)),
        )
    )


def _other_hardware(what: str, expected: str, got: str) -> UpdateRefusedError:
    return UpdateRefusedError(
        f"the {what} is for other hardware", expected=expected, got=got, where=what
    )


def _as_text(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat()
