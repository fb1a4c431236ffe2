"""A station takes a lease: asked for, kept, signed, confirmed; killed anywhere, it goes on there.

Implements docs/spec/lease.md §3. The order is what makes it safe: the request is on the station's
disk before the ledger keeps a block for it, the signed document before the ledger is told of it,
and no number is given before all of that is written into the outbox.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from provisioning.errors import LeaseError
from provisioning.held_lease import verify_held
from provisioning.lease import REQUEST_BYTES, Lease, sign_lease
from provisioning.lease_acts import confirm_lease, require_possible, take_block
from provisioning.lease_folder import find_lease_files, holding_lease
from provisioning.ledger_events import Phase
from provisioning.ledger_leases import LEASE_STEP
from provisioning.ledger_values import Writer
from provisioning.offline_ledger import read_use
from provisioning.outbox_chips import remember_all_chips
from provisioning.outbox_database import create_outbox, opened_outbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioning.lease_acts import TakenBlock
    from provisioning.lease_folder import LeaseFiles
    from provisioning.ledger import Ledger
    from provisioning.ledger_leases import LeaseRecord
    from signing.signers import Signer


def take_lease(
    folder: Path,
    ledger: Ledger,
    writer: Writer,
    signer: Signer,
    *,
    prefix: str,
    model: str,
    count: int,
    days: int,
    random_bytes: Callable[[int], bytes],
) -> LeaseRecord:
    """Take a lease for a station that holds none; one that was begun is completed.

    Args:
        folder: The station's folder.
        ledger: The factory's ledger.
        writer: The station.
        signer: The station's key.
        prefix: Maker's code of the serial numbers.
        model: Model code of the serial numbers.
        count: How many numbers; of a request that the ledger answered before, its own count holds.
        days: For how long, likewise.
        random_bytes: That many bytes nobody can predict.

    Raises:
        LeaseError: The station holds a lease, or the folder is an older copy.
        SerialNumberError: The week has not that many numbers left.
        LedgerError: A database cannot be read or written.
        SigningError: The lease cannot be signed.
    """
    require_possible(writer.station, count=count, days=days)
    with holding_lease(folder, is_alone=True):
        files = _prepare(folder, ledger, random_bytes)
        with opened_outbox(files.outbox) as outbox:
            block = take_block(
                ledger, writer, request=files.request, prefix=prefix, model=model, count=count,
                days=days,
            )  # fmt: skip
            document = _document(files, ledger, block, writer=writer, signer=signer)
            digest = hashlib.sha256(document).digest()
            record = confirm_lease(ledger, writer, request=files.request, document_digest=digest)
            # Between the request and now the station may have met boards, and not said so here.
            remember_all_chips(outbox, ledger)
            own = Writer(
                station=record.name, now=writer.now, new_job=writer.new_job, run=writer.run
            )
            outbox.append(
                own, step=LEASE_STEP, phase=Phase.CONFIRM,
                data={"lease": record.name, "document": digest.hex()},
            )  # fmt: skip
    return record


def _prepare(folder: Path, ledger: Ledger, random_bytes: Callable[[int], bytes]) -> LeaseFiles:
    """Return an outbox that was made for a request to this very ledger, and never used."""
    files = find_lease_files(folder)
    if files is not None:
        with opened_outbox(files.outbox) as outbox:
            use, asked = read_use(outbox), outbox.identity
        if use.is_complete:
            raise LeaseError(
                "the station holds a lease already",
                expected="none",
                got=f"one of which {use.given} numbers were given",
                where=files.outbox,
                hint="`ampforge serials status` shows it; give it back first: "
                "`ampforge serials lease --give-back`",
            )
        there = ledger.identity
        if (asked.uuid, asked.epoch, asked.opening) == (there.uuid, there.epoch, there.opening):
            return files
        files.discard()  # asked of a ledger that was restored since; nothing was given
    return create_outbox(folder, random_bytes(REQUEST_BYTES), ledger)


def _document(
    files: LeaseFiles, ledger: Ledger, block: TakenBlock, *, writer: Writer, signer: Signer
) -> bytes:
    """Return the signed lease on the disk, made now unless the ledger was told of one before."""
    record, identity = block.record, ledger.identity
    if record.document_digest is not None:
        held = verify_held(files, station=writer.station, now=writer.now())
        document = files.read_document()
        if document is None or held.place != files.place():
            raise LeaseError(
                "the lease was made in another folder, of which this is a copy",
                expected="the folder that asked for it",
                got="another file, or another machine",
                where=files.document,
                hint="go on in the folder that asked for it",
            )
        return document
    lease = Lease(
        ledger_uuid=identity.uuid, epoch=record.epoch, opening=identity.opening,
        station=record.station, number=record.number, request=record.request,
        prefix=record.prefix, model=record.model, year=record.year, week=record.week,
        first_sequence=record.first_sequence, last_sequence=record.last_sequence,
        issued_at=record.issued_at, expires_at=record.expires_at,
        event_count=block.event_count, head=block.head, place=files.place(),
        serial_format=identity.serial_format,
    )  # fmt: skip
    files.save_document(sign_lease(lease, signer))
    document = files.read_document()  # as it can be read back, that is what counts
    assert document is not None, "it was written just now"
    verify_held(files, station=writer.station, now=writer.now())
    return document
