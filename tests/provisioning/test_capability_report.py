"""What the ledger says of a line: first jobs count, retests are told, each current has its Ppk."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from statistics import fmean, stdev

import pytest

from cli.capability_commands import group
from cli.failures import run_and_exit
from provisioning.calibration import calibrate_unit
from provisioning.capability_report import report_line
from provisioning.errors import CapabilityDataError, VerificationError
from provisioning.ledger import Ledger
from provisioning.ledger_creation import create_ledger
from provisioning.ledger_events import Phase
from provisioning.ledger_queries import list_units
from provisioning.ledger_supervision import carry_out, prepare_order
from provisioning.ledger_values import UnitState, Writer
from provisioning.line_yield import count_yield
from provisioning.report_figures import least_capable
from provisioning.reports import ReportedUnit, render_line_report
from provisioning.supervision import Act, sign_act
from provisioning.verification import verify_unit
from provisioning.verification_result import serialize_verification_result
from tests.firmware_images.release_parts import signer
from tests.provisioning.metrology_bench import (
    SETTINGS,
    TABLE,
    MetrologyBench,
    SteppingClock,
    ignore_progress,
)
from tests.provisioning.test_reports import HEADER, text_of

START = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)
BUNDLE, OTHER_BUNDLE = bytes([0xAB]) * 32, bytes([0xCD]) * 32
UNITS = 4


def measure(index):
    """Calibrate and verify one simulated unit, as a station does."""
    clock = SteppingClock()
    with MetrologyBench(index=index) as bench:
        calibration = calibrate_unit(
            bench, bench.meter, SETTINGS, progress=ignore_progress, clock=clock
        )
        assert calibration.is_accepted
        bench.write_record(calibration)
        return verify_unit(
            bench, bench.meter, TABLE, SETTINGS,
            progress=ignore_progress, clock=clock, calibration=calibration,
        )  # fmt: skip


@pytest.fixture(scope="module")
def results():
    return [measure(index) for index in range(UNITS)]


def a_writer():
    ticks, names = itertools.count(), itertools.count(1)
    return Writer(
        station="station-1",
        now=lambda: START + dt.timedelta(seconds=next(ticks)),
        new_job=lambda: f"job-{next(names)}",
    )


def run_job(ledger, writer, mac, result, state, *, bundle=BUNDLE):
    reservation = ledger.reserve(
        writer, mac=mac, prefix="AMP", model="FL1", bundle_digest=bundle, again=True
    )
    if result is not None:
        ledger.append(
            writer, step="verify", phase=Phase.CONFIRM, reservation=reservation,
            data={"result": serialize_verification_result(result)},
        )  # fmt: skip
    ledger.finish(writer, reservation=reservation, unit_state=state, data={"reasons": []})


def send_back(ledger, writer, mac):
    order = prepare_order(ledger, writer, act=Act.REWORK, mac=mac, reason="resoldered")
    carry_out(ledger, writer, order, sign_act(order, [signer("supervisor-1")]))


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "station" / "ledger.sqlite3"
    create_ledger(path, product="flare", ledger_uuid="uuid-1", created_at=START)
    ledger = Ledger.open(path)
    yield ledger
    ledger.close()


@pytest.fixture
def line(ledger, results):
    """Four units: one passes, one on a mere retest, one after rework, one of another release."""
    writer = a_writer()
    macs = [bytes([2, 0, 0, 0, 0, n]) for n in range(UNITS + 1)]
    run_job(ledger, writer, macs[0], results[0], UnitState.PASS)
    run_job(ledger, writer, macs[1], results[1], UnitState.CONDITIONAL_PASS)
    run_job(ledger, writer, macs[1], results[0], UnitState.PASS)
    run_job(ledger, writer, macs[2], results[2], UnitState.FAIL)
    send_back(ledger, writer, macs[2])
    run_job(ledger, writer, macs[2], results[0], UnitState.PASS)
    run_job(ledger, writer, macs[3], results[3], UnitState.PASS, bundle=OTHER_BUNDLE)
    ledger.reserve(  # a unit that is still in work counts nowhere
        writer, mac=macs[4], prefix="AMP", model="FL1", bundle_digest=BUNDLE, again=False
    )
    return ledger


def test_yield_tells_first_passes_retests_and_rework_apart(line):
    yields = report_line(line).yields
    assert (yields.first_pass.count, yields.first_pass.total) == (2, 4)
    assert yields.final.count == 4
    assert (yields.retest_passed, yields.rework_passed, yields.retest_count) == (1, 1, 1)


def test_each_current_is_judged_by_the_first_verification_of_each_unit(line, results):
    report = report_line(line, bundle_prefix="ABAB")
    assert report.unit_count == 3
    assert len(report.currents) == len(results[0].points)
    for current in report.currents:
        key = current.key
        errors = [
            point.error_na
            for result in results[:3]
            for point in result.points
            if (point.mode, point.level_index, point.target_na, point.load_ohm)
            == (key.mode, key.level_index, key.target_na, key.load_ohm)
        ]
        assert sorted(current.errors_na) == sorted(errors)
        assert current.capability.mean == pytest.approx(fmean(errors))
        nearer = (key.limit_na - abs(fmean(errors))) / (3 * stdev(errors))
        assert current.capability.ppk.estimate == pytest.approx(nearer)


def test_two_units_have_a_yield_and_no_capability(ledger, results):
    writer = a_writer()
    run_job(ledger, writer, bytes(6), results[0], UnitState.PASS)
    run_job(ledger, writer, bytes([1] * 6), None, UnitState.FAIL)
    report = report_line(ledger)
    assert (report.yields.first_pass.count, report.unit_count) == (1, 1)
    assert {current.reason for current in report.currents} == {"too few units: 1, and 3 are needed"}


def test_a_line_without_a_finished_job_is_refused(ledger, line):
    with pytest.raises(CapabilityDataError, match="provisioned with eeee, got none"):
        report_line(line, bundle_prefix="eeee")


def test_a_damaged_result_is_an_error_and_not_left_out(ledger):
    writer = a_writer()
    reservation = ledger.reserve(
        writer, mac=bytes(6), prefix="AMP", model="FL1", bundle_digest=BUNDLE, again=False
    )
    ledger.append(
        writer, step="verify", phase=Phase.CONFIRM, reservation=reservation, data={"result": {}}
    )
    ledger.finish(writer, reservation=reservation, unit_state=UnitState.PASS, data={})
    with pytest.raises(VerificationError, match="another schema"):
        report_line(ledger)


def test_the_command_prints_yield_and_the_least_capable_currents(line, tmp_path, capsys):
    folder = str(tmp_path / "station")
    with pytest.raises(SystemExit) as exited:
        run_and_exit(group, ["report", "--station", folder])
    out = capsys.readouterr().out
    assert exited.value.code == 0
    assert "first-pass yield  2 of 4: 50.0 % (95 % interval 15.0 to 85.0)" in out
    assert "failed, then passed: 1 on a mere retest, 1 after rework; passed, then failed: 0" in out
    modes = {mode.name for mode in TABLE.modes}
    assert {row.split(maxsplit=1)[0] for row in out.splitlines() if row} >= modes
    with pytest.raises(SystemExit):
        run_and_exit(group, ["report", "--station", folder, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "ampforge.capability-report/1"
    assert document["yield"]["first_pass"]["fraction"] == 0.5
    assert len(document["currents"]) == len(report_line(line).currents)


def test_the_page_of_a_lot_has_yield_capability_and_control_charts(line, results):
    report = report_line(line)
    units = [
        ReportedUnit(serial=f"U{index}", mac="00", verdict="PASS", verification=result)
        for index, result in enumerate(results)
    ]
    html = render_line_report(
        units,
        HEADER,
        {},
        line_yield=count_yield(line, bundle_digest=BUNDLE),
        capability=report,
        lot="L<1>",
        links={"U1": "certificates/U1.html"},
    )
    text = text_of(html)
    assert "Lot L&lt;1&gt;: 4 units" in html
    assert '<a href="certificates/U1.html">U1</a>' in html
    assert "2 of 4 50.0 % 15.0 to 85.0 %" in text
    assert "1 on a mere retest, 1 after rework" in text
    targets = least_capable(report.currents)
    assert len(targets) == len({(c.key.mode, c.key.target_na) for c in report.currents})
    for current in targets:
        ppk = current.capability.ppk
        assert f"{ppk.estimate:.2f} {ppk.low:.2f} to {ppk.high:.2f}" in text
    assert html.count('aria-label="Control chart of ') == len(TABLE.modes)


def test_the_least_capable_load_of_each_target_is_shown(line):
    report = report_line(line)
    for shown in least_capable(report.currents):
        others = [
            current.capability.ppk.estimate
            for current in report.currents
            if (current.key.mode, current.key.target_na) == (shown.key.mode, shown.key.target_na)
        ]
        assert shown.capability.ppk.estimate == min(others)


def test_only_the_units_that_are_named_are_counted(line):
    serials = {unit.serial for unit in list_units(line.database)}
    chosen = {min(serials)}
    assert report_line(line, serials=chosen).yields.final.total == 1
    assert count_yield(line, bundle_digest=BUNDLE, serials=chosen).judged == 1
    assert count_yield(line, bundle_digest=BUNDLE, serials=set()).judged == 0
