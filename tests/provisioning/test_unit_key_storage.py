"""The station has no key made before the key storage is encrypted, and believes the eFuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from firmware_images.device_record import DeviceRecord
from provisioning.errors import EfuseError
from provisioning.ledger_queries import list_units
from provisioning.ledger_values import UnitState
from provisioning.link_key_storage import (
    KeyStorageReadResponse,
    KeyStorageWriteResponse,
    StoredKey,
)
from provisioning.simulator.application import Application
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_values import Step
from provisioning.unit_job import UnitJob
from provisioning.unit_key_storage import UnitKeyStorage
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from tests.conftest import IS_SOAK
from tests.espressif_tools import espefuse
from tests.provisioning.station_bench import (
    SEED,
    STATION,
    make_bench,
    open_bench,
    slot_configs,
    stop_before,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    make_bench(folder)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def run(folder, line, **options):
    station = open_bench(folder)
    try:
        (result,) = run_slots(station, slot_configs(line), **options)
        events = [
            chained.event
            for unit in list_units(station.ledger.database)
            for chained in station.ledger.events(serial=unit.serial)
        ]
        return result, events
    finally:
        station.close()


def record_of(folder, board):
    station = open_bench(folder)
    devrec = station.bundle.partition_table.find("devrec")
    station.close()
    return DeviceRecord(board.flash, devrec), devrec


def failed_at_key_storage(result, telling):
    assert result.error is None, result.error
    assert (result.report.state, result.report.failed_step) == (UnitState.FAIL, Step.KEY_STORAGE)
    assert telling in result.report.reasons[0]


def test_the_storage_is_encrypted_before_the_key_is_asked_for_and_the_station_never_knows(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        result, events = run(folder, line)
        assert result.report.is_passed
        key = (line.slots[0].board.folder / "hmac-key.bin").read_bytes()
    steps = [(event.step, event.phase.value) for event in events]
    assert steps.index(("key-storage", "CONFIRM")) < steps.index(("identity", "INTENT"))
    (confirmed,) = [e.data for e in events if (e.step, e.phase) == ("key-storage", "CONFIRM")]
    assert confirmed == {"scheme": "nvs-hmac", "block": 4, "proof": "eFuses"}
    kept = b"".join(path.read_bytes() for path in (folder / STATION).rglob("*") if path.is_file())
    assert json.dumps(confirmed["scheme"]).encode() in kept  # the search can find something
    assert key not in kept
    assert key.hex().encode() not in kept


def test_a_board_whose_key_was_made_before_the_encryption_is_failed_until_it_makes_another(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        board = line.slots[0].board
        first, _ = run(folder, line)
        record, devrec = record_of(folder, board)
        open_key = SoftwareSigner.generate(Algorithm.ECDSA_P256).to_pkcs8_der()
        record.save_identity(replace(record.load_identity(), private_key_der=open_key))
        fuses, identity = board.efuse_path.read_bytes(), record.load_identity()
        result, events = run(folder, line, again=True)
        failed_at_key_storage(result, "private key was made before its key storage was encrypted")
        assert board.efuse_path.read_bytes() == fuses
        assert record.load_identity() == identity
        assert [event.step for event in events].count("identity") == 2  # the first job's alone
        board.flash.erase(devrec.offset_bytes, devrec.size_bytes)
        healed, _ = run(folder, line)
        assert healed.report.is_passed
        assert healed.report.serial == first.report.serial
        assert record.load_identity().private_key_der == b""


def test_a_firmware_without_an_encrypted_storage_is_failed_before_it_makes_a_key(
    folder, monkeypatch
):
    whole = Application._handlers

    def without(application):
        return {key: serve for key, serve in whole(application).items() if key[:2] != (64, 10)}

    monkeypatch.setattr(Application, "_handlers", without)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        fuses = line.slots[0].board.efuse_path.read_bytes()
        result, events = run(folder, line)
        failed_at_key_storage(result, "its firmware has no encrypted key storage")
        assert line.slots[0].board.efuse_path.read_bytes() == fuses
        assert record_of(folder, line.slots[0].board)[0].load_identity() is None
    assert "identity" not in {event.step for event in events}


LIES = [
    ({}, None, "KEY_PURPOSE_4 is 0 and not HMAC_UP, BLOCK_KEY4 can be read"),
    ({}, "--no-read-protect", "BLOCK_KEY4 can be read"),
    ({}, "--no-write-protect", "BLOCK_KEY4 can be changed"),
    ({"enc": False, "block": None}, None, "says that it is not"),
    ({"block": 1}, None, "BLOCK_KEY1, which is for Secure Boot"),
    ({"key": StoredKey.OPEN}, None, "lay open in flash"),
]


class Liar:
    """A firmware that says what it likes of its key storage."""

    def __init__(self, monkeypatch, **says):
        says = {"enc": True, "block": 4, "key": StoredKey.NONE} | says
        for name, answer in (
            ("_key_storage", KeyStorageReadResponse),
            ("_encrypt_keys", KeyStorageWriteResponse),
        ):
            monkeypatch.setattr(Application, name, lambda *_, a=answer: a(**says))


@pytest.mark.parametrize(
    ("says", "burned", "telling"),
    LIES if IS_SOAK else LIES[:2],
    ids=str,
)
def test_what_the_board_says_counts_only_with_its_efuses(
    folder, monkeypatch, says, burned, telling
):
    Liar(monkeypatch, **says)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        board = line.slots[0].board
        if burned is not None:
            (folder / "key.bin").write_bytes(bytes(range(32)))
            key = str(folder / "key.bin")
            espefuse(board.efuse_path, "burn-key", "BLOCK_KEY4", key, "HMAC_UP", burned)
        result, events = run(folder, line)
        failed_at_key_storage(result, telling)
        assert record_of(folder, board)[0].load_identity() is None
    assert "identity" not in {event.step for event in events}


def test_a_station_that_stops_after_the_order_goes_on_without_burning_again(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        board = line.slots[0].board
        run(folder, line, **stop_before(Step.IDENTITY))
        fuses = board.efuse_path.read_bytes()
        result, events = run(folder, line)
        assert result.report.is_passed
        assert board.efuse_path.read_bytes() == fuses
    steps = [(event.step, event.phase.value) for event in events]
    assert steps.count(("key-storage", "INTENT")) == 1


def test_a_locked_board_whose_storage_no_job_checked_is_refused(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        station = open_bench(folder)
        reservation = station.ledger.reserve(
            station.writer, mac=line.slots[0].board.mac, prefix="AMP", model="FL1",
            bundle_digest=station.bundle.digest, again=False,
        )  # fmt: skip

        class Link:
            def request(self, *_types):
                return KeyStorageReadResponse(enc=True, block=4, key=StoredKey.ENCRYPTED)

        storage = UnitKeyStorage(
            station, UnitJob(station.ledger, station.writer, reservation), Link(),
            open_efuses=pytest.fail, restart=pytest.fail, is_locked=True,
        )  # fmt: skip
        with pytest.raises(EfuseError, match="locked before its key storage was seen"):
            storage.encrypt()
        events = [c.event for c in station.ledger.events(serial=reservation.serial)]
        station.close()
    assert ("key-storage", "CONFIRM") not in {(e.step, e.phase.value) for e in events}
