"""A check standard without the ledger: what was read under a lease counts when it is taken over."""

from __future__ import annotations

import datetime as dt
import shutil

import pytest

from provisioning.check_history import read_checks
from provisioning.errors import LeaseError
from provisioning.instrument_impact import find_touched_units
from provisioning.instrument_register import build_entry
from provisioning.lease_sync import EVENTS_PER_PART
from provisioning.ledger_events import Phase
from provisioning.ledger_quarantine import find_quarantine
from provisioning.ledger_values import Writer
from tests.provisioning import check_bench
from tests.provisioning.check_bench import BAD_NA, check, measure, standing
from tests.provisioning.lease_bench import START, Factory, mac_of
from tests.provisioning.ledger_sites import empty_site

WAITS = ("pass", "assigned")
RELEASED = ("pass", "released")
HELD = ("hold", "assigned")
INSTRUMENT = build_entry(
    serial_number="MY1", maker="Keysight", model="34465A", certificate="K-1",
    calibrated=START.date(), due=START.date() + dt.timedelta(days=9), read_from="hand",
    entered_by="nobody",
).model_dump(mode="json")  # fmt: skip
READING = check_bench.facts().model_dump(mode="json") | {
    "center_na": 0.0, "ewma_na": 0.0, "lower_na": 0.0, "upper_na": 0.0, "is_good": True,
    "reasons": [],
}  # fmt: skip
TAKEN = {"chain": "station-1/9", "number": 1, "at": "2026-02-10T12:00:00Z"}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    root = tmp_path_factory.mktemp("begun")
    Factory(root / "stations", root / "server" / "ledger.sqlite3").begin()
    return root


@pytest.fixture
def factory(begun, tmp_path):
    root = shutil.copytree(begun, tmp_path / "factory")
    made = Factory(root / "stations", root / "server" / "ledger.sqlite3")
    made.take(count=20)
    return made


def online(factory, work):
    """Do something with the ledger, and return how its units stand after a whole audit."""
    ledger = factory.open()
    try:
        work((ledger, factory.writer()))
        ledger.verify_chains()
        return standing(ledger)
    finally:
        ledger.close()


def offline(factory, work):
    """Do something without the ledger, and return how the outbox's units stand."""
    opened = factory.offline()
    try:
        work(opened)
        opened.ledger.verify_chains()
        return standing(opened.ledger)
    finally:
        opened.close()


def told(factory):
    """Return the readings that the station's own chain tells."""
    ledger = factory.open()
    with ledger.database.reading() as connection:
        found = read_checks(connection, "station-1")
    ledger.close()
    return found


def synchronised(factory):
    result = factory.sync()
    ledger = factory.open()
    ledger.verify_chains()
    units = standing(ledger)
    ledger.close()
    return result, units


def test_a_good_reading_without_the_ledger_releases_when_it_is_taken_over(factory):
    assert online(factory, lambda at: measure(at, 1)) == {1: WAITS}

    def work(opened):
        measure(opened, 2)
        check(opened)
        measure(opened, 3)

    assert offline(factory, work) == {2: WAITS, 3: WAITS}  # nothing is released there
    result, units = synchronised(factory)
    # The reading covers what was measured before it, with the ledger and without.
    assert units == {1: RELEASED, 2: RELEASED, 3: WAITS}
    assert result.refused == ()
    (reading,) = told(factory)
    assert reading.entry.taken_under.chain == "station-1/1"
    assert reading.entry.is_good
    # Taken over again, nothing is told twice.
    assert synchronised(factory)[1] == units
    assert len(told(factory)) == 1
    assert set(online(factory, check).values()) == {RELEASED}


def test_a_bad_reading_without_the_ledger_holds_there_at_once_and_everywhere_later(factory):
    online(factory, lambda at: (check(at), measure(at, 1)))

    def work(opened):
        measure(opened, 2)
        measure(opened, 3, meter="another")
        measure(opened, 4, verdict=None)  # in the middle of its job
        assert len(check(opened, BAD_NA).held) == 2

    assert offline(factory, work) == {2: HELD, 3: WAITS, 4: HELD}
    result, units = synchronised(factory)
    assert units == {1: HELD, 2: HELD, 3: WAITS, 4: HELD}
    assert result.refused == ()
    assert [one.entry.is_good for one in told(factory)] == [True, False]


def test_a_bad_reading_with_the_ledger_holds_what_was_made_without_it_since_the_good_one(factory):
    def work(opened):
        measure(opened, 1)
        check(opened)
        measure(opened, 2)

    offline(factory, work)
    assert synchronised(factory)[1] == {1: RELEASED, 2: WAITS}
    assert online(factory, lambda at: check(at, BAD_NA)) == {1: RELEASED, 2: HELD}


def test_the_ledger_judges_by_the_whole_chart_where_the_outbox_knows_a_part(factory):
    """Good readings with the ledger set the center; the shift is inside the limit."""
    online(factory, lambda at: [check(at, 500_000.0) for _ in range(8)])

    def work(opened):
        measure(opened, 1)
        assert check(opened, 500_200.0).judgement.is_good

    offline(factory, work)
    _, units = synchronised(factory)
    assert units == {1: HELD}
    last = told(factory)[-1].entry
    assert not last.is_good
    assert "EWMA" in last.reasons[0]


@pytest.mark.parametrize("part", [1, 3, EVENTS_PER_PART])
def test_parts_of_any_size_end_in_the_same_state(factory, part, monkeypatch):
    monkeypatch.setattr("provisioning.lease_sync.EVENTS_PER_PART", part)
    online(factory, lambda at: (check(at), measure(at, 1)))

    def work(opened):
        measure(opened, 2)
        check(opened)
        measure(opened, 3)
        check(opened, BAD_NA)
        measure(opened, 4)

    offline(factory, work)
    result, units = synchronised(factory)
    assert units == {1: RELEASED, 2: RELEASED, 3: HELD, 4: WAITS}
    assert result.refused == ()


def test_two_outages_are_two_stretches_of_the_same_lease(factory):
    offline(factory, lambda opened: (measure(opened, 1), check(opened)))
    synchronised(factory)
    online(factory, lambda at: (measure(at, 2), check(at)))
    offline(factory, lambda opened: (measure(opened, 3), check(opened, BAD_NA)))
    # Units of the first outage, and of the time between, were covered by good readings.
    assert synchronised(factory)[1] == {1: RELEASED, 2: RELEASED, 3: HELD}


def test_a_held_unit_that_went_on_in_the_outbox_goes_into_quarantine(factory):
    """The ledger knew better than the outbox, which let the unit go on."""
    online(factory, lambda at: [check(at, 500_000.0) for _ in range(8)])

    def work(opened):
        measure(opened, 1)
        check(opened, 500_200.0)  # good for the outbox, bad for the ledger
        measure(opened, 1, again=True)

    offline(factory, work)
    result, units = synchronised(factory)
    assert units == {1: HELD}
    assert "put on hold meanwhile" in result.refused[0]
    ledger = factory.open()
    assert find_quarantine(ledger, mac_of(1)) is not None
    ledger.close()


def test_units_that_were_made_without_the_ledger_are_found_by_their_instrument(factory):
    serials = []
    offline(factory, lambda opened: serials.append(measure(opened, 1)))
    factory.sync()
    ledger = factory.open()
    assert [one.serial for one in find_touched_units(ledger, instrument="MY1")] == serials
    ledger.close()


@pytest.mark.parametrize(
    ("step", "data", "telling"),
    [
        ("release", {}, "says what no outbox says"),
        ("instrument", INSTRUMENT, "says what no outbox says"),
        ("check-standard", {"is_good": True}, "not a reading of a check standard"),
        ("check-standard", READING | {"taken_under": TAKEN}, "not a reading of a check standard"),
    ],
)
def test_an_outbox_that_says_more_than_it_may_changes_nothing(factory, step, data, telling):
    before = online(factory, lambda at: measure(at, 1))

    opened = factory.offline()
    check(opened)  # a `release` without one is damage to the outbox already
    opened.ledger.append(opened.writer, step=step, phase=Phase.CONFIRM, data=data)
    opened.close()
    with pytest.raises(LeaseError, match=telling):
        factory.sync()
    ledger = factory.open()
    assert standing(ledger) == before
    ledger.verify_chains()
    ledger.close()


def test_the_factorys_ledger_on_a_server_takes_readings_over_too(tmp_path, request):
    site = empty_site("postgres", tmp_path, request)
    factory = Factory(tmp_path / "stations", site.address).begin()
    factory.take()
    online(factory, lambda at: (check(at), measure(at, 1)))
    offline(factory, lambda opened: (measure(opened, 2), check(opened), measure(opened, 3)))
    assert synchronised(factory)[1] == {1: RELEASED, 2: RELEASED, 3: WAITS}
    offline(factory, lambda opened: check(opened, BAD_NA))
    assert synchronised(factory)[1] == {1: RELEASED, 2: RELEASED, 3: HELD}


def test_another_station_is_not_touched(factory):
    factory.join("station-2")
    ledger = factory.open()
    other = Writer(station="station-2", now=factory.now, new_job=lambda: "other-job", run="r")
    measure((ledger, other), 9)
    ledger.close()
    offline(factory, lambda opened: (measure(opened, 1), check(opened, BAD_NA)))
    _, units = synchronised(factory)
    assert units == {1: HELD, 9: WAITS}
