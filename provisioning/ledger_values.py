"""Values of the ledger: states, rows, and who writes."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from provisioning.errors import LedgerError
from provisioning.ledger_events import CHAIN_PATTERN
from provisioning.serial_formats import STANDARD_FORMAT, SerialFormat
from signing.value_class import dataclass

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable


class SerialState(StrEnum):
    """How far a serial number has come."""

    RESERVED = "reserved"
    """Given to a MAC; the board may not know it yet."""
    ASSIGNED = "assigned"
    """The board proved that it holds the key of this number's certificate."""
    RELEASED = "released"
    """The unit passed."""
    VOIDED = "voided"
    """Never to be used: it may have been given by a ledger that was lost."""


class UnitState(StrEnum):
    """Where a unit stands."""

    IN_WORK = "in-work"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    CONDITIONAL_PASS = "conditional-pass"  # noqa: S105 - a verdict, not a password
    CONDITIONAL_FAIL = "conditional-fail"
    FAIL = "fail"
    REWORK = "rework"
    """A supervisor ordered it to be worked on again; it waits for the board."""
    HOLD = "hold"
    """The check standard failed after it was measured; it waits for a supervisor."""


class JobState(StrEnum):
    """Where a job stands."""

    OPEN = "open"
    CLOSED = "closed"
    ABANDONED = "abandoned"
    """The station went on with another bundle, or the module was replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who writes into the ledger, and with which clock and source of job names.

    Attributes:
        station: Name of the station: lower case letters, digits and hyphens; or of a lease.
        now: Returns the present moment, aware.
        new_job: Returns a job name that was never used, at most 36 characters.
        run: Name of this run of the station, never used before, at most 36 characters; `None`
            for a writer that owns no job.
    """

    station: str
    now: Callable[[], dt.datetime]
    new_job: Callable[[], str]
    run: str | None = None

    def __post_init__(self) -> None:
        if CHAIN_PATTERN.fullmatch(self.station) is None:
            raise LedgerError(
                "the station's name cannot be written in a ledger",
                expected="1 to 64 of a-z 0-9 -",
                got=repr(self.station),
                hint="set name under [station] in ampforge.toml",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerIdentity:
    """Which ledger this is: no two have the same UUID, and a restored one has another epoch.

    Attributes:
        uuid: Name of the ledger.
        epoch: 1, and one more with each restore.
        product: Product whose units are counted.
        created_at: When `station init` made it, aware.
        opening: Name of the restore that opened the epoch; `None` in the first.
        serial_format: What its serial numbers look like, all of them.
    """

    uuid: str
    epoch: int
    product: str
    created_at: dt.datetime
    opening: str | None = None
    serial_format: SerialFormat = STANDARD_FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A board's serial number and the job that works on it.

    Attributes:
        serial: Serial number.
        mac: Chip MAC, 6 bytes.
        job: Name of the job; `None` when the unit passed before and nothing is to be done.
        job_number: 1 for the unit's first job.
        opened_at: When the job was opened, or the unit's last change when there is no job.
        is_new: The number was given just now.
        is_resumed: The job was open already.
        unit_state: Where the unit stood before.
        bundle_digest: Release that the unit was last worked on with, 32 bytes.
    """

    serial: str
    mac: bytes
    job: str | None
    job_number: int | None
    opened_at: dt.datetime
    is_new: bool
    is_resumed: bool
    unit_state: UnitState
    bundle_digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRecord:
    """One unit as the ledger knows it."""

    serial: str
    mac: bytes
    state: UnitState
    bundle_digest: bytes
    last_job: str | None
    first_seen_at: dt.datetime
    changed_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job as the ledger knows it."""

    job: str
    serial: str
    number: int
    station: str
    bundle_digest: bytes
    state: JobState
    outcome: UnitState | None
    opened_at: dt.datetime
    closed_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialRecord:
    """One serial number as the ledger knows it."""

    serial: str
    state: SerialState
    mac: bytes | None
    reserved_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A board that must not be worked on.

    Attributes:
        mac: MAC of its chip.
        serial: Its serial number, if the ledger gave it one.
        board_class: What it was taken for (`classification.BoardClass`).
        reason: Why, one sentence.
        opened_at: When it was found.
        closed_at: When a supervisor let it out, or `None`.
        event_hash: Hash of the event that opened the quarantine, 32 bytes.
    """

    mac: bytes
    serial: str | None
    board_class: str
    reason: str
    opened_at: dt.datetime
    closed_at: dt.datetime | None
    event_hash: bytes
