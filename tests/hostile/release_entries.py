"""Ways in to images, waveforms, policies and releases."""

from __future__ import annotations

import json
import tempfile
from decimal import Decimal
from functools import cache, partial
from pathlib import Path

from firmware_images.app_descriptor import parse_app_descriptor
from firmware_images.approval import parse_approval
from firmware_images.build_folder import FLASHER_ARGS, load_build_folder
from firmware_images.bundle import verify_bundle
from firmware_images.bundle_archive import parse_archive
from firmware_images.bundle_inspection import inspect_bundle
from firmware_images.bundle_statement import read_signed_statement
from firmware_images.calibration_record import parse_signed_record
from firmware_images.calibration_values import parse_calibration_record
from firmware_images.delta_format import parse_patch_header
from firmware_images.device_record import parse_identity, parse_update_state
from firmware_images.efuse_digests import load_board_keys
from firmware_images.efuse_plan import load_efuse_plan
from firmware_images.esp_image import load_image
from firmware_images.image_input import load_image_input
from firmware_images.limits import load_limits
from firmware_images.limits_policy_bytes import parse_policy
from firmware_images.nvs_building import build_nvs_keys, parse_nvs_keys
from firmware_images.nvs_plan import load_nvs_plan
from firmware_images.otadata_entries import parse_otadata
from firmware_images.partitions import (
    load_partition_table,
    parse_partition_table,
    serialize_partition_table,
)
from firmware_images.provenance import read_tool_versions
from firmware_images.record_slots import parse_sector
from firmware_images.release_statement import parse_statement
from firmware_images.release_view import read_release
from firmware_images.sbom_document import parse_sbom
from firmware_images.secure_boot import sign_image, verify_signed_image
from firmware_images.signature_sector import parse_signature_sector
from firmware_images.waiver import parse_waiver
from firmware_images.waveform_files import read_table, read_waveform_file
from firmware_images.waveform_slot import parse_waveform_slot
from firmware_images.waveform_slot_signing import verify_signed_slot
from firmware_images.waveform_table import parse_waveform_table
from firmware_images.waveform_transfer import import_waveform
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from tests.firmware_images import (
    rejected_nvs,
    rejected_patches,
    rejected_policies,
    rejected_records,
    rejected_secure_version,
    rejected_waivers,
)
from tests.firmware_images.idf_build import write_idf_build
from tests.firmware_images.nvs_parts import KEY as NVS_KEY
from tests.firmware_images.release_parts import APP_1_4_0, FLARE
from tests.gallery import FOLDER
from tests.hostile.entry import add, add_bytes, golden, trust


def _signed_image() -> bytes:
    signer = SoftwareSigner.generate(Algorithm.ECDSA_P256)
    return sign_image(APP_1_4_0.read_bytes(), [signer], where="image")


_FOLDER = tempfile.TemporaryDirectory(prefix="ampforge-hostile-")


@cache
def _flasher_args() -> bytes:
    return (write_idf_build(Path(_FOLDER.name)) / FLASHER_ARGS).read_bytes()


def _load_build_folder(path: Path) -> object:
    """Load the folder of a right build, but for the file that says what lies in it."""
    _flasher_args()
    listing = Path(_FOLDER.name) / FLASHER_ARGS
    listing.unlink()
    listing.symlink_to(path)
    return load_build_folder(listing.parent)


def _sbom() -> bytes:
    part = {"type": "library", "name": "esp-idf", "version": "5.5", "bom-ref": "idf"}
    return json.dumps(
        {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [part]}
    ).encode()


add("limits", "toml", load_limits, golden("waveforms/policy.toml"), ".toml")
add_bytes("policy", "cbor", parse_policy, golden("waveforms/policy.cbor"))
# These two are right; only where another version or board is wanted they are refused.
add_bytes(
    "signed policy",
    "cose",
    partial(rejected_policies.read, "signed-"),
    (FOLDER / "policies/signed-version-too-old.cose").read_bytes,
)
add_bytes(
    "approval",
    "cose",
    partial(rejected_policies.read, "approval-"),
    (FOLDER / "policies/approval-for-other-hardware.cose").read_bytes,
)
add_bytes(
    "approval's payload", "cbor", parse_approval, golden("waveforms/tighten.approval-payload.cbor")
)
add("waveforms", "toml", read_waveform_file, (FLARE / "waveforms.toml").read_bytes, ".toml")
add("waveform rows", "csv", read_waveform_file, lambda: b"t_us,i_ua\n0,0\n1,5\n9,0\n", ".csv")
add(
    "rows or samples to import",
    "csv",
    lambda path: import_waveform(path, tick_us=1, full_scale_ua=Decimal(100)),
    lambda: b"SampleRate=1000\n0.5\n-0.5\n0\n",
    ".csv",
)
add("table or slot", "table", read_table, golden("waveforms/tighten.slot"))
add_bytes("waveform table", "table", parse_waveform_table, golden("waveforms/tighten.table"))
add_bytes("waveform slot", "table", parse_waveform_slot, golden("waveforms/tighten.slot"))
add("image", "image", load_image, APP_1_4_0.read_bytes)
add(
    "image, ELF or folder",
    "image elf",
    lambda path: load_image_input(path, chip="esp32c3"),
    APP_1_4_0.read_bytes,
)
add_bytes(
    "app descriptor",
    "image",
    lambda c: parse_app_descriptor(c, where="segment"),
    lambda: APP_1_4_0.read_bytes()[32:288],
)
add_bytes("signed image", "image", lambda c: verify_signed_image(c, where="image"), _signed_image)
add_bytes(
    "signature sector",
    "image",
    lambda c: parse_signature_sector(c, where="sector"),
    lambda: _signed_image()[-4096:],
)
add("eFuse summary", "json text", load_board_keys, lambda: b"board-1 " + b"0" * 64 + b"\n")
add("partition CSV", "csv", load_partition_table, (FLARE / "partitions.csv").read_bytes, ".csv")
add_bytes(
    "partition table",
    "table",
    parse_partition_table,
    lambda: serialize_partition_table(load_partition_table(FLARE / "partitions.csv")),
)
add_bytes("otadata", "table", parse_otadata, golden("otadata/slot1-valid.bin"))
add_bytes(
    "record's sector", "table", lambda c: parse_sector(c, slot=0), golden("records/record.bin")
)
add_bytes("identity record", "cbor", parse_identity, golden("records/identity.cbor"))
add_bytes("update state", "cbor", parse_update_state, golden("records/update-state.cbor"))
add_bytes(
    "calibration's payload", "cbor", parse_calibration_record, golden("records/calibration.cbor")
)
add_bytes(
    "calibration record, unverified",
    "cbor cose",
    parse_signed_record,
    rejected_records.signed_calibration,
)
add_bytes(
    "calibration record",
    "cbor cose",
    lambda c: rejected_records.read("calibration-", c),
    rejected_records.signed_calibration,
)
add_bytes("bundle", "zip", parse_archive, golden("bundle/thing-1.0.0.bundle.zip"))
add_bytes(
    "verified bundle",
    "zip",
    lambda c: verify_bundle(c, trust()),
    golden("bundle/thing-1.0.0.bundle.zip"),
)
add_bytes("inspected bundle", "zip", inspect_bundle, golden("bundle/thing-1.0.0.bundle.zip"))
add_bytes(
    "compared bundle",
    "zip",
    lambda c: read_release(c, trust=None),
    golden("bundle/thing-1.0.0.bundle.zip"),
)
add_bytes("release statement", "cbor", parse_statement, golden("bundle/statement.cbor"))
add_bytes("signed statement", "cose", read_signed_statement, golden("signing/sign-two.cose"))
add_bytes("bill of materials", "json", parse_sbom, _sbom)
add_bytes("provenance", "json", read_tool_versions, lambda: b'{"predicate": {"runDetails": {}}}')
add_bytes(
    "approval's payload with waivers",
    "cbor",
    parse_approval,
    golden("waveforms/tighten.waived-approval-payload.cbor"),
)
add_bytes("waiver's payload", "cbor", parse_waiver, golden("waveforms/tighten.waiver-payload.cbor"))
add_bytes(
    "waiver",
    "cose",
    partial(rejected_waivers.read, "waiver"),
    golden("waveforms/tighten.waiver.cose"),
)
add_bytes(
    "signed waveform slot", "table", verify_signed_slot, golden("waveforms/tighten-signed.slot")
)
add_bytes("patch's header", "patch", parse_patch_header, golden("deltas/plain.patch"))
for _name in ("plain", "heatshrink"):
    add_bytes(
        f"{_name} patch",
        "patch",
        partial(rejected_patches.read, _name),
        golden(f"deltas/{_name}.patch"),
    )
add_bytes(
    "secure-version ledger",
    "json text",
    partial(rejected_secure_version.read, "ledger"),
    golden("secure-version/flare-c3.jsonl"),
)
add(
    "build folder",
    "json",
    _load_build_folder,
    _flasher_args,
)

add("NVS plan", "toml", load_nvs_plan, (FLARE / "nvs.toml").read_bytes, ".toml")
add_bytes("NVS partition", "", partial(rejected_nvs.read, "page-"), rejected_nvs.build_partition)
add_bytes("NVS keys", "", parse_nvs_keys, lambda: build_nvs_keys(NVS_KEY))
add("eFuse plan", "toml", load_efuse_plan, (FLARE / "efuses.toml").read_bytes, ".toml")
