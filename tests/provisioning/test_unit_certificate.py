"""The certificate of a unit: one page, from its record alone, and only what the readings give."""

from __future__ import annotations

import copy
import datetime as dt
import json
import re
from dataclasses import replace

import pytest

from provisioning.certificate_rows import ROWS_MAX, build_rows
from provisioning.conformity_statement import state_conformity
from provisioning.errors import ReportError
from provisioning.instrument_register import add_instrument, build_entry
from provisioning.ledger_queries import list_units
from provisioning.measurement_choices import CoverageRule, DecisionRule
from provisioning.reports import render_certificate
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_report import render_report, write_certificates
from provisioning.station_settings import StationSettings
from provisioning.uncertainty import Outcome
from provisioning.unit_certificate import build_certificate
from provisioning.unit_events import read_unit_events
from provisioning.unit_export_checking import verify_export_links
from provisioning.unit_exports import export_unit
from provisioning.verification import recompute_verification
from signing.errors import SigningError
from tests.chromium import print_page
from tests.provisioning.station_bench import SEED, make_bench, open_bench, outside, slot_configs
from tests.provisioning.test_reports import Outline, text_of


@pytest.fixture(scope="module")
def station(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    make_bench(folder)
    station = open_bench(folder, StationSettings(lot="L4711"))
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        results = run_slots(station, slot_configs(line))
    assert all(result.report.is_passed for result in results)
    yield station
    station.close()


@pytest.fixture(scope="module")
def record(station):
    return read_unit_events(station.ledger, list_units(station.ledger.database)[0].serial)


@pytest.fixture(scope="module")
def made(station, record):
    return build_certificate(record, station.keys.ca_der, where="unit")


def with_data(record, step, change):
    """The same record with the data of one step's events changed."""
    events = []
    for event in record.events:
        data = copy.deepcopy(dict(event.data))
        if event.step == step and event.phase == "CONFIRM":
            change(data)
        events.append(replace(event, data=data))
    return replace(record, events=tuple(events))


def test_it_states_everything_that_an_auditor_asks_for(made, record):
    html = render_certificate(made)
    outline = Outline(html)
    assert len(outline.ids) == len(set(outline.ids))
    assert not re.search(r"https?:|//[a-z]|@import|<script|<link|url\((?!#)", html)
    text = text_of(html)
    final = next(event for event in record.events if event.step == "final")
    for part in (
        made.serial,
        f"certificate of calibration and verification {made.serial}-1".capitalize()[:20],
        "L4711",
        str(made.verification.instrument),
        "none on file",
        "23.0 °C ± 1 °C",
        "µA (k = 2), INL",
        "station-1, slot",
        made.verification.recipe.sha256,
        made.verification.table_digest,
        "ILAC-G8:09/2019",
        "w = 1·U, U = k·u with k = 2.00 for 95.45 %",
        "at most 2.3 % for any one point",
        "TUR = limit/U",
        "agree to the last digit",
        "signed by station-1, key",
        made.ledger_uuid,
        f"final station-1/{final.number} {record.hashes[-1][:32]}",
    ):
        assert part in text, part
    for point in made.verification.points:
        if point.calibration_limit_na is not None:
            measured = f"{point.measured_na / 1_000:+.2f}".replace("-", "\N{MINUS SIGN}")
            assert f"{measured} " in text


def test_pages_about_simulated_boards_say_so_and_pages_about_real_ones_do_not(station, made):
    now = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
    for serial in (None, made.serial):
        report = render_report(
            station.ledger, station.bundle, station="station-1", now=now, serial=serial
        )
        assert "Simulated boards and meters" in text_of(report.page)
    assert "Simulated boards and meters" in text_of(render_certificate(made))
    meter = replace(made.verification.instrument, manufacturer="Keysight")
    real = replace(
        made,
        calibration=made.calibration.model_copy(update={"instrument": meter}),
        verification=made.verification.model_copy(update={"instrument": meter}),
    )
    assert "Simulated boards" not in text_of(render_certificate(real))


def test_ledger_and_export_give_the_same_bytes(station, made, record):
    exported = export_unit(
        station.ledger, made.serial, keys=station.keys, station="station-1", now=outside().now()
    )
    proved = verify_export_links(
        json.dumps(exported).encode(), station.keys.ca_der, now=outside().now(), where="x"
    )
    assert proved == record
    again = build_certificate(proved, station.keys.ca_der, where="x")
    assert render_certificate(again) == render_certificate(made)


def test_the_register_s_entry_of_the_instrument_is_stated(tmp_path):
    make_bench(tmp_path)
    with SimulatedLine(tmp_path / "line", board_count=1, seed=SEED) as line:
        opened = open_bench(tmp_path, StationSettings())
        serial_number = opened.open_meter(slot_configs(line)[0]).identity.serial_number
        add_instrument(
            opened.ledger,
            opened.writer,
            build_entry(
                serial_number=serial_number, maker="ampforge", model="DMM", certificate="K-118",
                calibrated=dt.date(2026, 1, 15), due=dt.date(2026, 12, 31), read_from="hand",
                entered_by="metrology",
            ),
        )  # fmt: skip
        opened.close()
        opened = open_bench(tmp_path, StationSettings())
        (result,) = run_slots(opened, slot_configs(line))
    assert result.report.is_passed
    record = read_unit_events(opened.ledger, list_units(opened.ledger.database)[0].serial)
    made = build_certificate(record, opened.keys.ca_der, where="unit")
    opened.close()
    age_days = (made.verification.started_at.date() - dt.date(2026, 1, 15)).days
    assert made.verification.certificate_age_days == age_days
    assert "K-118, calibrated 2026-01-15, due 2026-12-31" in text_of(render_certificate(made))


def test_a_meter_that_was_exchanged_between_calibration_and_verification_is_stated(made):
    assert "with Other" not in text_of(render_certificate(made))
    other = replace(made.calibration.instrument, manufacturer="Other", serial_number="OTHER7")
    calibration = made.calibration.model_copy(update={"instrument": other, "certificate": "K-9"})
    text = text_of(render_certificate(replace(made, calibration=calibration)))
    assert f"with {other}, certificate K-9: gain" in text
    assert str(made.verification.instrument) in text


@pytest.mark.parametrize(
    ("changes", "rule", "risk"),
    [
        ({}, "w = 1·U", "2.3 %"),
        ({"guard_factor": 1.2}, "w = 1.2·U", "0.82 %"),
        ({"guard_factor": 0.5}, "w = 0.5·U", "16 %"),
        ({"guard_factor": 0.0}, "Simple acceptance, ILAC-G8:09/2019", "50 %"),
        ({"decision_rule": DecisionRule.SIMPLE}, "Simple acceptance, ILAC-G8:09/2019", "50 %"),
        ({"decision_rule": DecisionRule.ONE_SIDED_95}, "w = 1.645·u", "5 %"),
    ],
)
@pytest.mark.parametrize("coverage", list(CoverageRule))
def test_each_rule_and_coverage_is_stated_with_its_own_risk(
    record, made, changes, rule, risk, *, coverage
):
    settings = made.verification.settings.model_copy(update=changes | {"coverage": coverage})
    judged = recompute_verification(made.verification.model_copy(update={"settings": settings}))
    final = next(event for event in record.events if event.step == "final")
    statement = state_conformity(final, judged)
    assert rule in statement
    assert f"at most {risk} for any one point" in statement
    assert ("Student" in statement) is (coverage is CoverageRule.STUDENT)


def test_a_limit_that_is_no_larger_than_its_u_may_be_missed_on_both_sides(record, made):
    """An error of nothing is then two u from either limit, and accepted: 2.3 % for each."""
    idle = made.verification.idle[0]
    narrow = idle.model_copy(update={"claim_limit_na": 2 * idle.standard_uncertainty_na})
    final = next(event for event in record.events if event.step == "final")
    statement = state_conformity(final, made.verification.model_copy(update={"idle": (narrow,)}))
    assert "at most 4.6 % for any one point" in statement


def test_each_level_says_its_worst(made):
    levels = [row for row in made.rows if row.mode]
    assert len(levels) == len({(p.mode, p.level_index) for p in made.verification.points})
    for row in levels:
        own = [
            p
            for p in made.verification.points
            if (p.mode, p.level_index + 1) == (row.mode, row.level)
        ]
        assert abs(row.claimed.error_na) / row.claimed.claim_limit_na == max(
            abs(p.error_na) / p.claim_limit_na for p in own
        )
        assert [p.target_na for p in row.readings] == [row.target_na, -row.target_na]
    assert [row.mode for row in made.rows][-1] == ""
    assert max(row.risk for row in made.rows) == made.risk.worst_point


def test_a_record_that_its_readings_do_not_give_gets_no_certificate(station, record):
    def change(data):
        data["result"]["points"][0]["expanded_uncertainty_na"] *= 0.5

    with pytest.raises(ReportError, match="does not agree with its own readings"):
        build_certificate(with_data(record, "verify", change), station.keys.ca_der, where="unit")


def test_a_unit_without_a_verdict_gets_no_certificate(station, record):
    begun = replace(record, events=record.events[:-1], hashes=record.hashes[:-1])
    with pytest.raises(ReportError, match="nothing to certify"):
        build_certificate(begun, station.keys.ca_der, where="unit")


def test_a_unit_that_was_measured_since_its_verdict_gets_no_certificate(station, record):
    again = [event for event in record.events if "recipe_sha256" in event.data][-1]
    measured = replace(
        record, events=(*record.events, again), hashes=(*record.hashes, record.hashes[-1])
    )
    with pytest.raises(ReportError, match="from before the last measurement"):
        build_certificate(measured, station.keys.ca_der, where="unit")


def test_a_verdict_of_a_job_that_did_not_measure_is_not_certified(station, record):
    later = replace(record.events[-1], job="another", data={"outcome": "fail", "reasons": []})
    failed = replace(
        record, events=(*record.events, later), hashes=(*record.hashes, record.hashes[-1])
    )
    with pytest.raises(ReportError, match="a later job, which did not measure"):
        build_certificate(failed, station.keys.ca_der, where="unit")


def test_a_unit_that_was_sent_back_gets_no_certificate(station, record):
    order = replace(record.events[-1], step="supervise", data={"sends_back": True})
    sent_back = replace(
        record, events=(*record.events, order), hashes=(*record.hashes, record.hashes[-1])
    )
    with pytest.raises(ReportError, match="supervisor's order"):
        build_certificate(sent_back, station.keys.ca_der, where="unit")


@pytest.mark.parametrize("place", [0, 3, None], ids=["before", "between", "after"])
def test_a_unit_on_hold_gets_no_certificate_wherever_its_hold_is_sorted(station, record, place):
    """Its station told the hold by another clock than the lease the measurement."""
    place = len(record.events) if place is None else place
    hold = replace(record.events[-1], station="station-1/1", step="hold", data={"reasons": []})
    held = replace(
        record,
        events=(*record.events[:place], hold, *record.events[place:]),
        hashes=(*record.hashes, record.hashes[-1]),
    )
    with pytest.raises(ReportError, match="a unit on hold"):
        build_certificate(held, station.keys.ca_der, where="unit")


def test_a_record_of_another_factory_gets_no_certificate(record, tmp_path):
    make_bench(tmp_path)
    ca_der = (tmp_path / "station" / "factory-ca.cert.der").read_bytes()
    with pytest.raises(SigningError):
        build_certificate(record, ca_der, where="unit")


def test_of_more_levels_than_fit_each_mode_shows_its_ends_and_its_middle(made):
    def widen(index, mode):
        return [
            point.model_copy(update={"mode": mode, "level_index": index})
            for point in made.verification.points
            if point.level_index == 0
        ]

    points = [
        point for mode in ("A", "B", "C") for level in range(7) for point in widen(level, mode)
    ]
    rows, omitted_count = build_rows(made.verification.model_copy(update={"points": tuple(points)}))
    shown = [(row.mode, row.level) for row in rows if row.mode]
    assert shown == [(mode, level) for mode in ("A", "B", "C") for level in (1, 4, 7)]
    assert omitted_count == 3 * 7 - len(shown)


def crowded(made):
    """A certificate with as much on it as there can be."""
    verification = made.verification
    words = "a reason that goes on and on, with figures such as 123.456 µA of ±7.890 µA; " * 9
    return replace(
        made,
        verdict="CONDITIONAL_FAIL",
        reasons=(words,) * 9,
        waivers=(words,) * 9,
        rows=(*made.rows[:1] * ROWS_MAX, made.rows[-1]),
        omitted_count=99,
        anchors=(*made.anchors, made.anchors[-1], made.anchors[-1]),  # recheck and release
        is_released_by_check=True,
        verification=verification.model_copy(
            update={"waveforms": verification.waveforms * 9, "outcome": Outcome.FAIL}
        ),
    )


def test_it_prints_to_one_page_on_a4_and_on_letter_however_much_is_on_it(made, tmp_path):
    for name, certificate in (("plain", made), ("crowded", crowded(made))):
        html = render_certificate(certificate)
        for paper in ("A4", "Letter"):
            page = tmp_path / f"{name}-{paper}.html"
            sized = html.replace("@page { ", f"@page {{ size: {paper}; ")
            assert sized != html
            page.write_text(sized)
            printed = print_page(page, profile=tmp_path / "profile")
            assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) == 1


def test_the_report_of_a_lot_links_the_certificates_of_its_units(station, made, tmp_path):
    written = write_certificates(
        station.ledger, station.bundle, tmp_path, ca_der=station.keys.ca_der, lot="L4711"
    )
    assert written == {made.serial: tmp_path / f"{made.serial}.certificate.html"}
    assert written[made.serial].read_text() == render_certificate(made)
    report = render_report(
        station.ledger,
        station.bundle,
        station="station-1",
        now=outside().now(),
        lot="L4711",
        links={made.serial: "c/unit.html"},
    )
    assert report.unit_count == report.line_yield.judged == 1
    assert f'<a href="c/unit.html">{made.serial}</a>' in report.page
    assert "Lot L4711: 1 unit<" in report.page


def test_another_lot_has_no_units_and_no_certificates(station, tmp_path):
    folder = tmp_path / "none"
    assert not write_certificates(
        station.ledger, station.bundle, folder, ca_der=station.keys.ca_der, lot="L4712"
    )
    assert not folder.exists()
    with pytest.raises(ReportError, match="none of lot L4712"):
        render_report(
            station.ledger, station.bundle, station="station-1", now=outside().now(), lot="L4712"
        )
