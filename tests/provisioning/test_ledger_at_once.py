"""A number given in one message to the server is the same number, with the same event.

And whatever is not as the station expected is found by the server, which then writes nothing; the
usual way, which looks first, goes on from there.
"""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path

import pytest
from sqlalchemy import select

from provisioning.errors import LedgerError, QuarantineError, SerialNumberError
from provisioning.ledger import Ledger
from provisioning.ledger_address import parse_ledger_address
from provisioning.ledger_at_once import NUMBERS_AHEAD
from provisioning.ledger_creation import create_ledger
from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.ledger_events import Phase
from provisioning.ledger_queries import list_jobs, list_serials
from provisioning.ledger_schema import events, ledger_identity, metadata
from provisioning.ledger_values import JobState, Writer
from provisioning.serial_formats import parse_format
from provisioning.serial_numbers import parse_serial
from tests.provisioning.cutting_proxy import CuttingProxy
from tests.provisioning.ledger_sites import BUNDLE, START, a_writer, empty_site, made_site, reserve


def mac_of(number):
    return number.to_bytes(6, "big")


@pytest.fixture
def site(request, tmp_path):
    return made_site("postgres", tmp_path, request)


@pytest.fixture
def ledger(site):
    ledger = Ledger.open(site.address)
    yield ledger
    ledger.close()


@pytest.fixture
def asked(ledger, monkeypatch):
    """For each message of the fast way, whether the server wrote."""
    outcomes, run_at_once = [], ledger.database.run_at_once

    def watched(*arguments):
        written = run_at_once(*arguments)
        outcomes.append(written is not None)
        return written

    monkeypatch.setattr(ledger.database, "run_at_once", watched)
    return outcomes


def sequences(ledger):
    return [parse_serial(one.serial).sequence for one in list_serials(ledger.database)]


def test_the_first_board_is_looked_up_and_the_others_get_their_number_at_once(ledger, asked):
    writer = a_writer()
    given = [reserve(ledger, writer, mac=mac_of(number)) for number in range(40)]
    assert asked == [True] * 39
    assert sequences(ledger) == list(range(1, 41))
    assert all(one.is_new and not one.is_resumed and one.job_number == 1 for one in given)
    assert [one.serial for one in given] == [one.serial for one in list_serials(ledger.database)]
    assert ledger.verify_chains()["station-1"][0] == 40


def test_a_server_writes_the_rows_of_the_usual_way_byte_for_byte(tmp_path, request, ledger, asked):
    """Two ledgers, one on a server and one in a file, with the same clock and job names."""
    file = Ledger.open(made_site("sqlite", tmp_path, request).address)
    for one in (ledger, file):
        names = itertools.count()
        writer = Writer(
            station="station-1",
            now=lambda: START,
            new_job=lambda names=names: f"job-{next(names)}",
        )
        for number in range(30):  # places in the chain of one byte, and of two
            reserve(one, writer, mac=mac_of(number))
    assert asked == [True] * 29
    for table in metadata.sorted_tables:
        if table is ledger_identity:
            continue
        on_server, in_file = (
            rows_of(one.database, select(table).order_by(*table.primary_key))
            for one in (ledger, file)
        )
        assert on_server == in_file, table.name
        assert table.name not in {"serial_numbers", "units", "jobs", "events"} or len(in_file) == 30
    file.close()


def rows_of(database, statement):
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(statement)]


@pytest.mark.parametrize("picture", ["PMYYSSSSSSC", "PPMSSSSSS"])
def test_numbers_of_another_format_are_given_at_once(tmp_path, request, picture):
    """Other lengths, a year without a week, or no date and no check character at all."""
    site = empty_site("postgres", tmp_path, request)
    serial_format = parse_format(picture)
    create_ledger(
        site.address, product="flare", ledger_uuid="uuid-1", created_at=START,
        serial_format=serial_format, station="station-1",
    )  # fmt: skip
    ledger, writer = Ledger.open(site.address), a_writer()
    request.addfinalizer(ledger.close)
    codes = {
        "prefix": "AMP"[: serial_format.prefix_length],
        "model": "FLR"[: serial_format.model_length],
    }
    given = [reserve(ledger, writer, mac=mac_of(number), **codes) for number in range(5)]
    parsed = [parse_serial(one.serial, serial_format).sequence for one in given]
    assert parsed == list(range(1, 6))
    assert {len(one.serial) for one in given} == {len(picture)}
    ledger.verify_chains()


def test_two_stations_that_take_turns_give_every_number_once(ledger, asked, site):
    """The other one takes more numbers than were written out, and then a few."""
    other, writer, elsewhere = Ledger.open(site.address), a_writer(), a_writer("station-2")
    boards = itertools.count()
    for others in (NUMBERS_AHEAD, 3, NUMBERS_AHEAD - 1, 0):
        reserve(ledger, writer, mac=mac_of(next(boards)))
        for _ in range(others):
            reserve(other, elsewhere, mac=mac_of(next(boards)))
    reserve(ledger, writer, mac=mac_of(next(boards)))
    assert asked == [False, True, True, True]
    assert sequences(ledger) == list(range(1, next(boards) + 1))
    ledger.verify_chains()
    other.close()


def test_a_chain_that_went_on_elsewhere_is_seen_by_the_server(ledger, asked, site):
    other = Ledger.open(site.address)
    reserve(ledger, a_writer())
    later = a_writer(start=START + dt.timedelta(hours=1))
    other.append(later, step="flash", phase=Phase.NOTE, data={})
    assert reserve(ledger, a_writer(start=START + dt.timedelta(days=1)), mac=mac_of(1)).is_new
    assert asked == [False]
    assert ledger.verify_chains()["station-1"][0] == 3
    other.close()


def test_the_events_between_two_reservations_are_remembered(ledger, asked):
    writer = a_writer()
    for number in range(3):
        given = reserve(ledger, writer, mac=mac_of(number))
        ledger.append(writer, step="flash", phase=Phase.CONFIRM, data={}, reservation=given)
    assert asked == [True, True]
    ledger.verify_chains()


def test_a_board_that_has_a_number_keeps_it_and_its_job(ledger, asked):
    writer = a_writer()
    first = reserve(ledger, writer)
    reserve(ledger, writer, mac=mac_of(1))
    again = reserve(ledger, writer)
    assert asked == [True, False]
    assert (again.serial, again.job, again.is_resumed) == (first.serial, first.job, True)
    ledger.verify_chains()


IN_QUARANTINE = (
    "INSERT INTO quarantines (station, number, mac, board_class, reason, opened_at)"
    " VALUES ('station-1', 0, x'7cdfa1000001', 'clone', 'two of one', 'then')"
)
TAKEN_OUT = (
    "INSERT INTO replaced_modules (mac, serial, replaced_by, replaced_at)"
    " SELECT x'7cdfa1000001', serial, x'010101010101', 'then' FROM units"
)


@pytest.mark.parametrize("statement", [IN_QUARANTINE, TAKEN_OUT])
def test_a_board_that_must_not_be_worked_on_gets_no_number(site, ledger, asked, statement):
    writer = a_writer()
    reserve(ledger, writer, mac=mac_of(1))
    site.edit(statement)
    before = site.dump()
    with pytest.raises(QuarantineError, match="must not be worked on"):
        reserve(ledger, writer)
    assert asked == [False]
    assert site.dump() == before


@pytest.mark.parametrize("change", ["epoch = 2", "opening = 'another'", "uuid = 'another'"])
def test_a_ledger_that_became_another_one_gives_nothing_at_once(site, ledger, asked, change):
    writer = a_writer()
    reserve(ledger, writer)
    site.edit(f"UPDATE ledger_identity SET {change}")  # noqa: S608 - of this test
    before = site.dump()
    with pytest.raises(LedgerError, match="was restored while this station was at work"):
        reserve(ledger, writer, mac=mac_of(1))
    assert asked == [False]
    assert site.dump() == before


def test_a_clock_that_was_set_back_is_written_down_before_the_number_is_given(ledger, asked):
    reserve(ledger, a_writer())
    early = a_writer(start=START - dt.timedelta(minutes=1))
    assert reserve(ledger, early, mac=mac_of(1)).is_new
    assert not asked
    with ledger.database.reading() as connection:
        steps = connection.exec_driver_sql("SELECT step FROM events ORDER BY number").all()
    assert steps == [("reserve",), ("clock",), ("reserve",)]
    ledger.verify_chains()


def test_a_new_week_begins_with_its_first_number(ledger, asked):
    reserve(ledger, a_writer())
    later = a_writer(start=START + dt.timedelta(weeks=1))
    given = [reserve(ledger, later, mac=mac_of(number)) for number in (1, 2)]
    assert [parse_serial(one.serial).sequence for one in given] == [1, 2]
    assert asked == [True]


def test_the_last_number_of_a_week_is_given_and_none_after_it(site, ledger, asked):
    last, writer = sequences_of_epoch(1)[-1], a_writer()
    reserve(ledger, writer)
    columns = f"'AMP', 'FLR', 2026, 7, 2, {last - 2}, 1, 'for this test', 'then'"
    site.edit(f"INSERT INTO voided_ranges VALUES ({columns})")  # noqa: S608 - of this test
    given = [reserve(ledger, writer, mac=mac_of(number)) for number in (1, 2)]
    assert [parse_serial(one.serial).sequence for one in given] == [last - 1, last]
    assert asked == [False, True]
    before = site.dump()
    with pytest.raises(SerialNumberError, match="no serial number is left"):
        reserve(ledger, writer, mac=mac_of(3))
    assert site.dump() == before


@pytest.mark.parametrize("passes_commit", [True, False])
def test_a_lost_answer_is_looked_up_and_the_board_has_one_number(
    site, ledger, request, passes_commit
):
    proxy = CuttingProxy(site.address.port, passes_commit=passes_commit)
    request.addfinalizer(proxy.close)
    url = site.server.url(site.address.database, port=proxy.port)
    through = Ledger.open(parse_ledger_address(url, root=Path("/factory")))
    request.addfinalizer(through.close)
    writer = a_writer()
    reserve(through, writer)
    proxy.is_armed = True
    given = reserve(through, writer, mac=mac_of(1))
    assert not proxy.is_armed
    assert given.is_resumed == passes_commit
    (job,) = list_jobs(ledger.database, given.serial)
    assert (job.job, job.state, job.bundle_digest) == (given.job, JobState.OPEN, BUNDLE)
    assert sequences(ledger) == [1, 2]
    ledger.verify_chains()
    assert reserve(through, writer, mac=mac_of(2)).is_new


def test_a_server_that_refuses_leaves_the_connection_as_it_was(site, ledger, asked):
    writer = a_writer()
    reserve(ledger, writer)
    site.edit("ALTER TABLE events ADD CONSTRAINT nothing_more CHECK (number < 1) NOT VALID")
    before = site.dump()
    with pytest.raises(LedgerError):
        reserve(ledger, writer, mac=mac_of(1))
    assert site.dump() == before
    site.edit("ALTER TABLE events DROP CONSTRAINT nothing_more")
    assert reserve(ledger, writer, mac=mac_of(1)).is_new
    assert asked == [True]
    ledger.verify_chains()


def test_a_server_whose_transactions_see_an_older_state_by_default_gives_no_number_twice(site):
    site.edit(
        f"ALTER DATABASE {site.address.database} SET default_transaction_isolation TO serializable"
    )
    ledgers = [Ledger.open(site.address) for _ in range(2)]
    writers = [a_writer(f"station-{number}") for number in range(2)]
    for number in range(6):
        assert reserve(ledgers[number % 2], writers[number % 2], mac=mac_of(number)).is_new
    assert sequences(ledgers[0]) == list(range(1, 7))
    for ledger in ledgers:
        ledger.close()


def test_what_is_quoted_arrives_as_it_was(ledger):
    step = "o'clock \\x41 %s $1 \u00b5A"
    written = ledger.append(a_writer(), step=step, phase=Phase.NOTE, data={})
    assert written.event.step == step
    assert rows_of(ledger.database, select(events.c.step, events.c.content)) == [
        (step, written.content)
    ]
    ledger.verify_chains()


def test_a_text_that_a_server_would_cut_off_is_not_sent(site, ledger):
    before = site.dump()
    with pytest.raises(TypeError):
        ledger.append(a_writer(), step="cut\0off", phase=Phase.NOTE, data={})
    assert site.dump() == before
    assert reserve(ledger, a_writer()).is_new
