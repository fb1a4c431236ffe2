"""Waveform slots under Secure Boot keys: ours by espsecure, espsecure's by us, and refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_images.bundle import verify_bundle
from firmware_images.bundle_archive import parse_archive
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.errors import FirmwareImageError, SecureBootError, WaveformTableError
from firmware_images.signature_sector import SECTOR_BYTES
from firmware_images.waveform_slot import (
    SIGNED_CONTENT_BYTES_MAX,
    SLOT_BYTES,
    pad_waveform_slot,
    parse_waveform_slot,
    serialize_waveform_slot,
    split_waveform_slot,
)
from firmware_images.waveform_slot_signing import attach_slot_signatures, verify_signed_slot
from signing.errors import SignatureError, SigningError
from signing.key_files import public_key_path
from signing.key_uris import load_secure_boot_signer
from tests.firmware_images.espsecure_command import espsecure_accepts, sign_with_espsecure
from tests.firmware_images.release_parts import build_inputs, build_parts, build_trust
from tests.firmware_images.release_parts import signer as release_signer
from tests.firmware_images.test_secure_boot import ECDSA, SCHEMES, make_key, signer

GOLDEN = Path(__file__).parents[1] / "golden" / "waveforms"
SLOT = (GOLDEN / "tighten.slot").read_bytes()
TABLE, APPROVAL = parse_waveform_slot(SLOT)


def sign(slot: bytes, *signers, **options) -> bytes:
    padded = pad_waveform_slot(slot)
    pairs = [(each.public_key, each.sign(padded)) for each in signers]
    return attach_slot_signatures(slot, pairs, **options)


SIGNED = sign(SLOT, signer("a", ECDSA))


@SCHEMES
def test_espsecure_and_we_sign_slots_that_the_other_accepts(tmp_path, algorithm):
    key = make_key(tmp_path, "a", algorithm)
    (tmp_path / "unsigned.slot").write_bytes(SLOT)
    theirs, ours = tmp_path / "theirs.slot", tmp_path / "ours.slot"
    sign_with_espsecure(tmp_path / "unsigned.slot", theirs, key)
    signed = verify_signed_slot(theirs.read_bytes())
    assert (signed.table, signed.approval) == (TABLE, APPROVAL)
    (block,) = signed.blocks
    again = attach_slot_signatures(SLOT, [(block.public_key, block.signature)])
    assert again == theirs.read_bytes()
    ours.write_bytes(sign(SLOT, load_secure_boot_signer(str(key))))
    assert espsecure_accepts(ours, public_key_path(key))
    other = make_key(tmp_path, "b", ECDSA)
    assert not espsecure_accepts(ours, public_key_path(other))


def test_three_keys_sign_one_after_the_other():
    first = verify_signed_slot(SIGNED)
    all_three = sign(SLOT, signer("b", ECDSA), signer("c", ECDSA), kept=first.blocks)
    assert [block.public_key for block in verify_signed_slot(all_three).blocks] == [
        signer(name, ECDSA).public_key for name in "abc"
    ]
    with pytest.raises(SecureBootError, match="each by another key"):
        sign(SLOT, signer("a", ECDSA), kept=first.blocks)


def test_a_whole_partition_is_read_like_the_slot_image():
    partition = SIGNED.ljust(SLOT_BYTES, b"\xff")
    assert parse_waveform_slot(partition) == (TABLE, APPROVAL)
    assert verify_signed_slot(partition).sector == SIGNED[-SECTOR_BYTES:]
    assert split_waveform_slot(SLOT.ljust(SLOT_BYTES, b"\xff")).signature_sector is None


def test_a_slot_is_signed_up_to_the_last_byte_that_leaves_room():
    """The header takes 16 bytes of the 60 KiB that are left beside the sector."""
    approval = b"a" * 200
    fits = serialize_waveform_slot(bytes(SIGNED_CONTENT_BYTES_MAX - 216), approval)
    signed = sign(fits, signer("a", ECDSA))
    assert len(signed) == SLOT_BYTES
    assert verify_signed_slot(signed).approval == approval
    too_long = serialize_waveform_slot(bytes(SIGNED_CONTENT_BYTES_MAX - 215), approval)
    with pytest.raises(WaveformTableError, match="no room for a signature sector") as refusal:
        sign(too_long, signer("a", ECDSA))
    assert refusal.value.got == "61441 bytes"


def test_the_golden_slot_that_espsecure_signed_is_written_the_same():
    golden = (GOLDEN / "tighten-signed.slot").read_bytes()
    signed = verify_signed_slot(golden)
    assert (signed.table, signed.approval) == (TABLE, APPROVAL)
    (block,) = signed.blocks
    assert block.key_digest.hex().startswith("d578e3d4d64d2c18")
    assert attach_slot_signatures(SLOT, [(block.public_key, block.signature)]) == golden


def test_any_flipped_bit_of_a_signed_slot_is_refused():
    sector_at = len(SIGNED) - SECTOR_BYTES
    bits = [*range(0, 8 * len(SLOT), 97), *range(8 * sector_at, 8 * (sector_at + 1300), 41)]
    for bit in [*bits, 8 * len(SIGNED) - 1]:
        changed = bytearray(SIGNED)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((FirmwareImageError, SigningError)):
            verify_signed_slot(bytes(changed))


def test_a_release_carries_the_signature_to_the_flash(tmp_path):
    parts = build_parts()
    key = make_key(tmp_path, "boot", ECDSA)
    slot = serialize_waveform_slot(parts.table, parts.approval)
    signed_slot = sign(slot, load_secure_boot_signer(str(key)))
    unsigned = build_bundle(build_inputs(parts, waveform_signature=signed_slot[-SECTOR_BYTES:]))
    signed = sign_bundle(unsigned, [release_signer("release-1")])
    bundle = verify_bundle(signed, build_trust(release_threshold=1))
    assert bundle.waveform_slot_image == signed_slot
    (region,) = [each for each in bundle.flash_regions() if each.name == "wave_0"]
    (tmp_path / "wave_0.bin").write_bytes(region.content)
    assert espsecure_accepts(tmp_path / "wave_0.bin", public_key_path(key))
    assert "waveform-signature.bin" in parse_archive(signed)


@pytest.mark.parametrize(
    ("sector", "telling"),
    [
        (SIGNED[-SECTOR_BYTES:], "of another waveform slot"),
        (SIGNED[-SECTOR_BYTES:][:-1], "signature sector is damaged"),
        (b"\xff" * SECTOR_BYTES, "not signed for the chip's keys"),
        (b"", "not signed for the chip's keys"),
    ],
    ids=["of-another-slot", "cut", "erased", "empty"],
)
def test_a_release_with_a_false_signature_is_not_built(sector, telling):
    inputs = build_inputs(waveform_signature=sector)
    with pytest.raises((FirmwareImageError, SignatureError), match=telling) as refusal:
        build_bundle(inputs)
    assert "waveform-signature.bin" in str(refusal.value.where)
    assert build_bundle(replace(inputs, waveform_signature=None))
