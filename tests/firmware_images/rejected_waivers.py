"""The gallery of waivers that do not count; `write_gallery(GALLERY)` writes it anew."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from firmware_images.waiver import WAIVER_CONTENT_TYPE, verify_waiver
from firmware_images.waiver_judging import refuse_foreign_waiver, refuse_out_of_force
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import sign_many
from tests.firmware_images.test_approval import TABLE, signer, trust
from tests.firmware_images.waveform_builders import GOLDEN
from tests.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 9, 1, tzinfo=UTC)
_PAYLOAD = (GOLDEN / "tighten.waiver-payload.cbor").read_bytes()
_RULE, _KEY = 6, 7


def build() -> Mapping[str, bytes]:
    """Each file: the golden waiver with one thing wrong."""
    changes: Mapping[str, Mapping[int, object]] = {
        "another-hardware-class.cose": {5: "flare-s3"},
        "another-policy-version.cose": {4: 2},
        "another-table.cose": {2: bytes(32)},
        "as-many-years-as-it-likes.cose": {15: 1782864000 + 3 * 366 * 86400},
        "ceiling-of-the-clamp.cose": {_RULE: "PEAK", _KEY: "PEAK"},
        "ceiling-of-the-standard.cose": {_RULE: "IEC_RMS", _KEY: "IEC_RMS_DC"},
        "expired.cose": {14: 1767225600, 15: 1782864000},
        "expiry-before-issue.cose": {15: 1782863999},
        "format-2.cose": {1: 2},
        "hard-stop.cose": {_RULE: "SESSION", _KEY: "SESSION"},
        "level-zero.cose": {9: 0},
        "limit-of-another-rule.cose": {_KEY: "DOSE"},
        "not-in-force-yet.cose": {14: 1793491200},
        "ohms-law.cose": {_RULE: "VC", _KEY: "VC_LOAD"},
        "reason-empty.cose": {12: ""},
        "reason-with-a-line-of-its-own.cose": {12: "fine\nWAIVED nothing"},
        "unknown-field.cose": {16: 1},
        "value-below-its-limit.cose": {10: "0.4"},
        "value-not-a-number.cose": {10: "NaN"},
        "value-with-a-trailing-zero.cose": {10: "0.6000"},
    }
    files = {name: _sign(_change(fields)) for name, fields in changes.items()}
    golden = _sign(_PAYLOAD)
    flipped = bytearray(golden)
    flipped[100] ^= 1
    return files | {
        "flipped-bit.cose": bytes(flipped),
        "not-a-message.cose": b"waived\n",
        "signed-as-an-approval.cose": (GOLDEN / "tighten.approval.cose").read_bytes(),
        "signed-by-release.cose": sign_many(
            _PAYLOAD, [signer("release")], content_type=WAIVER_CONTENT_TYPE
        ),
        "truncated.cose": golden[:-10],
    }


def read(_name: str, content: bytes) -> object:
    """As `policy approve` reads a waiver for the golden table on 1 September 2026."""
    waiver = verify_waiver(content, trust())
    refuse_foreign_waiver(waiver, TABLE)
    refuse_out_of_force([waiver], now=NOW)
    return waiver


def _change(fields: Mapping[int, object]) -> bytes:
    values = parse_cbor(_PAYLOAD, max_bytes=4096)
    assert isinstance(values, dict)
    return serialize_cbor(values | fields)


def _sign(payload: bytes) -> bytes:
    return sign_many(payload, [signer("policy")], content_type=WAIVER_CONTENT_TYPE)


GALLERY = Gallery(
    name="waivers",
    title="Waivers that do not count",
    about="The golden waiver of `tests/golden/waveforms` with one thing wrong in each, made by\n"
    "`tests/firmware_images/rejected_waivers.py` and read as `policy approve` does, for the\n"
    "golden table on 1 September 2026.",
    build=build,
    read=read,
)
