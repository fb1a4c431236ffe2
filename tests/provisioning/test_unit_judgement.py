"""What a board says about itself is judged field by field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from firmware_images.calibration_record import CalibrationRecord, sign_calibration_record
from provisioning.ledger_values import UnitState
from provisioning.link_messages import InfoReadResponse
from provisioning.link_release import ReleaseReadResponse
from provisioning.station_founding import create_station
from provisioning.station_keys import load_station_keys
from provisioning.uncertainty import Outcome
from provisioning.unit_judgement import (
    judge_handshake,
    judge_record,
    judge_release_floor,
    judge_restart,
    judge_verification,
)
from tests.firmware_images.release_parts import build_trust
from tests.provisioning.station_bench import outside

MAC = bytes.fromhex("0277e1f60000")
SERIAL = "AMPFL1260700001P"
NOW = outside().now()


@dataclass(frozen=True, kw_only=True)
class Image:
    image_sha256: bytes = bytes(32)


@dataclass(frozen=True, kw_only=True)
class Statement:
    product: str = "flare"
    hardware_class: str = "flare-c3"
    hardware_revision_min: int = 1
    hardware_revision_max: int = 2
    release_counter: int = 3
    policy_version: int = 2


@dataclass(frozen=True, kw_only=True)
class Release:
    """The few fields of a bundle that are compared."""

    statement: Statement = Statement()
    image: Image = Image()
    table_bytes: bytes = b"table"


def info(**changes):
    from firmware_images.waveform_table import table_digest

    fields = {
        "product": "flare", "hwclass": "flare-c3", "hwrev": 1, "chip": "ESP32-C3", "mac": MAC,
        "app": "flare", "ver": "1.4.0", "appsha": bytes(32), "elfsha": bytes(32),
        "tabsha": table_digest(b"table"), "serial": SERIAL, "calgen": 1, "slot": 0,
        "otastate": "valid", "bat": 80, "session": False,
    }  # fmt: skip
    return InfoReadResponse(sequence=0, **(fields | changes))


def test_a_board_that_says_what_was_written_is_good():
    assert judge_handshake(info(), bundle=Release(), mac=MAC, serial=SERIAL) == ()
    assert judge_handshake(info(serial=""), bundle=Release(), mac=MAC, serial=SERIAL) == ()
    assert judge_restart(info(), bundle=Release(), mac=MAC, serial=SERIAL) == ()


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"product": "glow"}, "reports product glow, expected flare"),
        ({"hwclass": "glow-c3"}, "hardware class"),
        ({"mac": bytes(6)}, "MAC"),
        ({"appsha": bytes([1]) * 32}, "application digest"),
        ({"slot": 1}, "running slot 1, expected 0"),
        ({"hwrev": 3}, "board revisions 1 to 2, this is 3"),
        ({"serial": "XYZFL1260700001P"}, "already has the serial number"),
    ],
)
def test_each_difference_is_a_reason(changes, telling):
    (reason,) = judge_handshake(info(**changes), bundle=Release(), mac=MAC, serial=SERIAL)
    assert telling in reason


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"serial": ""}, "forgot its serial number"),
        ({"calgen": 0}, "no valid calibration record"),
        ({"tabsha": b""}, "does not use the waveform table"),
    ],
)
def test_what_a_power_cycle_takes_is_a_reason(changes, telling):
    (reason,) = judge_restart(info(**changes), bundle=Release(), mac=MAC, serial=SERIAL)
    assert telling in reason


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_pass_is_a_pass(outcome):
    state, reasons = judge_verification(SimpleNamespace(outcome=outcome, reasons=("r",)))
    assert state.value == outcome.value.lower().replace("_", "-")
    assert (state is UnitState.PASS) == (outcome is Outcome.PASS)
    assert reasons == ("r",)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("factory") / "station"
    create_station(
        folder, product="flare", station_name="station-1", ledger_uuid="u", now=NOW,
        passphrase=None,
    )  # fmt: skip
    return load_station_keys(folder, station_name="station-1", now=NOW, passphrase=None)


@pytest.fixture(scope="module")
def record():
    return CalibrationRecord(
        serial=SERIAL, mac=MAC, job_id="job-1", generation=1, full_scale_na=1_000_000,
        dac_bits=12, gain_ppm=1_012_000, offset_na=1_500, reference_load_ohm=5_000,
        output_impedance_ohm=1_000_000, verified_min_na=-650_000, verified_max_na=650_000,
        verified_load_min_ohm=500, verified_load_max_ohm=10_000, temperature_centi_c=2_300,
        instrument="Test DMM, serial 1", fit_digest=bytes(32),
        created_at=NOW.replace(microsecond=0),
    )  # fmt: skip


class TestRecord:
    def judge(self, keys, stored, written, **changes):
        trust = replace(build_trust(), factory_ca_der=keys.ca_der)
        arguments = {"trust": trust, "now": NOW, "serial": SERIAL, "mac": MAC} | changes
        return judge_record(stored, written=written, **arguments)

    def sign(self, keys, record):
        return sign_calibration_record(record, keys.station_signer, keys.station_der)

    def test_the_record_that_was_written_is_good(self, keys, record):
        signed = self.sign(keys, record)
        assert self.judge(keys, signed, signed) == ()

    def test_a_record_of_a_revoked_station_fails(self, keys, record):
        signed = self.sign(keys, record)
        revoked = frozenset({keys.station_signer.public_key.key_id})
        trust = replace(build_trust(), factory_ca_der=keys.ca_der, revoked_key_ids=revoked)
        assert "revoked station" in self.judge(keys, signed, signed, trust=trust)[0]

    def test_a_missing_record_fails(self, keys, record):
        assert "no calibration record" in self.judge(keys, b"", self.sign(keys, record))[0]

    def test_a_record_that_corrects_nothing_fails(self, keys, record):
        signed = self.sign(keys, replace(record, gain_ppm=1_000_000, offset_na=0))
        assert "corrects nothing" in self.judge(keys, signed, signed)[0]

    def test_a_record_of_another_board_fails(self, keys, record):
        signed = self.sign(keys, replace(record, mac=bytes(6)))
        assert "does not verify" in self.judge(keys, signed, signed)[0]

    def test_a_record_of_another_factory_fails(self, keys, record):
        signed = self.sign(keys, record)
        flipped = signed[:-1] + bytes([signed[-1] ^ 1])
        assert "does not verify" in self.judge(keys, flipped, flipped)[0]

    def test_an_earlier_record_of_the_same_board_fails(self, keys, record):
        earlier = self.sign(keys, replace(record, generation=1))
        later = self.sign(keys, replace(record, generation=2))
        assert "another calibration record" in self.judge(keys, earlier, later)[0]


@pytest.mark.parametrize(
    ("counter", "policy", "reasons"),
    [
        (3, 2, []),
        (0, 0, ["the board keeps release counter 0", "the board keeps policy version 0"]),
        (4, 2, ["had a newer release before: its release counter is 4, the bundle's 3"]),
        (3, 5, ["had a newer release before: its policy version is 5, the bundle's 2"]),
    ],
)
def test_a_board_keeps_exactly_the_counters_of_the_release(counter, policy, reasons):
    floor = ReleaseReadResponse(sequence=0, counter=counter, policy=policy)
    judged = judge_release_floor(floor, bundle=Release())
    assert len(judged) == len(reasons)
    for sentence, telling in zip(judged, reasons, strict=True):
        assert telling in sentence
