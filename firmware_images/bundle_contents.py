"""Whether the parts of a release are what its statement says, and fit each other.

Implements docs/spec/release-statement-and-bundle.md §3. The statement's own signatures are judged
by `bundle`, before; this module may therefore name what it found.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_images.approval import APPROVAL_CONTENT_TYPE, parse_approval, verify_approval
from firmware_images.device_record import DEVICE_RECORD_SIZE_BYTES
from firmware_images.errors import ApprovalError, BundleError
from firmware_images.esp_image import inspect_image
from firmware_images.limits import parse_policy
from firmware_images.limits_judging import judge_table, refuse_violations
from firmware_images.partitions import (
    SUBTYPE_DATA_OTA,
    TABLE_OFFSET_BYTES,
    TYPE_DATA,
    parse_partition_table,
)
from firmware_images.release_statement import describe_app
from firmware_images.waveform_slot import APPROVAL_BYTES_MAX, serialize_waveform_slot
from firmware_images.waveform_table import parse_waveform_table, table_digest
from signing.cose_message import parse_message, refuse_content_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.approval import TableApproval
    from firmware_images.esp_image import EspImage
    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.partitions import PartitionTable
    from firmware_images.release_statement import ReleaseStatement
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
SBOM = "sbom.json"
SOURCES = "sources/"
REQUIRED_PARTS = frozenset({APP, TABLE, APPROVAL, POLICY, PARTITION_TABLE})
OPTIONAL_PARTS = frozenset({BOOTLOADER, SBOM})
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
    """

    image: EspImage
    waveform_table: WaveformTable
    policy: LimitsPolicy
    partition_table: PartitionTable
    approval: TableApproval | None


def judge_contents(
    statement: ReleaseStatement, parts: Mapping[str, bytes], *, trust: TrustRecord | None
) -> Contents:
    """Return the parsed parts, if the statement names exactly these bytes and they fit together.

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
    refuse_violations(judge_table(table, policy), where=TABLE)
    partition_table = parse_partition_table(parts[PARTITION_TABLE], where=PARTITION_TABLE)
    _judge_layout(statement, parts, partition_table)
    if BOOTLOADER in parts:
        bootloader = inspect_image(parts[BOOTLOADER], where=BOOTLOADER)
        _refuse_other("the bootloader's chip", statement.chip, bootloader.chip)
    return Contents(
        image=image,
        waveform_table=table,
        policy=policy,
        partition_table=partition_table,
        approval=approval,
    )


def _judge_digests(statement: ReleaseStatement, parts: Mapping[str, bytes]) -> None:
    known = REQUIRED_PARTS | OPTIONAL_PARTS
    missing = sorted(REQUIRED_PARTS - statement.parts.keys())
    unknown = sorted(
        name for name in statement.parts if name not in known and not name.startswith(SOURCES)
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
    _refuse_other("the app's chip", statement.chip, image.chip)
    _refuse_other("the app's descriptor", statement.app, describe_app(image))
    if image.version:
        _refuse_other("the app's version", statement.version, image.version)
    return image


def _judge_approval(
    statement: ReleaseStatement, parts: Mapping[str, bytes], trust: TrustRecord | None
) -> TableApproval | None:
    if trust is not None:
        return verify_approval(
            parts[APPROVAL],
            trust,
            table_bytes=parts[TABLE],
            hardware_class=statement.hardware_class,
        )
    message = parse_message(parts[APPROVAL], max_bytes=APPROVAL_BYTES_MAX)
    refuse_content_type(message, APPROVAL_CONTENT_TYPE)
    claimed = parse_approval(message.payload)
    digest = table_digest(parts[TABLE])
    if claimed.table_digest != digest:
        raise ApprovalError(
            "the approval is for another table",
            expected=digest.hex(),
            got=claimed.table_digest.hex(),
            where=APPROVAL,
            hint="have the policy role approve this table: `ampforge policy approve`",
        )
    return None


def _judge_layout(
    statement: ReleaseStatement, parts: Mapping[str, bytes], table: PartitionTable
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
    otadata = table.find(OTADATA_PARTITION)
    if (otadata.type, otadata.subtype) != (TYPE_DATA, SUBTYPE_DATA_OTA):
        raise BundleError(
            "the partition otadata is not of the type that the bootloader looks for",
            expected="data, ota",
            got=f"{otadata.type:#x}, {otadata.subtype:#x}",
            where=PARTITION_TABLE,
        )
    table.check_fits(DEVICE_RECORD_PARTITION, DEVICE_RECORD_SIZE_BYTES)
    slot_image_bytes = len(serialize_waveform_slot(parts[TABLE], parts[APPROVAL]))
    for slot in range(OTA_SLOT_COUNT):
        table.check_fits(f"ota_{slot}", len(parts[APP]))
        table.check_fits(f"wave_{slot}", slot_image_bytes)
    if len(parts.get(BOOTLOADER, b"")) > TABLE_OFFSET_BYTES:
        raise BundleError(
            "the bootloader would reach into the partition table",
            expected=f"at most {TABLE_OFFSET_BYTES} bytes",
            got=f"{len(parts[BOOTLOADER])} bytes",
            where=BOOTLOADER,
        )


def _refuse_other(what: str, expected: object, got: object) -> None:
    if expected != got:
        raise BundleError(
            f"{what} does not match the release statement", expected=expected, got=got, hint=_HINT
        )
