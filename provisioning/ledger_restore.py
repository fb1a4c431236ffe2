"""Makes a ledger from a backup: in a new epoch, and with the numbers of the lost time void.

What the lost ledger gave between the backup and its end is not known. It can only have been
numbers of its own epoch (`provisioning.ledger_epochs`), so the new epoch cannot give one of them
again, whatever was lost. The ranges they lie in are written down as void, so that a label from that
time is explained. Complete or not at all; never over a ledger that is there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import select, update

from provisioning.chain_heads import StationCertificates
from provisioning.errors import LedgerError
from provisioning.ledger import Ledger
from provisioning.ledger_audit import audit_ledger
from provisioning.ledger_backup_reading import BackupReader
from provisioning.ledger_backup_rows import insert_rows, require_chains
from provisioning.ledger_connection import ConnectionQuestions
from provisioning.ledger_database import create_database
from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.ledger_events import Phase, format_time, parse_time
from provisioning.ledger_formats import read_format
from provisioning.ledger_heads import audit_heads
from provisioning.ledger_journal import append_event
from provisioning.ledger_lost_ranges import find_lost_ranges
from provisioning.ledger_migrations import migrate
from provisioning.ledger_schema import ledger_identity
from provisioning.ledger_values import LedgerIdentity
from provisioning.ledger_voids import RESTORE_STEP, VoidedRange, void_range
from provisioning.ledger_witness import load_witness, save_witness
from provisioning.station_files import find_ca_certificate

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from provisioning.ledger_address import LedgerAddress
    from provisioning.ledger_backup_reading import BackupHeader
    from provisioning.ledger_values import Writer

REASON_MAX_LENGTH: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore made.

    Attributes:
        identity: The ledger, in its new epoch.
        taken_at: Moment of the backup, aware.
        voided: The ranges that became void.
        chains: Count and head of each station's chain.
        lost_event_count: How many events the restoring station is known to have lost, at least.
    """

    identity: LedgerIdentity
    taken_at: dt.datetime
    lost_event_count: int
    voided: tuple[VoidedRange, ...]
    chains: dict[str, tuple[int, bytes]]


def restore_ledger(
    backup: Path,
    address: LedgerAddress,
    writer: Writer,
    *,
    opening: str,
    reason: str,
    first_free_epoch: int = 1,
    ledger_uuid: str | None = None,
    ca_der: bytes | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Restored:
    """Make a ledger from a backup, in a new epoch, after all of it was verified.

    Args:
        backup: A file that `write_backup` wrote.
        address: Where the ledger is to be: no file, or an empty database.
        writer: Station whose chain tells of the restore, and its clock.
        opening: A new name for the epoch, at most 36 characters.
        reason: Why, for the record.
        first_free_epoch: The lowest epoch that nobody has seen; the backup may be older than
            an earlier restore.
        ledger_uuid: The ledger that it must be of, if that is known.
        ca_der: Certificate of the factory CA, if that is known: what stations signed is verified.
        on_progress: Told how much of the verification is done.

    Raises:
        LedgerError: The backup is damaged, of another ledger or from the future, or there is a
            ledger already. Nothing was made.
    """
    if not 1 <= len(reason) <= REASON_MAX_LENGTH or not reason.isprintable():
        raise LedgerError(
            "the reason cannot be written down",
            expected=f"1 to {REASON_MAX_LENGTH} printable characters",
            got=f"{len(reason)} characters",
            hint="say in a few words what happened to the ledger",
        )
    with BackupReader.open(backup) as reader:
        header, now = reader.header, writer.now()
        _require_restorable(header, now, ledger_uuid=ledger_uuid, where=backup)
        epoch = max(header.ledger.epoch + 1, first_free_epoch)
        sequences_of_epoch(epoch)  # refused before anything is made
        certificates = StationCertificates(ca_der, now=now)
        results: list[Restored] = []

        def fill(connection: Connection) -> None:
            insert_rows(connection, reader)
            require_chains(connection, header, where=backup)
            migrate(connection)
            identity = _open_epoch(connection, header, epoch=epoch, opening=opening)
            append_event(
                connection, writer, epoch=epoch, step=RESTORE_STEP, phase=Phase.CONFIRM,
                data={
                    "opening": opening, "reason": reason, "backup_sha256": reader.sha256,
                    "taken_at": header.taken_at, "backup_epoch": header.ledger.epoch,
                    "chains": {name: list(chain) for name, chain in header.chains.items()},
                },
                mac=None, reservation=None, at=now,
            )  # fmt: skip
            voided = tuple(find_lost_ranges(connection, header, identity, now=now, reason=reason))
            for void in voided:
                void_range(connection, writer, epoch=epoch, void=void, at=now)
            results.append(
                Restored(
                    identity=identity,
                    taken_at=parse_time(header.taken_at),
                    lost_event_count=0,
                    voided=voided,
                    chains=audit_ledger(
                        connection,
                        identity,
                        on_progress=on_progress,
                        on_chains=lambda within: audit_heads(within, identity, certificates),
                        ca_der=ca_der,
                    ),
                )
            )

        create_database(address, fill=fill, revision=header.revision)
    return results[0]


def restore_for_station(
    backup: Path,
    address: LedgerAddress,
    writer: Writer,
    *,
    folder: Path,
    opening: str,
    reason: str,
    first_free_epoch: int = 1,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Restored:
    """Restore as `restore_ledger`, with what the station remembers of the lost ledger.

    Args:
        backup: A file that `write_backup` wrote.
        address: Where the ledger is to be.
        writer: The station, and its clock.
        folder: The station's folder; what it remembers is brought up to date.
        opening: A new name for the epoch.
        reason: Why, for the record.
        first_free_epoch: As for `restore_ledger`; the station's own memory may raise it.
        on_progress: Told how much of the verification is done.

    Raises:
        LedgerError: As for `restore_ledger`, or the backup is not of this station's ledger.
        StationError: The station's memory cannot be read.
    """
    witness = load_witness(folder)
    if witness is not None:
        first_free_epoch = max(first_free_epoch, witness.epoch + 1)
    restored = restore_ledger(
        backup,
        address,
        writer,
        opening=opening,
        reason=reason,
        first_free_epoch=first_free_epoch,
        ledger_uuid=None if witness is None else witness.uuid,
        ca_der=find_ca_certificate(folder),
        on_progress=on_progress,
    )
    if witness is not None and witness.station == writer.station:
        # The restore itself and each void are events of this chain that were not in the backup.
        count = restored.chains[writer.station][0] - 1 - len(restored.voided)
        restored = replace(restored, lost_event_count=max(0, witness.count - count))
    if folder.is_dir():
        ledger = Ledger.open(address)
        try:
            save_witness(folder, ledger, station=writer.station, is_closed=True)
        finally:
            ledger.close()
    return restored


def _require_restorable(
    header: BackupHeader, now: dt.datetime, *, ledger_uuid: str | None, where: Path
) -> None:
    if ledger_uuid is not None and header.ledger.uuid != ledger_uuid:
        raise LedgerError(
            "the backup is of another ledger",
            expected=ledger_uuid,
            got=header.ledger.uuid,
            where=where,
            hint="use a backup of this station's own ledger",
        )
    if parse_time(header.taken_at) > now:
        raise LedgerError(
            "the backup is from the future",
            expected=f"a moment before {format_time(now)}",
            got=header.taken_at,
            where=where,
            hint="set this machine's clock: it says which weeks may have lost numbers",
        )


def _open_epoch(
    connection: Connection, header: BackupHeader, *, epoch: int, opening: str
) -> LedgerIdentity:
    connection.execute(update(ledger_identity).values(epoch=epoch, opening=opening))
    row = connection.execute(select(ledger_identity)).one_or_none()
    if row is None or (row.uuid, row.product) != (header.ledger.uuid, header.ledger.product):
        raise LedgerError(
            "the backup's header is of another ledger than its rows",
            expected=f"{header.ledger.uuid}, {header.ledger.product}",
            got="none" if row is None else f"{row.uuid}, {row.product}",
            hint="use another copy of it, or another backup",
        )
    return LedgerIdentity(
        uuid=row.uuid,
        epoch=epoch,
        product=row.product,
        created_at=parse_time(row.created_at),
        opening=opening,
        serial_format=read_format(ConnectionQuestions(connection)),
    )
