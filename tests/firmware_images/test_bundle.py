from __future__ import annotations

import hashlib
import io
import random
import zipfile
from dataclasses import replace

import pytest
from esptool.targets import CHIP_DEFS

from firmware_images.approval import APPROVAL_CONTENT_TYPE
from firmware_images.bundle import verify_bundle
from firmware_images.bundle_archive import parse_archive, serialize_archive
from firmware_images.bundle_building import BundleInputs, build_bundle, sign_bundle
from firmware_images.bundle_contents import bootloader_offset_bytes
from firmware_images.errors import (
    ApprovalError,
    BundleError,
    EspImageError,
    FirmwareImageError,
    LimitError,
    PartitionTableError,
    SecureBootError,
)
from firmware_images.otadata import initial_otadata
from firmware_images.partitions import parse_partition_csv, serialize_partition_table
from firmware_images.release_statement import (
    RELEASE_CONTENT_TYPE,
    describe_part,
    parse_statement,
    serialize_statement,
)
from firmware_images.secure_boot import sign_image
from firmware_images.waveform_slot import parse_waveform_slot
from signing.cose import sign_many, sign_one
from signing.errors import (
    CoseError,
    RevokedKeyError,
    SigningError,
    ThresholdError,
    TrustError,
    UnknownKeyError,
)
from signing.keys import Algorithm
from signing.refusal import Refusal
from signing.signers import SoftwareSigner
from tests.firmware_images.release_parts import (
    APP_1_4_0,
    APP_1_5_0,
    FLARE,
    FOREIGN_APP,
    build_inputs,
    build_parts,
    build_trust,
    signer,
)

OUR_ERRORS = (FirmwareImageError, SigningError)
FLARE_CSV = (FLARE / "partitions.csv").read_text()


@pytest.fixture(scope="module")
def unsigned() -> bytes:
    return build_bundle(build_inputs())


@pytest.fixture(scope="module")
def signed(unsigned: bytes) -> bytes:
    return sign_bundle(unsigned, [signer("release-1"), signer("release-2-ed")])


def resign(bundle: bytes, *names: str, **changes: object) -> bytes:
    """Sign a statement that a release engineer should never have signed."""
    members = parse_archive(bundle)
    statement = parse_statement(members.pop("statement.cbor"))
    parts = changes.pop("parts", None)
    if isinstance(parts, dict):
        members = {name: content for name, content in (members | parts).items() if content}
        changes["parts"] = {name: describe_part(content) for name, content in members.items()}
    payload = serialize_statement(replace(statement, **changes))
    signers = [signer(name) for name in names or ("release-1", "release-3")]
    members["statement.cose"] = sign_many(payload, signers, content_type=RELEASE_CONTENT_TYPE)
    return serialize_archive(members)


def test_building_twice_gives_the_same_bytes(unsigned):
    assert build_bundle(build_inputs()) == unsigned


def test_a_release_goes_from_build_over_two_signers_to_verified(unsigned):
    trust = build_trust()
    one = sign_bundle(unsigned, [signer("release-1")], trust=trust)
    with pytest.raises(ThresholdError, match="too few keys"):
        verify_bundle(one, trust)
    two = sign_bundle(one, [signer("release-3")], trust=trust)
    bundle = verify_bundle(two, trust)
    assert bundle.signed_by == {
        signer("release-1").public_key.key_id,
        signer("release-3").public_key.key_id,
    }
    assert (bundle.threshold, bundle.release_key_count) == (2, 3)
    assert bundle.statement.version == "1.4.0"
    assert bundle.statement.app.project_name == "flare"
    assert bundle.waveform_table.modes[0].name == "PULSE"
    assert bundle.approval.policy_version == bundle.policy.version == 1
    assert bundle.digest == hashlib.sha256(parse_archive(unsigned)["statement.cbor"]).digest()


def test_signing_together_or_one_after_the_other_gives_the_same_bundle(unsigned):
    together = sign_bundle(unsigned, [signer("release-1"), signer("release-3")])
    apart = sign_bundle(sign_bundle(unsigned, [signer("release-3")]), [signer("release-1")])
    assert together == apart


def test_the_factory_writes_what_the_bundle_says(signed):
    bundle = verify_bundle(signed, build_trust())
    regions = {region.name: region for region in bundle.flash_regions()}
    assert {name: region.offset_bytes for name, region in regions.items()} == {
        "partition-table": 0x8000,
        "otadata": 0xE000,
        "ota_0": 0x20000,
        "wave_0": 0x320000,
    }
    assert regions["ota_0"].content == bundle.app
    assert regions["otadata"].content == initial_otadata(0)
    table, approval = parse_waveform_slot(regions["wave_0"].content)
    assert (table, approval) == (bundle.table_bytes, bundle.approval_bytes)


def test_a_bootloader_sbom_and_sources_are_carried():
    """The foreign app stands in for a bootloader: both are images with their own segments."""
    bootloader = b"".join(_tiny_bootloader())
    inputs = build_inputs(bootloader=bootloader, sbom=b"{}", sources={"waveforms.toml": b"# text"})
    trust = build_trust(release_threshold=1)
    bundle = verify_bundle(sign_bundle(build_bundle(inputs), [signer("release-1")]), trust)
    assert bundle.flash_regions()[0].name == "bootloader"
    assert bundle.flash_regions()[0].offset_bytes == 0
    assert bundle.sbom == b"{}"
    assert bundle.sources == {"waveforms.toml": b"# text"}


def _tiny_bootloader():
    """An ESP32-C3 image of one RAM segment, as second-stage bootloaders are."""
    body = bytes.fromhex("e901023fe0253840ee000000") + bytes([5, 0, 0, 0, 0, 0xFF, 0xFF])
    body += bytes(4) + b"\x01"
    segment = bytes(range(16))
    body += (0x403825E0).to_bytes(4, "little") + (16).to_bytes(4, "little") + segment
    checksum = 0xEF
    for byte in segment:
        checksum ^= byte
    body += bytes(15 - len(body) % 16) + bytes([checksum])
    yield body
    yield hashlib.sha256(body).digest()


def test_any_zip_tool_opens_a_bundle(signed):
    with zipfile.ZipFile(io.BytesIO(signed)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(archive.namelist())
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert "statement.cose" in archive.namelist()


def test_a_foreign_app_is_bundled_and_signed_like_any_other():
    parts = build_parts(app=FOREIGN_APP)
    signed = sign_bundle(build_bundle(build_inputs(parts)), [signer("release-1")])
    bundle = verify_bundle(signed, build_trust(release_threshold=1))
    assert bundle.statement.app.project_name == "hello_world"


def test_an_app_without_a_descriptor_needs_a_version_from_the_release():
    inputs = build_inputs(app=b"".join(_tiny_bootloader()))
    with pytest.raises(BundleError, match="does not state a version") as refusal:
        build_bundle(inputs)
    assert "--version" in str(refusal.value.hint)
    members = parse_archive(build_bundle(replace(inputs, version="0.9")))
    assert parse_statement(members["statement.cbor"]).app.project_name is None


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"version": "1.4.1"}, BundleError, "app's version does not match"),
        ({"chip": "esp32s3"}, BundleError, "app's chip does not match"),
        ({"hardware_class": "flare-s3"}, BundleError, "table's hardware class"),
        ({"app": b"\xe9not an image at all, really"}, EspImageError, "impossible number"),
        ({"app": b""}, EspImageError, "ends too early"),
        ({"flash_size_bytes": 2 << 20}, PartitionTableError, "ends after the flash"),
        ({"release_counter": 0}, BundleError, "release counter"),
        ({"product": "flare\n"}, BundleError, "product"),
        ({"hardware_revision_min": 3}, BundleError, "hardware revisions"),
        ({"sources": {"../limits.toml": b""}}, BundleError, "not acceptable"),
        ({"bootloader": b"no image"}, EspImageError, "ends too early"),
    ],
)
def test_what_does_not_fit_together_is_not_built(changes, error, message):
    with pytest.raises(error, match=message):
        build_bundle(build_inputs(**changes))


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("ota_1,    app,  ota_1,   0x1a0000, 0x180000", "", BundleError, "app slots"),
        ("otadata,  data, ota", "otadata,  data, phy", BundleError, "otadata is not of the type"),
        ("0x10000,  0x8000", "0x10000,  0x7000", PartitionTableError, "does not fit .* devrec"),
        ("devrec", "record", PartitionTableError, "no partition 'devrec'"),
        ("0x1a0000, 0x180000", "0x1a0000, 0x10000", PartitionTableError, "does not fit .* ota_1"),
        ("0x1a0000, 0x180000", "0x1a0000, 0x170000", PartitionTableError, "not have the same size"),
        ("0x330000, 0x10000", "0x330000, 0x20000", PartitionTableError, "wave_0 and wave_1 do not"),
        ("wave_1", "wave_x", PartitionTableError, "no partition 'wave_1'"),
        ("wave_1,   data", "wave_1,   0x42", BundleError, "wave_1 is not of the type"),
        ("devrec,   data", "devrec,   0x42", BundleError, "devrec is not of the type"),
        ("0x10000,  0x8000", "0x10000,  0x8000, readonly", BundleError, "devrec is read-only"),
    ],
)
def test_a_layout_that_cannot_update_is_not_built(old, new, error, message):
    assert old in FLARE_CSV
    table = parse_partition_csv(FLARE_CSV.replace(old, new), where="test")
    with pytest.raises(error, match=message):
        build_bundle(build_inputs(partition_table=table))


def test_app_slots_whose_names_are_exchanged_are_not_built():
    # The factory would write the app to one slot, and the bootloader start the other.
    exchanged = FLARE_CSV.replace("app,  ota_0", "app,  ota_x").replace(
        "app,  ota_1", "app,  ota_0"
    )
    table = parse_partition_csv(exchanged.replace("ota_x", "ota_1"), where="test")
    with pytest.raises(BundleError, match="ota_0 is not of the type"):
        build_bundle(build_inputs(partition_table=table))


def test_an_app_with_a_false_secure_boot_signature_is_not_built():
    key = SoftwareSigner.generate(Algorithm.RSA_3072)
    signed = sign_image(APP_1_4_0.read_bytes(), [key], where="test")
    assert build_bundle(build_inputs(app=signed))
    false = bytearray(signed)
    false[-4096 + 900] ^= 1
    with pytest.raises(SecureBootError, match="signature block is damaged"):
        build_bundle(build_inputs(app=bytes(false)))


def test_each_chips_bootloader_goes_where_its_rom_looks():
    for chip, rom in CHIP_DEFS.items():
        assert bootloader_offset_bytes(chip) == rom.BOOTLOADER_FLASH_OFFSET, chip


def test_a_bootloader_that_reaches_into_the_partition_table_is_not_built():
    app = FOREIGN_APP.read_bytes()
    with pytest.raises(BundleError, match="reach into the partition table"):
        build_bundle(build_inputs(bootloader=app))


def test_a_table_over_a_limit_is_not_built():
    with pytest.raises(LimitError, match="PEAK"):
        build_bundle(build_inputs(build_parts(peak_na=400_000)))


def test_an_approval_for_another_table_is_not_built():
    other = build_parts(peak_na=90_000)
    with pytest.raises(ApprovalError, match="another table"):
        build_bundle(build_inputs(approval=other.approval))


def test_a_policy_that_is_not_the_tables_is_not_built():
    other = build_parts(policy_version=2)
    with pytest.raises(BundleError, match="table's policy"):
        build_bundle(build_inputs(policy=other.policy))


def test_an_unsigned_bundle_does_not_verify(unsigned):
    with pytest.raises(TrustError, match="not signed") as refusal:
        verify_bundle(unsigned, build_trust())
    assert "bundle sign" in str(refusal.value.hint)


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (("policy-1",), UnknownKeyError),
        (("release-1",), ThresholdError),
        (("release-1", "policy-1"), ThresholdError),
        (("root-1", "root-2"), UnknownKeyError),
    ],
)
def test_the_release_roles_threshold_counts_its_own_distinct_keys(unsigned, names, error):
    with pytest.raises(error):
        verify_bundle(resign(unsigned, *names), build_trust())


def test_a_revoked_release_key_does_not_count(unsigned):
    bundle = resign(unsigned, "release-1", "release-3")
    with pytest.raises(RevokedKeyError):
        verify_bundle(bundle, build_trust(release_threshold=2, revoked=("release-3",)))


def test_only_holders_of_the_release_role_may_sign(unsigned, signed):
    trust = build_trust()
    with pytest.raises(TrustError, match="does not hold the release role"):
        sign_bundle(unsigned, [signer("policy-1")], trust=trust)
    with pytest.raises(RevokedKeyError):
        sign_bundle(unsigned, [signer("release-3")], trust=build_trust(revoked=("release-3",)))
    with pytest.raises(CoseError):
        sign_bundle(signed, [signer("release-1")], trust=trust)


def test_nobody_signs_on_top_of_a_broken_signature(signed):
    members = parse_archive(signed)
    broken = bytearray(members["statement.cose"])
    broken[-1] ^= 1
    damaged = serialize_archive(members | {"statement.cose": bytes(broken)})
    with pytest.raises(SigningError):
        sign_bundle(damaged, [signer("release-3")], trust=build_trust())


def test_a_statement_signed_as_something_else_is_refused(unsigned):
    members = parse_archive(unsigned)
    payload = members.pop("statement.cbor")
    for content_type in (APPROVAL_CONTENT_TYPE, "application/cbor"):
        cose = sign_many(payload, [signer("release-1")], content_type=content_type)
        with pytest.raises(SigningError, match=r"content type|kind"):
            verify_bundle(
                serialize_archive(members | {"statement.cose": cose}),
                build_trust(release_threshold=1),
            )


def test_one_signature_form_is_taken_only_where_one_signature_is_enough(unsigned):
    members = parse_archive(unsigned)
    payload = members.pop("statement.cbor")
    cose = sign_one(payload, signer("release-1"), content_type=RELEASE_CONTENT_TYPE)
    bundle = serialize_archive(members | {"statement.cose": cose})
    assert verify_bundle(bundle, build_trust(release_threshold=1)).threshold == 1
    with pytest.raises(SigningError):
        verify_bundle(bundle, build_trust())


def test_nobody_signs_a_bundle_of_another_product(unsigned):
    with pytest.raises(BundleError, match="another product: expected glow, got flare"):
        sign_bundle(unsigned, [signer("release-1")], trust=build_trust(product="glow"))


def test_a_bundle_of_another_product_is_refused(signed):
    with pytest.raises(BundleError, match="another product"):
        verify_bundle(signed, build_trust(product="glow"))


def test_a_policy_older_than_the_trust_record_allows_is_refused(signed):
    with pytest.raises(ApprovalError, match="no longer counts"):
        verify_bundle(signed, build_trust(minimum_policy_version=2))


def test_a_table_that_the_release_role_approved_itself_is_refused():
    parts = build_parts(approver="release-1")
    signed = sign_bundle(build_bundle(build_inputs(parts)), [signer("release-1")])
    with pytest.raises(UnknownKeyError):
        verify_bundle(signed, build_trust(release_threshold=1))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"version": "1.4.1"}, BundleError, "app's version"),
        ({"policy_version": 2}, BundleError, "policy's version"),
        ({"policy_digest": bytes(32)}, BundleError, "limits policy does not match"),
        ({"hardware_class": "flare-s3"}, BundleError, "hardware class"),
        ({"flash_size_bytes": 1 << 20}, PartitionTableError, "after the flash"),
        ({"parts": {"app.bin": APP_1_5_0.read_bytes()}}, BundleError, "descriptor"),
        ({"parts": {"app.bin": b""}}, BundleError, "lacks a part"),
        ({"parts": {"approval.cose": b""}}, BundleError, "lacks a part"),
        ({"parts": {"install.sh": b"#!/bin/sh"}}, BundleError, "does not know"),
        ({"parts": {"waveform-table.bin": b"AFWT"}}, FirmwareImageError, "waveform table"),
        ({"parts": {"partition-table.bin": b"x"}}, PartitionTableError, "wrong size"),
        ({"parts": {"bootloader.bin": FOREIGN_APP.read_bytes()}}, BundleError, "reach into"),
        (
            {"parts": {"approval.cose": build_parts(peak_na=90_000).approval}},
            ApprovalError,
            "another table",
        ),
    ],
    ids=[
        *("version", "policy-version", "policy-digest", "hardware-class", "flash-size"),
        *("other-app", "no-app", "no-approval", "foreign-part", "table", "partition-table"),
        *("bootloader", "other-approval"),
    ],
)
def test_a_signature_does_not_make_a_wrong_release_right(unsigned, changes, error, message):
    """What the release engineers themselves got wrong, or one of them did on purpose."""
    with pytest.raises(error, match=message):
        verify_bundle(resign(unsigned, **changes), build_trust())


def test_a_part_that_the_statement_does_not_list_is_refused(signed):
    members = parse_archive(signed)
    for name in ("sbom.json", "sources/notes.txt", "statement.cbor"):
        with pytest.raises(BundleError, match=r"same parts|exactly one"):
            verify_bundle(serialize_archive(members | {name: b"{}"}), build_trust())


def test_a_part_that_is_missing_or_exchanged_is_refused(signed):
    members = parse_archive(signed)
    without = {name: content for name, content in members.items() if name != "approval.cose"}
    with pytest.raises(BundleError, match="same parts"):
        verify_bundle(serialize_archive(without), build_trust())
    app = members["app.bin"]
    with pytest.raises(BundleError, match="size that was signed"):
        verify_bundle(serialize_archive(members | {"app.bin": app[:-1]}), build_trust())
    changed = app[:-1] + bytes([app[-1] ^ 1])
    with pytest.raises(BundleError, match="not the one that was signed"):
        verify_bundle(serialize_archive(members | {"app.bin": changed}), build_trust())
    with pytest.raises(BundleError, match="exactly one release statement"):
        verify_bundle(
            serialize_archive({n: c for n, c in members.items() if "statement" not in n}),
            build_trust(),
        )


def structure_and_payload_bits(bundle: bytes):
    """Every bit of the container, the statement and its signatures; and the bits of all else."""
    payload: set[int] = set()
    for name, content in parse_archive(bundle).items():
        if name != "statement.cose":
            start = bundle.index(content)
            payload.update(range(8 * start, 8 * (start + len(content))))
    return [bit for bit in range(8 * len(bundle)) if bit not in payload], sorted(payload)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"app.bin": b"short"}, "/releases/flare.zip, app.bin"),
        ({"waveform-table.bin": b"short"}, "/releases/flare.zip, waveform-table.bin"),
        ({"extra.bin": b""}, "/releases/flare.zip"),
        ({"statement.cose": b"nonsense"}, "/releases/flare.zip"),
    ],
)
@pytest.mark.parametrize(
    "act",
    [
        lambda content, path: verify_bundle(content, build_trust(), where=path),
        lambda content, path: sign_bundle(content, [signer("release-3")], where=path),
    ],
    ids=["verify", "sign"],
)
def test_a_refusal_names_the_bundle_and_the_part(signed, changes, where, act):
    """Who has ten bundles in a folder must see which one is meant."""
    content = serialize_archive(parse_archive(signed) | changes)
    with pytest.raises(Refusal) as refused:
        act(content, "/releases/flare.zip")
    assert refused.value.where.startswith(where)


def test_any_flipped_bit_of_a_signed_bundle_is_refused(signed):
    """Exhaustive on the structure, a seeded sample of the payload."""
    trust = build_trust()
    structure, payload = structure_and_payload_bits(signed)
    changed = bytearray(signed)
    for bit in structure + random.Random(20260901).sample(payload, 1500):
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(OUR_ERRORS):
            verify_bundle(bytes(changed), trust)
        changed[bit // 8] ^= 1 << bit % 8
    assert changed == signed


def test_a_flipped_bit_with_a_repaired_container_is_still_refused(signed):
    """The attacker repairs CRCs and archive; the digests and signatures remain."""
    trust = build_trust()
    members = parse_archive(signed)
    generator = random.Random(7)
    for name, content in members.items():
        for _ in range(60 if name == "statement.cose" else 8):
            changed = bytearray(content)
            bit = generator.randrange(8 * len(content))
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(OUR_ERRORS):
                verify_bundle(serialize_archive(members | {name: bytes(changed)}), trust)


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.3, 0.9, 0.99999])
def test_a_truncated_bundle_is_refused(signed, fraction):
    with pytest.raises(Refusal):
        verify_bundle(signed[: int(len(signed) * fraction)], build_trust())


def test_inputs_do_not_share_their_default_sources():
    assert isinstance(build_inputs(), BundleInputs)
    assert build_inputs().sources == {}
    assert serialize_partition_table(build_inputs().partition_table)
