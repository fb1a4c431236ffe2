"""What is asked about one unit never reads a table from its beginning to its end."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from provisioning.ledger import Ledger
from provisioning.ledger_events import Phase
from provisioning.ledger_values import UnitState
from provisioning.station_report import load_reported_unit
from provisioning.unit_records import describe_history, describe_unit
from tests.provisioning.ledger_sites import MAC, a_writer, made_site, reserve

LARGE = {"events", "jobs", "units", "serial_numbers"}


@pytest.fixture
def ledger(tmp_path, request):
    ledger = Ledger.open(made_site("sqlite", tmp_path, request).address)
    yield ledger
    ledger.close()


def whole_tables(ledger, act):
    """Return the large tables that an act reads from end to end, by SQLite's own plan."""
    asked = []

    def trace(driver, *_):
        driver.set_trace_callback(asked.append)

    engine = ledger.database._engine
    event.listen(engine, "checkout", trace)
    act()
    event.remove(engine, "checkout", trace)
    questions = [one for one in asked if one.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert questions
    with engine.connect() as connection:
        connection.connection.driver_connection.set_trace_callback(None)
        steps = [
            step.detail
            for question in questions
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}")
        ]
    return {step.split()[1] for step in steps if step.startswith("SCAN")} & LARGE


@pytest.mark.parametrize("describe", [describe_unit, describe_history, load_reported_unit])
def test_a_unit_is_found_by_indexes(ledger, describe):
    writer = a_writer()
    given = reserve(ledger, writer)
    ledger.append(writer, step="flash", phase=Phase.CONFIRM, data={}, reservation=given)
    ledger.finish(writer, reservation=given, unit_state=UnitState.PASS, data={})
    assert whole_tables(ledger, lambda: describe(ledger, given.serial)) == set()


def test_a_station_writes_by_indexes(ledger):
    """Also when it resumes a unit, ends its job, and works on it again."""
    writer = a_writer()

    def work():
        for _ in range(2):
            given = reserve(ledger, writer, mac=MAC, again=True)
            ledger.append(writer, step="flash", phase=Phase.CONFIRM, data={}, reservation=given)
            reserve(ledger, writer, mac=MAC)
            ledger.finish(writer, reservation=given, unit_state=UnitState.PASS, data={})

    assert whole_tables(ledger, work) == set()


def test_the_test_sees_a_table_that_is_read_from_end_to_end(ledger):
    def scan():
        with ledger.database.reading() as connection:
            connection.exec_driver_sql("SELECT * FROM events WHERE step = 'flash'").all()

    assert whole_tables(ledger, scan) == {"events"}
