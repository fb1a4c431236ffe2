"""The key of an NVS partition that only its chip can work out: ESP-IDF's HMAC scheme.

The chip's HMAC peripheral holds 32 bytes that no software can read; what it makes of two fixed
messages is the key of AES-256-XTS, first half for the data, second half for the tweak. Each message
is one 32-bit word, eight times, little endian. Source: ESP-IDF's documentation of NVS encryption,
"HMAC peripheral-based scheme".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from signing.xts import XTS_KEY_BYTES, refuse_xts_key

if TYPE_CHECKING:
    from collections.abc import Callable

HMAC_KEY_BYTES: Final = 32
_DATA_SEED: Final = struct.pack("<I", 0xAEBE5A5A) * 8
_TWEAK_SEED: Final = struct.pack("<I", 0xCEDEA5A5) * 8


def derive_nvs_key(compute_hmac: Callable[[bytes], bytes]) -> bytes:
    """Return the 64 bytes that encrypt a partition.

    Args:
        compute_hmac: HMAC-SHA-256 with the chip's key; the peripheral, upstream.

    Raises:
        KeyFileError: Both halves are the same, which no HMAC gives.
    """
    key = compute_hmac(_DATA_SEED) + compute_hmac(_TWEAK_SEED)
    refuse_xts_key(key)
    assert len(key) == XTS_KEY_BYTES
    return key
