"""Lets a board into the workflow, or keeps it out: what is it, and may it be worked on?

Between finding the chip and giving it a number. Reads the board's own record through the flash
loader, asks the ledger, classifies (`classification`), and puts into quarantine what must not be
worked on. Erases a record that a supervisor let be erased. Implements docs/spec/provisioning.md §3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_images.bundle_contents import DEVICE_RECORD_PARTITION
from firmware_images.device_record import IDENTITY_SECTORS
from firmware_images.flash_medium import SECTOR_BYTES
from provisioning.classification import (
    IDENTITY_RECORD_BYTES,
    BoardClass,
    BoardIdentity,
    Classification,
    RecordCondition,
    classify_board,
    parse_board_identity,
)
from provisioning.errors import (
    FlashError,
    HeldUnitError,
    QuarantineError,
    ReleaseOrderError,
    StationError,
)
from provisioning.flash_admission import refuse_out_of_order
from provisioning.ledger_board_view import view_board
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_quarantine import find_quarantine, open_quarantine
from provisioning.ledger_values import UnitState

if TYPE_CHECKING:
    from firmware_images.partitions import Partition
    from provisioning.device_link import DeviceLink
    from provisioning.flasher import Flasher
    from provisioning.ledger_values import Quarantine, UnitRecord
    from provisioning.locked_board import FoundBoard
    from provisioning.station import Station

ERASE_STEP: Final = "erase-record"
NOT_ADMITTED: Final = (QuarantineError, HeldUnitError, ReleaseOrderError)
"""What `admit_board` keeps a board out with; nothing was written to it."""


def admit_board(
    station: Station,
    flasher: Flasher,
    board: FoundBoard,
    *,
    other_slot: str | None,
    again: bool,
) -> Classification:
    """Say what the board is, and refuse what must not be worked on.

    Args:
        station: What all slots share.
        flasher: It has just found the chip.
        board: What was found; of a locked one, what its application proved.
        other_slot: Another slot in which a chip with this MAC is worked on, if there is one.
        again: Whether a unit that passed already is worked on.

    Returns:
        What the board is.

    Raises:
        QuarantineError: The board is in quarantine, from now on or from before; or it must wait
            for the ledger, which is out of reach.
        HeldUnitError: The unit is on hold.
        ReleaseOrderError: The station's release is not the next one for it.
        FlashError: Its flash cannot be read, or a record cannot be erased.
    """
    mac = board.mac
    refuse_quarantined(station, mac)
    opened = station.opened
    if opened.outbox is not None and not opened.is_offline:
        # Before the ledger knows more of it: should it vanish now, the outbox must not guess.
        opened.outbox.remember(mac)
    identity = read_identity(station, flasher) if board.identity is None else board.identity
    if opened.outbox is not None and opened.is_offline:
        opened.outbox.require_own(mac, identity)
    view = None
    if other_slot is not None:
        classification = Classification(
            board_class=BoardClass.CLONE,
            reason=f"slot {other_slot} works on a chip with the same MAC at this moment",
            is_quarantined=True,
        )
    else:
        view = view_board(station.ledger, mac, identity)
        classification = classify_board(mac, identity, view)
    if classification.is_quarantined:
        quarantine = open_quarantine(
            station.ledger,
            station.writer,
            mac=mac,
            classification=classification,
            identity=identity,
        )
        raise _quarantined(quarantine)
    unit = None if view is None else view.unit
    if unit is not None and unit.state is UnitState.HOLD:
        raise _held(unit)
    # A locked board is not flashed, and one that is left alone is not either.
    if not board.is_locked and not _is_left_alone(unit, again=again):
        refuse_out_of_order(station, flasher, mac, unit)
    if classification.must_erase_record:
        _erase_record(station, flasher, mac, identity)
    return classification


def _is_left_alone(unit: UnitRecord | None, *, again: bool) -> bool:
    return unit is not None and unit.state is UnitState.PASS and not again


def refuse_quarantined(station: Station, mac: bytes) -> None:
    """Refuse a board that is in quarantine; asked again before each step of its work.

    Raises:
        QuarantineError: It is.
    """
    quarantine = find_quarantine(station.ledger, mac)
    if quarantine is not None:
        raise _quarantined(quarantine)


def require_same_board(link: DeviceLink, mac: bytes) -> None:
    """Refuse what was found out when another board lies in the slot by now.

    Args:
        link: The board's application.
        mac: MAC of the chip that was found at the start.

    Raises:
        StationError: Another chip answers.
        ProvisioningError: Nothing answers.
    """
    found = link.read_info().mac
    if found != mac:
        raise StationError(
            "another board is in the slot than at the start",
            expected=mac.hex(":"),
            got=found.hex(":"),
            where=link.where,
            hint="nothing was judged; put the boards back, and start the slots again",
        )


def _partition(station: Station) -> Partition:
    return station.bundle.partition_table.find(DEVICE_RECORD_PARTITION)


def read_identity(station: Station, flasher: Flasher) -> BoardIdentity:
    """Return what an open board's flash says of it.

    Raises:
        FlashError: It cannot be read.
    """
    offset_bytes = _partition(station).offset_bytes + IDENTITY_SECTORS[0] * SECTOR_BYTES
    content = flasher.read(offset_bytes, IDENTITY_RECORD_BYTES)
    if content is None:
        return BoardIdentity(condition=RecordCondition.UNREADABLE)
    return parse_board_identity(content)


def _erase_record(station: Station, flasher: Flasher, mac: bytes, identity: BoardIdentity) -> None:
    data = {"record_digest": identity.digest.hex(), "serial": identity.serial}
    ledger, writer, partition = station.ledger, station.writer, _partition(station)
    ledger.append(writer, step=ERASE_STEP, phase=Phase.INTENT, data=data, mac=mac)
    # The identity last: while it is there, a power cut leaves what the supervisor let be erased.
    begin_bytes = partition.offset_bytes + IDENTITY_SECTORS[0] * SECTOR_BYTES
    end_bytes = begin_bytes + IDENTITY_RECORD_BYTES
    flasher.erase(partition.offset_bytes, begin_bytes - partition.offset_bytes)
    flasher.erase(end_bytes, partition.offset_bytes + partition.size_bytes - end_bytes)
    flasher.erase(begin_bytes, IDENTITY_RECORD_BYTES)
    left = flasher.read(partition.offset_bytes, partition.size_bytes)
    if left is None or left.strip(b"\xff"):
        raise FlashError(
            "the board's old identity was not erased",
            expected="erased flash",
            got="other content",
            where=mac.hex(":"),
            hint="the flash may be worn out: take the board out of the line",
        )
    ledger.append(writer, step=ERASE_STEP, phase=Phase.CONFIRM, data=data, mac=mac)


def _quarantined(quarantine: Quarantine) -> QuarantineError:
    mac = quarantine.mac.hex(":")
    hint = f"put it aside; a supervisor decides: `ampforge unit release {mac} --reason TEXT`"
    if quarantine.board_class == BoardClass.FOREIGN.value:
        hint += ", or `ampforge unit adopt` for a board that a restored ledger lost"
    return QuarantineError(
        f"this board is in quarantine: {quarantine.reason}",
        expected="a new board, or one of this ledger with its own identity",
        got=quarantine.board_class,
        where=mac,
        hint=hint,
    )


def _held(unit: UnitRecord) -> HeldUnitError:
    return HeldUnitError(
        "this unit is on hold: a check standard failed after it was measured",
        expected="a unit that may be worked on",
        got=f"{UnitState.HOLD.value} since {format_time(unit.changed_at)}",
        where=f"{unit.serial}, {unit.mac.hex(':')}",
        hint="put it aside, and find out what the check standard found; then a supervisor sends it "
        f"to rework: `ampforge unit rework {unit.serial} --reason TEXT`",
    )
