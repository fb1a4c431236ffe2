"""Says what lies on the fixture, from the chip's MAC, the board's own record and the ledger.

Nothing here talks to a board or a database. The rules are docs/spec/provisioning.md §3, in order:
the first that fits decides. A board that must not be worked on has a reason to be quarantined.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from firmware_images.device_record import parse_identity
from firmware_images.errors import RecordError
from firmware_images.flash_medium import SECTOR_BYTES, MemoryFlash
from firmware_images.record_slots import SLOT_COUNT, RecordSlots
from provisioning.ledger_values import UnitState

if TYPE_CHECKING:
    from provisioning.ledger_values import UnitRecord

IDENTITY_RECORD_BYTES: Final = SLOT_COUNT * SECTOR_BYTES


class BoardClass(StrEnum):
    """What a board on the fixture is."""

    NEW = "new"
    """Neither it nor its number is known: it gets one."""
    RESUME = "resume"
    """A job on it is open: it goes on."""
    RE_ENTRY = "re-entry"
    """Its last job is closed: left alone if it passed, else tested again."""
    REWORK = "rework"
    """A supervisor ordered it to be worked on again."""
    FOREIGN = "foreign"
    """It has an identity that this ledger never gave."""
    CLONE = "clone"
    """It has the identity, or the MAC, of another board."""


class RecordCondition(StrEnum):
    """What was found where a board keeps its identity."""

    PRESENT = "present"
    BLANK = "blank"
    UNREADABLE = "unreadable"
    """Other content, encrypted, or not to be read: says nothing about the board."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardIdentity:
    """What a board says of itself in its flash, unverified.

    Attributes:
        condition: Whether there is a record.
        serial: Serial number; empty unless present.
        mac: MAC that it was made for; empty unless present.
        digest: SHA-256 of the two sectors; names exactly this content.
    """

    condition: RecordCondition
    serial: str = ""
    mac: bytes = b""
    digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerView:
    """What the ledger knows of a MAC and of the identity that the board has.

    Attributes:
        unit: The unit with this MAC.
        has_open_job: Whether a job on it is open.
        named_unit: The unit with the serial number that the board's record names.
        replaced_in: Serial number of the unit that this module was taken out of.
        is_erasable: Whether a supervisor let exactly this record of this MAC be erased.
    """

    unit: UnitRecord | None = None
    has_open_job: bool = False
    named_unit: UnitRecord | None = None
    replaced_in: str | None = None
    is_erasable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What a board is, and what follows.

    Attributes:
        board_class: What it is.
        reason: One sentence, why.
        is_quarantined: Whether nothing may be done to it.
        must_erase_record: Whether its identity is erased before anything else.
    """

    board_class: BoardClass
    reason: str
    is_quarantined: bool = False
    must_erase_record: bool = False


def parse_board_identity(untrusted_bytes: bytes) -> BoardIdentity:
    """Return what the two sectors of the identity record say.

    Args:
        untrusted_bytes: Both sectors as they were read, 8192 bytes.
    """
    if len(untrusted_bytes) != IDENTITY_RECORD_BYTES:
        return BoardIdentity(condition=RecordCondition.UNREADABLE)
    flash = MemoryFlash(IDENTITY_RECORD_BYTES)
    flash.content[:] = untrusted_bytes
    digest = hashlib.sha256(untrusted_bytes).digest()
    try:
        record = RecordSlots(flash, 0, name="identity record").load()
        if record is None:
            return BoardIdentity(condition=RecordCondition.BLANK, digest=digest)
        identity = parse_identity(record.payload)
    except RecordError:
        return BoardIdentity(condition=RecordCondition.UNREADABLE, digest=digest)
    return BoardIdentity(
        condition=RecordCondition.PRESENT,
        serial=identity.serial,
        mac=identity.mac,
        digest=digest,
    )


def classify_board(mac: bytes, identity: BoardIdentity, view: LedgerView) -> Classification:
    """Say what a board is (docs/spec/provisioning.md §3).

    Args:
        mac: MAC that the chip's eFuses say, 6 bytes.
        identity: What its flash says.
        view: What the ledger says about both.
    """
    stranger = _find_stranger(mac, identity, view)
    if stranger is not None:
        board_class, reason = stranger
        known = _classify_known(view, is_record_there=False)
        if known.is_quarantined or not view.is_erasable or view.replaced_in is not None:
            return Classification(board_class=board_class, reason=reason, is_quarantined=True)
        return Classification(
            board_class=known.board_class,
            reason=f"{reason}; a supervisor lets it be erased",
            must_erase_record=True,
        )
    return _classify_known(view, is_record_there=identity.condition is not RecordCondition.BLANK)


def _find_stranger(
    mac: bytes, identity: BoardIdentity, view: LedgerView
) -> tuple[BoardClass, str] | None:
    if view.replaced_in is not None:
        return BoardClass.CLONE, (
            f"this module was taken out of unit {view.replaced_in} and must not come back"
        )
    if identity.condition is not RecordCondition.PRESENT:
        return None
    held = f"it has the identity {identity.serial}"
    owner_mac = identity.mac if view.named_unit is None else view.named_unit.mac
    others = {identity.mac, owner_mac} - {mac}
    if others:
        return BoardClass.CLONE, f"{held} of chip {min(others).hex(':')}"
    if view.unit is None:
        return BoardClass.FOREIGN, f"{held}, and this ledger knows neither"
    if identity.serial != view.unit.serial:
        return BoardClass.FOREIGN, f"{held}, and this ledger gave it {view.unit.serial}"
    return None


def _classify_known(view: LedgerView, *, is_record_there: bool) -> Classification:
    unit = view.unit
    if unit is None:
        return Classification(board_class=BoardClass.NEW, reason="no unit has this MAC")
    if unit.state is UnitState.REWORK:
        reason = f"a supervisor ordered {unit.serial} to be worked on again"
        return Classification(board_class=BoardClass.REWORK, reason=reason)
    if view.has_open_job:
        reason = f"a job on {unit.serial} is open"
        return Classification(board_class=BoardClass.RESUME, reason=reason)
    if unit.state is UnitState.PASS and not is_record_there:
        reason = f"{unit.serial} passed, and its identity is gone from its flash"
        return Classification(board_class=BoardClass.RE_ENTRY, reason=reason, is_quarantined=True)
    return Classification(
        board_class=BoardClass.RE_ENTRY, reason=f"{unit.serial} was judged: {unit.state.value}"
    )
