"""What the report of a lot says of units that the check standard has not released, or has held."""

from __future__ import annotations

from provisioning.capability_report import report_line
from provisioning.check_standard_settings import CheckStandardSettings
from provisioning.errors import CheckStandardError
from provisioning.ledger_queries import list_units
from provisioning.simulator.faults import AnalogFault, FaultPlan
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_report import render_report, write_certificates
from provisioning.station_settings import StationSettings
from provisioning.station_values import Step
from tests.provisioning.check_bench import STANDARD_SECTION
from tests.provisioning.station_bench import make_bench, open_bench, outside, slot_configs
from tests.provisioning.test_reports import text_of

SETTINGS = StationSettings(
    lot="L4711",
    check_standard=CheckStandardSettings(**STANDARD_SECTION),
)
DRIFTING = {0: FaultPlan(analog=frozenset({AnalogFault.FIXTURE_DRIFT}))}


def report(station):
    made = render_report(
        station.ledger, station.bundle, station="station-1", now=outside().now(), lot="L4711"
    )
    return text_of(made.page), made.line_yield


def test_a_pass_is_not_called_released_and_a_held_unit_is_no_yield(tmp_path):
    make_bench(tmp_path)
    with SimulatedLine(tmp_path / "line", board_count=1, seed=4, faults=DRIFTING) as line:
        station = open_bench(tmp_path, SETTINGS)
        waiting = []

        def look(progress):
            if progress.step is Step.FINAL and progress.fraction == 1:
                waiting.append(report(station))
                line.slots[0].board.output.time_s += 3600

        (result,) = run_slots(station, slot_configs(line), on_progress=look)
    assert isinstance(result.error, CheckStandardError)
    ((text, line_yield),) = waiting
    assert "1 \N{MULTIPLICATION SIGN} PASS AWAITS CHECK" in text
    assert (line_yield.judged, line_yield.passed, line_yield.first_pass) == (1, 1, 1)

    text, line_yield = report(station)
    (unit,) = list_units(station.ledger.database)
    assert "1 \N{MULTIPLICATION SIGN} HOLD" in text
    assert f"{unit.serial} " in text
    assert "on hold, because the check standard failed: " in text
    assert "nA from the reference" in text
    assert (line_yield.judged, line_yield.passed, line_yield.first_pass) == (1, 0, 0)
    assert report_line(station.ledger).yields.final.count == 0
    certificates = tmp_path / "certificates"
    assert not write_certificates(
        station.ledger, station.bundle, certificates, ca_der=station.keys.ca_der
    )
    assert not certificates.exists()
    station.close()
