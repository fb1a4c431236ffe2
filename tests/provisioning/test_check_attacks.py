"""Readings of check standards in an order in which nobody meant them: what must not be released."""

from __future__ import annotations

import datetime as dt

import pytest

from provisioning import ledger_holds
from provisioning.errors import CheckEntryError, LedgerError
from provisioning.lease_giving_up import give_up
from provisioning.lease_sync import synchronise
from provisioning.ledger_checks import record_check
from provisioning.ledger_events import Phase
from provisioning.ledger_journal import append_event
from provisioning.ledger_queries import list_units
from provisioning.ledger_values import SerialState, UnitState, Writer
from provisioning.unit_certificate import is_waiting
from tests.provisioning import check_bench
from tests.provisioning.check_bench import BAD_NA, check, measure, standing
from tests.provisioning.lease_bench import reserve
from tests.provisioning.test_check_offline import (
    HELD,
    READING,
    RELEASED,
    WAITS,
    begun,
    factory,
    offline,
    online,
    synchronised,
    told,
)

__all__ = ["begun", "factory"]  # fixtures

ZERO_NA, DRIFTED_NA = 500_000.0, 500_200.0
"""A reading on the reference, and one within the limit that a chart of eight finds."""


def at_station(factory, name, work):
    """Do something as another station of the same ledger."""
    ledger = factory.open()
    try:
        work((ledger, factory.writer(name)))
    finally:
        ledger.close()


def test_what_is_measured_behind_a_bad_reading_is_not_released_by_the_next_good_one(factory):
    """The outbox does not know of the bad reading, so it lets the station go on."""
    offline(factory, check)
    synchronised(factory)
    online(factory, lambda at: check(at, BAD_NA))
    offline(factory, lambda opened: measure(opened, 1))
    assert synchronised(factory)[1] == {1: WAITS}
    assert online(factory, check) == {1: HELD}


def test_what_only_the_ledger_finds_bad_holds_what_was_measured_behind_it(factory):
    online(factory, lambda at: [check(at, ZERO_NA) for _ in range(8)])
    offline(factory, lambda opened: (check(opened, DRIFTED_NA), measure(opened, 1)))
    assert synchronised(factory)[1] == {1: WAITS}
    assert online(factory, lambda at: check(at, ZERO_NA)) == {1: HELD}


def test_a_unit_that_was_on_the_fixture_during_a_bad_reading_is_not_released(factory):
    def work(at):
        check(at)
        ledger, writer = at
        reservation = reserve(at, 1)
        ledger.append(
            writer, step="calibrate", phase=Phase.INTENT, data={}, reservation=reservation
        )
        check(at, BAD_NA)  # in another slot; nothing of this unit is confirmed yet
        measure(at, 1)
        result = check(at)
        assert (result.released, len(result.held)) == ((), 1)

    assert online(factory, work) == {1: HELD}


def test_reworked_by_another_instrument_a_unit_does_not_answer_for_the_first(factory):
    def work(at):
        check(at)
        check(at, instrument="MY2", slot="right")
        measure(at, 1)
        check(at, BAD_NA)

    online(factory, work)
    ledger = factory.open()
    (unit,) = list_units(ledger.database)
    ledger.close()
    assert unit.state is UnitState.HOLD
    # A second unit, which the other instrument measures behind the bad reading of the first.
    assert online(factory, lambda at: (measure(at, 2, meter="MY2"), check(at)))[2] == WAITS
    released = online(factory, lambda at: check(at, instrument="MY2", slot="right"))
    assert released == {1: HELD, 2: RELEASED}


def test_an_instrument_that_is_found_wrong_elsewhere_releases_nothing_here(factory):
    factory.join("station-2")
    online(factory, lambda at: (check(at), measure(at, 1), check(at), measure(at, 2)))
    at_station(factory, "station-2", lambda at: check(at, BAD_NA))
    assert online(factory, check) == {1: RELEASED, 2: HELD}
    # Who never read a standard with it is not asked.
    at_station(factory, "station-2", lambda at: measure(at, 3, meter="MY3"))
    assert online(factory, lambda at: check(at, BAD_NA, instrument="MY3"))[3] == WAITS


def test_a_bad_reading_of_an_outbox_that_is_given_up_is_not_lost(factory):
    online(factory, lambda at: (check(at), measure(at, 1), measure(at, 2, meter="MY2")))
    offline(factory, lambda opened: (check(opened, BAD_NA), measure(opened, 3)))
    ledger = factory.open()
    given_up = give_up(factory.folder(), ledger, factory.writer(), reason="copied back by hand")
    ledger.verify_chains()
    ledger.close()
    assert given_up is not None
    assert (len(given_up.held), len(given_up.boards)) == (1, 1)
    assert "given up" in told(factory)[-1].entry.reasons[0]
    assert online(factory, check) == {1: HELD, 2: WAITS}


def test_a_damaged_reading_hides_no_board_of_an_outbox_that_is_given_up(factory):
    opened = factory.offline()
    measure(opened, 1)
    opened.ledger.append(
        opened.writer, step="check-standard", phase=Phase.CONFIRM, data=READING | {"is_good": False}
    )
    opened.close()
    ledger = factory.open()
    given_up = give_up(factory.folder(), ledger, factory.writer(), reason="edited by hand")
    ledger.close()
    assert given_up is not None
    assert (given_up.held, len(given_up.boards), given_up.damage) == ((), 1, None)


def test_what_was_taken_over_before_an_outbox_is_given_up_is_not_told_again(factory):
    online(factory, lambda at: (check(at), measure(at, 1)))
    offline(factory, lambda opened: check(opened, BAD_NA))
    synchronised(factory)
    online(factory, lambda at: (check(at), measure(at, 2)))
    ledger = factory.open()
    given_up = give_up(factory.folder(), ledger, factory.writer(), reason="a copy")
    ledger.close()
    assert given_up is not None
    assert given_up.held == ()
    assert [one.entry.is_good for one in told(factory)] == [True, False, True]
    assert online(factory, check) == {1: HELD, 2: RELEASED}


def test_a_chart_outlives_bad_readings_and_those_of_others(factory, monkeypatch):
    """However many lie in between, no drift begins a chart anew, and nothing old is held."""
    monkeypatch.setattr("provisioning.check_history.CHART_LENGTH", 3)

    def begin(at):
        [check(at, ZERO_NA) for _ in range(8)]
        measure(at, 1)
        check(at, ZERO_NA)
        [check(at, DRIFTED_NA) for _ in range(6)]
        [check(at, instrument="MY2") for _ in range(6)]

    assert online(factory, begin) == {1: RELEASED}
    ledger = factory.open()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("provisioning.check_history._ROWS_AT_ONCE", 2)
        result = record_check(ledger, factory.writer(), check_bench.facts(DRIFTED_NA))
    ledger.close()
    assert not result.judgement.is_good
    assert (result.held, result.judgement.center_na) == ((), ZERO_NA)


def test_two_thousand_readings_of_others_hide_none_of_its_own(factory):
    others = READING | {"instrument": "MY2"}

    def work(at):
        ledger, writer = at
        [check(at, ZERO_NA) for _ in range(4)]
        measure(at, 1)
        check(at, ZERO_NA)
        with ledger.database.writing() as connection:
            for _ in range(2_000):
                append_event(
                    connection, writer, epoch=1, step="check-standard", phase=Phase.CONFIRM,
                    data=others, mac=None, reservation=None, at=writer.now(),
                )  # fmt: skip
        assert check(at, BAD_NA).held == ()

    assert online(factory, work) == {1: RELEASED}


def test_the_last_verification_counts_whatever_the_clock_says(factory):
    """By MY1, and, with the clock set back, by MY2: what is good of MY1 says nothing of it."""
    ledger = factory.open()
    at = (ledger, factory.writer())
    check(at)
    check(at, instrument="MY2", slot="right")
    reservation = reserve(at, 1)
    for meter, shift_s in (("MY1", 0), ("MY2", -3_600)):
        factory.clock += dt.timedelta(seconds=shift_s)
        for step in ("identity", "calibrate", "verify"):
            for phase in (Phase.INTENT, Phase.CONFIRM):
                is_proof = (step, phase) == ("identity", Phase.CONFIRM)
                ledger.append(
                    at[1], step=step, phase=phase, reservation=reservation,
                    data={"result": {"instrument": {"serial_number": meter}}},
                    serial_state=SerialState.ASSIGNED if is_proof else None,
                )  # fmt: skip
    ledger.finish(
        at[1], reservation=reservation, unit_state=UnitState.PASS, data={"reasons": []},
        awaits_check=True,
    )  # fmt: skip
    assert check(at).released == ()
    assert len(check(at, instrument="MY2", slot="right").released) == 1
    ledger.close()


def test_a_release_counts_wherever_a_clock_put_it(factory):
    """The outbox's clock was ahead, so that the release seems to stand before the verdict."""

    def ahead(opened):
        factory.clock += dt.timedelta(hours=5)
        measure(opened, 1)
        check(opened)

    offline(factory, ahead)
    factory.clock -= dt.timedelta(hours=5)
    ledger = factory.open()
    synchronise(factory.folder(), ledger, factory.writer())
    assert standing(ledger) == {1: RELEASED}
    (unit,) = list_units(ledger.database)
    recorded = [chained.event for chained in ledger.events(serial=unit.serial)]
    ledger.close()
    assert recorded[0].step == "release"
    assert not is_waiting(recorded)
    assert is_waiting([event for event in recorded if event.step != "release"])


@pytest.mark.parametrize(
    ("step", "before"),
    [("release", None), ("release", BAD_NA), ("hold", None)],
)
def test_who_releases_or_holds_a_unit_without_a_reading_is_found(factory, step, before):
    """Rows and events agree, and the chain is whole: only the reading is missing."""
    ledger, writer = factory.open(), factory.writer()
    check((ledger, writer))
    measure((ledger, writer), 1)
    if before is not None:
        check((ledger, writer), before, instrument="MY2")
    ledger.verify_chains()
    (unit,) = list_units(ledger.database)
    with ledger.database.writing() as connection:
        if step == "release":
            ledger_holds.release_unit(connection, ledger, writer, unit)
        else:
            ledger_holds.hold_unit(connection, ledger, writer, unit, reasons=())
    with pytest.raises(LedgerError, match=f"reading just before.*{step}"):
        ledger.verify_chains()
    ledger.close()


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"samples_na": [900_000.0]}, "of samples whose mean is 900000.0"),
        ({"is_good": False}, "not good, with 0 reasons"),
        ({"reasons": ["drifted"]}, "good, with 1 reasons"),
        ({"mean_na": 501_000.0, "samples_na": [501_000.0]}, "good, further from the reference"),
    ],
)
def test_a_reading_that_contradicts_itself_is_damage(factory, changes, telling):
    ledger = factory.open()
    writer = Writer(station="station-1", now=factory.now, new_job=lambda: "none", run="r")
    ledger.append(writer, step="check-standard", phase=Phase.CONFIRM, data=READING | changes)
    with pytest.raises(CheckEntryError, match=telling):
        ledger.verify_chains()
    ledger.close()
