"""The key of a partition that is encrypted by the chip's HMAC peripheral is the one of ESP-IDF."""

from __future__ import annotations

import hmac
from types import SimpleNamespace

import pytest
from esp_idf_nvs_partition_gen import nvs_partition_gen

from firmware_images.nvs_building import parse_nvs_keys
from firmware_images.nvs_hmac import HMAC_KEY_BYTES, derive_nvs_key
from signing.errors import KeyFileError

KEY = bytes(range(HMAC_KEY_BYTES))


def generated_by_espressif(folder, key):
    """Return the sector of keys that the official generator makes of an HMAC key."""
    (folder / "hmac.bin").write_bytes(key)
    nvs_partition_gen.generate_key(
        SimpleNamespace(
            outdir=str(folder), keyfile="keys.bin", key_protect_hmac=True,
            kp_hmac_keygen=False, kp_hmac_keyfile=None, kp_hmac_inputkey=str(folder / "hmac.bin"),
        )
    )  # fmt: skip
    return (folder / "keys" / "keys.bin").read_bytes()


def test_the_derived_key_is_the_official_generator_s(tmp_path):
    derived = derive_nvs_key(lambda message: hmac.digest(KEY, message, "sha256"))
    assert derived == parse_nvs_keys(generated_by_espressif(tmp_path, KEY))
    assert derived.hex() == (
        "813a141220ddb819f4d73d59fa3032ab9f592cc26a18cf1fde692f712b6a025c"
        "b20ad6b6ddd1658a6e14d1b5b726e42356adf4ff2f68fcd8826ac2908408addf"
    )


def test_a_peripheral_that_answers_the_same_to_everything_is_refused():
    with pytest.raises(KeyFileError, match="two equal halves"):
        derive_nvs_key(lambda _message: bytes(HMAC_KEY_BYTES))
