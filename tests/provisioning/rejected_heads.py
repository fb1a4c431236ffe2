"""Builds tests/rejected/heads; `python -m tests.provisioning.rejected_heads` writes it."""

from __future__ import annotations

import cbor2

from provisioning.chain_heads import HEAD_CONTENT_TYPE, SIGNED_HEAD_MAX_BYTES, StationCertificates
from provisioning.unit_export_checking import HEAD_CONTENT_TYPE as EXPORT_CONTENT_TYPE
from signing.cose import sign_many, sign_one
from tests.gallery import Gallery, write_gallery
from tests.provisioning.golden_heads import CA_DER, NOW, STATION_DER, payload
from tests.signing.fixed_keys import fixed_signer
from tests.signing.golden_vectors import DEVICE, STATION

ABOUT = """Each file is a signed head of `station-1` with one thing wrong, and named after it; the
certificate beside it is `tests/golden/signing/station.der`, but for the two files that say so.
Written with fixed keys by `python -m tests.provisioning.rejected_heads`;
`tests/provisioning/test_chain_heads.py` checks each error, word by word."""


def read(name: str, content: bytes) -> object:
    """Verify a head as a ledger's reader does."""
    der = STATION_DER
    if name.startswith("certificate-damaged"):
        der = STATION_DER[:-1]
    elif name.startswith("certificate-empty"):
        der = b""
    return StationCertificates(CA_DER, now=NOW).verify(content, der)


def signed(content: bytes) -> bytes:
    """Return a payload signed by the station."""
    return sign_one(content, STATION, content_type=HEAD_CONTENT_TYPE)


def build_rejected() -> dict[str, bytes]:
    """Return each file's name and content."""
    whole = signed(payload())
    payloads = {
        "payload-empty": b"",
        "payload-no-cbor": b"\xff\xff",
        "payload-a-list": cbor2.dumps([1, 2]),
        "payload-in-another-order": cbor2.dumps({7: "", 1: 1}),
        "payload-with-a-long-integer": payload().replace(b"\x01\x01", b"\x01\x18\x01", 1),
        "format-2": payload(key_1=2),
        "format-true": payload(key_1=True),
        "ledger-empty": payload(key_2=""),
        "ledger-as-bytes": payload(key_2=b"0a"),
        "epoch-0": payload(key_3=0),
        "epoch-true": payload(key_3=True),
        "station-in-capitals": payload(key_4="Station 1"),
        "station-2-signed-by-station-1": payload(key_4="station-2"),
        "count-negative": payload(key_5=-1),
        "count-as-text": payload(key_5="42"),
        "count-true": payload(key_5=True),
        "count-beyond-all-chains": payload(key_5=1 << 54),
        "count-0-and-a-hash": payload(key_5=0),
        "count-42-and-no-hash": payload(key_6=bytes(32)),
        "hash-too-short": payload(key_6=bytes(31)),
        "time-without-fraction": payload(key_7="2026-03-02T08:30:15Z"),
        "time-in-milliseconds": payload(key_7="2026-03-02T08:30:15.250Z"),
        "time-missing": payload(key_7=...),
        "one-key-more": payload(key_8=0),
        "nested": payload(key_8={1: {2: 3}}),
    }
    return {
        **{f"{name}.cose": signed(content) for name, content in payloads.items()},
        "empty.cose": b"",
        "no-cose.cose": b"\xff\x00",
        "cut.cose": whole[:-1],
        "longer.cose": whole + b"\0",
        "too-long.cose": whole + bytes(SIGNED_HEAD_MAX_BYTES),
        "signature-changed.cose": whole[:-1] + bytes([whole[-1] ^ 1]),
        "payload-changed.cose": whole.replace(b"station-1", b"station-3"),
        "signed-by-a-device.cose": sign_one(payload(), DEVICE, content_type=HEAD_CONTENT_TYPE),
        "signed-by-a-stranger.cose": sign_one(
            payload(), fixed_signer("stranger"), content_type=HEAD_CONTENT_TYPE
        ),
        "signed-as-an-export.cose": sign_one(payload(), STATION, content_type=EXPORT_CONTENT_TYPE),
        "signed-in-the-form-for-many.cose": sign_many(
            payload(), [STATION], content_type=HEAD_CONTENT_TYPE
        ),
        "certificate-damaged.cose": whole,
        "certificate-empty.cose": whole,
    }


GALLERY = Gallery(
    name="heads",
    title="Heads that are refused",
    about=ABOUT,
    build=build_rejected,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
