"""A ledger that three stations worked on, and ways to change it behind their backs.

Each change is made inside a transaction that is undone afterwards, so that one ledger serves for
hundreds of them; what is verified in that transaction is what a committed change would show.
"""

from __future__ import annotations

import datetime as dt
import itertools
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from provisioning.chain_heads import StationCertificates
from provisioning.classification import (
    BoardClass,
    BoardIdentity,
    Classification,
    RecordCondition,
)
from provisioning.errors import LedgerError
from provisioning.ledger import Ledger
from provisioning.ledger_events import Phase, chain_event, format_time, parse_event
from provisioning.ledger_quarantine import open_quarantine
from provisioning.ledger_schema import events, metadata
from provisioning.ledger_supervision import carry_out, prepare_order
from provisioning.ledger_units import find_unit
from provisioning.ledger_values import SerialState, UnitState, Writer
from provisioning.ledger_verification import verify_state
from provisioning.ledger_witness import load_witness, require_witnessed, save_witness
from provisioning.station import meet_others
from provisioning.station_keys import StationKeys
from provisioning.supervision import Act, sign_act
from signing.certificate_issuing import create_ca_certificate, issue_station_certificate
from signing.hash_chain import GENESIS
from tests.provisioning.ledger_sites import START, reserve
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

NAMES = ("station-1", "station-2", "station-3")
NOW = START + dt.timedelta(days=1)
_CLOCK = itertools.count(1)
_JOBS = itertools.count(1)


@cache
def keys_of(name: str, ca: str = "tampered ca") -> StationKeys:
    """Keys and certificate of a station; each name has its own."""
    ca_signer, signer = fixed_signer(ca), fixed_signer(f"{ca} {name}")
    ca_der = create_ca_certificate(ca_signer, common_name="Flare factory CA", not_before=START)
    return StationKeys(
        ca_signer=ca_signer,
        ca_der=ca_der,
        station_signer=signer,
        station_der=issue_station_certificate(
            ca_signer, ca_der, signer.public_key, station_name=name, not_before=START
        ),
    )


def certificates() -> StationCertificates:
    return StationCertificates(keys_of(NAMES[0]).ca_der, now=NOW)


def writer_of(name: str) -> Writer:
    return Writer(
        station=name,
        now=lambda: START + dt.timedelta(milliseconds=next(_CLOCK)),
        new_job=lambda: f"job-{next(_JOBS)}",
        run=f"run-{next(_JOBS)}",
    )


@contextmanager
def at_work(
    address: Any, folder: Path, name: str, *, is_remembering: bool = True
) -> Iterator[tuple[Ledger, Writer]]:
    """A station that opens the ledger, works, and leaves it in good order.

    Without its memory it has only what stations signed to go by.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    ledger, writer, keys = Ledger.open(address), writer_of(name), keys_of(name)
    try:
        if is_remembering:
            require_witnessed(folder / name, ledger, station=name)
        save_witness(folder / name, ledger, station=name)
        meet_others(ledger, writer, keys, now=NOW)
        yield ledger, writer
        meet_others(ledger, writer, keys, now=NOW)
        save_witness(folder / name, ledger, station=name, is_closed=True)
    finally:
        ledger.close()


def work_a_day(address: Any, folder: Path) -> None:
    """Two shifts of three stations: jobs that pass, fail and go on, quarantine and orders."""
    for name, state in zip(NAMES, (UnitState.PASS, UnitState.FAIL, None), strict=True):
        with at_work(address, folder, name) as (ledger, writer):
            work(ledger, writer, mac=name[-1].encode() * 6, state=state)
    with at_work(address, folder, NAMES[0]) as (ledger, writer):
        mac = b"1" * 6
        reserve(ledger, writer, mac=mac, again=True)
        open_quarantine(
            ledger, writer, mac=b"q" * 6, identity=BoardIdentity(
                condition=RecordCondition.PRESENT, serial="X", mac=mac, digest=bytes(32)
            ),
            classification=Classification(
                board_class=BoardClass.FOREIGN, reason="from elsewhere", is_quarantined=True
            ),
        )  # fmt: skip
        order(ledger, writer, Act.RELEASE, b"q" * 6)
        order(ledger, writer, Act.REBIND, mac, new_mac=b"m" * 6)
    with at_work(address, folder, NAMES[1]) as (ledger, writer):
        order(ledger, writer, Act.REWORK, b"2" * 6)
        work(ledger, writer, mac=b"2" * 6, state=UnitState.PASS)
    with at_work(address, folder, NAMES[2]) as (ledger, writer):
        work(ledger, replace(writer, run="run-again"), mac=b"3" * 6, state=None)


def work(ledger: Ledger, writer: Writer, *, mac: bytes, state: UnitState | None) -> None:
    reservation = reserve(ledger, writer, mac=mac)
    ledger.append(writer, step="flash", phase=Phase.INTENT, data={}, reservation=reservation)
    ledger.append(
        writer, step="identity", phase=Phase.CONFIRM, data={"key": "k"}, reservation=reservation,
        serial_state=SerialState.ASSIGNED,
    )  # fmt: skip
    if state is not None:
        ledger.finish(writer, reservation=reservation, unit_state=state, data={"reasons": []})


def order(ledger: Ledger, writer: Writer, act: Act, mac: bytes, *, new_mac: bytes = b"") -> None:
    wish = prepare_order(ledger, writer, act=act, mac=mac, reason="looked at it", new_mac=new_mac)
    carry_out(ledger, writer, wish, sign_act(wish, [fixed_signer("supervisor")]))
    assert act is Act.RELEASE or find_unit(ledger.database, mac=new_mac or mac)


@dataclass(slots=True)
class Tampered:
    """The ledger inside a transaction that is undone at the end."""

    ledger: Ledger
    folder: Path
    connection: Connection

    def rows(self, station: str) -> list[dict[str, Any]]:
        chosen = select(events).where(events.c.station == station).order_by(events.c.number)
        return [dict(row._mapping) for row in self.connection.execute(chosen)]

    def change(self, of_station: str, place: int, /, **values: object) -> None:
        statement = update(events).where(events.c.station == of_station, events.c.number == place)
        self.connection.execute(statement.values(**values))

    def remove(self, station: str, *numbers: int) -> None:
        for number in numbers:
            statement = delete(events)
            self.connection.execute(
                statement.where(events.c.station == station, events.c.number == number)
            )

    def add(self, row: dict[str, Any]) -> None:
        self.connection.execute(insert(events).values(**row))

    def replace_chain(self, station: str, contents: list[Any]) -> None:
        """Write a chain anew: numbers, links and columns all fit, as a knowing forger does it."""
        self.connection.execute(delete(events).where(events.c.station == station))
        head = GENESIS
        for number, event in enumerate(contents):
            chained = chain_event(replace(event, number=number, station=station), previous=head)
            head = chained.hash
            self.add(row_of(chained))

    def contents(self, station: str) -> list[Any]:
        return [parse_event(row["content"], where="") for row in self.rows(station)]

    def verify(self, name: str | None) -> None:
        """Verify as the station of a name, with its memory; `None` has no memory."""
        witness = None if name is None else load_witness(self.folder / name)
        verify_state(
            self.connection, self.ledger.identity, certificates=certificates(), witness=witness,
            where="test",
        )  # fmt: skip

    def finding(self, name: str | None) -> LedgerError | None:
        """Return what the station of a name finds; `None` if it finds nothing."""
        try:
            self.verify(name)
        except LedgerError as error:
            return error
        return None

    def found_by(self) -> dict[str, LedgerError]:
        """Return what each station finds, if it finds something."""
        findings = ((name, self.finding(name)) for name in NAMES)
        return {name: error for name, error in findings if error is not None}


def row_of(chained: Any) -> dict[str, Any]:
    event = chained.event
    return {
        "station": event.station, "number": event.number, "at": format_time(event.at),
        "job": event.job, "serial": event.serial, "step": event.step, "phase": event.phase.value,
        "content": chained.content, "previous": chained.previous, "hash": chained.hash,
    }  # fmt: skip


@contextmanager
def tampering(ledger: Ledger, folder: Path) -> Iterator[Tampered]:
    """A transaction in which everything may be changed, undone at the end."""
    with ledger.database._engine.connect() as connection:
        transaction = connection.begin()
        try:
            if connection.dialect.name == "sqlite":
                connection.execute(text("PRAGMA defer_foreign_keys = ON"))
            else:
                connection.execute(text("SET LOCAL session_replication_role = replica"))
            yield Tampered(ledger, folder, connection)
        finally:
            transaction.rollback()


def cells() -> list[tuple[str, str]]:
    """Every column of every table but those of the ledger's identity."""
    return [
        (table.name, column.name)
        for table in metadata.sorted_tables
        for column in table.columns
        if table.name != "ledger_identity"
    ]


def is_refused_by_the_database(act: Any) -> bool:
    """Do something that a constraint may forbid; what cannot be stored need not be found."""
    try:
        act()
    except DBAPIError:
        return True
    return False
