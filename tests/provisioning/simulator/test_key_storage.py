"""The simulated firmware's private key lies encrypted in flash, by a key that the chip hides."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from esp_idf_nvs_partition_gen import nvs_partition_gen

from firmware_images.device_record import DeviceRecord
from firmware_images.nvs import parse_nvs
from firmware_images.nvs_building import build_nvs
from firmware_images.nvs_values import NvsEntry, NvsType
from provisioning.link_frames import serialize_frame
from provisioning.link_identity import (
    ChallengeWriteRequest,
    ChallengeWriteResponse,
    IdentityWriteRequest,
    IdentityWriteResponse,
)
from provisioning.link_key_storage import (
    KeyStorageReadRequest,
    KeyStorageReadResponse,
    KeyStorageWriteRequest,
    KeyStorageWriteResponse,
    StoredKey,
)
from provisioning.link_messages import BoardErrorCode
from provisioning.simulator.faults import FaultPlan
from signing.certificate_requests import parse_csr
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from tests.espressif_tools import espefuse, summarise_efuses
from tests.firmware_images.test_nvs_hmac import generated_by_espressif
from tests.provisioning.simulator.parts import (
    JOB,
    SERIAL,
    TABLE,
    BoardLink,
    encrypt_keys,
    finish_identity,
    make_board,
    make_running_board,
)

SPEC = Path(__file__).parents[3] / "docs" / "spec" / "serial-link.md"
FLASH_BYTES = 4 << 20
IDENTITY = IdentityWriteRequest(serial=SERIAL, job=JOB)
CHALLENGE = ChallengeWriteRequest(nonce=bytes(16))
KEYSTORE = TABLE.find("keystore")


@pytest.fixture
def unit(tmp_path):
    return make_running_board(tmp_path)


def flash_of(unit):
    return unit.board.flash.read(0, FLASH_BYTES)


def ask(unit):
    return unit.ask(KeyStorageReadRequest(), KeyStorageReadResponse)


def hidden(unit):
    return (unit.board.folder / "hmac-key.bin").read_bytes()


def summary(board):
    return summarise_efuses(board.efuse_path)


def decrypt_as_espressif(unit, folder):
    """Return the partition as the official tools decrypt it with the chip's hidden key."""
    sector = generated_by_espressif(folder, hidden(unit))
    (folder / "sector.bin").write_bytes(sector)
    encrypted = unit.board.flash.read(KEYSTORE.offset_bytes, KEYSTORE.size_bytes)
    (folder / "encrypted.bin").write_bytes(encrypted)

    class Arguments:
        input = str(folder / "encrypted.bin")
        key = str(folder / "sector.bin")
        output = "plain.bin"
        outdir = str(folder)

    nvs_partition_gen.decrypt(Arguments)
    return (folder / "plain.bin").read_bytes()


def secret_of(private_key_der):
    """Return the 32 bytes that matter, as they stand in PKCS #8."""
    number = SoftwareSigner.from_pkcs8_der(private_key_der, where="test")
    secret = number._private_key.private_numbers().private_value.to_bytes(32, "big")
    assert secret in private_key_der
    return secret


def test_the_flash_does_not_hold_the_private_key_and_the_official_tools_find_it(unit, tmp_path):
    finish_identity(unit)
    plain = decrypt_as_espressif(unit, tmp_path)
    (entry,) = parse_nvs(plain).values()
    assert (entry.namespace, entry.key) == ("identity", "private_key")
    secret = secret_of(entry.value)
    content = flash_of(unit)
    assert secret not in content
    assert hidden(unit) not in content + unit.board.efuse_path.read_bytes()
    # The same storage without encryption would show it: the search above can fail.
    unencrypted = build_nvs([entry], size_bytes=KEYSTORE.size_bytes)
    assert secret in unencrypted
    signer = SoftwareSigner.from_pkcs8_der(entry.value, where="test")
    record = DeviceRecord(unit.board.flash, TABLE.find("devrec")).load_identity()
    assert record.private_key_der == b""
    assert signer.public_key.spki_der in record.certificate_der


def test_espefuse_finds_the_block_hidden_protected_and_of_the_right_purpose(unit):
    assert (ask(unit).enc, ask(unit).block, ask(unit).key) == (False, None, StoredKey.NONE)
    encrypt_keys(unit)
    fuses = summary(unit.board)
    assert fuses["KEY_PURPOSE_4"]["value"] == "HMAC_UP"
    assert not fuses["KEY_PURPOSE_4"]["writeable"]
    assert not fuses["BLOCK_KEY4"]["readable"]
    assert not fuses["BLOCK_KEY4"]["writeable"]
    assert (ask(unit).enc, ask(unit).block, ask(unit).key) == (True, 4, StoredKey.NONE)


def test_the_messages_are_those_of_the_specification():
    text = SPEC.read_text(encoding="utf-8")
    messages = (
        KeyStorageReadRequest(sequence=1),
        KeyStorageReadResponse(sequence=1, enc=False, key=StoredKey.NONE),
        KeyStorageWriteRequest(sequence=2),
        KeyStorageWriteResponse(sequence=2, enc=True, block=4, key=StoredKey.NONE),
    )
    for message in messages:
        assert f"`{bytes(message).hex()}`" in text
    line = serialize_frame(bytes(KeyStorageWriteRequest(sequence=2)))
    assert f"`06 09`, `{line[2:-1].decode()}`, `0A`" in text


def test_the_order_given_again_burns_nothing(unit):
    encrypt_keys(unit)
    finish_identity(unit)
    fuses, key = unit.board.efuse_path.read_bytes(), hidden(unit)
    unit.board.power_cycle()
    encrypt_keys(unit)
    assert unit.board.efuse_path.read_bytes() == fuses
    assert hidden(unit) == key
    assert ask(unit).key is StoredKey.ENCRYPTED
    assert unit.ask(CHALLENGE, ChallengeWriteResponse).sig


def test_no_key_is_made_before_its_storage_is_encrypted(unit):
    before = flash_of(unit)
    assert unit.refusal(IDENTITY) == BoardErrorCode.BAD_STATE
    assert "no key is made" in "".join(unit.log)
    assert flash_of(unit) == before


def test_a_key_that_was_made_too_early_is_neither_encrypted_nor_certified(unit):
    finish_identity(unit)
    record = DeviceRecord(unit.board.flash, TABLE.find("devrec"))
    key = SoftwareSigner.generate(Algorithm.ECDSA_P256).to_pkcs8_der()
    record.save_identity(replace(record.load_identity(), private_key_der=key))
    before = flash_of(unit)
    assert ask(unit).key is StoredKey.OPEN
    for request in (KeyStorageWriteRequest(), IDENTITY):
        assert unit.refusal(request) == BoardErrorCode.BAD_STATE
        assert "before its storage was encrypted" in "".join(unit.log)
    assert flash_of(unit) == before


def test_flash_that_was_moved_to_another_chip_proves_nothing(unit, tmp_path):
    finish_identity(unit)
    other = make_board(tmp_path, index=1)
    other.flash.write(0, flash_of(unit))
    other.power_cycle()
    clone = BoardLink(board=other)
    encrypt_keys(clone)
    assert unit.ask(CHALLENGE, ChallengeWriteResponse).sig
    assert clone.refusal(CHALLENGE) == BoardErrorCode.BAD_STATE


def test_flash_with_the_identity_of_this_chip_and_the_keys_of_another_proves_nothing(
    unit, tmp_path
):
    finish_identity(unit)
    moved = shutil.copytree(unit.board.folder, tmp_path / "moved")
    assert (moved / "hmac-key.bin").exists()
    unit.board.close()
    # The same MAC, a fresh chip: nothing burned.
    for name in ("hmac-key.bin", "efuse.bin"):
        (unit.board.folder / name).unlink()
    fresh = BoardLink(board=make_board(tmp_path))
    assert not ask(fresh).enc
    encrypt_keys(fresh)
    assert fresh.refusal(CHALLENGE) == BoardErrorCode.STORAGE


def test_a_power_cut_between_the_two_burns_is_gone_on_with(tmp_path):
    unit = make_running_board(tmp_path, faults=FaultPlan(cuts_power_between_fuses=True))
    boots = unit.board.boot_count
    assert unit.send(KeyStorageWriteRequest().BYTES) is None
    assert unit.board.boot_count == boots + 1
    half = bytes.fromhex(summary(unit.board)["BLOCK_KEY4"]["value"].replace(" ", ""))
    assert any(half)
    assert not ask(unit).enc
    assert unit.refusal(IDENTITY) == BoardErrorCode.BAD_STATE
    encrypt_keys(unit)
    assert hidden(unit) == half
    assert not summary(unit.board)["BLOCK_KEY4"]["readable"]
    finish_identity(unit)


@pytest.mark.parametrize(
    "burned",
    [
        ("burn-efuse", "KEY_PURPOSE_4", "HMAC_DOWN_JTAG"),
        ("write-protect-efuse", "RD_DIS"),
        ("write-protect-efuse", "BLOCK_KEY4"),
        ("write-protect-efuse", "KEY_PURPOSE_4"),
    ],
)
def test_a_block_that_cannot_hide_the_key_is_refused_and_not_burned(unit, burned):
    espefuse(unit.board.efuse_path, *burned)
    fuses = unit.board.efuse_path.read_bytes()
    assert unit.refusal(KeyStorageWriteRequest()) == BoardErrorCode.STORAGE
    assert unit.board.efuse_path.read_bytes() == fuses
    assert not ask(unit).enc


def test_a_key_block_that_somebody_else_burned_is_not_taken_for_ours(unit, tmp_path):
    """It is hidden and of the right purpose, but this chip's model never saw what was burned."""
    (tmp_path / "key.bin").write_bytes(bytes(range(32)))
    espefuse(unit.board.efuse_path, "burn-key", "BLOCK_KEY4", str(tmp_path / "key.bin"), "HMAC_UP")
    assert not ask(unit).enc
    assert unit.refusal(KeyStorageWriteRequest()) == BoardErrorCode.STORAGE


def test_the_same_job_gets_the_same_key_and_a_torn_storage_another(unit):
    encrypt_keys(unit)

    def csr():
        return unit.ask(IDENTITY, IdentityWriteResponse).csr

    first = parse_csr(csr()).public_key
    assert parse_csr(csr()).public_key == first
    unit.board.flash.erase(KEYSTORE.offset_bytes, 4096)
    assert ask(unit).key is StoredKey.NONE
    assert parse_csr(csr()).public_key != first


def test_a_storage_that_holds_something_else_holds_no_key(unit):
    encrypt_keys(unit)
    entry = NvsEntry(namespace="identity", key="private_key", type=NvsType.STRING, value="key")
    content = build_nvs([entry], size_bytes=KEYSTORE.size_bytes)
    unit.board.flash.erase(KEYSTORE.offset_bytes, KEYSTORE.size_bytes)
    unit.board.flash.write(KEYSTORE.offset_bytes, content)
    assert ask(unit).key is StoredKey.NONE
    assert unit.ask(KeyStorageWriteRequest(), KeyStorageWriteResponse).block == 4
