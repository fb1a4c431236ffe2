"""Verifies a whole ledger: its chains, what stations signed of them, and every row.

The one look behind `ledger verify`, `station report --verify`, `station recover` and
`station check`. What each part can find, and what none of them can:
docs/spec/ledger-and-record-export.md §8.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.chain_heads import StationCertificates
from provisioning.errors import LedgerError
from provisioning.ledger_audit import audit_ledger
from provisioning.ledger_heads import audit_heads
from provisioning.ledger_witness import compare_witness, load_witness
from provisioning.station_files import CA_CERTIFICATE_NAME, find_ca_certificate, read_certificate

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from provisioning.ledger import Ledger
    from provisioning.ledger_values import LedgerIdentity
    from provisioning.ledger_witness import Witness


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedChain:
    """One station's chain, whole.

    Attributes:
        station: The station.
        count: How many events it has.
        head: Hash of the last, 32 bytes.
        signed_count: How many of them, from the first, a signature of the station covers.
    """

    station: str
    count: int
    head: bytes
    signed_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedLedger:
    """What was verified, and by what.

    Attributes:
        identity: Which ledger.
        address: Where it lies, without a password.
        chains: The stations' chains.
        is_signature_verified: Whether signatures were verified: the factory CA was known.
        is_witnessed: Whether the station's own memory of the ledger was there to compare with.
    """

    identity: LedgerIdentity
    address: str
    chains: tuple[VerifiedChain, ...]
    is_signature_verified: bool
    is_witnessed: bool

    @property
    def event_count(self) -> int:
        """How many events there are."""
        return sum(chain.count for chain in self.chains)


def verify_ledger(
    ledger: Ledger,
    *,
    folder: Path,
    now: dt.datetime,
    is_ca_needed: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> VerifiedLedger:
    """Verify every event, chain, signature and row of a ledger.

    Args:
        ledger: The open ledger.
        folder: The station's folder: the factory CA, and what the station remembers.
        now: The present, aware.
        is_ca_needed: Refuse to look without the factory CA; else the result says that it was not
            there.
        on_progress: Told how many of how many events and units were looked at.

    Returns:
        What was verified.

    Raises:
        LedgerDamageError: An event was edited, deleted, reordered, cut off or forged; of all that
            is wrong in the chains the first.
        LedgerError: It is another ledger than the station worked with, or a row contradicts the
            events.
        StationError: The station's memory, or a CA that is needed, cannot be read.
    """
    ca_der = (
        read_certificate(folder / CA_CERTIFICATE_NAME)
        if is_ca_needed
        else find_ca_certificate(folder)
    )
    certificates = StationCertificates(ca_der, now=now)
    witness = load_witness(folder)  # before the ledger, which may go on meanwhile
    while True:
        try:
            return _look(
                ledger, certificates=certificates, witness=witness, on_progress=on_progress
            )
        except LedgerError:
            before, witness = witness, load_witness(folder)
            if witness == before:
                raise  # else the station went on between the two looks


def _look(
    ledger: Ledger,
    *,
    certificates: StationCertificates,
    witness: Witness | None,
    on_progress: Callable[[int, int], None],
) -> VerifiedLedger:
    address = str(ledger.database.address)
    with ledger.database.reading() as connection:
        chains, covered = verify_state(
            connection,
            ledger.identity,
            certificates=certificates,
            witness=witness,
            where=address,
            on_progress=on_progress,
        )
    return VerifiedLedger(
        identity=ledger.identity,
        address=address,
        chains=tuple(
            VerifiedChain(
                station=station, count=count, head=head, signed_count=covered.get(station, 0)
            )
            for station, (count, head) in chains.items()
        ),
        is_signature_verified=certificates.is_verifying,
        is_witnessed=witness is not None,
    )


def verify_state(
    connection: Connection,
    identity: LedgerIdentity,
    *,
    certificates: StationCertificates,
    witness: Witness | None,
    where: str,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[dict[str, tuple[int, bytes]], dict[str, int]]:
    """Verify the ledger as one transaction sees it.

    Args:
        connection: Inside that transaction.
        identity: What the ledger says it is.
        certificates: Verifies heads against the factory CA.
        witness: What a station remembers of the ledger, if anything.
        where: The ledger's address, for messages.
        on_progress: Told how many of how many events and units were looked at.

    Returns:
        Count and head of each station's chain, and how many of its events are signed.

    Raises:
        LedgerError: As `verify_ledger`.
    """
    covered: dict[str, int] = {}

    def on_chains(connection: Connection) -> None:
        covered.update(audit_heads(connection, identity, certificates))
        if witness is not None:
            compare_witness(connection, identity, witness, where=where)

    chains = audit_ledger(
        connection,
        identity,
        on_progress=on_progress,
        on_chains=on_chains,
        ca_der=certificates.ca_der,
    )
    return chains, covered
