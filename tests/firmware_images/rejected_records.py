"""Builds tests/rejected/records; `python -m tests.firmware_images.rejected_records` writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from firmware_images.calibration_record import (
    CALIBRATION_CONTENT_TYPE,
    serialize_calibration_record,
    verify_calibration_record,
)
from firmware_images.device_record import parse_identity, parse_update_state
from firmware_images.flash_medium import SECTOR_BYTES, MemoryFlash
from firmware_images.record_slots import RecordSlots, serialize_record
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.certificate_issuing import (
    create_ca_certificate,
    issue_certificate,
    issue_station_certificate,
)
from signing.certificate_requests import create_csr
from signing.cose import sign_one
from tests.firmware_images.test_calibration_record import RECORD
from tests.gallery import FOLDER, Gallery, write_gallery
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_BEFORE = datetime(2026, 8, 1, tzinfo=UTC)
NOW = datetime(2026, 9, 2, tzinfo=UTC)
CA, STATION, REVOKED = (fixed_signer(f"gallery {name}") for name in ("ca", "station", "revoked"))
GOLDEN = FOLDER.parent / "golden" / "records"
ABOUT = """Each file has one thing wrong and is named after it. `calibration-` files are signed
records as a board holds them, `identity-` and `update-state-` files the payloads of the device
record, `sectors-` files the two flash sectors of one record. Written with fixed keys by
`python -m tests.firmware_images.rejected_records`; `tests/firmware_images/test_rejected_by_name.py`
checks each error, word by word."""


def read(name: str, content: bytes) -> object:
    """Read a file as the kind of record that its name begins with."""
    match name.partition("-")[0]:
        case "calibration":
            return verify_calibration_record(
                content,
                _ca_der(),
                now=NOW,
                serial=RECORD.serial,
                mac=RECORD.mac,
                revoked_key_ids=frozenset({REVOKED.public_key.key_id}),
            )
        case "identity":
            return parse_identity(content)
        case "update":
            return parse_update_state(content)
        case _:
            flash = MemoryFlash(2 * SECTOR_BYTES)
            flash.write(0, content)
            before = flash.read(0, 2 * SECTOR_BYTES)
            try:
                return RecordSlots(flash, 0, name="update state").load()
            finally:
                assert flash.read(0, 2 * SECTOR_BYTES) == before


def build_rejected() -> dict[str, bytes]:
    """Return each file's name and content."""
    return {**_calibrations(), **_identities(), **_update_states(), **_sectors()}


def _ca_der() -> bytes:
    return create_ca_certificate(CA, common_name="Flare factory CA", not_before=NOT_BEFORE)


def _station_der(signer=STATION, ca=CA) -> bytes:
    ca_der = create_ca_certificate(ca, common_name="Flare factory CA", not_before=NOT_BEFORE)
    return issue_station_certificate(
        ca, ca_der, signer.public_key, station_name="station-1", not_before=NOT_BEFORE
    )


def _device_der() -> bytes:
    csr = create_csr(STATION, serial_number="FL26A0001K", mac="60:55:4a:00:00:01", job_id="job-1")
    return issue_certificate(
        CA,
        _ca_der(),
        csr,
        expected_serial_number="FL26A0001K",
        expected_mac="60:55:4a:00:00:01",
        expected_job_id="job-1",
        not_before=NOT_BEFORE,
    )


def signed_calibration(
    changes: Mapping[object, object] | None = None,
    *,
    signer=STATION,
    certificate: bytes | None = None,
    content_type: str = CALIBRATION_CONTENT_TYPE,
) -> bytes:
    """Return a signed calibration record, right where nothing is changed."""
    fields = parse_cbor(serialize_calibration_record(RECORD), max_bytes=4096)
    assert isinstance(fields, dict)
    payload = serialize_cbor({**fields, **(changes or {})})
    cose = sign_one(payload, signer, content_type=content_type)
    return serialize_cbor({"cert": certificate or _station_der(), "cose": cose})


def _calibrations() -> dict[str, bytes]:
    golden = signed_calibration()
    revoked = _station_der(REVOKED)
    stranger = fixed_signer("gallery stranger")
    return {
        "calibration-empty.cbor": b"",
        "calibration-truncated.cbor": golden[:-1],
        "calibration-without-certificate.cbor": serialize_cbor({"cose": b"x"}),
        "calibration-flipped-bit.cbor": golden[:-1] + bytes([golden[-1] ^ 1]),
        "calibration-of-another-mac.cbor": signed_calibration({3: bytes(6)}),
        "calibration-of-another-serial.cbor": signed_calibration({2: "AMPFL12636000011"}),
        "calibration-unknown-field.cbor": signed_calibration({99: 0}),
        "calibration-of-another-kind.cbor": signed_calibration(content_type="application/other"),
        "calibration-signed-by-stranger.cbor": signed_calibration(signer=stranger),
        "calibration-by-a-device.cbor": signed_calibration(certificate=_device_der()),
        "calibration-by-a-revoked-station.cbor": signed_calibration(
            signer=REVOKED, certificate=revoked
        ),
        "calibration-of-another-factory.cbor": signed_calibration(
            certificate=_station_der(ca=fixed_signer("gallery other ca"))
        ),
    }


def _changed(name: str, changes: Mapping[int, object]) -> bytes:
    fields = parse_cbor((GOLDEN / name).read_bytes(), max_bytes=4096)
    assert isinstance(fields, dict)
    return serialize_cbor({**fields, **changes})


def _identities() -> dict[str, bytes]:
    golden = (GOLDEN / "identity.cbor").read_bytes()
    return {
        "identity-empty.cbor": b"",
        "identity-trailing-byte.cbor": golden + b"\0",
        "identity-short-mac.cbor": _changed("identity.cbor", {3: bytes(5)}),
        "identity-without-serial.cbor": _changed("identity.cbor", {2: ""}),
        "identity-format-as-boolean.cbor": _changed("identity.cbor", {1: True}),
        "identity-unknown-field.cbor": _changed("identity.cbor", {8: 0}),
    }


def _update_states() -> dict[str, bytes]:
    return {
        "update-state-counter-negative.cbor": _changed("update-state.cbor", {2: -1}),
        "update-state-counter-too-large.cbor": _changed("update-state.cbor", {2: 1 << 32}),
        "update-state-counter-as-boolean.cbor": _changed("update-state.cbor", {2: True}),
        "update-state-floor-as-text.cbor": _changed("update-state.cbor", {5: "1"}),
        "update-state-pending-as-list.cbor": _changed("update-state.cbor", {6: [1, 2]}),
        "update-state-half-a-digest.cbor": _changed("update-state.cbor", {8: bytes(16)}),
        "update-state-endless-outcome.cbor": _changed("update-state.cbor", {7: "x" * 65}),
    }


def _sectors() -> dict[str, bytes]:
    def pair(first: bytes, second: bytes) -> bytes:
        return first.ljust(SECTOR_BYTES, b"\xff") + second

    whole = serialize_record(b"payload", generation=3)
    torn = whole[:-1] + b"\0"
    return {
        "sectors-both-damaged.bin": pair(torn, torn),
        "sectors-both-zero.bin": pair(bytes(64), bytes(64)),
        "sectors-one-generation-twice.bin": pair(whole, whole),
        "sectors-length-beyond-the-sector.bin": pair(
            whole[:8] + b"\xff\xff\0\0" + whole[12:], torn
        ),
    }


GALLERY = Gallery(
    name="records",
    title="Records of a board that are refused",
    about=ABOUT,
    build=build_rejected,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
