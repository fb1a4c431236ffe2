"""Events of step `heads`: what a station signed of its chain, and saw of the others' chains.

Reads them, and compares them with the chains as they are. Who writes them, and when, is
`provisioning.ledger_meeting`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from provisioning.errors import Damage, LedgerDamageError, LedgerError
from provisioning.ledger_diagnosis import DAMAGE_HINT
from provisioning.ledger_events import format_time, parse_event
from provisioning.ledger_journal import read_end
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import IS_HEADS, events
from signing.hash_chain import GENESIS
from signing.refusal import Refusal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from provisioning.chain_heads import ChainHead, StationCertificates
    from provisioning.ledger_events import Event
    from provisioning.ledger_values import LedgerIdentity

_ROWS_AT_ONCE: Final = 100
_FORGED: Final = "what a station signed of its chain does not verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenChain:
    """How far a station's chain had come when another station looked.

    Attributes:
        station: Whose chain it is.
        count: How many events it had.
        head: Hash of the last.
        signed: The newest head that the station itself had signed; empty when there was none.
        certificate: The certificate that came with it; empty likewise.
    """

    station: str
    count: int
    head: bytes
    signed: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """An event of step `heads`.

    Attributes:
        number: Its place in the chain of the station that wrote it.
        at: When it was written, aware.
        signed: How far that chain had come, signed by the station.
        certificate: The station's certificate.
        product: The ledger's product.
        created_at: When the ledger was made, as `format_time` writes it.
        seen: How far the chains of the others had come.
    """

    number: int
    at: dt.datetime
    signed: bytes
    certificate: bytes
    product: str
    created_at: str
    seen: tuple[SeenChain, ...]


def read_heads(event: Event) -> Heads:
    """Return what an event of step `heads` says.

    Raises:
        LedgerError: It says it in another way than stations do.
    """
    data: Mapping[str, Any] = event.data
    try:
        seen = tuple(
            SeenChain(
                station=_text(one["station"]),
                count=_number(one["count"]),
                head=bytes.fromhex(one["head"]),
                signed=bytes.fromhex(one["signed"]),
                certificate=bytes.fromhex(one["certificate"]),
            )
            for one in data["seen"]
        )
        return Heads(
            number=event.number,
            at=event.at,
            signed=bytes.fromhex(data["signed"]),
            certificate=bytes.fromhex(data["certificate"]),
            product=_text(data["product"]),
            created_at=_text(data["created_at"]),
            seen=seen,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError(
            "an event of step heads is damaged",
            expected="a signed head, a certificate and what was seen of the others",
            got=repr(error)[:80],
            where=f"station {event.station}, event {event.number}",
            hint=DAMAGE_HINT,
        ) from error


def newest_heads(connection: Connection, station: str) -> Heads | None:
    """Return the newest event of step `heads` in a station's chain, unverified; `None` if none.

    Raises:
        LedgerError: The event is damaged.
    """
    row = connection.execute(
        select(events.c.content)
        .where(IS_HEADS, events.c.station == station)
        .order_by(events.c.number.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    where = f"station {station}, its newest heads"
    return read_heads(parse_event(check_row(row, events, where=where).content, where=where))


def audit_heads(
    connection: Connection, identity: LedgerIdentity, certificates: StationCertificates
) -> dict[str, int]:
    """Compare every chain with all that was ever signed or seen of it.

    The chains were walked before, and each is whole in itself.

    Args:
        connection: Inside a transaction that sees one state.
        identity: What the ledger says it is.
        certificates: Verifies heads against the factory CA.

    Returns:
        For each station how many of its events its newest signature covers.

    Raises:
        LedgerDamageError: A chain was changed or cut off since, or a signature does not verify;
            of all that is wrong the earliest.
    """
    covered: dict[str, int] = {}
    worst: LedgerDamageError | None = None
    statement = (
        select(events.c.station, events.c.number, events.c.content)
        .where(IS_HEADS)
        .order_by(events.c.station, events.c.number)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    for row in connection.execute(statement):
        event = parse_event(row.content, where=f"station {row.station}, event {row.number}")
        try:
            own = require_still_there(
                connection, identity, row.station, read_heads(event), certificates
            )
        except LedgerDamageError as error:
            if worst is None or (error.station, error.number) < (worst.station, worst.number):
                worst = error
        else:
            covered[row.station] = max(covered.get(row.station, 0), own.count)
    if worst is not None:
        raise worst
    return covered


def require_still_there(
    connection: Connection,
    identity: LedgerIdentity,
    station: str,
    heads: Heads,
    certificates: StationCertificates,
) -> ChainHead:
    """Return what a station signed, after it and all that was seen beside it was found again.

    Args:
        connection: Inside a transaction that sees one state.
        identity: What the ledger says it is.
        station: The station that wrote the event.
        heads: What the event says.
        certificates: Verifies heads against the factory CA.

    Raises:
        LedgerDamageError: A chain was changed or cut off since, or a signature does not verify.
    """
    own = verify_seen(
        identity, station, heads.signed, heads.certificate, certificates,
        told=(station, heads.number, format_time(heads.at)),
    )  # fmt: skip
    if own.count > heads.number or heads.product != identity.product or (
        heads.created_at != format_time(identity.created_at)
    ):  # fmt: skip
        raise LedgerDamageError(
            _FORGED,
            damage=Damage.FORGED,
            station=station,
            number=heads.number,
            at=format_time(heads.at),
            expected=f"{heads.product}, made {heads.created_at}, at most {heads.number} events",
            got=f"{identity.product}, made {format_time(identity.created_at)}, {own.count} events",
            hint=DAMAGE_HINT,
        )
    teller = f"station {station}, event {heads.number}"
    require_chain(connection, station, own.count, own.head, teller=f"its own signature, {teller}")
    for one in heads.seen:
        require_chain(connection, one.station, one.count, one.head, teller=teller)
        if one.signed:
            signed = verify_seen(
                identity, one.station, one.signed, one.certificate, certificates,
                told=(station, heads.number, format_time(heads.at)),
            )  # fmt: skip
            require_chain(
                connection, one.station, signed.count, signed.head,
                teller=f"its own signature, which {teller} keeps",
            )  # fmt: skip
    return own


def require_chain(
    connection: Connection, station: str, count: int, head: bytes, *, teller: str
) -> None:
    """Refuse a chain that no longer has what it had once.

    Args:
        connection: Inside a transaction that sees one state.
        station: Whose chain it is.
        count: How many events it had.
        head: Hash of the last of them.
        teller: Who says so.

    Raises:
        LedgerDamageError: It has fewer events now, or another one there.
    """
    if count == 0:
        if head == GENESIS:
            return
        row = None
    else:
        row = connection.execute(
            select(events.c.hash, events.c.at).where(
                events.c.station == station, events.c.number == count - 1
            )
        ).one_or_none()
    if row is not None and row.hash == head:
        return
    end = read_end(connection, station)
    is_shorter = end.count < count
    raise LedgerDamageError(
        "a chain has forgotten events" if is_shorter else "a chain was written anew",
        damage=Damage.TRUNCATED if is_shorter else Damage.EDITED,
        station=station,
        number=end.count if is_shorter else max(count - 1, 0),
        at=None if is_shorter or row is None or not isinstance(row.at, str) else row.at,
        expected=f"{count} events, the last {head.hex()[:16]}, as told by {teller}",
        got=f"{end.count} events" if is_shorter else "another event there, or before it",
        hint=DAMAGE_HINT,
    )


def verify_seen(
    identity: LedgerIdentity,
    station: str,
    signed: bytes,
    certificate: bytes,
    certificates: StationCertificates,
    *,
    told: tuple[str, int, str],
) -> ChainHead:
    """Return what a station signed of its chain.

    Args:
        identity: What the ledger says it is.
        station: The station that must have signed it.
        signed: The signed head.
        certificate: Certificate of the station.
        certificates: Verifies heads against the factory CA.
        told: Station, number and time of the event that holds it.

    Raises:
        LedgerDamageError: It does not verify, or is of another ledger or station.
    """
    teller, number, at = told
    try:
        head = certificates.verify(signed, certificate)
    except Refusal as error:
        raise LedgerDamageError(
            _FORGED,
            damage=Damage.FORGED, station=teller, number=number, at=at,
            expected=f"a head signed by {station}, with a certificate of this factory",
            got=str(error), hint=DAMAGE_HINT,
        ) from error  # fmt: skip
    expected = (identity.uuid, station)
    if (head.ledger_uuid, head.station) != expected or head.epoch > identity.epoch:
        raise LedgerDamageError(
            _FORGED,
            damage=Damage.FORGED, station=teller, number=number, at=at,
            expected=f"ledger {identity.uuid}, station {station}, epoch {identity.epoch} at most",
            got=f"ledger {head.ledger_uuid}, station {head.station}, epoch {head.epoch}",
            hint=DAMAGE_HINT,
        )  # fmt: skip
    return head


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("no count")
    return value
