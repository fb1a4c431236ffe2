"""A meter that is carried from one station to the other, and is found bad at one of them.

The machine knows what happened in truth, and in which order; the ledger is told by two stations
that may work without it and report in any order. What a bad reading puts in doubt is not released.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from provisioning.check_order import find_place, known_before
from provisioning.check_schedule import find_standing
from provisioning.check_standard_settings import CheckStandardSettings
from provisioning.errors import CheckEntryError, LedgerError
from provisioning.ledger_events import Phase
from provisioning.ledger_values import UnitState
from provisioning.ledger_witness import save_witness, writing_as_station
from provisioning.station_ledger import open_station_ledger
from tests.conftest import IS_SOAK
from tests.provisioning.check_bench import (
    BAD_NA,
    GOOD_NA,
    METER,
    STANDARD_SECTION,
    check,
    measure,
    standing,
)
from tests.provisioning.lease_bench import NOWHERE, FactoryTemplate
from tests.provisioning.test_check_offline import HELD, READING, RELEASED, WAITS, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.provisioning.lease_bench import Factory

HERE, THERE = "station-1", "station-2"
STATIONS = (HERE, THERE)
SECOND = "MY2"
METERS = (METER, SECOND)


@pytest.fixture(scope="module", autouse=True)
def template(request, tmp_path_factory):
    made = FactoryTemplate(tmp_path_factory.mktemp("template"), stations=(THERE,))
    CarriedMeterMachine.copy = staticmethod(
        lambda back_end, folder: made.copy(back_end, folder, request)
    )
    return made


@pytest.fixture
def factory(template, tmp_path, request):
    made = template.copy("sqlite", tmp_path / "factory", request)
    take_leases(made)
    return made


def take_leases(factory):
    for name in STATIONS:
        ledger = factory.open()
        with writing_as_station(factory.folder(name), ledger, station=name):
            factory.take(name, count=40, ledger=ledger)
        ledger.close()


@contextmanager
def at(factory, name, *, is_cut=False):
    """Work as a station does: it synchronises first, and remembers the ledger when it leaves."""
    address = factory.root / NOWHERE if is_cut else factory.address
    opened = open_station_ledger(factory.folder(name), address, factory.writer(name))
    try:
        yield opened
        if not opened.is_offline:
            save_witness(factory.folder(name), opened.ledger, station=name, is_closed=True)
    finally:
        opened.close()


def units_of(factory):
    ledger = factory.open()
    ledger.verify_chains()
    found = standing(ledger)
    ledger.close()
    return found


def do(factory, name, *works, is_cut=False):
    with at(factory, name, is_cut=is_cut) as opened:
        for one in works:
            one(opened)
    return units_of(factory)


def good(opened):
    check(opened)


def bad(opened):
    check(opened, BAD_NA)


def board(number):
    return lambda opened: measure(opened, number)


def test_what_is_measured_here_behind_a_bad_reading_there_is_not_released(factory):
    """The meter is carried on before this station reads its own standard."""
    do(factory, HERE, good)
    do(factory, THERE, good, board(1), bad)
    assert do(factory, HERE, board(2)) == {1: HELD, 2: WAITS}
    assert do(factory, HERE, good) == {1: HELD, 2: HELD}
    # That one followed the bad reading: what is measured behind it waits for the next, and passes.
    assert do(factory, HERE, board(3), good) == {1: HELD, 2: HELD, 3: RELEASED}


def test_what_was_measured_under_a_lease_may_lie_behind_the_bad_reading_there(factory):
    do(factory, HERE, good)
    do(factory, THERE, good)
    do(factory, HERE, board(1), is_cut=True)
    do(factory, THERE, bad)
    assert do(factory, HERE) == {1: WAITS}
    assert do(factory, HERE, good) == {1: HELD}


def test_a_good_reading_under_a_lease_follows_a_bad_one_that_the_station_had_heard_of(factory):
    do(factory, HERE, good)
    do(factory, THERE, good, bad)
    do(factory, HERE, board(9))  # the station was there since: it knows that much
    do(factory, HERE, good, board(1), good, is_cut=True)
    assert do(factory, HERE) == {9: HELD, 1: RELEASED}


def test_a_good_reading_under_a_lease_may_lie_before_a_bad_one_that_nobody_had_told(factory):
    do(factory, HERE, good)
    do(factory, THERE, good)
    do(factory, HERE, good, board(1), good, is_cut=True)
    do(factory, THERE, bad)
    assert do(factory, HERE) == {1: HELD}


def test_a_bad_reading_under_a_lease_takes_back_what_was_released_here_meanwhile(factory):
    """Nobody knows whether the units were measured before it, between, or behind."""
    do(factory, HERE, good, board(1), good)
    do(factory, THERE, good)
    do(factory, HERE, good, board(2), good)
    do(factory, THERE, bad, is_cut=True)
    assert do(factory, HERE, board(3), good) == {1: RELEASED, 2: RELEASED, 3: RELEASED}
    held = do(factory, THERE)
    assert held == {1: RELEASED, 2: HELD, 3: HELD}


def test_a_good_reading_here_releases_nothing_that_was_verified_there(factory):
    """The standard of this fixture says nothing of the other one."""
    do(factory, HERE, good, lambda opened: measure(opened, 1, verdict=UnitState.FAIL))
    do(factory, THERE, good, lambda opened: measure(opened, 1, again=True))
    assert do(factory, HERE, good) == {1: WAITS}
    assert do(factory, THERE, good) == {1: RELEASED}


def test_the_schedule_asks_for_a_reading_when_the_meter_was_found_bad_elsewhere(factory):
    standard = CheckStandardSettings(**STANDARD_SECTION, every_units=10)

    def due():
        ledger = factory.open()
        found = find_standing(
            ledger, standard, station=HERE, slot="left", instrument=METER, certificate="K-1",
            now=factory.now(),
        ).due  # fmt: skip
        ledger.close()
        return found

    do(factory, HERE, good)
    assert due() is None
    do(factory, THERE, good, bad)
    assert due() == "its instrument was found not good at another station"
    do(factory, HERE, good)
    assert due() is None


def test_a_reading_from_before_there_was_an_order_keeps_its_meaning(factory):
    do(factory, HERE, good)
    ledger = factory.open()
    old = READING | {"is_good": False, "reasons": ["drifted"], "mean_na": BAD_NA,
                     "samples_na": [BAD_NA]}  # fmt: skip
    ledger.append(factory.writer(THERE), step="check-standard", phase=Phase.CONFIRM, data=old)
    save_witness(factory.folder(THERE), ledger, station=THERE, is_closed=True)
    ledger.close()
    assert do(factory, HERE, board(1), good) == {1: RELEASED}


def test_what_a_lease_knew_is_believed_only_if_the_ledger_has_it(factory):
    do(factory, HERE, good)
    do(factory, HERE, good, is_cut=True)
    do(factory, HERE)
    (_, taken) = told(factory)
    ledger = factory.open()
    with ledger.database.reading() as connection:
        place = taken.entry.after
        assert find_place(connection, HERE, place, lease="station-1/1") == place
        other = place.model_copy(update={"head": "00" * 32})
        lease = find_place(connection, HERE, other, lease="station-1/1")
        assert 0 < lease.count < place.count
        assert find_place(connection, HERE, None, lease="station-1/7").count == 0
        assert set(known_before(connection, taken)) == {THERE}
    ledger.close()


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"seen": [{"station": THERE, "count": 1}] * 2}, "seen twice"),
        ({"seen": [{"station": HERE, "count": 1}]}, "its own chain"),
        ({"seen": [{"station": "station-2/1", "count": 1}]}, "must be of the form"),
        ({"seen": [{"station": THERE, "count": -1}]}, "count must be at least 0"),
        ({"after": {"count": 1, "head": "00"}}, "must be of the form"),
        ({"is_lost": True}, "must not be empty"),
    ],
)
def test_an_order_that_cannot_be_is_damage(factory, changes, telling):
    ledger = factory.open()
    ledger.append(
        factory.writer(), step="check-standard", phase=Phase.CONFIRM, data=READING | changes
    )
    with pytest.raises(CheckEntryError, match=telling):
        ledger.verify_chains()
    ledger.close()


def append_reading(ledger, writer, seen_count, **changes):
    data = READING | {"seen": [{"station": THERE, "count": seen_count}]} | changes
    ledger.append(writer, step="check-standard", phase=Phase.CONFIRM, data=data)


A_BAD_ONE = {
    "is_good": False, "reasons": ["drifted"], "mean_na": BAD_NA, "samples_na": [BAD_NA],
}  # fmt: skip


def test_a_reading_that_saw_what_is_not_there_is_found(factory):
    ledger = factory.open()
    append_reading(ledger, factory.writer(), 99, **A_BAD_ONE)
    with pytest.raises(LedgerError, match=r"at most . events of station-2"):
        ledger.verify_chains()
    ledger.close()


def test_two_readings_of_which_neither_saw_the_other_are_found(factory):
    do(factory, THERE, good)
    ledger = factory.open()
    append_reading(ledger, factory.writer(), 0, **A_BAD_ONE)
    with pytest.raises(LedgerError, match=r"behind station station-1.*which says so"):
        ledger.verify_chains()
    ledger.close()


def test_who_releases_what_a_bad_reading_elsewhere_put_in_doubt_is_found(factory, monkeypatch):
    """As a station would that had forgotten to look at the others."""
    do(factory, HERE, good)
    do(factory, THERE, good, bad)
    do(factory, HERE, board(1))
    monkeypatch.setattr("provisioning.check_concerns.find_bad_elsewhere", lambda *_: [])
    with pytest.raises(LedgerError, match=r"on hold since station station-2.*release"):
        do(factory, HERE, good)


def test_a_unit_that_passes_still_although_a_bad_reading_put_it_in_doubt_is_found(
    factory, monkeypatch
):
    do(factory, HERE, good, board(1))
    monkeypatch.setattr("provisioning.check_concerns.measured_elsewhere", lambda *_: ())
    do(factory, THERE, good, bad)
    with (
        pytest.raises(LedgerError, match=r"hold since station station-2|release"),
    ):
        do(factory, HERE, good)


def good_of_second(opened):
    check(opened, instrument=SECOND)


def bad_of_second(opened):
    check(opened, BAD_NA, instrument=SECOND)


@pytest.mark.parametrize(
    "meters",
    [{"meter": SECOND, "verified_by": METER}, {"rechecked_by": SECOND}],
    ids=["calibrated", "rechecked"],
)
def test_a_good_reading_does_not_release_what_another_meter_puts_in_doubt(factory, meters):
    """The one that verified says nothing of the one that calibrated, or read after the locks."""

    def by_two(number):
        return lambda opened: measure(opened, number, **meters)

    do(factory, HERE, good, good_of_second)
    do(factory, THERE, good_of_second)
    do(factory, HERE, by_two(1), is_cut=True)
    do(factory, THERE, bad_of_second)
    assert do(factory, HERE) == {1: WAITS}
    assert do(factory, HERE, good) == {1: HELD}
    # Neither does it where the other was found bad at this very station.
    assert do(factory, HERE, good_of_second, bad_of_second, by_two(2)) == {1: HELD, 2: WAITS}
    assert do(factory, HERE, good) == {1: HELD, 2: HELD}
    assert do(factory, HERE, good_of_second, by_two(3), good)[3] == RELEASED
    # A bad one takes back what its instrument measured, whoever released it.
    assert do(factory, HERE, bad_of_second)[3] == HELD


class Happened(NamedTuple):
    station: str
    meters: frozenset[str]
    board: int | None
    is_good: bool | None


class CarriedMeterMachine(RuleBasedStateMachine):
    back_end = "sqlite"
    copy: Callable[[str, Path], Factory]

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="ampforge-carried-"))
        self.factory = self.copy(self.back_end, self.root / "factory")
        take_leases(self.factory)
        self.cut: set[str] = set()
        self.was_cut = False
        self.boards = 0
        self.truth: list[Happened] = []

    def teardown(self):
        try:
            self.nothing_in_doubt_is_released_in_the_end()
        finally:
            shutil.rmtree(self.root)

    def read(self, opened, name, meter, *, is_good):
        check(opened, GOOD_NA if is_good else BAD_NA, instrument=meter)
        self.truth.append(Happened(name, frozenset({meter}), None, is_good))

    @rule(name=st.sampled_from(STATIONS), meter=st.sampled_from(METERS), is_good=st.booleans())
    def read_the_standard(self, name, meter, is_good):
        with at(self.factory, name, is_cut=name in self.cut) as opened:
            self.read(opened, name, meter, is_good=is_good)

    @rule(
        name=st.sampled_from(STATIONS),
        calibrated_by=st.sampled_from(METERS),
        verified_by=st.sampled_from(METERS),
        rechecked_by=st.sampled_from((None, *METERS)),
        count=st.integers(1, 2),
    )
    def measure_boards(self, name, calibrated_by, verified_by, rechecked_by, count):
        """A station never measures by an instrument before its first reading."""
        meters = frozenset({calibrated_by, verified_by, rechecked_by} - {None})
        with at(self.factory, name, is_cut=name in self.cut) as opened:
            for meter in sorted(meters):
                if not any(
                    one.station == name and meter in one.meters and one.board is None
                    for one in self.truth
                ):
                    self.read(opened, name, meter, is_good=True)
            for _ in range(count):
                self.boards += 1
                measure(
                    opened, self.boards, meter=calibrated_by, verified_by=verified_by,
                    rechecked_by=rechecked_by,
                )  # fmt: skip
                self.truth.append(Happened(name, meters, self.boards, None))

    @rule(name=st.sampled_from(STATIONS))
    def lose_the_ledger(self, name):
        self.cut.add(name)
        self.was_cut = True

    @rule(name=st.sampled_from(STATIONS))
    def find_the_ledger(self, name):
        self.cut.discard(name)
        with at(self.factory, name):
            pass

    @invariant()
    def the_ledger_is_whole(self):
        units_of(self.factory)

    def is_in_doubt(self, place):
        """Whether, in truth, no good reading there lies between a unit and a bad one anywhere."""
        station, meters, _, _ = self.truth[place]
        for meter in meters:
            for way in (self.truth[place + 1 :], self.truth[:place][::-1]):
                for one in way:
                    if one.board is not None or meter not in one.meters:
                        continue
                    if one.is_good is False:
                        return True
                    if one.station == station:
                        break
        return False

    def nothing_in_doubt_is_released_in_the_end(self):
        for name in STATIONS:
            with at(self.factory, name):
                pass
        for name in STATIONS:
            with at(self.factory, name) as opened:
                for meter in METERS:
                    self.read(opened, name, meter, is_good=True)
        found = units_of(self.factory)
        assert len(found) == self.boards
        for place, one in enumerate(self.truth):
            if one.board is None:
                continue
            if self.is_in_doubt(place):
                assert found[one.board] == HELD, self.truth
            elif not self.was_cut:
                assert found[one.board] == RELEASED, self.truth


CarriedMeterMachine.TestCase.settings = settings(
    max_examples=60 if IS_SOAK else 4, stateful_step_count=25 if IS_SOAK else 12, deadline=None
)
TestCarriedMeterMachine = CarriedMeterMachine.TestCase


class CarriedMeterMachineOnPostgres(CarriedMeterMachine):
    back_end = "postgres"


CarriedMeterMachineOnPostgres.TestCase.settings = settings(
    max_examples=20 if IS_SOAK else 1, stateful_step_count=25 if IS_SOAK else 8, deadline=None
)
TestCarriedMeterMachineOnPostgres = CarriedMeterMachineOnPostgres.TestCase
