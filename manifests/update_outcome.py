"""How a session ends, the rules it keeps, and the words in which a device remembers its last one.

The update state in flash has one text, `last_outcome`. It is one of the `Remembered` words, for a
reverted update followed by `: ` and the reason, for one that is written or has passed its self-test
by `: ` and how many first boots it did not confirm (docs/spec/device-report.md §4).

While an update is pending, `passed` and `reverted, report due` are the verdict on it. They are
noted before otadata says VALID or INVALID: what otadata says alone may be what a torn write left.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING

from firmware_images.flash_medium import SECTOR_BYTES
from manifests.device_report import ReportedResult

if TYPE_CHECKING:
    from firmware_images.device_record import UpdateState

REMEMBERED_MAX_LENGTH = 64
FIRST_BOOTS_MAX = 3
"""A release may fail to confirm so many first boots: a power cut looks like a crash."""
DEFAULT_MINIMUM_BATTERY_PERCENT = 30
DEFAULT_CHUNK_BYTES = 16 * SECTOR_BYTES


@unique
class Remembered(StrEnum):
    """What the device knows of its last update."""

    NOTHING = ""
    DOWNLOADING = "downloading"
    PASSED = "passed"
    INSTALLED_REPORT_DUE = "installed, report due"
    INSTALLED = "installed"
    REVERTED_REPORT_DUE = "reverted, report due"
    REVERTED = "reverted"


@unique
class UpdateResult(StrEnum):
    """How a session ended."""

    UP_TO_DATE = "up to date"
    NOT_SELECTED = "not selected"
    HALTED = "halted"
    REBOOT_NEEDED = "reboot needed"
    INSTALLED = "installed"
    REVERTED = "reverted"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRules:
    """What the product's integrator may set.

    Attributes:
        minimum_battery_percent: Below it nothing is installed and nothing reboots.
        chunk_bytes: Whole sectors asked for at a time; at most 4096 through a gateway.
        allows_reinstall: Install the release that the device has, or one that it reverted: for
            a service station.
    """

    minimum_battery_percent: int = DEFAULT_MINIMUM_BATTERY_PERCENT
    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    allows_reinstall: bool = False

    def __post_init__(self) -> None:
        assert self.chunk_bytes > 0
        assert self.chunk_bytes % SECTOR_BYTES == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateOutcome:
    """The end of one session.

    Attributes:
        result: What happened.
        message: The same for a person.
        release_counter: The release that is in force on the device now.
        is_report_due: Whether a report still waits for a server to take it.
    """

    result: UpdateResult
    message: str
    release_counter: int
    is_report_due: bool = False


def remembered_word(state: UpdateState) -> Remembered:
    """Return what a device remembers, without the reason; unknown words count as nothing."""
    word = state.last_outcome.partition(":")[0]
    return Remembered(word) if word in set(Remembered) else Remembered.NOTHING


def remembered_reason(state: UpdateState) -> str:
    """Return why the last update was reverted; empty otherwise."""
    return state.last_outcome.partition(": ")[2]


def reverted_text(word: Remembered, reason: str) -> str:
    """Return the text for a reverted update, cut to what the flash record holds."""
    printable = "".join(c if c.isascii() and c.isprintable() else "?" for c in reason)
    return f"{word}: {printable}"[:REMEMBERED_MAX_LENGTH]


def unconfirmed_text(word: Remembered, first_boots: int) -> str:
    """Return the text for a release that did not confirm so many first boots, perhaps none."""
    return f"{word}: {first_boots} of {FIRST_BOOTS_MAX} boots" if first_boots else str(word)


def unconfirmed_boots(state: UpdateState, manifest_digest: bytes) -> int:
    """Return how many first boots a release did not confirm."""
    texts = {
        unconfirmed_text(word, count): count
        for word in (Remembered.DOWNLOADING, Remembered.PASSED)
        for count in range(1, FIRST_BOOTS_MAX)
    }
    if state.last_manifest_digest != manifest_digest:
        return 0
    return texts.get(state.last_outcome, 0)


def noted_verdict(state: UpdateState) -> Remembered | None:
    """Return PASSED or REVERTED_REPORT_DUE if that was noted of the pending update, else `None`."""
    word = remembered_word(state)
    is_about_it = (
        state.pending is not None and state.last_manifest_digest == state.pending.manifest_digest
    )
    is_verdict = word in {Remembered.PASSED, Remembered.REVERTED_REPORT_DUE}
    return word if is_about_it and is_verdict else None


def due_report(state: UpdateState) -> ReportedResult | None:
    """Return what the device still has to report, if anything."""
    match remembered_word(state):
        case Remembered.INSTALLED_REPORT_DUE:
            return ReportedResult.INSTALLED
        case Remembered.REVERTED_REPORT_DUE:
            return ReportedResult.REVERTED
        case _:
            return None
