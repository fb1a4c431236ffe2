"""The gallery of leases that give nobody a number; run as a module to write it anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.lease import LEASE_CONTENT_TYPE, verify_lease
from provisioning.offline_ledger import require_in_force
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import sign_many, sign_one
from tests.gallery import Gallery, write_gallery
from tests.provisioning.golden_lease import FOLDER, NOW, OTHER_STATION, STATION

if TYPE_CHECKING:
    from collections.abc import Mapping

GOLDEN = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
_PAYLOAD = GOLDEN["lease.cbor"]
_FIRST, _LAST = 12, 13


def _sign(payload: bytes) -> bytes:
    return sign_one(payload, STATION, content_type=LEASE_CONTENT_TYPE)


def _change(fields: Mapping[int, object]) -> bytes:
    document = parse_cbor(_PAYLOAD, max_bytes=2048)
    assert isinstance(document, dict)
    return serialize_cbor({**document, **fields})


def build_files() -> dict[str, bytes]:
    """Return the golden lease with one thing wrong in each."""
    changes: Mapping[str, Mapping[int, object]] = {
        "another-station.cose": {5: "station-2"},
        "block-backwards.cose": {_LAST: 1_048_576},
        "block-of-another-epoch.cose": {_FIRST: 41, _LAST: 140},
        "block-over-the-end-of-the-epoch.cose": {_FIRST: 2_097_151, _LAST: 2_097_152},
        "block-too-long.cose": {_LAST: 1_048_617 + 10_000},
        "chain-head-short.cose": {17: bytes(31)},
        "count-of-events-zero.cose": {16: 0},
        "epoch-33.cose": {3: 33},
        "epoch-as-text.cose": {3: "2"},
        "epoch-zero.cose": {3: 0},
        "expired.cose": {14: "2026-02-01T12:00:00.000000Z", 15: "2026-02-10T12:59:59.000000Z"},
        "expires-before-it-was-issued.cose": {15: "2026-02-10T11:00:00.000000Z"},
        "expires-when-it-was-issued.cose": {15: "2026-02-10T12:00:00.000000Z"},
        "format-2.cose": {1: 2},
        "format-of-another-prefix.cose": {19: "PPMMMYYWWSSSSSC"},
        "format-of-fewer-digits.cose": {19: "PPPMMMYYWWSSSSC"},
        "format-that-is-none.cose": {19: "SSSPPP"},
        "format-without-date.cose": {19: "PPPMMMSSSSSC"},
        "in-force-for-a-year.cose": {15: "2027-02-10T12:00:00.000000Z"},
        "issued-in-the-future.cose": {14: "2026-02-10T13:00:01.000000Z"},
        "key-unknown.cose": {20: 1},
        "ledger-name-with-a-line-of-its-own.cose": {2: "6f0c3a52\nfine"},
        "model-of-two-characters.cose": {9: "FL"},
        "number-as-true.cose": {6: True},
        "number-zero.cose": {6: 0},
        "opening-empty.cose": {4: ""},
        "place-short.cose": {18: b""},
        "prefix-lower-case.cose": {8: "amp"},
        "request-long.cose": {7: bytes(17)},
        "sequence-huge.cose": {_FIRST: 2**63, _LAST: 2**63 + 9},
        "sequence-negative.cose": {_FIRST: -1},
        "station-too-long.cose": {5: "s" * 58},
        "station-with-a-slash.cose": {5: "station-1/2"},
        "time-of-another-zone.cose": {14: "2026-02-10T12:00:00.000000+01:00"},
        "time-with-three-decimals.cose": {14: "2026-02-10T12:00:00.000Z"},
        "week-53-of-a-year-without.cose": {11: 53, 10: 2025},
        "year-1999.cose": {10: 1999},
    }
    files = {name: _sign(_change(fields)) for name, fields in changes.items()}
    document = parse_cbor(_PAYLOAD, max_bytes=2048)
    assert isinstance(document, dict)
    del document[19]
    golden = GOLDEN["lease.cose"]
    flipped_payload, flipped_signature = bytearray(golden), bytearray(golden)
    flipped_payload[golden.index(b"station-1") + 8] ^= 3
    flipped_signature[-1] ^= 1
    return files | {
        "bytes-after-the-end.cose": golden + b"\0",
        "empty.cose": b"",
        "flipped-bit-in-the-block.cose": bytes(flipped_payload),
        "flipped-bit-in-the-signature.cose": bytes(flipped_signature),
        "key-missing.cose": _sign(serialize_cbor(document)),
        "not-a-message.cose": b"lease\n",
        "nothing-signed.cose": _sign(b""),
        "payload-alone.cose": _PAYLOAD,
        "signed-as-an-order.cose": sign_one(
            _PAYLOAD, STATION, content_type="application/vnd.ampforge.supervised-act+cbor"
        ),
        "signed-by-another-station.cose": sign_one(
            _PAYLOAD, OTHER_STATION, content_type=LEASE_CONTENT_TYPE
        ),
        "signed-by-several.cose": sign_many(_PAYLOAD, [STATION], content_type=LEASE_CONTENT_TYPE),
        "too-long.cose": _sign(_change({2: "6" * 3000})),
        "truncated.cose": golden[:-10],
        "two-in-one.cose": golden + golden,
    }


def read_lease(_name: str, content: bytes) -> object:
    """Read a lease as a station does that is cut off from the ledger."""
    lease = verify_lease(
        content,
        station="station-1",
        station_der=GOLDEN["station.cert.der"],
        ca_der=GOLDEN["factory-ca.cert.der"],
        now=NOW,
    )
    require_in_force(lease, now=NOW, last_at=None)
    return lease


LEASES = Gallery(
    name="leases",
    title="Refused leases",
    about="Made by tests/provisioning/rejected_leases.py from the golden lease. Those whose "
    "content is wrong are signed by the right key all the same, so that the signature alone does "
    "not catch them; read at one hour after the golden lease was issued.",
    build=build_files,
    read=read_lease,
)

if __name__ == "__main__":
    write_gallery(LEASES)
