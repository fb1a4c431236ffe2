from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from smp.image_management import ImageStatesReadRequest, ImageStatesReadResponse
from smp.os_management import (
    EchoWriteRequest,
    EchoWriteResponse,
    MCUMgrParametersReadRequest,
    MCUMgrParametersReadResponse,
    ResetWriteRequest,
    ResetWriteResponse,
)

from firmware_images.device_record import DeviceRecord
from firmware_images.otadata import OtaState
from firmware_images.waveform_slot import pad_waveform_slot
from firmware_images.waveform_slot_signing import attach_slot_signatures
from provisioning import link_identity, link_messages, link_output, link_release
from provisioning.link_messages import BoardErrorCode
from provisioning.simulator.board import BoardMode
from provisioning.simulator.faults import FaultPlan
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.certificate_requests import parse_csr
from signing.certificates import verify_certificate
from signing.cose import verify_one
from signing.keys import Algorithm
from signing.roles import Role
from signing.signers import SoftwareSigner
from tests.provisioning.simulator.parts import (
    JOB,
    NOON,
    SERIAL,
    TABLE,
    BoardLink,
    calibration_record,
    encrypt_keys,
    finish_identity,
    flash_release,
    image,
    keys,
    make_board,
    make_running_board,
    now,
    waveform_slot,
    waveform_table,
    write_partition,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def unit(tmp_path: Path) -> BoardLink:
    board = make_running_board(tmp_path)
    encrypt_keys(board)
    return board


@pytest.fixture
def finished(unit: BoardLink) -> BoardLink:
    finish_identity(unit)
    unit.ask(
        link_output.CalibrationWriteRequest(rec=calibration_record(unit.board.mac)),
        link_output.CalibrationWriteResponse,
    )
    return unit


def read_info(unit: BoardLink) -> link_messages.InfoReadResponse:
    return unit.ask(link_messages.InfoReadRequest(), link_messages.InfoReadResponse)


def test_info_of_a_fresh_board_names_the_image_in_flash_and_nothing_else(unit):
    info = read_info(unit)
    assert (info.app, info.ver, info.product, info.hwclass) == (
        "flare",
        "1.4.0",
        "flare",
        "flare-c3",
    )
    assert info.appsha == hashlib.sha256(image("1.4.0")).digest()
    assert info.mac == unit.board.mac
    assert (info.serial, info.calgen, info.tabsha, info.slot) == ("", 0, b"", 0)
    assert (info.otastate, info.session) == ("valid", False)


def test_standard_groups_answer_echo_parameters_and_image_state(unit):
    assert unit.ask(EchoWriteRequest(d="hey"), EchoWriteResponse).r == "hey"
    parameters = unit.ask(MCUMgrParametersReadRequest(), MCUMgrParametersReadResponse)
    assert parameters.buf_size == link_messages.BOARD_BUFFER_BYTES
    (state,) = unit.ask(ImageStatesReadRequest(), ImageStatesReadResponse).images
    assert state.hash == hashlib.sha256(image("1.4.0")).digest()
    assert (state.version, state.active, state.confirmed) == ("1.4.0", True, True)


def test_reset_answers_first_and_then_boots_again(unit):
    boots = unit.board.boot_count
    unit.ask(ResetWriteRequest(), ResetWriteResponse)
    assert unit.board.boot_count == boots + 1
    assert unit.board.mode is BoardMode.APPLICATION
    assert "flare 1.4.0" in unit.log


def test_identity_keeps_one_key_whatever_is_asked_again(unit):
    def ask(job: str) -> bytes:
        request = link_identity.IdentityWriteRequest(serial=SERIAL, job=job)
        return unit.ask(request, link_identity.IdentityWriteResponse).csr

    first, second, other_job = parse_csr(ask(JOB)), parse_csr(ask(JOB)), parse_csr(ask("job-2"))
    assert first.public_key == second.public_key == other_job.public_key
    assert (other_job.serial_number, other_job.job_id) == (SERIAL, "job-2")
    assert first.mac == unit.board.mac.hex(":")


def test_another_serial_number_is_refused_and_the_first_one_stays(unit):
    finish_identity(unit)
    refusal = unit.refusal(link_identity.IdentityWriteRequest(serial="AF-OTHER", job=JOB))
    assert refusal == BoardErrorCode.BAD_STATE
    assert read_info(unit).serial == SERIAL
    assert any("already" in line for line in unit.log)


def test_a_certificate_is_stored_only_for_the_boards_own_key(unit, tmp_path):
    other = make_running_board(tmp_path, index=1)
    finish_identity(other)
    foreign = other.ask(
        link_identity.CertificateReadRequest(), link_identity.CertificateReadResponse
    ).cert
    unit.ask(
        link_identity.IdentityWriteRequest(serial=SERIAL, job=JOB),
        link_identity.IdentityWriteResponse,
    )
    request = link_identity.CertificateWriteRequest(cert=foreign, trust=keys().trust_bytes())
    assert unit.refusal(request) == BoardErrorCode.BAD_SIGNATURE
    assert unit.ask(link_identity.TrustReadRequest(), link_identity.TrustReadResponse).ver == 0
    assert (
        unit.ask(link_identity.CertificateReadRequest(), link_identity.CertificateReadResponse).cert
        == b""
    )


def test_a_certificate_before_a_key_or_a_trust_record_is_refused(unit):
    request = link_identity.CertificateWriteRequest(cert=b"x", trust=keys().trust_bytes())
    assert unit.refusal(request) == BoardErrorCode.BAD_STATE
    unit.ask(
        link_identity.IdentityWriteRequest(serial=SERIAL, job=JOB),
        link_identity.IdentityWriteResponse,
    )
    assert (
        unit.refusal(link_identity.CertificateWriteRequest(cert=b"x")) == BoardErrorCode.BAD_STATE
    )
    assert unit.refusal(request) == BoardErrorCode.BAD_SIGNATURE


def test_the_challenge_proves_the_certified_key_and_names_the_running_image(finished):
    nonce = bytes(range(32))
    answer = finished.ask(
        link_identity.ChallengeWriteRequest(nonce=nonce), link_identity.ChallengeWriteResponse
    )
    certificate_der = finished.ask(
        link_identity.CertificateReadRequest(), link_identity.CertificateReadResponse
    ).cert
    certificate = verify_certificate(certificate_der, keys().ca_der, now=NOON)
    verified = verify_one(
        answer.sig, [certificate.public_key], content_type=link_identity.CHALLENGE_CONTENT_TYPE
    )
    assert parse_cbor(verified.payload, max_bytes=1000) == {
        1: nonce,
        2: SERIAL,
        3: finished.board.mac,
        4: hashlib.sha256(image("1.4.0")).digest(),
    }


def test_a_challenge_without_identity_is_refused(unit):
    assert (
        unit.refusal(link_identity.ChallengeWriteRequest(nonce=bytes(16)))
        == BoardErrorCode.BAD_STATE
    )


def test_records_survive_a_power_cycle(finished):
    finished.board.power_cycle()
    info = read_info(finished)
    assert (info.serial, info.calgen) == (SERIAL, 1)
    assert len(info.tabsha) == 32


def test_a_raw_code_reaches_the_output_and_off_disconnects_it(unit):
    answer = unit.ask(
        link_output.OutputWriteRequest(en=True, code=3000), link_output.OutputWriteResponse
    )
    assert answer.code == 3000
    assert unit.board.output.measure_mean_na(1000, aperture_s=0.02) > 400_000
    assert (
        unit.ask(link_output.OutputWriteRequest(en=False), link_output.OutputWriteResponse).code
        == 2048
    )
    assert unit.board.output.measure_mean_na(1000, aperture_s=0.02) == 0


def test_a_current_goes_through_the_units_own_calibration(finished):
    answer = finished.ask(
        link_output.OutputWriteRequest(en=True, na=80_000), link_output.OutputWriteResponse
    )
    assert answer.code == 2200  # the worked case: gain 1.021, offset 4.2 µA


@pytest.mark.parametrize(
    "fields", [{"en": True}, {"en": True, "code": 1, "na": 1}, {"en": True, "code": 4096}]
)
def test_an_output_request_that_is_not_one_code_or_one_current_is_refused(unit, fields):
    assert unit.refusal(link_output.OutputWriteRequest(**fields)) == BoardErrorCode.BAD_VALUE
    assert not unit.board.output.is_enabled


def test_a_current_without_calibration_or_outside_its_span_is_refused(unit):
    request = link_output.OutputWriteRequest(en=True, na=500_001)
    assert unit.refusal(request) == BoardErrorCode.NOT_CALIBRATED
    finish_identity(unit)
    record = calibration_record(unit.board.mac)
    unit.ask(link_output.CalibrationWriteRequest(rec=record), link_output.CalibrationWriteResponse)
    assert unit.refusal(request) == BoardErrorCode.OUT_OF_SPAN
    assert not unit.board.output.is_enabled


def test_the_calibration_record_is_given_back_as_it_was_written(finished):
    def write(generation: int) -> int:
        record = calibration_record(finished.board.mac, generation=generation)
        request = link_output.CalibrationWriteRequest(rec=record)
        return finished.ask(request, link_output.CalibrationWriteResponse).gen

    assert (write(2), write(2), write(3)) == (2, 2, 3), "the same bytes again change nothing"
    read = finished.ask(link_output.CalibrationReadRequest(), link_output.CalibrationReadResponse)
    assert read.rec == calibration_record(finished.board.mac, generation=3)
    assert (read.gen, read_info(finished).calgen) == (3, 3)


def test_a_record_for_another_board_an_older_one_and_a_damaged_one_are_refused(finished):
    def refusal(record: bytes) -> int:
        return finished.refusal(link_output.CalibrationWriteRequest(rec=record))

    newer = calibration_record(finished.board.mac, generation=3)
    finished.ask(
        link_output.CalibrationWriteRequest(rec=newer), link_output.CalibrationWriteResponse
    )
    assert refusal(calibration_record(b"\x02" * 6)) == BoardErrorCode.BAD_SIGNATURE
    assert refusal(calibration_record(finished.board.mac)) == BoardErrorCode.BAD_VALUE
    assert refusal(newer[:-1] + b"\x00") == BoardErrorCode.BAD_SIGNATURE
    read = finished.ask(link_output.CalibrationReadRequest(), link_output.CalibrationReadResponse)
    assert read.rec == newer


def test_calibration_before_identity_is_refused(unit):
    request = link_output.CalibrationWriteRequest(rec=calibration_record(unit.board.mac))
    assert unit.refusal(request) == BoardErrorCode.BAD_STATE


def test_a_mode_plays_and_its_whole_period_is_balanced(finished):
    request = link_output.RunWriteRequest(mode="LIFT", level=1, en=True)
    answer = finished.ask(request, link_output.RunWriteResponse)
    assert answer.period_us == 2 * (2 * 25_000 + 10_000)
    assert read_info(finished).session
    output = finished.board.output
    mean_na = output.measure_mean_na(1000, aperture_s=answer.period_us * 1e-6)
    assert abs(mean_na) < 10_000  # what the calibration does not correct, no more
    first_phase_na = output.measure_mean_na(1000, aperture_s=0.01)
    assert first_phase_na == pytest.approx(400_000, rel=0.05)


def test_a_session_blocks_the_output_and_ends_by_itself(finished):
    request = link_output.RunWriteRequest(mode="LIFT", level=0, en=True)
    finished.ask(request, link_output.RunWriteResponse)
    static = link_output.OutputWriteRequest(en=True, code=2100)
    assert finished.refusal(static) == BoardErrorCode.IN_SESSION
    assert finished.refusal(request) == BoardErrorCode.IN_SESSION
    assert (
        finished.refusal(link_release.UpdateWriteRequest(start=True)) == BoardErrorCode.IN_SESSION
    )
    finished.board.output.measure_mean_na(1000, aperture_s=61)
    assert not read_info(finished).session
    finished.ask(static, link_output.OutputWriteResponse)


def test_a_mode_that_begins_in_the_middle_of_its_session_goes_on_from_there(finished):
    request = link_output.RunWriteRequest(mode="LIFT", level=1, en=True, start_us=60_000)
    answer = finished.ask(request, link_output.RunWriteResponse)
    assert (answer.period_us, answer.start_us) == (2 * (2 * 25_000 + 10_000), 60_000)
    output = finished.board.output
    second_burst_na = output.measure_mean_na(1000, aperture_s=0.01)
    assert second_burst_na == pytest.approx(-400_000, rel=0.05)
    output.measure_mean_na(1000, aperture_s=59.9)
    assert read_info(finished).session
    output.measure_mean_na(1000, aperture_s=0.04)
    assert not read_info(finished).session, "the session is not longer for it"
    again = link_output.RunWriteRequest(mode="LIFT", level=1, en=True)
    assert finished.ask(again, link_output.RunWriteResponse).start_us is None


@pytest.mark.parametrize("start_us", [50, 60_000_000, 60_000_100, 2**53])
def test_a_start_between_ticks_or_after_the_session_is_refused(finished, start_us):
    request = link_output.RunWriteRequest(mode="LIFT", level=1, en=True, start_us=start_us)
    assert finished.refusal(request) == BoardErrorCode.BAD_VALUE
    assert not finished.board.output.is_enabled
    assert not read_info(finished).session


def test_a_session_can_be_stopped_either_way(finished):
    start = link_output.RunWriteRequest(mode="LIFT", level=0, en=True)
    stop = link_output.RunWriteRequest(mode="LIFT", level=0, en=False)
    finished.ask(start, link_output.RunWriteResponse)
    finished.ask(stop, link_output.RunWriteResponse)
    assert not read_info(finished).session
    finished.ask(start, link_output.RunWriteResponse)
    finished.ask(link_output.OutputWriteRequest(en=False), link_output.OutputWriteResponse)
    assert not read_info(finished).session


@pytest.mark.parametrize(("mode", "level"), [("NONE", 0), ("LIFT", 2)])
def test_a_mode_or_level_that_the_table_lacks_is_refused(finished, mode, level):
    request = link_output.RunWriteRequest(mode=mode, level=level, en=True)
    assert finished.refusal(request) == BoardErrorCode.BAD_VALUE


def test_a_mode_without_calibration_is_refused(unit):
    request = link_output.RunWriteRequest(mode="LIFT", level=0, en=True)
    assert unit.refusal(request) == BoardErrorCode.BAD_SIGNATURE  # no trust, so no approval
    finish_identity(unit)
    assert unit.refusal(request) == BoardErrorCode.NOT_CALIBRATED


def test_a_table_without_a_valid_approval_does_not_play(finished):
    slot = bytearray(waveform_slot())
    slot[-1] ^= 1
    write_partition(finished.board.flash, "wave_0", bytes(slot))
    request = link_output.RunWriteRequest(mode="LIFT", level=0, en=True)
    assert finished.refusal(request) == BoardErrorCode.BAD_SIGNATURE
    assert read_info(finished).tabsha == b""


def test_a_slot_that_is_signed_for_the_chip_plays_like_any_other(finished):
    slot = waveform_slot()
    padded = pad_waveform_slot(slot)
    key = SoftwareSigner.generate(Algorithm.ECDSA_P256)
    signed = attach_slot_signatures(slot, [(key.public_key, key.sign(padded))])
    write_partition(finished.board.flash, "wave_0", signed)
    request = link_output.RunWriteRequest(mode="LIFT", level=0, en=True)
    finished.ask(request, link_output.RunWriteResponse)
    assert read_info(finished).session
    write_partition(finished.board.flash, "wave_0", signed[:-1] + b"\0")
    assert read_info(finished).tabsha == b""


def test_a_table_for_other_hardware_does_not_play(finished):
    table = waveform_table(hardware_class="other")
    write_partition(finished.board.flash, "wave_0", waveform_slot(table))
    request = link_output.RunWriteRequest(mode="LIFT", level=0, en=True)
    assert finished.refusal(request) == BoardErrorCode.BAD_SIGNATURE


def test_the_next_trust_record_must_follow_the_one_in_force(finished):
    read = link_identity.TrustReadRequest()
    assert finished.ask(read, link_identity.TrustReadResponse).ver == 1
    same_version = keys().trust_bytes(version=1, minimum_policy_version=2)
    refusal = finished.refusal(link_identity.TrustWriteRequest(rec=same_version))
    assert refusal == BoardErrorCode.BAD_SIGNATURE
    next_bytes = keys().trust_bytes(version=2, minimum_policy_version=2)
    answer = finished.ask(
        link_identity.TrustWriteRequest(rec=next_bytes), link_identity.TrustWriteResponse
    )
    assert answer.ver == finished.ask(read, link_identity.TrustReadResponse).ver == 2
    assert read_info(finished).tabsha == b"", "the table's policy version no longer counts"


def test_a_revoked_station_no_longer_calibrates(finished):
    revoked = frozenset({keys().station.public_key.key_id})
    finished.ask(
        link_identity.TrustWriteRequest(rec=keys().trust_bytes(version=2, revoked_key_ids=revoked)),
        link_identity.TrustWriteResponse,
    )
    again = link_output.CalibrationWriteRequest(
        rec=calibration_record(finished.board.mac, generation=2)
    )
    assert finished.refusal(again) == BoardErrorCode.BAD_SIGNATURE


def test_a_unit_outlives_the_station_that_calibrated_it(finished):
    """Otherwise revoking one station would switch off every unit that it ever calibrated."""
    revoked = frozenset({keys().station.public_key.key_id})
    finished.ask(
        link_identity.TrustWriteRequest(rec=keys().trust_bytes(version=2, revoked_key_ids=revoked)),
        link_identity.TrustWriteResponse,
    )
    assert read_info(finished).calgen == 1
    finished.ask(
        link_output.OutputWriteRequest(en=True, na=80_000), link_output.OutputWriteResponse
    )


def test_a_stations_certificate_is_no_identity(unit):
    unit.ask(
        link_identity.IdentityWriteRequest(serial=SERIAL, job=JOB),
        link_identity.IdentityWriteResponse,
    )
    request = link_identity.CertificateWriteRequest(
        cert=keys().station_der, trust=keys().trust_bytes()
    )
    assert unit.refusal(request) == BoardErrorCode.BAD_SIGNATURE


def test_an_update_without_an_updater_is_refused(finished):
    assert finished.refusal(link_release.UpdateWriteRequest(start=True)) == BoardErrorCode.BAD_STATE


def test_a_dead_record_sector_is_reported_as_storage(tmp_path):
    dead = frozenset(range(0x12, 0x14))  # the identity record
    unit = make_running_board(tmp_path, faults=FaultPlan(dead_sectors=dead))
    encrypt_keys(unit)
    request = link_identity.IdentityWriteRequest(serial=SERIAL, job=JOB)
    assert unit.refusal(request) == BoardErrorCode.STORAGE


def test_a_brown_out_restarts_the_board_and_switches_the_output_off(tmp_path):
    unit = make_running_board(tmp_path, faults=FaultPlan(brown_out_above_na=450_000))
    unit.ask(link_output.OutputWriteRequest(en=True, code=2900), link_output.OutputWriteResponse)
    boots = unit.board.boot_count
    assert unit.send(link_output.OutputWriteRequest(en=True, code=3000).BYTES) is None
    assert unit.board.boot_count == boots + 1
    assert not unit.board.output.is_enabled


def test_an_application_without_a_device_record_partition_stays_silent(tmp_path):
    from firmware_images.partitions import PartitionTable, serialize_partition_table
    from tests.provisioning.simulator.parts import TABLE

    board = make_board(tmp_path)
    flash_release(board.flash)
    rest = tuple(part for part in TABLE.partitions if part.name != "devrec")
    board.flash.erase(0x8000, 4096)
    board.flash.write(0x8000, serialize_partition_table(PartitionTable(partitions=rest)))
    board.power_cycle()
    assert board.mode is BoardMode.SILENT
    assert b"devrec" in board.set_dtr(is_asserted=False)


def test_records_made_by_another_clock_are_judged_by_the_boards_own(tmp_path):
    from datetime import timedelta

    unit = make_running_board(tmp_path)
    finish_identity(unit)
    unit.board.now = lambda: now() - timedelta(days=1)
    unit.board.power_cycle()
    request = link_output.CalibrationWriteRequest(rec=calibration_record(unit.board.mac))
    assert unit.refusal(request) == BoardErrorCode.BAD_SIGNATURE


def test_a_new_slot_is_pending_until_somebody_confirms_it(tmp_path):
    board = make_board(tmp_path)
    flash_release(board.flash, state=OtaState.NEW)
    board.power_cycle()
    assert read_info(BoardLink(board=board)).otastate == "pending_verify"
    assert Role.POLICY in keys().signers


def answer_to(unit: BoardLink, group: int, command: int, body: object, *, version: int = 1):
    encoded = body if isinstance(body, bytes) else serialize_cbor(body)
    header = struct.pack("!BBHHBB", 2 | version << 3, 0, len(encoded), group, 9, command)
    answer = unit.send(header + encoded)
    assert answer is not None
    assert (answer[0], answer[6], answer[7]) == (3 | version << 3, 9, command)
    return parse_cbor(answer[8:], max_bytes=1000)


@pytest.mark.parametrize(
    ("group", "command", "body", "expected"),
    [
        (63, 0, {}, {"rc": 8}),
        (64, 99, {}, {"rc": 8}),
        (64, 4, b"\xff", {"rc": 9}),
        (64, 4, b"\x81\x01", {"rc": 9}),
        (64, 4, {1: 2}, {"rc": 9}),
        (64, 4, {"en": 1}, {"err": {"group": 64, "rc": 2}}),
        (64, 4, {"en": True, "more": 1}, {"err": {"group": 64, "rc": 2}}),
        (64, 4, {"en": True, "sequence": 1}, {"err": {"group": 64, "rc": 2}}),
        (64, 3, {"nonce": b"short"}, {"err": {"group": 64, "rc": 2}}),
        (0, 0, {"d": 5}, {"rc": 3}),
    ],
)
def test_what_is_not_a_request_is_answered_with_an_error(unit, group, command, body, expected):
    assert answer_to(unit, group, command, body) == expected


@pytest.mark.parametrize("message", [b"", b"\x0a\x00", b"\x09" + bytes(7), b"\x08" + bytes(9)])
def test_what_has_no_header_of_a_request_is_not_answered(unit, message):
    assert unit.send(message) is None


@pytest.mark.parametrize("name", ["calibration", "trust"])
def test_a_record_damaged_in_flash_counts_as_absent(finished, name):
    from firmware_images.device_record import DeviceRecord
    from tests.provisioning.simulator.parts import TABLE

    slots = getattr(DeviceRecord(finished.board.flash, TABLE.find("devrec")), name)
    payload = bytearray(slots.load().payload)
    payload[len(payload) // 2] ^= 1
    slots.save(bytes(payload))
    assert read_info(finished).calgen == 0
    request = link_output.OutputWriteRequest(en=True, na=80_000)
    assert finished.refusal(request) == BoardErrorCode.NOT_CALIBRATED
    torn = TABLE.find("devrec").offset_bytes
    finished.board.flash.write(torn, bytes(0x6000))
    assert read_info(finished).serial == ""
    assert finished.ask(link_identity.TrustReadRequest(), link_identity.TrustReadResponse).ver == 0
    assert (
        finished.ask(link_output.CalibrationReadRequest(), link_output.CalibrationReadResponse).gen
        == 0
    )


def test_a_private_key_damaged_in_flash_proves_nothing_until_another_is_made(finished):
    before = finished.ask(
        link_identity.IdentityWriteRequest(serial=SERIAL, job=JOB),
        link_identity.IdentityWriteResponse,
    ).csr
    partition = TABLE.find("keystore")
    finished.board.flash.write(partition.offset_bytes + 64, bytes(256))
    challenge = link_identity.ChallengeWriteRequest(nonce=bytes(16))
    assert finished.refusal(challenge) == BoardErrorCode.STORAGE
    after = finished.ask(
        link_identity.IdentityWriteRequest(serial=SERIAL, job=JOB),
        link_identity.IdentityWriteResponse,
    ).csr
    assert parse_csr(after).public_key != parse_csr(before).public_key
    certificate = finished.ask(
        link_identity.CertificateReadRequest(), link_identity.CertificateReadResponse
    )
    assert certificate.cert == b"", "the certificate was of the key that is lost"


def test_what_is_stored_as_a_key_and_is_none_is_reported_as_storage(finished):
    record = DeviceRecord(finished.board.flash, TABLE.find("devrec"))
    record.save_identity(replace(record.load_identity(), private_key_der=b"no key"))
    challenge = link_identity.ChallengeWriteRequest(nonce=bytes(16))
    assert finished.refusal(challenge) == BoardErrorCode.STORAGE


def test_the_secure_version_is_the_count_of_burned_efuse_bits(unit):
    assert unit.board.secure_version() == 0
    content = bytearray(unit.board.efuse_path.read_bytes())
    word = 0x200 - (0x2C + 16) - 4
    content[word : word + 4] = (0b11 << 14).to_bytes(4, "big")
    unit.board.efuse_path.write_bytes(content)
    assert unit.board.secure_version() == 2
