"""The check standard: what a known current before and after the units does to them."""

from __future__ import annotations

import datetime as dt

import pytest
from pydantic import ValidationError

from provisioning.check_entry import Moment
from provisioning.check_standard import judge_check, read_check_standard
from provisioning.check_standard_settings import CheckStandardSettings
from provisioning.errors import (
    CheckStandardError,
    HeldUnitError,
    InstrumentError,
    LedgerError,
    ReportError,
)
from provisioning.ledger_events import Phase
from provisioning.ledger_journal import read_end, read_part
from provisioning.ledger_queries import list_serials, list_units
from provisioning.ledger_supervision import carry_out, prepare_order
from provisioning.ledger_values import SerialState, UnitState
from provisioning.simulator.faults import AnalogFault, FaultPlan
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_settings import StationSettings
from provisioning.station_values import SlotConfig, Step
from provisioning.supervision import Act, sign_act
from provisioning.unit_certificate import build_certificate
from provisioning.unit_events import read_unit_events
from tests.firmware_images.release_parts import signer
from tests.provisioning.check_bench import STANDARD_SECTION
from tests.provisioning.metrology_bench import NOON, MetrologyBench
from tests.provisioning.station_bench import make_bench, open_bench, slot_configs

STANDARD = CheckStandardSettings(**STANDARD_SECTION)
SETTINGS = StationSettings(check_standard=STANDARD)
DRIFTING = {0: FaultPlan(analog=frozenset({AnalogFault.FIXTURE_DRIFT}))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench")
    make_bench(path)
    return path


def states(station):
    serials = {one.serial: one.state for one in list_serials(station.ledger.database)}
    return [(one.state, serials[one.serial]) for one in list_units(station.ledger.database)]


def certify(station, serial=None):
    serial = serial or list_units(station.ledger.database)[0].serial
    return build_certificate(
        read_unit_events(station.ledger, serial), station.keys.ca_der, where=serial
    )


def test_a_reading_far_from_the_reference_is_not_good():
    assert judge_check(500_399.0, (), STANDARD).is_good
    judged = judge_check(499_599.0, (), STANDARD)
    assert "-401.0 nA from the reference" in judged.reasons[0]


def test_a_small_lasting_shift_is_seen_by_the_chart_alone():
    before = [500_100.0, 500_110.0, 500_090.0]
    values = list(before)
    for _ in range(20):
        judged = judge_check(500_150.0, values, STANDARD)
        if not judged.is_good:
            break
        values.append(500_150.0)
    assert 4 < len(values) < 20
    assert "EWMA" in judged.reasons[0]
    assert judged.center_na == pytest.approx(500_100.0)


def test_the_standard_on_the_simulated_fixture_reads_what_it_is():
    with MetrologyBench() as bench:
        bench.meter.close()
        slot = SlotConfig(name="1", port="none", meter=bench.address)
        check = read_check_standard(
            slot, SETTINGS, STANDARD, moment=Moment.START, clock=lambda: NOON
        )
    assert check.mean_na == pytest.approx(500_000, abs=STANDARD.limit_na)
    assert (check.instrument, check.certificate, check.range_ua) == ("SM0000", None, 1_000)


def test_each_reading_says_where_its_reference_stands_and_an_overdue_standard_is_not_read():
    dated = {"certificate": "SRC-7", "due": NOON.date()}
    standard = CheckStandardSettings(**STANDARD_SECTION, **dated)
    with MetrologyBench() as bench:
        bench.meter.close()
        slot = SlotConfig(name="1", port="none", meter=bench.address)

        def read(now):
            return read_check_standard(
                slot, SETTINGS, standard, moment=Moment.START, clock=lambda: now
            )

        assert read(NOON).standard_certificate == "SRC-7"
        with pytest.raises(InstrumentError, match=r"overdue: expected due 2026-03-03.*SRC-7"):
            read(NOON + dt.timedelta(days=1))
    with pytest.raises(ValidationError, match="none is stated"):
        CheckStandardSettings(**STANDARD_SECTION, due=NOON.date())


def test_a_unit_is_released_only_by_the_reading_after_it(folder, tmp_path):
    with SimulatedLine(tmp_path / "line", board_count=1, seed=3) as line:
        station = open_bench(folder, SETTINGS)
        seen = []

        def look(progress):
            if progress.step is Step.FINAL and progress.fraction == 1:
                seen.extend(states(station))
                with pytest.raises(ReportError, match="waits for the next good reading"):
                    certify(station)

        (result,) = run_slots(station, slot_configs(line), on_progress=look)
        assert result.error is None
        assert seen == [(UnitState.PASS, SerialState.ASSIGNED)]
        assert states(station) == [(UnitState.PASS, SerialState.RELEASED)]
        certificate = certify(station)
        assert (certificate.verdict, certificate.is_released_by_check) == ("PASS", True)
        assert certificate.anchors[-1].step == "release"
        station.ledger.verify_chains()
        station.close()


def test_a_fixture_that_drifts_puts_every_unit_since_the_last_good_reading_on_hold(tmp_path):
    make_bench(tmp_path)
    with SimulatedLine(tmp_path / "line", board_count=2, seed=4, faults=DRIFTING) as line:
        station = open_bench(tmp_path, SETTINGS)

        def pass_an_hour(progress):
            if progress.step is Step.FINAL and progress.fraction == 1:
                line.slots[0].board.output.time_s += 3600

        results = run_slots(station, slot_configs(line), on_progress=pass_an_hour)
        assert isinstance(results[0].error, CheckStandardError)
        assert "1 unit is on hold" in results[0].error.hint
        assert results[1].error is None
        assert sorted(states(station)) == [
            (UnitState.HOLD, SerialState.ASSIGNED),
            (UnitState.PASS, SerialState.RELEASED),
        ]
        station.ledger.verify_chains()
        # The slot stays stopped, nothing reaches the board, and a supervisor is the only way out.
        (again,) = run_slots(station, slot_configs(line)[:1])
        assert isinstance(again.error, CheckStandardError)
        held = next(
            one for one in list_units(station.ledger.database) if one.state is UnitState.HOLD
        )
        with pytest.raises(ReportError, match="a unit on hold"):
            certify(station, held.serial)
        station.close()
        assert_is_refused_first(tmp_path, line, held)
        station = open_bench(tmp_path, SETTINGS)
        with pytest.raises(LedgerError, match="cannot go there"):
            station.ledger.reserve(
                station.writer, mac=held.mac, prefix="AMP", model="FL1",
                bundle_digest=station.bundle.digest, again=False,
            )  # fmt: skip
        order = prepare_order(
            station.ledger, station.writer, act=Act.REWORK, mac=held.mac, reason="shunt replaced"
        )
        carry_out(station.ledger, station.writer, order, sign_act(order, [signer("supervisor-1")]))
        assert (UnitState.REWORK, SerialState.ASSIGNED) in states(station)
        station.ledger.verify_chains()
        station.close()


def assert_is_refused_first(folder, line, held):
    """A held board on a fixture is named, with the way out, before anything is intended."""
    station = open_bench(folder)  # without a check standard: the slot itself is not stopped
    (flash,) = (folder / "line").glob("**/*1/flash.bin")
    content = flash.read_bytes()
    events = station.ledger.events(serial=held.serial)
    (result,) = run_slots(station, slot_configs(line)[:1])
    assert isinstance(result.error, HeldUnitError)
    assert f"`ampforge unit rework {held.serial} --reason TEXT`" in result.error.hint
    assert flash.read_bytes() == content
    assert station.ledger.events(serial=held.serial) == events
    with station.ledger.database.reading() as connection:
        (last,) = read_part(
            connection,
            "station-1",
            first_number=read_end(connection, "station-1").count - 1,
            count=1,
        )
    assert (last.event.step, last.event.phase) == (Step.DETECT, Phase.CONFIRM)
    station.close()


def test_a_bad_reading_at_the_start_stops_the_slot_before_its_board_is_touched(tmp_path):
    make_bench(tmp_path)
    with SimulatedLine(tmp_path / "line", board_count=1, seed=5, faults=DRIFTING) as line:
        line.slots[0].board.output.time_s += 3600
        station = open_bench(tmp_path, SETTINGS)
        (result,) = run_slots(station, slot_configs(line))
        assert isinstance(result.error, CheckStandardError)
        assert "start of the run" in str(result.error)
        assert states(station) == []
        station.close()
