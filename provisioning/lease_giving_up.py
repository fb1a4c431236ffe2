"""Puts an outbox away that the ledger cannot take over: its boards go into quarantine first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.check_entry import CheckEntry, LostCheck
from provisioning.check_history import read_checks
from provisioning.check_order import find_place
from provisioning.classification import (
    BoardClass,
    BoardIdentity,
    Classification,
    RecordCondition,
)
from provisioning.errors import LeaseError, LedgerError
from provisioning.lease_folder import find_lease_files, holding_lease
from provisioning.ledger_checks import settle_check, settle_lost
from provisioning.ledger_events import Phase
from provisioning.ledger_journal import list_stations, verify_station_chain
from provisioning.ledger_leases import find_lease
from provisioning.ledger_quarantine import open_quarantine
from provisioning.ledger_queries import find_by, list_units
from provisioning.ledger_schema import units
from provisioning.outbox_database import opened_outbox
from provisioning.outbox_events import GIVE_UP_STEP
from provisioning.outbox_memory import has_forgotten

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.check_entry import ToldCheck
    from provisioning.lease_folder import LeaseFiles
    from provisioning.ledger import Ledger
    from provisioning.ledger_values import UnitRecord, Writer

REASON_MAX_LENGTH: Final = 120
_DAMAGE_MAX_LENGTH: Final = 400
_GIVEN_UP: Final = "read under a lease that was given up"
_LOST: Final = "what was read under a lease that was given up is lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """What came of giving an outbox up.

    Attributes:
        boards: Serial numbers of the boards that are in quarantine now.
        held: Serial numbers of the ledger's units that are on hold now, because a check standard
            was read bad under the lease.
        archive: Where the outbox lies.
        damage: Why nobody can say which boards it had; `None` when it could be read.
        instruments: Serial numbers of the instruments that count as not good now, because a reading
            of the outbox may be lost.
    """

    boards: tuple[str, ...]
    held: tuple[str, ...]
    archive: Path
    damage: str | None
    instruments: tuple[str, ...]


def give_up(folder: Path, ledger: Ledger, writer: Writer, *, reason: str) -> GivenUp | None:
    """Put away an outbox that the ledger cannot take over, and its boards into quarantine.

    Args:
        folder: The station's folder.
        ledger: The factory's ledger.
        writer: The station.
        reason: What happened, for the record.

    Returns:
        What was done; `None` when the station holds no lease.

    Raises:
        LeaseError: There is no reason, or another command works with the lease.
        LedgerError: A database cannot be read or written; done again, it goes on.
        StationError: The files cannot be put away.
    """
    if not 1 <= len(reason) <= REASON_MAX_LENGTH or not reason.isprintable():
        raise LeaseError(
            "giving an outbox up needs a reason",
            expected=f"1 to {REASON_MAX_LENGTH} printable characters",
            got=f"{len(reason)} characters",
            hint="say with --reason what happened to the folder or the ledger",
        )
    with holding_lease(folder, is_alone=True):
        files = find_lease_files(folder)
        if files is None:
            return None
        made, bad, damage = _read_outbox(files)
        lost = damage or _why_lost(files)
        boards = []
        for unit in made:
            with ledger.database.reading() as connection:
                known = find_by(connection, units.c.mac == unit.mac)
            if known is not None and known.serial == unit.serial:
                continue
            boards.append(unit.serial)
            classification = Classification(
                board_class=BoardClass.FOREIGN,
                reason=f"made as {unit.serial} under a lease that was given up: {reason}",
                is_quarantined=True,
            )
            identity = BoardIdentity(condition=RecordCondition.UNREADABLE)
            open_quarantine(
                ledger, writer, mac=unit.mac, classification=classification, identity=identity
            )
        held = _hold_what_it_knew(ledger, writer, bad)
        instruments: tuple[str, ...] = ()
        if lost is not None:
            instruments, in_doubt = _hold_what_it_may_have_known(ledger, writer, files, lost)
            held += in_doubt
        ledger.append(
            writer, step=GIVE_UP_STEP, phase=Phase.CONFIRM,
            data={
                "request": files.request.hex(), "reason": reason, "boards": len(boards),
                "damage": damage,
            },
        )  # fmt: skip
        return GivenUp(
            boards=tuple(boards), held=held, archive=files.archive(), damage=damage,
            instruments=instruments,
        )  # fmt: skip


def _hold_what_it_knew(ledger: Ledger, writer: Writer, bad: list[ToldCheck]) -> tuple[str, ...]:
    """Put on hold what the ledger has of the units that a bad reading of the outbox concerns.

    Else the next good reading would release them, as if nobody had found the instrument wrong. A
    reading that the ledger took over, or was told before a kill, is not told again.
    """
    held: list[str] = []
    for told in bad:
        with ledger.database.writing() as connection:
            facts = told.reading.facts()
            known = read_checks(connection, writer.station, instrument=facts.instrument)
            if any(_is_it(one, told) for one in known):
                continue
            reasons = (_GIVEN_UP, *told.entry.reasons)
            after = find_place(connection, writer.station, told.entry.after, lease=told.station)
            result = settle_check(
                connection, ledger, writer, facts, after=after, reasons_before=reasons
            )
            held += result.held
    return tuple(held)


def _hold_what_it_may_have_known(
    ledger: Ledger, writer: Writer, files: LeaseFiles, lost: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put on hold what a bad reading would concern that is lost with the outbox.

    Of each instrument that ever read a standard at the station: which of them it used under the
    lease, nobody can say.

    Returns:
        Serial numbers of the instruments, and of the units.
    """
    held: list[str] = []
    with ledger.database.writing() as connection:
        record = find_lease(connection, request=files.request)
        under = files.request.hex() if record is None else record.name
        told = [one.entry for one in read_checks(connection, writer.station)]
        instruments = tuple(dict.fromkeys(entry.instrument for entry in told))
        known = {
            entry.instrument
            for entry in told
            if isinstance(entry, LostCheck) and entry.under == under
        }
        for instrument in instruments:
            if instrument not in known:
                held += settle_lost(
                    connection, ledger, writer, instrument=instrument, under=under,
                    reasons=(_LOST, lost),
                )  # fmt: skip
    return instruments, tuple(held)


def _why_lost(files: LeaseFiles) -> str | None:
    """Return why readings of an outbox may be lost of which the boards can be told."""
    try:
        with opened_outbox(files.outbox) as outbox:
            with outbox.database.reading() as connection:
                for chain in list_stations(connection):
                    verify_station_chain(connection, chain)
                    read_checks(connection, chain)
            if has_forgotten(outbox, files.outbox):
                return "the outbox is an older copy of itself"
    except (LeaseError, LedgerError) as error:
        return str(error)[:_DAMAGE_MAX_LENGTH]
    return None


def _read_bad(outbox: Ledger) -> list[ToldCheck]:
    """Return the bad readings of an outbox; none of one in which a reading is damaged."""
    try:
        with outbox.database.reading() as connection:
            return [
                told
                for chain in list_stations(connection)
                for told in read_checks(connection, chain)
                if not told.entry.is_good
            ]
    except LedgerError:  # its boards can be told all the same, and must be
        return []


def _is_it(known: ToldCheck, told: ToldCheck) -> bool:
    """Whether the ledger tells a reading of the outbox already."""
    if not isinstance(known.entry, CheckEntry) or known.entry.facts() != told.reading.facts():
        return False
    under = known.entry.taken_under
    if under is None:
        return _GIVEN_UP in known.entry.reasons
    return (under.chain, under.number) == (told.station, told.number)


def _read_outbox(
    files: LeaseFiles,
) -> tuple[tuple[UnitRecord, ...], list[ToldCheck], str | None]:
    """Return boards and bad readings of an outbox, and why they cannot be told if they cannot."""
    try:
        with opened_outbox(files.outbox) as outbox:
            return list_units(outbox.database), _read_bad(outbox), None
    except (LeaseError, LedgerError) as error:
        return (), [], str(error)[:_DAMAGE_MAX_LENGTH]
