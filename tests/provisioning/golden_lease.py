"""The golden lease: built from fixed values and fixed keys, so that its bytes never change.

    python -m tests.provisioning.golden_lease

writes it anew; do that only together with a new format version in docs/spec/lease.md.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from provisioning.lease import Lease, serialize_lease, sign_lease
from provisioning.serial_formats import STANDARD_FORMAT
from signing.certificate_issuing import create_ca_certificate, issue_station_certificate
from tests.signing.fixed_keys import fixed_signer

FOLDER = Path(__file__).parents[1] / "golden" / "lease"
CA, STATION, OTHER_STATION = (fixed_signer(name) for name in ("ca", "station-1", "station-2"))
ISSUED_AT = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)
NOW = ISSUED_AT + dt.timedelta(hours=1)
LEASE = Lease(
    ledger_uuid="6f0c3a52-7f5e-4f0e-9c1b-5b1f6d3a9e11",
    epoch=2,
    opening="0b8a4d34-9a58-4d5c-8a6e-0d7f8f6f2a10",
    station="station-1",
    number=3,
    request=bytes(range(16)),
    prefix="AMP",
    model="FLR",
    year=2026,
    week=7,
    first_sequence=1_048_576 + 41,
    last_sequence=1_048_576 + 140,
    issued_at=ISSUED_AT,
    expires_at=ISSUED_AT + dt.timedelta(days=7),
    event_count=812,
    head=bytes(range(32)),
    place=bytes(range(32, 64)),
    serial_format=STANDARD_FORMAT,
)


def certificates() -> tuple[bytes, bytes]:
    """Return the certificates of the factory CA and of station-1."""
    before = ISSUED_AT - dt.timedelta(days=1)
    ca_der = create_ca_certificate(CA, common_name="flare factory CA", not_before=before)
    station_der = issue_station_certificate(
        CA, ca_der, STATION.public_key, station_name="station-1", not_before=before
    )
    return ca_der, station_der


def build() -> dict[str, bytes]:
    """Return each golden file's name and bytes."""
    ca_der, station_der = certificates()
    return {
        "lease.cbor": serialize_lease(LEASE),
        "lease.cose": sign_lease(LEASE, STATION),
        "factory-ca.cert.der": ca_der,
        "station.cert.der": station_der,
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file_name, content in build().items():
        (FOLDER / file_name).write_bytes(content)
