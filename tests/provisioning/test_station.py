"""The station takes real simulated boards from blank chips to verdicts."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
from dataclasses import replace

import pytest

from firmware_images.calibration_record import verify_calibration_record
from firmware_images.device_record import DeviceRecord
from firmware_images.errors import FirmwareImageError
from provisioning.calibration_result import calibration_digest
from provisioning.errors import (
    FlashError,
    LedgerError,
    PortError,
    QuarantineError,
    StationError,
    VerificationError,
)
from provisioning.esptool_flasher import EsptoolFlasher
from provisioning.ledger_events import Phase
from provisioning.ledger_queries import list_jobs, list_serials, list_units
from provisioning.ledger_values import JobState, SerialState, UnitState
from provisioning.measurement_settings import MetrologySettings
from provisioning.serial_numbers import parse_serial
from provisioning.simulator.faults import AnalogFault, FaultPlan
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_founding import create_station
from provisioning.station_keys import load_station_keys
from provisioning.station_settings import StationSettings
from provisioning.station_values import SlotConfig, Step
from signing.errors import SigningError
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import APP_1_5_0, FOREIGN_APP, build_trust, signer
from tests.provisioning.station_bench import (
    BUNDLE,
    SEED,
    STATION,
    STEPS,
    TRUST,
    make_bench,
    open_bench,
    outside,
    slot_configs,
    stop_before,
    write_bundle,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A new station's folder; each test gets a copy of its own."""
    folder = tmp_path_factory.mktemp("template")
    make_bench(folder)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def run(folder, line, slots=None, settings=None, **options):
    station = open_bench(folder, settings)
    try:
        return run_slots(station, slots or slot_configs(line), **options)
    finally:
        station.close()


def reports(results):
    for result in results:
        assert result.error is None, result.error
    return [result.report for result in results]


def steps_of(folder, serial):
    station = open_bench(folder)
    try:
        return [
            (chained.event.step, chained.event.phase.value)
            for chained in station.ledger.events(serial=serial)
        ]
    finally:
        station.close()


def data_of(folder, serial, step, phase):
    station = open_bench(folder)
    try:
        return [
            chained.event.data
            for chained in station.ledger.events(serial=serial)
            if (chained.event.step, chained.event.phase.value) == (step, phase)
        ]
    finally:
        station.close()


def test_two_boards_at_once_become_two_released_units(folder):
    news = []
    with SimulatedLine(folder / "line", board_count=2, seed=SEED) as line:
        first, second = reports(run(folder, line, on_progress=news.append))
        assert first.is_passed
        assert second.is_passed
        assert first.serial != second.serial
        assert {parse_serial(report.serial).sequence for report in (first, second)} == {1, 2}
        assert [first.mac, second.mac] == [slot.board.mac for slot in line.slots]
        assert first.firmware_version == "1.4.0"
        assert first.calibration.is_accepted
        assert {slot.board.running.slot for slot in line.slots} == {0}
    assert {progress.step for progress in news if progress.slot == "1"} == set(STEPS)
    assert all(0 <= progress.fraction <= 1 for progress in news)
    station = open_bench(folder)
    assert {unit.state for unit in list_units(station.ledger.database)} == {UnitState.PASS}
    assert {serial.state for serial in list_serials(station.ledger.database)} == {
        SerialState.RELEASED
    }
    station.ledger.verify_chains()
    station.close()
    steps = steps_of(folder, first.serial)
    acts = [step.value for step in STEPS[2:-1]]
    assert steps == [
        ("reserve", "CONFIRM"),
        *((step, phase) for step in acts for phase in ("INTENT", "CONFIRM")),
        ("final", "CONFIRM"),
    ]


def test_a_unit_that_passed_is_left_alone_and_again_keeps_its_number(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (first,) = reports(run(folder, line))
        boots = line.slots[0].board.boot_count
        (second,) = reports(run(folder, line))
        assert (second.job, second.serial, second.state) == (None, first.serial, UnitState.PASS)
        assert second.verification == first.verification
        assert line.slots[0].board.boot_count > boots
        assert line.slots[0].board.application is not None, "the board runs its application again"
        (third,) = reports(run(folder, line, again=True))
        assert third.is_passed
        assert third.serial == first.serial
        assert third.job != first.job
    records = data_of(folder, first.serial, "record", "INTENT")
    assert [data["generation"] for data in records] == [1, 2]
    flashed = data_of(folder, first.serial, "flash", "CONFIRM")
    was_there = [[region["was_there"] for region in data["regions"]] for data in flashed]
    assert was_there == [[False] * 4, [True] * 4], "what is right already is not written again"


def test_a_bad_unit_is_a_verdict_with_reasons_and_others_go_on(folder):
    faults = {
        0: FaultPlan(analog=frozenset({AnalogFault.STUCK_BIT})),
        1: FaultPlan(analog=frozenset({AnalogFault.HIGH_OFFSET})),
    }
    with SimulatedLine(folder / "line", board_count=3, seed=SEED, faults=faults) as line:
        stuck, offset, good = reports(run(folder, line))
        assert good.is_passed
        for bad in (stuck, offset):
            assert (bad.state, bad.failed_step) == (UnitState.FAIL, Step.CALIBRATE)
            assert bad.reasons
        assert line.slots[0].board.application is not None
        for slot in line.slots[:2]:
            assert slot.board.application._unit.load_calibration() is None
            assert not slot.board.output.is_enabled
        (retried,) = reports(run(folder, line, slot_configs(line)[:1]))
        assert retried.serial == stuck.serial
    station = open_bench(folder)
    states = [job.state for job in list_jobs(station.ledger.database, stuck.serial)]
    serials = {serial.serial: serial.state for serial in list_serials(station.ledger.database)}
    station.close()
    assert states == [JobState.CLOSED, JobState.CLOSED]
    assert serials[stuck.serial] is serials[offset.serial] is SerialState.ASSIGNED
    assert serials[good.serial] is SerialState.RELEASED


def test_a_foreign_application_is_flashed_and_failed_at_the_handshake(folder):
    settings = StationSettings(boot_timeout_s=0.05)
    write_bundle(folder, app=FOREIGN_APP, version="1.0.0")
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (report,) = reports(run(folder, line, settings=settings))
    assert (report.state, report.failed_step) == (UnitState.FAIL, Step.FLASH)
    assert "does not answer on the factory link" in report.reasons[0]
    assert report.firmware_version is None


def test_a_dead_port_and_a_dead_meter_stop_only_their_own_slots(folder):
    with SimulatedLine(folder / "line", board_count=2, seed=SEED) as line:
        first, second = slot_configs(line)
        nowhere = "TCPIP0::127.0.0.1::1::SOCKET"
        slots = (
            SlotConfig(name="dead port", port="rfc2217://127.0.0.1:1", meter=nowhere),
            replace(first, meter="TCPIP0::127.0.0.1::2::SOCKET"),
            second,
        )
        dead_port, dead_meter, good = run(folder, line, slots)
        assert good.report.is_passed
        assert dead_port.report is None
        assert "cannot be opened" in dead_port.error.what
        assert "instrument" in dead_meter.error.what
        (resumed,) = reports(run(folder, line, (first,)))
        assert resumed.is_passed
    phases = steps_of(folder, resumed.serial)
    assert ("calibrate", "NOTE") in phases
    assert phases.count(("flash", "INTENT")) == 1, "what was confirmed is not done again"
    assert phases.count(("calibrate", "INTENT")) == 2


def test_a_station_that_stops_before_every_step_does_each_step_once(folder):
    """Each start goes one step further; what was confirmed is never done again."""
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        for last in STEPS[3:-1]:
            (result,) = run(folder, line, **stop_before(last))
            assert isinstance(result.error, StationError)
            assert "the operator stopped the station" in result.error.what
            assert f"before step {last.value}" in result.error.got
        (report,) = reports(run(folder, line))
    assert report.is_passed
    assert report.calibration is not None
    intents = [step for step, phase in steps_of(folder, report.serial) if phase == "INTENT"]
    assert intents == [step.value for step in STEPS[2:-1]]


def test_a_board_that_lost_its_flash_since_is_done_again_from_there(folder):
    """A CONFIRM whose read-back no longer holds counts for nothing, and neither do later ones."""
    settings = StationSettings(boot_timeout_s=1.0)  # waited for in full: the board is blank
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        run(folder, line, settings=settings, **stop_before(Step.POWER_CYCLE))
        line.slots[0].board.flash.erase(0, 4 << 20)
        (report,) = reports(run(folder, line, settings=settings))
    assert report.is_passed
    intents = [step for step, phase in steps_of(folder, report.serial) if phase == "INTENT"]
    assert intents.count("flash") == intents.count("calibrate") == intents.count("record") == 2


def test_dead_flash_is_the_slot_s_error_and_the_job_stays_open(folder):
    faults = {0: FaultPlan(dead_sectors=frozenset({0x20}))}
    with SimulatedLine(folder / "line", board_count=1, seed=SEED, faults=faults) as line:
        (result,) = run(folder, line)
    assert isinstance(result.error, FlashError)
    assert "MD5" in result.error.got
    station = open_bench(folder)
    (unit,) = list_units(station.ledger.database)
    assert [job.state for job in list_jobs(station.ledger.database, unit.serial)] == [JobState.OPEN]
    station.close()


def test_a_supply_that_browns_out_in_the_middle_of_the_sweep_is_a_verdict_by_its_name(folder):
    """The board restarts at 450 µA: nothing is written to it, and its output is off."""
    faults = {0: FaultPlan(brown_out_above_na=450_000)}
    with SimulatedLine(folder / "line", board_count=1, seed=SEED, faults=faults) as line:
        (report,) = reports(run(folder, line))
        board = line.slots[0].board
        assert board.application._unit.load_calibration() is None
        assert not board.output.is_enabled
    assert (report.state, report.failed_step) == (UnitState.FAIL, Step.CALIBRATE)
    assert [finding.name.value for finding in report.calibration.findings] == ["brown-out"]
    assert report.calibration.readings[-1].is_restart
    assert "browns out" in report.reasons[0]


def test_a_port_that_dies_while_flashing_is_the_slot_s_error(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:

        def cut(progress):
            if progress.step is Step.FLASH and 0 < progress.fraction < 1:
                line.slots[0].uart.stop()

        (result,) = run(folder, line, on_progress=cut)
    assert isinstance(result.error, (PortError, FlashError))


def test_a_chip_of_another_kind_gets_no_serial_number(folder):
    station = open_bench(folder)
    other = replace(station.bundle, statement=replace(station.bundle.statement, chip="esp32s3"))
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (result,) = run_slots(replace(station, bundle=other), slot_configs(line))
    assert "not the product's chip" in result.error.what
    assert list_serials(station.ledger.database) == ()
    station.close()


def test_limits_that_the_station_cannot_decide_about_are_its_own_error_before_calibration(folder):
    settings = StationSettings(metrology=MetrologySettings(leakage_na=10_000.0))
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (result,) = run(folder, line, settings=settings)
        board = line.slots[0].board
        assert board.application._unit.load_calibration() is None
    assert isinstance(result.error, VerificationError)
    assert "not good enough for the limit" in result.error.what
    station = open_bench(folder)
    (unit,) = list_units(station.ledger.database)
    assert unit.state is UnitState.IN_WORK, "no verdict about the unit"
    assert not [
        chained
        for chained in station.ledger.events(serial=unit.serial)
        if (chained.event.step, chained.event.phase) == ("calibrate", Phase.CONFIRM)
    ]
    station.close()


def test_a_level_beyond_the_verified_span_is_a_verdict_before_anything_is_written(folder):
    metrology = MetrologySettings(working_span_na=40_000)
    settings = StationSettings(metrology=metrology)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (report,) = reports(run(folder, line, settings=settings))
    assert (report.state, report.failed_step) == (UnitState.FAIL, Step.RECORD)
    assert "more current than was verified" in report.reasons[0]
    assert ("record", "INTENT") not in steps_of(folder, report.serial)


def test_verification_comes_after_a_restart_and_never_drives_a_raw_code(folder):
    """What is measured is what the board kept, through the record that it kept."""
    boots, asked = {}, []
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        board = line.slots[0].board

        def watch(progress):
            boots.setdefault(progress.step, board.boot_count)

        drive = board.drive_code

        def count(code):
            asked.append((max(boots, key=STEPS.index), code))
            drive(code)

        board.drive_code = count
        (report,) = reports(run(folder, line, on_progress=watch))
    assert report.is_passed
    assert boots[Step.VERIFY] > boots[Step.RECORD]
    verified = {code for step, code in asked if step is Step.VERIFY}
    points = (*report.verification.points, *report.verification.idle)
    assert verified == {point.code for point in points}, "through currents alone"
    fitted = {reading.code for reading in report.calibration.readings}
    assert len(verified & fitted) <= 1, "mid-code is near every unit's zero"


def test_the_boards_record_carries_the_span_that_was_measured_signed_by_the_station(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (report,) = reports(run(folder, line))
    (confirmed,) = data_of(folder, report.serial, "record", "CONFIRM")
    signed = bytes.fromhex(confirmed["stored"])
    station = open_bench(folder)
    trust = station.trust
    station.close()
    record = verify_calibration_record(
        signed,
        trust.factory_ca_der,
        now=dt.datetime.now(dt.UTC),
        serial=report.serial,
        mac=report.mac,
        revoked_key_ids=trust.revoked_key_ids,
    )
    targets_na = [point.target_na for point in report.verification.points]
    assert (record.verified_min_na, record.verified_max_na) == (min(targets_na), max(targets_na))
    loads = {point.load_ohm for point in report.verification.points}
    assert (record.verified_load_min_ohm, record.verified_load_max_ohm) == (min(loads), max(loads))
    assert record.fit_digest == calibration_digest(report.calibration)


def test_a_board_of_another_factory_gets_no_number_and_keeps_its_identity(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other-factory")
    make_bench(other)
    station = open_bench(other)
    settings = StationSettings.model_validate({"serials": {"prefix": "XYZ"}})
    station.close()
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        elsewhere = open_bench(other, settings)
        run_slots(elsewhere, slot_configs(line), **stop_before(Step.CALIBRATE))
        elsewhere.close()
        before = record_of(line).load_identity()
        (result,) = run(folder, line)
        assert record_of(line).load_identity() == before
    assert isinstance(result.error, QuarantineError)
    assert "has the identity XYZ" in str(result.error)
    station = open_bench(folder)
    assert list_serials(station.ledger.database) == ()
    station.ledger.verify_chains()
    station.close()


def test_a_unit_leaves_the_factory_with_the_release_counter_of_its_bundle(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        run(folder, line, **stop_before(Step.CALIBRATE))
        state = update_state(line)
    assert (state.release_counter, state.policy_version_floor) == (1, 1)
    station = open_bench(folder)
    (unit,) = list_units(station.ledger.database)
    station.close()
    (confirmed,) = data_of(folder, unit.serial, "identity", "CONFIRM")
    assert (confirmed["release_counter"], confirmed["policy_version_floor"]) == (1, 1)


def record_of(line):
    board = line.slots[0].board
    return DeviceRecord(board.flash, board.running.table.find("devrec"))


def update_state(line):
    return record_of(line).load_update_state()


def test_another_release_is_another_job(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        run(folder, line, **stop_before(Step.CALIBRATE))
        write_bundle(folder, app=APP_1_5_0)
        (report,) = reports(run(folder, line))
    assert report.is_passed
    assert report.firmware_version == "1.5.0"
    station = open_bench(folder)
    jobs = list_jobs(station.ledger.database, report.serial)
    station.close()
    assert [job.state for job in jobs] == [JobState.ABANDONED, JobState.CLOSED]


@pytest.mark.parametrize(
    ("slots", "telling"),
    [
        ((), "number of slots"),
        ((("1", "a", "b"), ("1", "c", "d")), "same name"),
        ((("1", "a", "b"), ("2", "a", "d")), "same port"),
        ((("1", "a", "b"), ("2", "c", "b")), "same meter"),
    ],
)
def test_slots_that_share_something_are_refused_before_anything_is_done(folder, slots, telling):
    station = open_bench(folder)
    configs = [SlotConfig(name=name, port=port, meter=meter) for name, port, meter in slots]
    with pytest.raises(StationError, match=telling):
        run_slots(station, configs)
    assert list_units(station.ledger.database) == ()
    station.close()


def test_a_bug_is_raised_and_stops_the_other_slots(folder):
    def buggy(result):
        raise ZeroDivisionError

    station = open_bench(folder)
    nowhere = SlotConfig(name="1", port="rfc2217://127.0.0.1:1", meter="m")
    stop = threading.Event()
    with pytest.raises(ZeroDivisionError):
        run_slots(station, [nowhere], on_result=buggy, stop=stop)
    assert stop.is_set()
    station.close()


class TestOpening:
    def test_a_flipped_bit_in_the_bundle_is_refused(self, folder):
        content = bytearray((folder / BUNDLE).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / BUNDLE).write_bytes(content)
        with pytest.raises((SigningError, FirmwareImageError)):
            open_bench(folder)

    def test_a_trust_record_of_another_factory_is_refused(self, folder):
        (folder / TRUST).write_bytes(sign_trust_record(build_trust(), [signer("root-1")]))
        with pytest.raises(StationError, match="does not carry this factory's CA") as refusal:
            open_bench(folder)
        assert "ampforge trust sign" in refusal.value.hint

    def test_a_revoked_station_is_refused(self, folder):
        keys = load_station_keys(
            folder / STATION, station_name="station-1", now=outside().now(), passphrase=None
        )
        trust = replace(
            build_trust(),
            factory_ca_der=keys.ca_der,
            revoked_key_ids=frozenset({keys.station_signer.public_key.key_id}),
        )
        (folder / TRUST).write_bytes(sign_trust_record(trust, [signer("root-1")]))
        with pytest.raises(StationError, match="revoked"):
            open_bench(folder)

    def test_a_ledger_of_another_product_is_refused(self, folder, tmp_path_factory):
        other = tmp_path_factory.mktemp("other")
        create_station(
            other / "glow", product="glow", station_name="station-1", ledger_uuid="u",
            now=outside().now(), passphrase=None,
        )  # fmt: skip
        (folder / STATION / "ledger.sqlite3").unlink()
        (other / "glow" / "ledger.sqlite3").rename(folder / STATION / "ledger.sqlite3")
        with pytest.raises(StationError, match="another product"):
            open_bench(folder)

    def test_a_folder_without_a_ledger_is_refused_and_stays_without(self, folder):
        (folder / STATION / "ledger.sqlite3").unlink()
        with pytest.raises(LedgerError, match="there is no ledger"):
            open_bench(folder)
        assert not (folder / STATION / "ledger.sqlite3").exists()


class TestSetUp:
    def make(self, folder, **changes):
        arguments = {
            "product": "flare", "station_name": "station-1", "ledger_uuid": "u",
            "now": outside().now(), "passphrase": None,
        }  # fmt: skip
        return create_station(folder, **(arguments | changes))

    def test_a_second_set_up_is_refused_and_changes_nothing(self, folder):
        before = {path.name: path.read_bytes() for path in (folder / STATION).iterdir()}
        with pytest.raises(StationError, match="set up already"):
            self.make(folder / STATION)
        assert {path.name: path.read_bytes() for path in (folder / STATION).iterdir()} == before

    def test_what_fails_half_way_leaves_nothing(self, tmp_path):
        with pytest.raises(SigningError):
            self.make(tmp_path / "station", station_name="")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_made_is_our_error(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StationError, match="cannot be made"):
            self.make(tmp_path / "file" / "station")

    def test_keys_are_private_and_encrypted_with_the_passphrase(self, tmp_path):
        self.make(tmp_path / "station", passphrase=b"long enough")
        for name in ("factory-ca.pem", "station.pem"):
            path = tmp_path / "station" / name
            assert path.stat().st_mode & 0o777 == 0o600
            assert b"ENCRYPTED" in path.read_bytes()
        keys = load_station_keys(
            tmp_path / "station", station_name="station-1", now=outside().now(),
            passphrase=lambda: b"long enough",
        )  # fmt: skip
        assert keys.ca_signer.public_key != keys.station_signer.public_key

    def test_another_station_s_name_is_refused(self, folder):
        with pytest.raises(StationError, match="another station"):
            load_station_keys(
                folder / STATION, station_name="station-2", now=outside().now(), passphrase=None
            )

    def test_a_key_of_another_station_is_refused(self, folder, tmp_path_factory):
        other = tmp_path_factory.mktemp("other")
        self.make(other / "station")
        (other / "station" / "station.pem").rename(folder / STATION / "station.pem")
        with pytest.raises(StationError, match="do not belong together"):
            load_station_keys(
                folder / STATION, station_name="station-1", now=outside().now(), passphrase=None
            )

    def test_a_missing_or_overlong_certificate_is_refused(self, folder):
        path = folder / STATION / "factory-ca.cert.der"
        path.write_bytes(bytes(5000))
        for telling in ("not a certificate", "not set up"):
            with pytest.raises(StationError, match=telling):
                load_station_keys(
                    folder / STATION, station_name="station-1", now=outside().now(), passphrase=None
                )
            path.unlink(missing_ok=True)


def test_the_rom_loader_alone_flashes_too(folder):
    station = open_bench(folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        url = line.slots[0].port_url
        port = station.open_port(url)
        flasher = EsptoolFlasher(port, where=url, use_stub=False)
        done = []
        regions = station.bundle.flash_regions()
        written = flasher.write(regions, on_progress=done.append)
        assert [report.was_there for report in written] == [False] * len(regions)
        again = flasher.write(regions, on_progress=done.append)
        assert [report.was_there for report in again] == [True] * len(regions)
        assert done[-1] == pytest.approx(1.0)
        port.close()
    station.close()
