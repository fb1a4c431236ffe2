"""Every way in: each parser and loader that takes bytes or a file from outside, in one list.

Two proofs run over it: arbitrary and changed bytes raise only our errors (`test_entries`), and no
file of 16 MiB takes more than its share of memory and time (`test_hostile_files`). A new parser
belongs here; `test_entries` finds those that are missing by their names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, partial
from typing import TYPE_CHECKING

from cli.configuration import load_configuration
from cli.params import read_passphrase_file
from firmware_images.app_descriptor import parse_app_descriptor
from firmware_images.approval import parse_approval, verify_approval, verify_policy
from firmware_images.bundle import verify_bundle
from firmware_images.bundle_archive import parse_archive
from firmware_images.bundle_inspection import inspect_bundle
from firmware_images.bundle_statement import read_signed_statement
from firmware_images.calibration_values import parse_calibration_record
from firmware_images.device_record import parse_identity, parse_update_state
from firmware_images.efuse_digests import load_board_keys
from firmware_images.esp_image import load_image
from firmware_images.image_input import load_image_input
from firmware_images.limits import load_limits
from firmware_images.limits_policy_bytes import parse_policy
from firmware_images.otadata_entries import parse_otadata
from firmware_images.partitions import (
    load_partition_table,
    parse_partition_table,
    serialize_partition_table,
)
from firmware_images.product import ProductSettings, ReleaseSettings
from firmware_images.provenance import read_tool_versions
from firmware_images.record_slots import parse_sector
from firmware_images.release_statement import parse_statement
from firmware_images.release_view import read_release
from firmware_images.sbom_document import parse_sbom
from firmware_images.secure_boot import sign_image, verify_signed_image
from firmware_images.signature_sector import parse_signature_sector
from firmware_images.spec_sheet_settings import SpecSheetSettings
from firmware_images.waveform_files import read_table, read_waveform_file
from firmware_images.waveform_slot import parse_waveform_slot
from firmware_images.waveform_table import parse_waveform_table
from firmware_images.waveform_transfer import import_waveform
from manifests.freshness import parse_freshness_request
from manifests.manifests_settings import RepositorySettings, ServeSettings, UpdateSettings
from provisioning.fit_data import load_fit_data
from provisioning.instruments import parse_identity as parse_instrument_identity
from provisioning.instruments import parse_samples_na
from provisioning.ledger_events import parse_event
from provisioning.link_frames import LineAssembler, serialize_frame
from provisioning.link_messages import BOARD_BUFFER_BYTES
from provisioning.measurement_settings import MetrologySettings
from provisioning.scpi_meter import ANSWER_MAX_BYTES
from provisioning.serial_numbers import parse_serial
from provisioning.station_settings import StationSettings
from signing.canonical_cbor import parse_cbor
from signing.certificate_requests import parse_csr
from signing.certificates import parse_ca_certificate, verify_certificate
from signing.cose import verify_many, verify_one
from signing.cose_message import parse_message
from signing.ecdsa_form import parse_foreign_signature
from signing.key_encryption import serialize_pem
from signing.key_files import load_public_key
from signing.key_uris import load_software_signer
from signing.keys import Algorithm
from signing.logged_signer import load_sign_log
from signing.pkcs11_public_key import parse_ec_point
from signing.pkcs11_uri import parse_pkcs11_uri
from signing.roles_settings import SigningSettings
from signing.sign_log import EMPTY, SignLogEntry, parse_head, serialize_entry
from signing.signers import SoftwareSigner
from signing.trust_file import load_trust_record
from tests.firmware_images import rejected_records
from tests.firmware_images.release_parts import APP_1_4_0, FLARE
from tests.gallery import FOLDER
from tests.manifests import rejected_messages
from tests.provisioning import rejected_station
from tests.signing.golden_vectors import CONTENT_TYPE, ED25519, P256, POLICY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydantic import BaseModel

    from signing.trust_record import TrustRecord

GOLDEN = FOLDER.parent / "golden"
NOW = datetime(2026, 9, 2, tzinfo=UTC)
KEYS = [signer.public_key for signer in (P256, ED25519, POLICY)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One way in.

    Attributes:
        name: What is read.
        families: Which hostile files it is meant to be given, by what its format is made of.
        read: Reads a file as the product does.
        valid: Content that it accepts, or at least understands far into.
        suffix: How the file's name must end.
    """

    name: str
    families: frozenset[str]
    read: Callable[[Path], object]
    valid: Callable[[], bytes]
    suffix: str = ".bin"


ENTRIES: list[Entry] = []


def _add(
    name: str,
    families: str,
    read: Callable[[Path], object],
    valid: Callable[[], bytes],
    suffix: str = ".bin",
) -> None:
    ENTRIES.append(
        Entry(
            name=name,
            families=frozenset(families.split()),
            read=read,
            valid=cache(valid),
            suffix=suffix,
        )
    )


def _add_bytes(
    name: str, families: str, parse: Callable[[bytes], object], valid: Callable[[], bytes]
) -> None:
    _add(name, families, lambda path: parse(path.read_bytes()), valid)


def _golden(name: str) -> Callable[[], bytes]:
    return (GOLDEN / name).read_bytes


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    # What arrives as text was decoded at the door: any bytes are some text.
    return lambda content: parse(content.decode("latin-1"))


def _trust() -> TrustRecord:
    return load_trust_record(GOLDEN / "bundle" / "thing.trust.cose")


def _load_private_key(path: Path) -> object:
    path.chmod(0o600)
    return load_software_signer(str(path), passphrase=lambda: b"passphrase")


def _load_passphrase(path: Path) -> object:
    path.chmod(0o600)
    return read_passphrase_file(path)


def _load_section(section: str, model: type[BaseModel], path: Path) -> object:
    return load_configuration(path).section(section, model)


def _private_pem() -> bytes:
    return serialize_pem("PRIVATE KEY", P256.to_pkcs8_der())


def _sign_log() -> bytes:
    entry = SignLogEntry(
        sequence=1,
        time=NOW,
        who="somebody@somewhere",
        role="release",
        key_id=KEYS[0].key_id,
        content_type=CONTENT_TYPE,
        digest=bytes(32),
        tool="ampforge",
        previous=EMPTY.hash,
    )
    return serialize_entry(entry)


def _signed_image() -> bytes:
    signer = SoftwareSigner.generate(Algorithm.ECDSA_P256)
    return sign_image(APP_1_4_0.read_bytes(), [signer], where="image")


def _sbom() -> bytes:
    part = {"type": "library", "name": "esp-idf", "version": "5.5", "bom-ref": "idf"}
    return json.dumps(
        {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [part]}
    ).encode()


def _console_lines() -> bytes:
    return serialize_frame(rejected_station.request(0, {}, op=0)) + b"I (12) boot: ready\n"


def _samples(content: bytes) -> object:
    # The meter's port takes no longer answer.
    text = content[:ANSWER_MAX_BYTES].decode("latin-1")
    return parse_samples_na(text, count=4, where="meter")


def _option(content: bytes) -> object:
    # Linux takes no longer argument (execve(2), MAX_ARG_STRLEN).
    return rejected_station.read_slot(content[: 128 << 10].decode("latin-1"))


def _listen(content: bytes) -> None:
    """Feed a link as a port does, in pieces: ten seconds of a line at 921 600 baud."""
    content = content[: 1 << 20]
    lines = LineAssembler(max_message_bytes=BOARD_BUFFER_BYTES)
    for start in range(0, len(content), 4096):
        lines.feed(content[start : start + 4096])


def _point(content: bytes) -> object:
    return parse_ec_point(content, Algorithm.ECDSA_P256, where="token")


# signing
_add_bytes(
    "CBOR", "cbor", lambda c: parse_cbor(c, max_bytes=65_536), _golden("manifests/manifest.cbor")
)
_add_bytes("COSE message", "cose", parse_message, _golden("signing/sign-two.cose"))
_add_bytes(
    "COSE_Sign1",
    "cose",
    lambda c: verify_one(c, KEYS, content_type=CONTENT_TYPE),
    _golden("signing/sign1-p256.cose"),
)
_add_bytes(
    "COSE_Sign",
    "cose",
    lambda c: verify_many(c, KEYS, threshold=2, content_type=CONTENT_TYPE),
    _golden("signing/sign-two.cose"),
)
_add("trust record", "cose", load_trust_record, _golden("signing/trust-record-1.cose"))
_add("public key", "pem der", load_public_key, KEYS[0].pem)
_add("private key", "pem", _load_private_key, _private_pem)
_add("passphrase", "text", _load_passphrase, lambda: b"passphrase\n")
_add_bytes("certificate request", "der", parse_csr, _golden("signing/device.csr.der"))
_add_bytes("CA certificate", "der", parse_ca_certificate, _golden("signing/factory-ca.der"))
_add_bytes(
    "certificate",
    "der",
    lambda c: verify_certificate(c, _golden("signing/factory-ca.der")(), now=NOW),
    _golden("signing/station.der"),
)
_add_bytes(
    "foreign signature",
    "der",
    lambda c: parse_foreign_signature(c, KEYS[0], where="signature"),
    lambda: bytes.fromhex("3006020101020102"),
)
_add_bytes("token's point", "der", _point, lambda: b"\x04\x41" + KEYS[0].spki_der[-65:])
_add_bytes(
    "token's URI",
    "text",
    _text(parse_pkcs11_uri),
    lambda: b"pkcs11:token=release;object=key?module-path=/usr/lib/softhsm/libsofthsm2.so",
)
_add("sign log", "json text", load_sign_log, _sign_log)
_add_bytes("head of a sign log", "text", _text(parse_head), lambda: b"1:" + b"0" * 64)
# firmware_images
_add("limits", "toml", load_limits, _golden("waveforms/policy.toml"), ".toml")
_add_bytes("policy", "cbor", parse_policy, _golden("waveforms/policy.cbor"))
_add_bytes(
    "signed policy", "cose", lambda c: verify_policy(c, _trust()), _golden("signing/sign-two.cose")
)
_add_bytes(
    "approval's payload", "cbor", parse_approval, _golden("waveforms/tighten.approval-payload.cbor")
)
_add_bytes(
    "approval",
    "cose",
    lambda c: verify_approval(
        c,
        _trust(),
        table_bytes=_golden("waveforms/tighten.table")(),
        hardware_class="flare-c3",
    ),
    _golden("waveforms/tighten.approval.cose"),
)
_add("waveforms", "toml", read_waveform_file, (FLARE / "waveforms.toml").read_bytes, ".toml")
_add("waveform rows", "csv", read_waveform_file, lambda: b"t_us,i_ua\n0,0\n1,5\n9,0\n", ".csv")
_add(
    "rows or samples to import",
    "csv",
    lambda path: import_waveform(path, tick_us=1, full_scale_ua=Decimal(100)),
    lambda: b"SampleRate=1000\n0.5\n-0.5\n0\n",
    ".csv",
)
_add("table or slot", "table", read_table, _golden("waveforms/tighten.slot"))
_add_bytes("waveform table", "table", parse_waveform_table, _golden("waveforms/tighten.table"))
_add_bytes("waveform slot", "table", parse_waveform_slot, _golden("waveforms/tighten.slot"))
_add("image", "image", load_image, APP_1_4_0.read_bytes)
_add(
    "image, ELF or folder",
    "image elf",
    lambda path: load_image_input(path, chip="esp32c3"),
    APP_1_4_0.read_bytes,
)
_add_bytes(
    "app descriptor",
    "image",
    lambda c: parse_app_descriptor(c, where="segment"),
    lambda: APP_1_4_0.read_bytes()[32:288],
)
_add_bytes("signed image", "image", lambda c: verify_signed_image(c, where="image"), _signed_image)
_add_bytes(
    "signature sector",
    "image",
    lambda c: parse_signature_sector(c, where="sector"),
    lambda: _signed_image()[-4096:],
)
_add("eFuse summary", "json text", load_board_keys, lambda: b"board-1 " + b"0" * 64 + b"\n")
_add("partition CSV", "csv", load_partition_table, (FLARE / "partitions.csv").read_bytes, ".csv")
_add_bytes(
    "partition table",
    "table",
    parse_partition_table,
    lambda: serialize_partition_table(load_partition_table(FLARE / "partitions.csv")),
)
_add_bytes("otadata", "table", parse_otadata, _golden("otadata/slot1-valid.bin"))
_add_bytes(
    "record's sector", "table", lambda c: parse_sector(c, slot=0), _golden("records/record.bin")
)
_add_bytes("identity record", "cbor", parse_identity, _golden("records/identity.cbor"))
_add_bytes("update state", "cbor", parse_update_state, _golden("records/update-state.cbor"))
_add_bytes(
    "calibration's payload", "cbor", parse_calibration_record, _golden("records/calibration.cbor")
)
_add_bytes(
    "calibration record",
    "cbor cose",
    lambda c: rejected_records.read("calibration-", c),
    rejected_records.signed_calibration,
)
_add_bytes("bundle", "zip", parse_archive, _golden("bundle/thing-1.0.0.bundle.zip"))
_add_bytes(
    "verified bundle",
    "zip",
    lambda c: verify_bundle(c, _trust()),
    _golden("bundle/thing-1.0.0.bundle.zip"),
)
_add_bytes("inspected bundle", "zip", inspect_bundle, _golden("bundle/thing-1.0.0.bundle.zip"))
_add_bytes(
    "compared bundle",
    "zip",
    lambda c: read_release(c, trust=None),
    _golden("bundle/thing-1.0.0.bundle.zip"),
)
_add_bytes("release statement", "cbor", parse_statement, _golden("bundle/statement.cbor"))
_add_bytes("signed statement", "cose", read_signed_statement, _golden("signing/sign-two.cose"))
_add_bytes("bill of materials", "json", parse_sbom, _sbom)
_add_bytes("provenance", "json", read_tool_versions, lambda: b'{"predicate": {"runDetails": {}}}')
# manifests
for _name in ("manifest", "assignment", "freshness"):
    _add_bytes(
        _name,
        "cose",
        partial(rejected_messages.read, f"{_name}-"),
        _golden(f"manifests/{_name}.cose"),
    )
_add_bytes(
    "freshness request",
    "cbor",
    parse_freshness_request,
    _golden("manifests/freshness-request.cbor"),
)
_add_bytes(
    "device report",
    "cbor cose",
    partial(rejected_messages.read, "report-"),
    _golden("manifests/report.cbor"),
)
for _name in ("root", "targets", "snapshot", "timestamp"):
    _add_bytes(
        f"TUF {_name}",
        "json",
        partial(rejected_messages.read_metadata, f"tuf-{_name}-"),
        partial(rejected_messages.metadata().__getitem__, _name),
    )
# provisioning
_add("fit data", "csv", load_fit_data, lambda: b"x,y,u_y\n1,2,0.1\n2,3,0.1\n3,5,0.1\n", ".csv")
_add_bytes(
    "instrument's identity",
    "text",
    lambda c: parse_instrument_identity(c.decode("latin-1"), where="meter"),
    lambda: b"Keysight,34465A,MY12345678,A.03",
)
_add_bytes("instrument's samples", "csv", _samples, lambda: b"+1E-4,+2E-4,+3E-4,+4E-4")
_add_bytes("serial number", "text", _text(parse_serial), lambda: b"AMPFL1260700001L")
_add_bytes("value of --slots", "text", _option, lambda: b"port=a,meter=b")
_add_bytes(
    "ledger event",
    "cbor",
    lambda c: parse_event(c, where="ledger"),
    _golden("ledger/event.cbor"),
)
_add_bytes(
    "unit's export",
    "json",
    partial(rejected_station.read, "export-"),
    lambda: rejected_station.export().encode(),
)
_add_bytes("console lines", "text", _listen, _console_lines)
# cli
for _section, _model in (
    ("product", ProductSettings),
    ("release", ReleaseSettings),
    ("spec_sheet", SpecSheetSettings),
    ("signing", SigningSettings),
    ("station", StationSettings),
    ("station.metrology", MetrologySettings),
    ("repository", RepositorySettings),
    ("serve", ServeSettings),
    ("update", UpdateSettings),
):
    _add(
        f"configuration, {_section}",
        "toml" if _section == "product" else "",  # one reader of TOML serves them all
        partial(_load_section, _section, _model),
        (FLARE / "ampforge.toml").read_bytes,
        ".toml",
    )
