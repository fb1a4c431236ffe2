"""A station makes units with a waived release while the waiver holds, and their records say so."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from cli.unit_documents import format_unit
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.errors import ApprovalError, WaiverError
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_report import render_report
from provisioning.unit_records import describe_unit
from signing.trust import sign_trust_record, verify_trust_record
from tests.firmware_images.release_parts import build_waived_inputs, signer
from tests.provisioning.station_bench import (
    BUNDLE,
    SEED,
    TRUST,
    make_bench,
    open_bench,
    outside,
    slot_configs,
)

LIFETIME = dt.timedelta(days=200)  # of the waiver that `release_parts` builds


def write_waived_bundle(folder, *, issued_at):
    unsigned = build_bundle(build_waived_inputs(issued_at=issued_at))
    signed = sign_bundle(unsigned, [signer("release-1"), signer("release-2-ed")])
    (folder / BUNDLE).write_bytes(signed)


def test_the_record_and_the_report_of_a_unit_say_what_was_waived(tmp_path):
    make_bench(tmp_path)
    write_waived_bundle(tmp_path, issued_at=outside().now() - dt.timedelta(hours=1))
    station = open_bench(tmp_path)
    try:
        with SimulatedLine(tmp_path / "line", board_count=1, seed=SEED) as line:
            (result,) = run_slots(station, slot_configs(line))
        assert result.error is None, result.error
        document = describe_unit(station.ledger, result.report.serial)
        (waiver,) = station.bundle.waivers
        assert document["waivers"] == [waiver.to_json()]
        assert "WAIVED PEAK PULSE level 2 until" in format_unit(document)
        for now, telling in ((outside().now(), "until"), (waiver.expires_at, "EXPIRED on")):
            made = render_report(station.ledger, station.bundle, station="station-1", now=now)
            assert f"WAIVED PEAK PULSE level 2 {telling}" in made.page
    finally:
        station.close()


def test_a_station_does_not_begin_with_an_expired_waiver(tmp_path):
    make_bench(tmp_path)
    write_waived_bundle(tmp_path, issued_at=outside().now() - LIFETIME - dt.timedelta(minutes=1))
    ledger = next((tmp_path / "station").glob("*.sqlite3"))
    before = ledger.read_bytes()
    with pytest.raises(WaiverError, match="has expired"):
        open_bench(tmp_path)
    assert ledger.read_bytes() == before


def test_a_station_does_not_begin_under_an_outdated_policy(tmp_path):
    make_bench(tmp_path)
    current = verify_trust_record((tmp_path / TRUST).read_bytes(), current=None)
    stricter = replace(current, version=2, minimum_policy_version=2)
    (tmp_path / TRUST).write_bytes(sign_trust_record(stricter, [signer("root-1")]))
    ledger = next((tmp_path / "station").glob("*.sqlite3"))
    before = ledger.read_bytes()
    with pytest.raises(ApprovalError, match="no longer counts"):
        open_bench(tmp_path)
    assert ledger.read_bytes() == before
