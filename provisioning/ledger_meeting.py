"""What stations sign of their own chains, and write down of each other's, when they meet.

Stations meet whenever one of them opens or leaves the ledger (docs/spec/ledger-and-record-export.md
§8). It then signs how far its own chain has come, and writes that down with how far each of the
others has, in one event of its own chain. From then on nobody changes or cuts off what was there
without a contradiction: not even a station that writes its own chain anew.

One event at each end of a run, and one signature: no event of a job is signed or delayed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.chain_heads import ChainHead, sign_head
from provisioning.errors import StationError
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_heads import (
    SeenChain,
    newest_heads,
    require_still_there,
)
from provisioning.ledger_journal import append_event, list_stations, read_end, walk_chain
from provisioning.ledger_schema import HEADS_STEP
from signing.hash_chain import GENESIS

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.chain_heads import StationCertificates
    from provisioning.ledger import Ledger
    from provisioning.ledger_values import LedgerIdentity, Writer
    from signing.signers import Signer


def meet(
    ledger: Ledger,
    writer: Writer,
    *,
    signer: Signer,
    certificate: bytes,
    certificates: StationCertificates,
    is_first: bool = False,
) -> bool:
    """Sign how far the own chain has come, and write down how far the others have.

    What the others signed is verified first, and so is everything that this station signed or
    wrote down when it last did so: from then on those chains may only have grown.

    Args:
        ledger: The open ledger.
        writer: The station, and its clock.
        signer: The station's key.
        certificate: The station's certificate.
        certificates: Verifies heads against the factory CA.
        is_first: Whether the station is to be a new one: its name must never have been used, and
            an event is written whatever there is to say.

    Returns:
        Whether an event was written: none when nothing has happened since the last.

    Raises:
        LedgerDamageError: A chain was changed or cut off since it was signed or seen.
        StationError: Another station has this name.
        LedgerError: The database cannot be read or written.
        SigningError: The key cannot be used.
    """
    with ledger.database.reading() as connection:
        own, last = read_end(connection, writer.station), newest_heads(connection, writer.station)
        _require_own_name(connection, writer.station, certificate, certificates, is_first=is_first)
        start = (0, GENESIS)
        if last is not None:
            signed = require_still_there(
                connection, ledger.identity, writer.station, last, certificates
            )
            start = (signed.count, signed.head)
        for _ in walk_chain(connection, writer.station, first_number=start[0], head=start[1]):
            pass  # what is signed below is whole
        seen = tuple(
            _look_at(connection, ledger.identity, station, certificates)
            for station in list_stations(connection)
            if station != writer.station
        )
    has_grown = own.count > (0 if last is None else last.number + 1)
    known = () if last is None else last.seen
    has_news = {_place(one) for one in seen} - {_place(one) for one in known}
    if not (is_first or has_grown or has_news):
        return False
    ledger.database.flush()  # what is signed must never be forgotten
    signature = sign_head(
        ChainHead(
            ledger_uuid=ledger.identity.uuid,
            epoch=ledger.identity.epoch,
            station=writer.station,
            count=own.count,
            head=own.head,
            at=writer.now(),
        ),
        signer,
    )
    with ledger.database.writing() as connection:
        _require_own_name(connection, writer.station, certificate, certificates, is_first=is_first)
        append_event(
            connection, writer, epoch=ledger.identity.epoch, step=HEADS_STEP, phase=Phase.NOTE,
            data={
                "signed": signature.hex(),
                "certificate": certificate.hex(),
                "product": ledger.identity.product,
                "created_at": format_time(ledger.identity.created_at),
                "seen": [_document(one) for one in seen],
            },
            mac=None, reservation=None, at=writer.now(),
        )  # fmt: skip
    return True


def _look_at(
    connection: Connection,
    identity: LedgerIdentity,
    station: str,
    certificates: StationCertificates,
) -> SeenChain:
    """Return how far another station's chain has come; what it signed and saw last must hold."""
    end, heads = read_end(connection, station), newest_heads(connection, station)
    signed = certificate = b""
    if heads is not None:
        require_still_there(connection, identity, station, heads, certificates)
        signed, certificate = heads.signed, heads.certificate
    return SeenChain(
        station=station, count=end.count, head=end.head, signed=signed, certificate=certificate
    )


def _require_own_name(
    connection: Connection,
    station: str,
    certificate: bytes,
    certificates: StationCertificates,
    *,
    is_first: bool,
) -> None:
    """Refuse to write into the chain of another station of this name; under the write lock."""
    last = newest_heads(connection, station)
    if is_first:
        count = read_end(connection, station).count
        got = f"{station}, {count} events" if count else None
    elif last is None or last.certificate == certificate:
        return
    else:
        keys = {certificates.key_id(one) for one in (last.certificate, certificate)}
        got = f"{station}, with another key" if len(keys) > 1 else None
    if got is not None:
        raise StationError(
            "another station has this name",
            expected="a name that never wrote into the ledger" if is_first else "one key for it",
            got=got,
            hint="set another name under [station]: each station has a chain of its own",
        )


def _place(one: SeenChain) -> tuple[object, ...]:
    return one.station, one.count, one.head


def _document(one: SeenChain) -> dict[str, object]:
    return {
        "station": one.station,
        "count": one.count,
        "head": one.head.hex(),
        "signed": one.signed.hex(),
        "certificate": one.certificate.hex(),
    }
