"""Yield, first-pass yield, retests and reasons are counted from the ledger's verdicts."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from provisioning.errors import LedgerError
from provisioning.ledger_values import UnitState
from provisioning.line_yield import CountedReason, count_yield
from provisioning.station_report import render_report
from provisioning.station_values import Step
from tests.provisioning.station_bench import make_bench, open_bench

OFFSET = "code 2560 is -7.04 LSB from the best line"
OFFSET_AGAIN = "code 1536 is 6.12 LSB from the best line"


@pytest.fixture
def station(tmp_path):
    make_bench(tmp_path)
    station = open_bench(tmp_path)
    yield station
    station.close()


def reserve(station, number, *, bundle_digest=None):
    return station.ledger.reserve(
        station.writer, mac=bytes([2, 0, 0, 0, 0, number]), prefix="AMP", model="FL1",
        bundle_digest=bundle_digest or station.bundle.digest, again=True,
    )  # fmt: skip


def judge(station, number, state, *reasons, **options):
    """Give a unit one more verdict, as the end of a run does."""
    failed_step = None if state is UnitState.PASS else Step.CALIBRATE.value
    station.ledger.finish(
        station.writer,
        reservation=reserve(station, number, **options),
        unit_state=state,
        data={"outcome": state.value, "failed_step": failed_step, "reasons": list(reasons)},
    )


def stop(station, number, step, error):
    """Leave a job open, with the note that an error leaves."""
    from provisioning.unit_job import UnitJob

    job = UnitJob(station.ledger, station.writer, reserve(station, number))
    job.note(step, {"error": error, "message": "…"})


def test_each_figure_counts_what_it_says(station):
    judge(station, 1, UnitState.PASS)
    judge(station, 2, UnitState.FAIL, OFFSET)
    judge(station, 2, UnitState.PASS)  # measured again until it passed
    judge(station, 3, UnitState.FAIL, OFFSET, OFFSET_AGAIN)
    judge(station, 3, UnitState.FAIL, OFFSET)
    judge(station, 4, UnitState.PASS)
    judge(station, 4, UnitState.CONDITIONAL_FAIL)  # worked on again, and no longer good
    stop(station, 5, Step.FLASH, "PortError")
    stop(station, 5, Step.FLASH, "PortError")
    judge(station, 6, UnitState.PASS, bundle_digest=bytes(32))  # of another release

    line = count_yield(station.ledger, bundle_digest=station.bundle.digest)
    assert (line.judged, line.passed, line.first_pass) == (4, 2, 2)
    assert (line.yield_percent, line.first_pass_percent) == (50.0, 50.0)
    assert (line.retests, line.retested, line.in_work) == (3, 3, 1)
    assert line.reasons == (
        CountedReason(
            step="calibrate", reason="code # is # LSB from the best line", count=4, units=2
        ),
    )
    assert line.stops == (CountedReason(step="flash", reason="PortError", count=2, units=1),)


def test_a_line_that_judged_nothing_has_no_yield(station):
    stop(station, 1, Step.FLASH, "PortError")
    line = count_yield(station.ledger, bundle_digest=station.bundle.digest)
    assert (line.judged, line.in_work) == (0, 1)
    assert line.yield_percent is None
    assert line.first_pass_percent is None


def test_the_page_has_the_table_and_the_reasons(station):
    judge(station, 1, UnitState.PASS)
    judge(station, 2, UnitState.FAIL, "<b>odd</b> reason 7")
    now = station.outside.now()
    made = render_report(station.ledger, station.bundle, station="station-1", now=now)
    assert "<h2>Yield</h2>" in made.page
    assert "50.0 %" in made.page
    assert "&lt;b&gt;odd&lt;/b&gt; reason #" in made.page
    assert "What stopped the station" not in made.page
    assert made.line_yield.judged == made.unit_count == 2


def test_a_verdict_that_was_edited_in_the_ledger_is_refused(station):
    judge(station, 1, UnitState.PASS)
    with station.ledger.database.writing() as connection:
        connection.execute(text("UPDATE jobs SET outcome = 'perfect'"))
    with pytest.raises(LedgerError, match="perfect"):
        count_yield(station.ledger, bundle_digest=station.bundle.digest)


def test_what_stopped_the_station_is_told_in_words_where_the_note_has_them(station):
    from provisioning.unit_job import UnitJob

    for number in (1, 2):
        job = UnitJob(station.ledger, station.writer, reserve(station, number))
        what = "the instrument is not good enough for the limit"
        note = {"error": "VerificationError", "what": what, "message": f"{what}: got {number}"}
        job.note(Step.VERIFY, note)
    stops = count_yield(station.ledger, bundle_digest=station.bundle.digest).stops
    assert stops == (CountedReason(step="verify", reason=what, count=2, units=2),)
