"""The record of a unit: told, exported with its proof, and nothing can be changed unseen."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.errors import ExportError, LedgerError
from provisioning.ledger_events import Phase
from provisioning.ledger_queries import list_units
from provisioning.ledger_units import find_unit
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.unit_export_checking import verify_export
from provisioning.unit_exports import export_unit
from provisioning.unit_records import describe_history, describe_unit, load_results, worst_points
from signing.errors import SigningError
from tests.provisioning.station_bench import (
    SEED,
    make_bench,
    open_bench,
    outside,
    slot_configs,
)


@pytest.fixture(scope="module")
def station(tmp_path_factory):
    """Two units that passed, and a third that only has its number."""
    folder = tmp_path_factory.mktemp("bench")
    make_bench(folder)
    station = open_bench(folder)
    with SimulatedLine(folder / "line", board_count=2, seed=SEED) as line:
        results = run_slots(station, slot_configs(line))
    assert all(result.report.is_passed for result in results)
    station.ledger.reserve(
        station.writer, mac=bytes(6), prefix="AMP", model="FL1",
        bundle_digest=station.bundle.digest, again=False,
    )  # fmt: skip
    yield station
    station.close()


@pytest.fixture(scope="module")
def serial(station):
    return list_units(station.ledger.database)[0].serial


def last_serial(station):
    return list_units(station.ledger.database)[-1].serial


@pytest.fixture(scope="module")
def exported(station, serial):
    document = export_unit(
        station.ledger, serial, keys=station.keys, station="station-1", now=outside().now()
    )
    return json.loads(json.dumps(document))


def verify(station, document):
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return verify_export(content, station.keys.ca_der, now=outside().now(), where="unit.json")


def test_a_unit_is_shown_with_calibration_and_worst_points(station, serial):
    shown = describe_unit(station.ledger, serial)
    assert shown["schema"] == "ampforge.unit/1"
    assert (shown["state"], shown["firmware_version"]) == ("pass", "1.4.0")
    assert shown["calibration"]["gain_ppm"] > 900_000
    assert shown["verification"]["outcome"] == "PASS"
    assert [worst["mode"] for worst in shown["verification"]["worst"]] == ["PULSE"]
    assert len(bytes.fromhex(shown["calibration_record"])) > 100
    json.dumps(shown, allow_nan=False)


def test_a_unit_that_was_only_begun_is_shown_too(station):
    shown = describe_unit(station.ledger, last_serial(station))
    assert shown["state"] == "in-work"
    assert (shown["calibration"], shown["verification"]) == (None, None)
    assert shown["jobs"][0]["outcome"] is None


def test_an_unknown_unit_is_refused(station):
    with pytest.raises(LedgerError, match="no such unit"):
        describe_unit(station.ledger, "AMPFL12601999999")


def test_the_worst_point_uses_most_of_its_limit(station, serial):
    _, verification = load_results(station.ledger, serial)
    (worst,) = worst_points(verification)
    assert all(
        abs(point.error_na) / point.deciding_limit_na
        <= abs(worst.error_na) / worst.deciding_limit_na
        for point in verification.points
    )


def test_a_new_calibration_makes_the_old_verification_void(station, serial):
    calibration, verification = load_results(station.ledger, serial)
    assert calibration is not None
    assert verification is not None
    events = station.ledger.events(serial=serial)
    calibrated = next(
        e.event for e in events if (e.event.step, e.event.phase) == ("calibrate", Phase.CONFIRM)
    )
    other = replace(station.writer, station="station-2")
    reservation = station.ledger.reserve(
        other, mac=find_unit(station.ledger.database, serial=serial).mac, prefix="AMP",
        model="FL1", bundle_digest=station.bundle.digest, again=True,
    )  # fmt: skip
    station.ledger.append(
        other, step="calibrate", phase=Phase.CONFIRM, data=calibrated.data,
        reservation=reservation,
    )  # fmt: skip
    assert load_results(station.ledger, serial) == (calibration, None)


def test_the_history_is_in_order_and_complete(station, serial):
    told = describe_history(station.ledger, serial)["events"]
    assert told[0]["step"] == "reserve"
    assert [event["at"] for event in told] == sorted(event["at"] for event in told)
    assert {event["step"] for event in told} >= {"flash", "identity", "verify", "final"}


def first_link_with_content(document):
    return next(link for link in document["chains"][0]["links"] if "content" in link)


CHANGES = {
    "event left out": lambda e: e["events"].pop(),
    "event told twice": lambda e: e["events"].insert(0, e["events"][-1] | {"step": "final"}),
    "event told otherwise": lambda e: e["events"][0].update(step="final"),
    "data told otherwise": lambda e: e["events"][0]["data"].update(new="maybe"),
    "time told otherwise": lambda e: e["events"][0].update(at="2020-01-01T00:00:00.000000Z"),
    "newest link gone": lambda e: e["chains"][0]["links"].pop(),
    "oldest link gone": lambda e: e["chains"][0]["links"].pop(0),
    "link renumbered": lambda e: e["chains"][0]["links"][1].update(number=99),
    "digest": lambda e: e["chains"][0]["links"][2].update(digest="00" * 32),
    "hash": lambda e: e["chains"][0]["links"][2].update(hash="00" * 32),
    "beginning": lambda e: e["chains"][0].update(previous="00" * 32),
    "station": lambda e: e["chains"][0].update(station="station-9"),
    "epoch": lambda e: e["ledger"].update(epoch=2),
    "serial": lambda e: e.update(serial="AMPFL1260700001X"),
    "time of the export": lambda e: e.update(exported_at="2020-01-01T00:00:00.000000Z"),
    "certificate": lambda e: e.update(station_certificate="00"),
    "signature": lambda e: e.update(heads_cose=e["heads_cose"][:-2] + "00"),
    "content hidden": lambda e: first_link_with_content(e).pop("content"),
}


class TestExport:
    def test_it_proves_every_event_of_this_unit_and_tells_nothing_of_others(
        self, station, serial, exported
    ):
        events = verify(station, exported)
        assert {event.serial for event in events} == {serial}
        assert [event.step for event in events] == [event["step"] for event in exported["events"]]
        others = last_serial(station)
        assert others not in json.dumps(exported)
        foreign = [link for link in exported["chains"][0]["links"] if "content" not in link]
        assert foreign, "the chain goes through other units' events"

    def test_another_factory_s_ca_is_refused(self, exported, tmp_path):
        make_bench(tmp_path)
        other = open_bench(tmp_path)
        with pytest.raises(SigningError):
            verify(other, exported)
        other.close()

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_whatever_is_changed_is_found(self, station, exported, change):
        changed = json.loads(json.dumps(exported))
        change(changed)
        with pytest.raises((ExportError, SigningError, LedgerError)):
            verify(station, changed)

    @pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"schema": "other"}'])
    def test_a_file_that_is_no_export_is_refused(self, station, content):
        with pytest.raises(ExportError, match="not the export"):
            verify(station, content)

    @given(content=st.binary(max_size=60))
    def test_arbitrary_bytes_raise_only_our_error(self, station, content):
        with pytest.raises(ExportError):
            verify(station, content)

    def test_an_export_without_events_is_refused(self, station, exported):
        empty = exported | {"events": [], "chains": []}
        with pytest.raises((ExportError, SigningError)):
            verify(station, empty)

    def test_an_export_that_hides_every_content_is_refused(self, station, exported):
        hidden = json.loads(json.dumps(exported)) | {"events": []}
        for chain in hidden["chains"]:
            for link in chain["links"]:
                link.pop("content", None)
        with pytest.raises(ExportError, match="changed after it was made"):
            verify(station, hidden)
