"""Whether the parts of a release are what its statement says, and fit each other.

Implements docs/spec/release-statement-and-bundle.md §3. The statement's own signatures are judged
by `bundle`, before; this module may therefore name what it found.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from firmware_images.approval import refuse_other_table, verify_approval
from firmware_images.bootloader_place import bootloader_offset_bytes
from firmware_images.errors import BundleError
from firmware_images.esp_image import inspect_image
from firmware_images.limits_policy_bytes import parse_policy
from firmware_images.partitions import (
    FLAG_READ_ONLY,
    SUBTYPE_APP_OTA_0,
    SUBTYPE_DATA_OTA,
    TABLE_OFFSET_BYTES,
    TYPE_APP,
    TYPE_DATA,
    parse_partition_table,
)
from firmware_images.record_slots import DEVICE_RECORD_SIZE_BYTES
from firmware_images.release_statement import describe_app
from firmware_images.release_waivers import WAIVERS, read_release_waivers
from firmware_images.waiver_judging import judge_with_waivers
from firmware_images.waveform_slot import pad_waveform_slot, serialize_waveform_slot
from firmware_images.waveform_table import parse_waveform_table
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.approval import TableApproval
    from firmware_images.esp_image import EspImage
    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.partitions import PartitionTable
    from firmware_images.release_statement import ReleaseStatement
    from firmware_images.waiver import LimitWaiver
    from firmware_images.waveform import WaveformTable
    from signing.trust import TrustRecord

SIGNED_STATEMENT = "statement.cose"
UNSIGNED_STATEMENT = "statement.cbor"
APP = "app.bin"
TABLE = "waveform-table.bin"
APPROVAL = "approval.cose"
POLICY = "limits-policy.cbor"
PARTITION_TABLE = "partition-table.bin"
BOOTLOADER = "bootloader.bin"
WAVEFORM_SIGNATURE = "waveform-signature.bin"
SBOM = "sbom.json"
PROVENANCE = "provenance.json"
SOURCES = "sources/"
REQUIRED_PARTS = frozenset({APP, TABLE, APPROVAL, POLICY, PARTITION_TABLE})
OPTIONAL_PARTS = frozenset({BOOTLOADER, WAVEFORM_SIGNATURE, SBOM, PROVENANCE})
OTA_SLOT_COUNT = 2
DEVICE_RECORD_PARTITION = "devrec"
OTADATA_PARTITION = "otadata"
_HINT = "get the bundle again from whoever built it, or build it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The parts of a release, parsed.

    Attributes:
        image: The app image.
        waveform_table: The table.
        policy: The limits policy.
        partition_table: The flash layout.
        approval: The verified approval, or `None` if there was no trust record to verify it with.
        waivers: What of the limits is waived, and until when.
    """

    image: EspImage
    waveform_table: WaveformTable
    policy: LimitsPolicy
    partition_table: PartitionTable
    approval: TableApproval | None
    waivers: tuple[LimitWaiver, ...]


def judge_contents(
    statement: ReleaseStatement, parts: Mapping[str, bytes], *, trust: TrustRecord | None
) -> Contents:
    """Return the parsed parts, if the statement names exactly these bytes and they fit together.

    Whether a waiver has expired is not judged: that depends on what is to be done, and when.

    Args:
        statement: What the parts must be.
        parts: Content by name, without the statement itself.
        trust: Who may approve a table; `None` checks only that the approval names this table.

    Raises:
        FirmwareImageError: A part is missing, foreign, changed, or contradicts another.
        SigningError: The policy role did not approve the table.
    """
    _judge_digests(statement, parts)
    image = _judge_app(statement, parts[APP])
    policy = parse_policy(parts[POLICY], where=POLICY)
    _refuse_other("the limits policy", statement.policy_digest.hex(), policy.digest.hex())
    _refuse_other("the limits policy's version", statement.policy_version, policy.version)
    table = parse_waveform_table(parts[TABLE], where=TABLE)
    _refuse_other("the table's hardware class", statement.hardware_class, table.hardware_class)
    _refuse_other("the table's policy", policy.digest.hex(), table.policy_digest.hex())
    _refuse_other("the table's policy version", policy.version, table.policy_version)
    # Approval first: judging takes time, and only the policy role may make us spend it.
    approval = _judge_approval(statement, parts, trust)
    waivers = read_release_waivers(parts, approval, trust=trust)
    judge_with_waivers(parts[TABLE], policy, waivers, where=TABLE)
    slot_image_bytes = len(build_slot_image(parts))
    partition_table = parse_partition_table(parts[PARTITION_TABLE], where=PARTITION_TABLE)
    _judge_layout(statement, parts, partition_table, slot_image_bytes=slot_image_bytes)
    if BOOTLOADER in parts:
        bootloader = inspect_image(parts[BOOTLOADER], where=BOOTLOADER)
        _refuse_other("the bootloader's chip", statement.chip, bootloader.chip)
    return Contents(
        image=image,
        waveform_table=table,
        policy=policy,
        partition_table=partition_table,
        approval=None if trust is None else approval,
        waivers=waivers,
    )


def build_slot_image(parts: Mapping[str, bytes]) -> bytes:
    """Return what the waveform partition of a slot begins with; a signature is verified.

    Raises:
        WaveformTableError: The parts do not fit a slot.
        SecureBootError: The signature sector is not what a signer writes.
        SignatureError: A signature is not one of this table and approval.
    """
    slot_image = serialize_waveform_slot(parts[TABLE], parts[APPROVAL])
    if WAVEFORM_SIGNATURE not in parts:
        return slot_image
    signed = pad_waveform_slot(slot_image, where=WAVEFORM_SIGNATURE) + parts[WAVEFORM_SIGNATURE]
    from firmware_images.waveform_slot_signing import verify_signed_slot

    # A false signature is worse than none: a board that looks at it generates nothing.
    verify_signed_slot(signed, where=WAVEFORM_SIGNATURE)
    return signed


def refuse_other_product(statement: ReleaseStatement, trust: TrustRecord, *, where: str) -> None:
    """Refuse a release of another product than the trust record's.

    Raises:
        BundleError: The names differ.
    """
    if statement.product != trust.product:
        raise BundleError(
            "the bundle is for another product",
            expected=trust.product,
            got=statement.product,
            where=where,
            hint="use the trust record of that product, or its bundle",
        )


def _judge_digests(statement: ReleaseStatement, parts: Mapping[str, bytes]) -> None:
    known = REQUIRED_PARTS | OPTIONAL_PARTS
    missing = sorted(REQUIRED_PARTS - statement.parts.keys())
    unknown = sorted(
        name
        for name in statement.parts
        if name not in known and not name.startswith((SOURCES, WAIVERS))
    )
    unlisted = sorted(parts.keys() ^ statement.parts.keys())
    for what, names in (
        ("the release lacks a part", missing),
        ("the release has a part that this version does not know", unknown),
        ("the bundle and its statement do not list the same parts", unlisted),
    ):
        if names:
            raise BundleError(what, got=", ".join(names), hint=_HINT)
    for name, part in statement.parts.items():
        content = parts[name]
        if len(content) != part.size_bytes:
            raise BundleError(
                "a part does not have the size that was signed",
                expected=f"{part.size_bytes} bytes",
                got=f"{len(content)} bytes",
                where=name,
                hint=_HINT,
            )
        digest = hashlib.sha256(content).digest()
        if digest != part.sha256:
            raise BundleError(
                "a part is not the one that was signed",
                expected=part.sha256.hex(),
                got=digest.hex(),
                where=name,
                hint=_HINT,
            )


def _judge_app(statement: ReleaseStatement, app: bytes) -> EspImage:
    image = inspect_image(app, where=APP)
    if image.signature_bytes:
        from firmware_images.secure_boot import verify_signed_image

        # A false signature is as good as none to a board, and bricks one with Secure Boot.
        verify_signed_image(app, where=APP)
    _refuse_other("the app's chip", statement.chip, image.chip)
    _refuse_other("the app's descriptor", statement.app, describe_app(image))
    if image.version:
        _refuse_other("the app's version", statement.version, image.version)
    return image


def _judge_approval(
    statement: ReleaseStatement, parts: Mapping[str, bytes], trust: TrustRecord | None
) -> TableApproval:
    if trust is not None:
        return verify_approval(
            parts[APPROVAL],
            trust,
            table_bytes=parts[TABLE],
            hardware_class=statement.hardware_class,
        )
    return refuse_other_table(parts[APPROVAL], table_bytes=parts[TABLE])


def _judge_layout(
    statement: ReleaseStatement,
    parts: Mapping[str, bytes],
    table: PartitionTable,
    *,
    slot_image_bytes: int,
) -> None:
    table.check_flash_size(statement.flash_size_bytes)
    if len(table.ota_slots) != OTA_SLOT_COUNT:
        raise BundleError(
            "the partition table does not have the app slots that an update needs",
            expected=f"{OTA_SLOT_COUNT} slots, ota_0 and ota_1",
            got=len(table.ota_slots),
            where=PARTITION_TABLE,
            hint="give the product's partition CSV two app slots of the same size",
        )
    # The bootloader goes by type and subtype, we by name: both must mean the same partition.
    _judge_partition(table, OTADATA_PARTITION, type_=TYPE_DATA, subtype=SUBTYPE_DATA_OTA)
    _judge_partition(table, DEVICE_RECORD_PARTITION, type_=TYPE_DATA)
    for slot in range(OTA_SLOT_COUNT):
        subtype = SUBTYPE_APP_OTA_0 + slot
        _judge_partition(table, f"ota_{slot}", type_=TYPE_APP, subtype=subtype)
        _judge_partition(table, f"wave_{slot}", type_=TYPE_DATA)
    table.check_fits(DEVICE_RECORD_PARTITION, DEVICE_RECORD_SIZE_BYTES)
    for slot in range(OTA_SLOT_COUNT):
        table.check_fits(f"ota_{slot}", len(parts[APP]))
        table.check_fits(f"wave_{slot}", slot_image_bytes)
    for kind in ("ota", "wave"):
        table.check_same_size(f"{kind}_0", f"{kind}_1")
    room_bytes = TABLE_OFFSET_BYTES - bootloader_offset_bytes(statement.chip)
    if len(parts.get(BOOTLOADER, b"")) > room_bytes:
        raise BundleError(
            "the bootloader would reach into the partition table",
            expected=f"at most {room_bytes} bytes",
            got=f"{len(parts[BOOTLOADER])} bytes",
            where=BOOTLOADER,
            hint="give the second-stage bootloader of the product's ESP-IDF build, not an app",
        )


def _judge_partition(
    table: PartitionTable, name: str, *, type_: int, subtype: int | None = None
) -> None:
    partition = table.find(name)
    wanted = (type_, partition.subtype if subtype is None else subtype)
    if (partition.type, partition.subtype) != wanted:
        raise BundleError(
            f"the partition {name} is not of the type that is looked for",
            expected=f"type {wanted[0]:#x}, subtype {wanted[1]:#x}",
            got=f"type {partition.type:#x}, subtype {partition.subtype:#x}",
            where=PARTITION_TABLE,
            hint="correct the type and subtype in the product's partition CSV",
        )
    if partition.flags & FLAG_READ_ONLY:
        raise BundleError(
            f"the partition {name} is read-only, and the board has to write it",
            expected="no flag readonly",
            got=f"flags {partition.flags:#x}",
            where=PARTITION_TABLE,
            hint="take the flag out of the product's partition CSV",
        )


def _refuse_other(what: str, expected: object, got: object) -> None:
    if expected != got:
        raise BundleError(
            f"{what} does not match the release statement", expected=expected, got=got, hint=_HINT
        )
