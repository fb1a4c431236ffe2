"""Builds the golden head; `python -m tests.provisioning.golden_heads` writes it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import cbor2

from provisioning.chain_heads import HEAD_CONTENT_TYPE, ChainHead
from signing.cose import sign_one
from tests.signing.golden_vectors import STATION

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDER = GOLDEN / "ledger"
CA_DER = (GOLDEN / "signing" / "factory-ca.der").read_bytes()
STATION_DER = (GOLDEN / "signing" / "station.der").read_bytes()
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
UUID = "0a0a0a0a-0a0a-4a0a-8a0a-0a0a0a0a0a0a"
HEAD = ChainHead(
    ledger_uuid=UUID,
    epoch=1,
    station="station-1",
    count=42,
    head=bytes.fromhex("5a" * 32),
    at=dt.datetime(2026, 3, 2, 8, 30, 15, 250_000, tzinfo=dt.UTC),
)


def payload(**changes: object) -> bytes:
    """Return the payload by another encoder than ours, with entries changed or left out."""
    entries: dict[object, object] = {
        1: 1,
        2: HEAD.ledger_uuid,
        3: HEAD.epoch,
        4: HEAD.station,
        5: HEAD.count,
        6: HEAD.head,
        7: "2026-03-02T08:30:15.250000Z",
    }
    for key, value in changes.items():
        entries[int(key.removeprefix("key_"))] = value
    kept = {key: value for key, value in entries.items() if value is not ...}
    return cbor2.dumps(kept, canonical=True)


def build_golden() -> dict[str, bytes]:
    """Return each file's name and content."""
    signed = sign_one(payload(), STATION, content_type=HEAD_CONTENT_TYPE)
    return {"head.cbor": payload(), "head.cose": signed}


if __name__ == "__main__":
    for name, content in build_golden().items():
        (FOLDER / name).write_bytes(content)
