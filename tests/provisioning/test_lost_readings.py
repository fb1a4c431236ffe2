"""An outbox that is given up may take a bad reading along: what it was about is not released."""

from __future__ import annotations

import os
import sqlite3

import pytest

from provisioning.check_entry import LostCheck
from provisioning.errors import LedgerError
from provisioning.lease_giving_up import give_up
from provisioning.ledger_events import Phase
from provisioning.ledger_holds import release_unit
from provisioning.ledger_queries import list_units
from provisioning.outbox_memory import memory_path
from tests.provisioning.check_bench import BAD_NA, METER, check, measure, standing
from tests.provisioning.test_check_attacks import at_station
from tests.provisioning.test_check_offline import (
    HELD,
    READING,
    RELEASED,
    WAITS,
    begun,
    factory,
    offline,
    online,
    told,
)

__all__ = ["begun", "factory"]  # fixtures


def overwrite(path):
    """As a disk does that loses a block: the file is there, and no database."""
    size = path.stat().st_size
    path.write_bytes(os.urandom(size))


def damage_a_reading(path):
    connection = sqlite3.connect(path)
    connection.execute(
        "UPDATE events SET content = CAST(replace(CAST(content AS TEXT), 'source 7', 'source 8') "
        "AS BLOB) WHERE step = 'check-standard'"
    )
    connection.commit()
    connection.close()


def forget_what_it_knew(path):
    memory_path(path).write_text("{}")


def given_up(factory):
    ledger = factory.open()
    try:
        result = give_up(factory.folder(), ledger, factory.writer(), reason="the disk died")
        ledger.verify_chains()
        return result, standing(ledger)
    finally:
        ledger.close()


@pytest.mark.parametrize("damage", [overwrite, damage_a_reading, forget_what_it_knew])
def test_what_an_unreadable_outbox_may_have_read_bad_is_on_hold(factory, damage):
    """Else the next good reading releases it, as if nobody had ever found the meter wrong."""
    online(factory, lambda at: (check(at), measure(at, 1), check(at), measure(at, 2)))
    offline(factory, lambda opened: (measure(opened, 3), check(opened, BAD_NA)))
    damage(factory.outbox())
    result, units = given_up(factory)
    assert result.instruments == (METER,)
    assert len(result.held) == 1
    assert units == {1: RELEASED, 2: HELD}
    # What is measured before the next good reading was perhaps measured by a meter that is bad.
    assert online(factory, lambda at: measure(at, 4)) == {1: RELEASED, 2: HELD, 4: WAITS}
    assert online(factory, check) == {1: RELEASED, 2: HELD, 4: HELD}
    assert online(factory, lambda at: (measure(at, 5), check(at)))[5] == RELEASED


def test_given_up_again_after_a_kill_nothing_is_told_twice(factory, monkeypatch):
    online(factory, lambda at: (check(at), measure(at, 1)))
    overwrite(factory.outbox())

    def killed(_self, _writer, *, step, **_others):
        raise KeyboardInterrupt(step)

    with monkeypatch.context() as patch:
        patch.setattr("provisioning.ledger.Ledger.append", killed)
        with pytest.raises(KeyboardInterrupt, match="give-up"):
            given_up(factory)
    result, units = given_up(factory)
    assert (result.instruments, result.held, units) == ((METER,), (), {1: HELD})
    assert [isinstance(one.entry, LostCheck) for one in told(factory)] == [False, True]


def test_a_whole_outbox_that_is_given_up_puts_nothing_in_doubt(factory):
    online(factory, lambda at: (check(at), measure(at, 1)))
    offline(factory, lambda opened: (measure(opened, 2), check(opened)))
    result, units = given_up(factory)
    assert (result.instruments, units) == ((), {1: WAITS})
    assert online(factory, check) == {1: RELEASED}


def test_a_meter_that_was_carried_on_is_in_doubt_at_the_other_station_too(factory):
    factory.join("station-2")
    online(factory, check)
    at_station(factory, "station-2", lambda at: (check(at), measure(at, 1)))
    overwrite(factory.outbox())
    assert given_up(factory)[1] == {1: HELD}
    at_station(factory, "station-2", lambda at: (measure(at, 2), check(at), measure(at, 3)))
    assert online(factory, lambda _at: None) == {1: HELD, 2: HELD, 3: WAITS}


def test_a_release_behind_a_lost_reading_is_found(factory):
    online(factory, lambda at: (check(at), measure(at, 1)))
    ledger, writer = factory.open(), factory.writer()
    lost = {
        "is_lost": True, "instrument": METER, "under": "station-1/1", "reasons": ["lost"],
        "seen": [],
    }  # fmt: skip
    ledger.append(writer, step="check-standard", phase=Phase.CONFIRM, data=lost)
    ledger.append(writer, step="check-standard", phase=Phase.CONFIRM, data=READING | {"seen": []})
    (unit,) = list_units(ledger.database)
    with ledger.database.writing() as connection:
        release_unit(connection, ledger, writer, unit)
    with pytest.raises(LedgerError, match=r"on hold since station station-1.*release"):
        ledger.verify_chains()
    ledger.close()
