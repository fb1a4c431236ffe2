"""Which boards refuse an image, judged from eFuses that real espefuse burned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.efuse_digests import (
    BoardKeys,
    find_refusing,
    load_board_keys,
    parse_board_keys,
)
from firmware_images.errors import SecureBootError
from firmware_images.secure_boot import sign_image, verify_signed_image
from firmware_images.signature_sector import key_digest
from tests.espressif_tools import espefuse
from tests.firmware_images.test_esp_image import CODE, build_image
from tests.firmware_images.test_secure_boot import RSA, signer

KEY, OTHER = signer("a", RSA), signer("b", RSA)
DIGEST, OTHER_DIGEST = key_digest(KEY.public_key), key_digest(OTHER.public_key)


def refusing(signed, boards):
    return find_refusing(signed.blocks, boards, chip=signed.image.chip)


def signed_by(*keys, chip_id: int = 5):
    return verify_signed_image(
        sign_image(build_image(CODE, chip_id=chip_id), keys, where="test"), where="test"
    )


def test_a_board_is_judged_by_its_own_efuses(tmp_path):
    (tmp_path / "digest").write_bytes(DIGEST)
    burn = ("burn-key", "BLOCK_KEY2", str(tmp_path / "digest"), "SECURE_BOOT_DIGEST1")
    summary, efuses = tmp_path / "board-7.json", tmp_path / "efuse.bin"
    espefuse(efuses, *burn)
    summary.write_text(espefuse(efuses, "summary", "--format", "json"))
    (board,) = load_board_keys(summary)
    assert board == BoardKeys(name="board-7", digests=frozenset({DIGEST}), is_enabled=False)
    assert refusing(signed_by(OTHER), (board,)) == ()

    espefuse(efuses, "burn-efuse", "SECURE_BOOT_EN")
    summary.write_text(espefuse(efuses, "summary", "--format", "json"))
    (board,) = load_board_keys(summary)
    assert refusing(signed_by(OTHER), (board,)) == (board,)
    assert refusing(signed_by(OTHER, KEY), (board,)) == ()

    espefuse(efuses, "burn-efuse", "SECURE_BOOT_KEY_REVOKE1")
    summary.write_text(espefuse(efuses, "summary", "--format", "json"))
    (board,) = load_board_keys(summary)
    assert refusing(signed_by(KEY), (board,)) == (board,)


def test_a_classic_esp32_holds_one_digest_and_looks_at_one_signature(tmp_path):
    summary = espefuse(tmp_path / "efuse.bin", "summary", "--format", "json", chip="esp32")
    (board,) = parse_board_keys(summary.encode(), name="old", where="test")
    assert board.digests == frozenset({bytes(32)})
    assert not board.is_enabled
    board = BoardKeys(name="old", digests=frozenset({DIGEST}))
    assert refusing(signed_by(KEY, chip_id=0), (board,)) == ()
    assert refusing(signed_by(OTHER, KEY, chip_id=0), (board,)) == (board,)


def test_a_list_names_boards_and_what_they_hold():
    text = f"# first lot\nA1 {DIGEST.hex()} {OTHER_DIGEST.hex()}  # both\n\nA2 {DIGEST.hex()}\nA3\n"
    boards = parse_board_keys(text.encode(), name="list", where="test")
    assert [board.name for board in boards] == ["A1", "A2", "A3"]
    assert [board.name for board in refusing(signed_by(OTHER), boards)] == ["A2", "A3"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no board"),
        (b"A1 00ff", "2 bytes for a digest"),
        (b"A1 no-hex", "no-hex"),
        (b"\xff", "not UTF-8"),
        (b"{", "another kind"),
        (b"{" * 20_000, "another kind"),
        (b'{"SECURE_VERSION": {"value": 0}}', "without Secure Boot fields"),
        (b'{"SECURE_BOOT_EN": {"value": 1}, "KEY_PURPOSE_0": {"value": "USER"}}', "1 for whether"),
        (b'{"SECURE_BOOT_EN": {"value": true}}', "half a key block"),
    ],
)
def test_a_file_that_says_no_keys_is_refused(content, match):
    with pytest.raises(SecureBootError, match=match):
        parse_board_keys(content, name="x", where="test")


@given(st.binary(max_size=200) | st.text(max_size=60).map(str.encode))
def test_arbitrary_bytes_raise_only_our_error(content):
    try:
        parse_board_keys(content, name="x", where="test")
    except SecureBootError:
        return
