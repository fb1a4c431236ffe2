"""Whatever the network, the clock, kills and people do: each number in one state, none to two.

One station may be cut off and work under a lease, another never is. Boards carry what was written
into them, go from one station to the other, and meet a ledger that knows more or less of them. At
the end everything is synchronised, and every number that a board was ever told is explained.
"""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

import provisioning.lease_sync
from provisioning.classification import BoardIdentity, RecordCondition, classify_board
from provisioning.errors import LeaseError, LedgerError, QuarantineError, SetAsideError
from provisioning.lease_acts import declare_lost
from provisioning.lease_folder import find_lease_files
from provisioning.lease_sync import synchronise
from provisioning.ledger_board_view import view_board
from provisioning.ledger_leases import is_void, list_lease_records, unused_ranges
from provisioning.ledger_quarantine import find_quarantine, list_quarantines, open_quarantine
from provisioning.ledger_queries import list_serials, list_units
from provisioning.ledger_schema import voided_ranges
from provisioning.ledger_supervision import carry_out, prepare_order
from provisioning.ledger_values import UnitState
from provisioning.ledger_witness import writing_as_station
from provisioning.serial_numbers import parse_serial
from provisioning.station_ledger import open_station_ledger
from provisioning.supervision import Act, sign_act
from tests.conftest import IS_SOAK
from tests.firmware_images.release_parts import signer
from tests.provisioning.lease_bench import NOWHERE, FactoryTemplate, mac_of, reserve, work

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.provisioning.lease_bench import Factory

pytestmark = pytest.mark.no_cover  # what it repeats is counted elsewhere

BOARDS = st.integers(1, 4)
STATIONS = st.sampled_from(["station-1", "station-2"])
VERDICTS = st.sampled_from([None, UnitState.PASS, UnitState.FAIL])
EVENTS_PER_PART = 6
BLANK = BoardIdentity(condition=RecordCondition.BLANK, digest=bytes(32))


class KilledError(Exception):
    """Stands for the end of the process."""


class FragileDatabase:
    """A database that ends its process before or after its n-th commit."""

    def __init__(self, database, commits, *, is_after):
        self._database = database
        self._left = commits
        self._is_after = is_after

    def __getattr__(self, name):
        return getattr(self._database, name)

    @contextmanager
    def writing(self, *arguments, **options):
        self._left -= 1
        with self._database.writing(*arguments, **options) as connection:
            yield connection
            if self._left == 0 and not self._is_after:
                raise KilledError
        if self._left == 0 and self._is_after:
            raise KilledError


@pytest.fixture(scope="module", autouse=True)
def copies(request, tmp_path_factory):
    """What the machines begin with; hypothesis makes them itself, and gives them no fixtures."""
    template = FactoryTemplate(tmp_path_factory.mktemp("template"), stations=("station-2",))
    LeaseMachine.copy = staticmethod(
        lambda back_end, folder: template.copy(back_end, folder, request)
    )


class LeaseMachine(RuleBasedStateMachine):
    back_end = "sqlite"
    copy: Callable[[str, Path], Factory]

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="ampforge-leases-"))
        self.factory = self.copy(self.back_end, self.root / "factory")
        self.is_cut = False
        self.was_given_back = False
        self.told: dict[str, bytes] = {}
        self.records: dict[bytes, BoardIdentity] = {}
        self.part = provisioning.lease_sync.EVENTS_PER_PART
        provisioning.lease_sync.EVENTS_PER_PART = EVENTS_PER_PART

    @initialize()
    def begin_with_a_lease(self):
        self.factory.take(count=3, days=2)

    def teardown(self):
        try:
            self.everything_that_was_told_is_explained_in_the_end()
        finally:
            provisioning.lease_sync.EVENTS_PER_PART = self.part
            shutil.rmtree(self.root)

    def station(self, name):
        is_cut = self.is_cut and name == "station-1"
        address = self.factory.root / NOWHERE if is_cut else self.factory.address
        return open_station_ledger(self.factory.folder(name), address, self.factory.writer(name))

    @contextmanager
    def as_second_station(self, ledger):
        """Write a word as `station-2`, as each command does that."""
        with writing_as_station(self.factory.folder("station-2"), ledger, station="station-2"):
            yield self.factory.writer("station-2")

    @rule(number=BOARDS, name=STATIONS, verdict=VERDICTS, has_identity=st.booleans())
    def put_on_a_fixture(self, number, name, verdict, has_identity):
        """As `unit_admission` and `unit_run` do it."""
        mac = mac_of(number)
        try:
            opened = self.station(name)
        except LedgerError:
            assert self.is_cut
            assert find_lease_files(self.factory.folder()) is None
            return
        except LeaseError as error:
            # Given back and killed before its files were gone: nobody may use it, nor the station.
            usual = {"the lease has ended"} if self.was_given_back else set()
            if not self.is_cut or ("expired" not in error.what and error.what not in usual):
                raise
            return
        try:
            self.work_on(opened, mac, number, verdict, has_identity=has_identity)
        except (QuarantineError, LeaseError):
            pass
        finally:
            opened.close()

    def work_on(self, opened, mac, number, verdict, *, has_identity):
        identity = self.records.get(mac, BLANK)
        if opened.outbox is not None and not opened.is_offline:
            opened.outbox.remember(mac)
        if opened.outbox is not None and opened.is_offline:
            try:
                opened.outbox.require_own(mac, identity)
            except SetAsideError:
                return
        classification = classify_board(mac, identity, view_board(opened.ledger, mac, identity))
        if find_quarantine(opened.ledger, mac) is not None:
            return
        if classification.is_quarantined:
            open_quarantine(
                opened.ledger, opened.writer, mac=mac, classification=classification,
                identity=identity,
            )  # fmt: skip
            return
        if classification.must_erase_record:
            del self.records[mac]
        reservation = reserve(opened, number)
        assert self.told.setdefault(reservation.serial, mac) == mac, "one number for two boards"
        if reservation.job is None:
            return
        if has_identity:
            work(opened, reservation, "identity", verdict=None)
            self.records[mac] = BoardIdentity(
                condition=RecordCondition.PRESENT, serial=reservation.serial, mac=mac,
                digest=reservation.serial.encode().ljust(32),
            )  # fmt: skip
        work(opened, reservation, "record", verdict=verdict)

    @rule()
    def cut(self):
        self.is_cut = True

    @rule()
    def mend(self):
        self.is_cut = False

    @precondition(lambda self: not self.is_cut)
    @rule(count=st.integers(1, 4), days=st.integers(1, 3))
    def take(self, count, days):
        self.factory.sync()
        try:
            self.factory.take(count=count, days=days)
            self.was_given_back = False
        except LeaseError as error:
            if error.what != "the station holds a lease already":
                raise

    @precondition(lambda self: not self.is_cut)
    @rule(commits=st.integers(1, 5), is_after=st.booleans(), is_given_back=st.booleans())
    def synchronise_and_be_killed(self, commits, is_after, is_given_back):
        ledger = self.factory.open()
        ledger.database = FragileDatabase(ledger.database, commits, is_after=is_after)
        self.was_given_back = self.was_given_back or is_given_back
        try:
            synchronise(
                self.factory.folder(), ledger, self.factory.writer(), is_given_back=is_given_back
            )
        except KilledError:
            pass
        finally:
            ledger.close()

    @rule(hours=st.integers(1, 40))
    def wait(self, hours):
        self.factory.clock += dt.timedelta(hours=hours)

    @rule()
    def declare_a_lease_lost(self):
        ledger = self.factory.open()
        try:
            with ledger.database.reading() as connection:
                names = [one.name for one in list_lease_records(connection) if not one.closed_at]
            with self.as_second_station(ledger) as writer:
                for name in names:
                    declare_lost(
                        ledger, writer, name, reason="fire", today=self.factory.clock.date()
                    )
        except LeaseError as error:
            if "still in force" not in error.what:
                raise
        finally:
            ledger.close()

    @rule()
    def release_from_quarantine(self):
        ledger = self.factory.open()
        with self.as_second_station(ledger) as writer:
            for one in list_quarantines(ledger)[:1]:
                order = prepare_order(ledger, writer, act=Act.RELEASE, mac=one.mac, reason="seen")
                carry_out(ledger, writer, order, sign_act(order, [signer("supervisor-1")]))
        ledger.close()

    @invariant()
    def each_number_is_in_exactly_one_state(self):
        ledger = self.factory.open()
        ledger.verify_chains()
        numbers = [
            (number.year, number.week, number.sequence)
            for number in (parse_serial(one.serial) for one in list_serials(ledger.database))
        ]
        with ledger.database.reading() as connection:
            for void in connection.execute(select(voided_ranges)):
                numbers += [
                    (void.year, void.week, sequence)
                    for sequence in range(void.first_sequence, void.last_sequence + 1)
                ]
            leased = [
                (record.year, record.week, sequence)
                for record in list_lease_records(connection)
                if record.closed_at is None
                for part in unused_ranges(connection, record)
                for sequence in part
            ]
        ledger.close()
        every = [*numbers, *leased]
        assert len(every) == len(set(every))

    def everything_that_was_told_is_explained_in_the_end(self):
        self.is_cut = False
        self.factory.clock += dt.timedelta(days=5)
        self.factory.sync()
        assert find_lease_files(self.factory.folder()) is None
        ledger = self.factory.open()
        ledger.verify_chains()
        units = {unit.serial: unit.mac for unit in list_units(ledger.database)}
        quarantined = {one.mac for one in list_quarantines(ledger, is_open_only=False)}
        with ledger.database.reading() as connection:
            assert all(one.left == 0 for one in list_lease_records(connection))
            for serial, mac in self.told.items():
                if serial in units:
                    assert units[serial] == mac
                else:
                    assert is_void(connection, parse_serial(serial)) is not None
                    assert mac in quarantined
                assert ledger.events(serial=serial), "what was written is never lost"
        assert set(units) <= set(self.told)
        ledger.close()


LeaseMachine.TestCase.settings = settings(
    max_examples=150 if IS_SOAK else 3, stateful_step_count=25 if IS_SOAK else 12, deadline=None
)
TestLeaseMachine = LeaseMachine.TestCase


class LeaseMachineOnPostgres(LeaseMachine):
    back_end = "postgres"


LeaseMachineOnPostgres.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None
)
if IS_SOAK:
    TestLeaseMachineOnPostgres = LeaseMachineOnPostgres.TestCase
