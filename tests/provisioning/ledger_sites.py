"""Where the ledger's tests keep their ledgers: in a file, and on a real PostgreSQL server."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.ledger_address import parse_ledger_address
from provisioning.ledger_creation import create_ledger
from provisioning.ledger_values import Writer

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.ledger import Ledger
    from provisioning.ledger_address import LedgerAddress
    from tests.postgres_server import PostgresServer

START = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)
MAC = bytes.fromhex("7cdfa1000001")
BUNDLE = bytes(range(32))
BACK_ENDS = ("sqlite", "postgres")
_JOBS = itertools.count(1)
_TEMPLATE = "ledger_template"


@dataclass(frozen=True, slots=True)
class Site:
    """A place for one ledger, and a way to edit it behind Ampforge's back."""

    address: LedgerAddress
    server: PostgresServer | None = None

    def edit(self, statement: str) -> None:
        if self.server is None:
            with sqlite3.connect(self.address) as database:
                database.execute(statement)
            return
        statement = re.sub(r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')", statement)
        statement = re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", statement)
        self.server.execute(statement, database=self.address.database)

    def dump(self) -> object:
        """Return everything that is in the ledger, for a comparison before and after."""
        if self.server is None:
            with sqlite3.connect(self.address) as database:
                return list(database.iterdump())
        tables = self.server.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
            database=self.address.database,
        )
        return {
            name: sorted(
                map(repr, self.server.execute(f"TABLE {name}", database=self.address.database))
            )
            for (name,) in tables
        }


def empty_site(back_end: str, folder: Path, request) -> Site:
    """Return a place where there is no ledger yet."""
    if back_end == "sqlite":
        return Site(folder / "station" / "ledger.sqlite3")
    server = request.getfixturevalue("postgres")
    url = server.url(server.create_database())
    return Site(parse_ledger_address(url, root=folder), server)


def made_site(back_end: str, folder: Path, request) -> Site:
    """Return a place with a new ledger of epoch 1."""
    if back_end == "sqlite":
        site = empty_site(back_end, folder, request)
        create(site.address)
        return site
    server = request.getfixturevalue("postgres")
    if (_TEMPLATE,) not in server.execute("SELECT datname FROM pg_database"):
        server.execute(f"CREATE DATABASE {_TEMPLATE}")
        create(parse_ledger_address(server.url(_TEMPLATE), root=folder))
    return site_from_template(server, _TEMPLATE, folder)


def site_from_template(server: PostgresServer, database: str, folder: Path) -> Site:
    """Return a place with a copy of a database that nobody is connected to."""
    url = server.url(server.create_database(options=f"TEMPLATE {database}"))
    return Site(parse_ledger_address(url, root=folder), server)


def create(address):
    return create_ledger(address, product="flare", ledger_uuid="uuid-1", created_at=START)


def a_writer(station="station-1", *, start=START):
    ticks = itertools.count()
    return Writer(
        station=station,
        now=lambda: start + dt.timedelta(milliseconds=next(ticks)),
        new_job=lambda: f"{station}-job-{next(_JOBS)}",
    )


def reserve(ledger: Ledger, writer: Writer, **changes):
    arguments = {
        "mac": MAC, "prefix": "AMP", "model": "FLR", "bundle_digest": BUNDLE, "again": False,
    }  # fmt: skip
    return ledger.reserve(writer, **{**arguments, **changes})
