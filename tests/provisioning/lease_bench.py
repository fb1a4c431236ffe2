"""A factory with stations that take leases: folders with keys, one clock, one ledger anywhere."""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioning.lease_folder import find_lease_files
from provisioning.lease_sync import synchronise
from provisioning.lease_taking import take_lease
from provisioning.ledger import Ledger
from provisioning.ledger_address import parse_ledger_address
from provisioning.ledger_events import Phase
from provisioning.ledger_values import SerialState, UnitState, Writer
from provisioning.ledger_witness import save_witness
from provisioning.serial_formats import STANDARD_PICTURE, parse_format
from provisioning.station_founding import create_station
from provisioning.station_joining import join_station
from provisioning.station_ledger import open_station_ledger
from signing.key_uris import load_signer
from tests.provisioning.ledger_sites import Site, empty_site, site_from_template

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.ledger_address import LedgerAddress
    from tests.postgres_server import PostgresServer

START = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)
UUID = "6f0c3a52-7f5e-4f0e-9c1b-5b1f6d3a9e11"
BUNDLE = bytes(range(32))
NOWHERE = "elsewhere/ledger.sqlite3"


def mac_of(number: int) -> bytes:
    return bytes([2, 0, 0]) + number.to_bytes(3, "big")


@dataclass
class Factory:
    """Stations of one factory; the clock is set by hand and ticks by itself."""

    root: Path
    address: LedgerAddress
    clock: dt.datetime = START
    jobs_from: int = 1
    requests: itertools.count = field(default_factory=lambda: itertools.count(1))
    server: PostgresServer | None = None

    def __post_init__(self) -> None:
        self.names = itertools.count(self.jobs_from)

    def dump(self) -> object:
        """Return everything that is in the ledger."""
        return Site(self.address, self.server).dump()

    def lose_ledger(self) -> None:
        """Take the ledger away; from now on its address is an empty place."""
        if self.server is None:
            shutil.move(self.address.parent, self.root.parent / "lost")
        else:
            url = self.server.url(self.server.create_database())
            self.address = parse_ledger_address(url, root=self.root)

    def now(self) -> dt.datetime:
        self.clock += dt.timedelta(milliseconds=1)
        return self.clock

    def writer(self, station: str = "station-1") -> Writer:
        return Writer(
            station=station,
            now=self.now,
            new_job=lambda: f"{station}-job-{next(self.names)}",
            run=f"{station}-run",
        )

    def folder(self, station: str = "station-1") -> Path:
        return self.root / station

    def open(self) -> Ledger:
        return Ledger.open(self.address)

    def begin(self, *, picture: str = STANDARD_PICTURE) -> Factory:
        create_station(
            self.folder(), product="flare", station_name="station-1", ledger_uuid=UUID,
            now=START - dt.timedelta(days=1), passphrase=None, is_test_key=True,
            ledger=self.address, serial_format=parse_format(picture),
        )  # fmt: skip
        ledger = self.open()
        save_witness(self.folder(), ledger, station="station-1")  # as whoever writes first does
        ledger.close()
        return self

    def join(self, station: str) -> None:
        join_station(
            self.folder(station), self.folder(), self.address, product="flare",
            station_name=station, now=START - dt.timedelta(days=1), passphrase=None,
        )  # fmt: skip

    def take(self, station: str = "station-1", *, count: int = 5, days: int = 7, ledger=None):
        opened = ledger or self.open()
        try:
            return take_lease(
                self.folder(station), opened, self.writer(station),
                load_signer(str(self.folder(station) / "station.pem"), passphrase=None),
                prefix="AMP", model="FLR", count=count, days=days,
                random_bytes=lambda size: next(self.requests).to_bytes(size, "big"),
            )  # fmt: skip
        finally:
            if ledger is None:
                opened.close()

    def sync(self, station: str = "station-1", **options):
        ledger = self.open()
        try:
            return synchronise(self.folder(station), ledger, self.writer(station), **options)
        finally:
            ledger.close()

    def offline(self, station: str = "station-1"):
        """Open what the station works with while the ledger is out of reach."""
        return open_station_ledger(self.folder(station), self.root / NOWHERE, self.writer(station))

    def outbox(self, station: str = "station-1") -> Path:
        files = find_lease_files(self.folder(station))
        assert files is not None
        return files.outbox


class FactoryTemplate:
    """A factory that was just set up, to be copied: its folders, and its ledger on either side.

    Args:
        root: An empty folder.
        stations: Those that join `station-1`.
    """

    def __init__(self, root: Path, *, stations: tuple[str, ...] = ()) -> None:
        self._root = root
        self._stations = stations
        self._databases: dict[str, str] = {}

    def copy(self, back_end: str, folder: Path, request) -> Factory:
        """Return a factory of its own for one test."""
        made = self._root / back_end
        if back_end == "sqlite":
            if not made.exists():
                self._make(made, made / "server" / "ledger.sqlite3")
            shutil.copytree(made, folder)
            return Factory(folder / "stations", folder / "server" / "ledger.sqlite3")
        server = request.getfixturevalue("postgres")
        if back_end not in self._databases:
            site = empty_site(back_end, made, request)
            self._make(made, site.address)
            self._databases[back_end] = site.address.database
        shutil.copytree(made, folder)
        site = site_from_template(server, self._databases[back_end], folder)
        return Factory(folder / "stations", site.address, server=server)

    def _make(self, folder: Path, address: LedgerAddress) -> None:
        factory = Factory(folder / "stations", address)
        factory.begin()
        for station in self._stations:
            factory.join(station)


def reserve(opened, number: int, **changes):
    """Give a board its number, through whatever ledger a station has."""
    ledger, writer = (opened.ledger, opened.writer) if hasattr(opened, "ledger") else opened
    arguments = {
        "mac": mac_of(number), "prefix": "AMP", "model": "FLR", "bundle_digest": BUNDLE,
        "again": False,
    }  # fmt: skip
    return ledger.reserve(writer, **{**arguments, **changes})


def work(opened, reservation, *steps: str, verdict: UnitState | None = UnitState.PASS) -> None:
    """Do what a station writes down about one board."""
    ledger, writer = (opened.ledger, opened.writer) if hasattr(opened, "ledger") else opened
    for step in steps or ("flash", "identity", "record", "verify"):
        for phase in (Phase.INTENT, Phase.CONFIRM):
            is_proof = (step, phase) == ("identity", Phase.CONFIRM)
            ledger.append(
                writer, step=step, phase=phase, data={"of": step}, reservation=reservation,
                serial_state=SerialState.ASSIGNED if is_proof else None,
            )  # fmt: skip
    if verdict is not None:
        ledger.finish(writer, reservation=reservation, unit_state=verdict, data={"reasons": []})


def make_offline(factory, *numbers, verdict=UnitState.PASS):
    """Work on boards without the ledger; return what each was told."""
    opened = factory.offline()
    given = [reserve(opened, number) for number in numbers]
    for one in given:
        work(opened, one, verdict=verdict)
    opened.close()
    return given
