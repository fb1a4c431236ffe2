"""The release bundle: one file with everything that a release consists of.

Members of the archive (`bundle_archive`), all but the first listed with size and digest in the
release statement (`release_statement`):

| name | content |
|---|---|
| `statement.cbor` or `statement.cose` | the statement, before or after it was signed |
| `app.bin` | the ESP32 application image |
| `waveform-table.bin` | the compiled waveform table |
| `approval.cose` | the policy role's approval of that table |
| `limits-policy.cbor` | the policy that the table was judged by, canonical bytes |
| `partition-table.bin` | the binary partition table |
| `bootloader.bin` | second-stage bootloader, if the product brings it |
| `sbom.json` | software bill of materials, if there is one |
| `sources/...` | the texts that the above were made from, for auditors |

`build_bundle` and `sign_bundle` refuse what `verify_bundle` would refuse, so that nobody signs a
release that no device would take. Normative text: docs/spec/release-statement-and-bundle.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from firmware_images.bundle_archive import parse_archive, serialize_archive
from firmware_images.bundle_contents import (
    APP,
    APPROVAL,
    BOOTLOADER,
    PARTITION_TABLE,
    POLICY,
    SBOM,
    SIGNED_STATEMENT,
    TABLE,
    UNSIGNED_STATEMENT,
    Contents,
    judge_contents,
)
from firmware_images.errors import BundleError
from firmware_images.esp_image import inspect_image
from firmware_images.limits import parse_policy
from firmware_images.otadata import initial_otadata
from firmware_images.partitions import TABLE_OFFSET_BYTES, serialize_partition_table
from firmware_images.release_statement import (
    RELEASE_CONTENT_TYPE,
    ReleaseStatement,
    describe_app,
    describe_part,
    parse_statement,
    serialize_statement,
)
from firmware_images.waveform_slot import serialize_waveform_slot
from signing.cose import add_signature, sign_many, verify_signatures
from signing.cose_message import MAX_MESSAGE_BYTES, kid_of, parse_message, refuse_content_type
from signing.errors import TrustError
from signing.trust import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firmware_images.approval import TableApproval
    from firmware_images.esp_image import EspImage
    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.partitions import PartitionTable
    from firmware_images.waveform import WaveformTable
    from signing.signers import Signer
    from signing.trust import TrustRecord

# Where the ROM looks for the second-stage bootloader; 0 for every chip that is not named.
BOOTLOADER_OFFSETS_BYTES: Mapping[str, int] = MappingProxyType(
    {"esp32": 0x1000, "esp32s2": 0x1000, "esp32c5": 0x2000, "esp32p4": 0x2000}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInputs:
    """What a bundle is built from, every part as the bytes that go into it.

    Attributes:
        product: Product name, as in the trust record.
        version: Version of the release; `None` takes the app's own.
        release_counter: Rises with every release.
        hardware_class: Boards that it is for.
        hardware_revision_min: Lowest board revision.
        hardware_revision_max: Highest board revision.
        chip: esptool's chip name.
        flash_size_bytes: Flash on the board.
        app: Application image.
        table: Compiled waveform table.
        approval: Approval of that table, signed by the policy role.
        policy: Canonical bytes of the limits policy.
        partition_table: The parsed partition table.
        bootloader: Second-stage bootloader, or `None`.
        sbom: Software bill of materials, or `None`.
        sources: Source texts by file name.
    """

    product: str
    version: str | None = None
    release_counter: int
    hardware_class: str
    hardware_revision_min: int
    hardware_revision_max: int
    chip: str
    flash_size_bytes: int
    app: bytes
    table: bytes
    approval: bytes
    policy: bytes
    partition_table: PartitionTable
    bootloader: bytes | None = None
    sbom: bytes | None = None
    sources: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashRegion:
    """One piece that the factory writes: its partition or name, absolute offset, and bytes."""

    name: str
    offset_bytes: int
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified release.

    Attributes:
        statement: What was signed.
        digest: SHA-256 of the signed statement: the release's identity, signatures aside.
        signed_by: Ids of the release keys that signed.
        threshold: How many had to.
        release_key_count: How many keys hold the release role.
        app: The application image.
        image: What it says about itself.
        table_bytes: The waveform table.
        waveform_table: The same, parsed.
        approval_bytes: The signed approval.
        approval: The same, verified.
        waveform_slot_image: What the waveform partition of a slot begins with.
        policy_bytes: Canonical limits policy.
        policy: The same, parsed.
        partition_table_bytes: Binary partition table.
        partition_table: The same, parsed.
        bootloader: Second-stage bootloader, or `None`.
        sbom: Software bill of materials, or `None`.
        sources: Source texts by file name.
    """

    statement: ReleaseStatement
    digest: bytes
    signed_by: frozenset[bytes]
    threshold: int
    release_key_count: int
    app: bytes
    image: EspImage
    table_bytes: bytes
    waveform_table: WaveformTable
    approval_bytes: bytes
    approval: TableApproval
    waveform_slot_image: bytes
    policy_bytes: bytes
    policy: LimitsPolicy
    partition_table_bytes: bytes
    partition_table: PartitionTable
    bootloader: bytes | None
    sbom: bytes | None
    sources: Mapping[str, bytes]

    def flash_regions(self) -> tuple[FlashRegion, ...]:
        """Return what a factory writes to a blank board, in ascending order of offset."""
        table = self.partition_table
        regions = [
            FlashRegion(
                name="partition-table",
                offset_bytes=TABLE_OFFSET_BYTES,
                content=self.partition_table_bytes,
            ),
            *(
                FlashRegion(name=name, offset_bytes=table.find(name).offset_bytes, content=content)
                for name, content in (
                    ("otadata", initial_otadata(0)),
                    ("ota_0", self.app),
                    ("wave_0", self.waveform_slot_image),
                )
            ),
        ]
        if self.bootloader is not None:
            offset_bytes = BOOTLOADER_OFFSETS_BYTES.get(self.statement.chip, 0)
            regions.append(
                FlashRegion(name="bootloader", offset_bytes=offset_bytes, content=self.bootloader)
            )
        return tuple(sorted(regions, key=lambda region: region.offset_bytes))


def build_bundle(inputs: BundleInputs) -> bytes:
    """Return an unsigned bundle; the same inputs give the same bytes.

    Args:
        inputs: Every part; the table must already be approved.

    Raises:
        FirmwareImageError: A part is not acceptable by itself, or does not match the others.
    """
    image = inspect_image(inputs.app, where=APP)
    version = inputs.version or image.version
    if not version:
        raise BundleError(
            "the app does not state a version, so the release needs one",
            expected="a version",
            got="an application descriptor without a version"
            if image.has_descriptor
            else "an image without an application descriptor",
            where=APP,
            hint="set version in [release], or give --version",
        )
    policy = parse_policy(inputs.policy, where=POLICY)
    optional = {BOOTLOADER: inputs.bootloader, SBOM: inputs.sbom}
    members = {
        APP: inputs.app,
        TABLE: inputs.table,
        APPROVAL: inputs.approval,
        POLICY: inputs.policy,
        PARTITION_TABLE: serialize_partition_table(inputs.partition_table),
        **{name: content for name, content in optional.items() if content is not None},
        **{f"sources/{name}": content for name, content in inputs.sources.items()},
    }
    statement = ReleaseStatement(
        product=inputs.product,
        version=version,
        release_counter=inputs.release_counter,
        hardware_class=inputs.hardware_class,
        hardware_revision_min=inputs.hardware_revision_min,
        hardware_revision_max=inputs.hardware_revision_max,
        chip=inputs.chip,
        flash_size_bytes=inputs.flash_size_bytes,
        parts={name: describe_part(content) for name, content in members.items()},
        app=describe_app(image),
        policy_digest=policy.digest,
        policy_version=policy.version,
    )
    judge_contents(statement, members, trust=None)
    return serialize_archive(members | {UNSIGNED_STATEMENT: serialize_statement(statement)})


def sign_bundle(
    untrusted_bytes: bytes, signers: Sequence[Signer], *, trust: TrustRecord | None = None
) -> bytes:
    """Add release signatures to a bundle, signed before or not; its content is judged first.

    Args:
        untrusted_bytes: The bundle.
        signers: One for each release engineer who signs now.
        trust: With it, the approval is verified and each signer must hold the release role.

    Raises:
        FirmwareImageError: The content is not acceptable.
        SigningError: A signer does not hold the role, or has signed already.
    """
    members = parse_archive(untrusted_bytes)
    name, raw = _find_statement(members)
    is_signed = name == SIGNED_STATEMENT
    payload = _read_unverified_payload(raw) if is_signed else raw
    statement = parse_statement(payload, where=name)
    parts = {member: content for member, content in members.items() if member != name}
    judge_contents(statement, parts, trust=trust)
    if trust is not None:
        for signer in signers:
            _refuse_without_role(signer, trust)
        if is_signed:
            keys = trust.keys_of(Role.RELEASE).keys
            verify_signatures(parse_message(raw, max_bytes=MAX_MESSAGE_BYTES), keys)
    remaining = list(signers)
    if is_signed:
        signed = raw
    else:
        signed = sign_many(payload, remaining[:1], content_type=RELEASE_CONTENT_TYPE)
        remaining = remaining[1:]
    for signer in remaining:
        signed = add_signature(signed, signer, content_type=RELEASE_CONTENT_TYPE)
    return serialize_archive(parts | {SIGNED_STATEMENT: signed})


def verify_bundle(untrusted_bytes: bytes, trust: TrustRecord, *, where: str = "bundle") -> Bundle:
    """Return the release, if everything in it is signed, approved, whole and consistent.

    Implements docs/spec/release-statement-and-bundle.md §4, in its order.

    Args:
        untrusted_bytes: The bundle file.
        trust: The trust record of the product.
        where: The file's name, for messages.

    Raises:
        SigningError: Too few release keys signed, or the policy role did not approve the table.
        FirmwareImageError: The archive or a part is not what the statement says.
    """
    members = parse_archive(untrusted_bytes, where=where)
    name, raw = _find_statement(members)
    if name != SIGNED_STATEMENT:
        raise TrustError(
            "the bundle is not signed",
            expected=f"signatures of {trust.keys_of(Role.RELEASE).threshold} release keys",
            got="none",
            where=where,
            hint="have a release engineer run `ampforge bundle sign`",
        )
    message = parse_message(raw, max_bytes=MAX_MESSAGE_BYTES)
    refuse_content_type(message, RELEASE_CONTENT_TYPE)
    signed_by = trust.verify_message(message, Role.RELEASE)
    statement = parse_statement(message.payload, where=name)
    if statement.product != trust.product:
        raise BundleError(
            "the bundle is for another product",
            expected=trust.product,
            got=statement.product,
            where=where,
            hint="use the trust record of that product, or its bundle",
        )
    parts = {member: content for member, content in members.items() if member != name}
    contents = judge_contents(statement, parts, trust=trust)
    assert contents.approval is not None
    release_keys = trust.keys_of(Role.RELEASE)
    return _assemble(
        statement,
        contents,
        parts,
        approval=contents.approval,
        digest=hashlib.sha256(message.payload).digest(),
        signatures=(signed_by, release_keys.threshold, len(release_keys.keys)),
    )


def _assemble(
    statement: ReleaseStatement,
    contents: Contents,
    parts: Mapping[str, bytes],
    *,
    approval: TableApproval,
    digest: bytes,
    signatures: tuple[frozenset[bytes], int, int],
) -> Bundle:
    signed_by, threshold, release_key_count = signatures
    return Bundle(
        statement=statement,
        digest=digest,
        signed_by=signed_by,
        threshold=threshold,
        release_key_count=release_key_count,
        app=parts[APP],
        image=contents.image,
        table_bytes=parts[TABLE],
        waveform_table=contents.waveform_table,
        approval_bytes=parts[APPROVAL],
        approval=approval,
        waveform_slot_image=serialize_waveform_slot(parts[TABLE], parts[APPROVAL]),
        policy_bytes=parts[POLICY],
        policy=contents.policy,
        partition_table_bytes=parts[PARTITION_TABLE],
        partition_table=contents.partition_table,
        bootloader=parts.get(BOOTLOADER),
        sbom=parts.get(SBOM),
        sources={
            name.removeprefix("sources/"): content
            for name, content in parts.items()
            if name.startswith("sources/")
        },
    )


def _find_statement(members: Mapping[str, bytes]) -> tuple[str, bytes]:
    names = [name for name in (SIGNED_STATEMENT, UNSIGNED_STATEMENT) if name in members]
    if len(names) != 1:
        raise BundleError(
            "the bundle does not have exactly one release statement",
            expected=f"{SIGNED_STATEMENT}, or {UNSIGNED_STATEMENT} before it is signed",
            got=" and ".join(names) or "neither",
        )
    return names[0], members[names[0]]


def _read_unverified_payload(raw: bytes) -> bytes:
    message = parse_message(raw, max_bytes=MAX_MESSAGE_BYTES)
    refuse_content_type(message, RELEASE_CONTENT_TYPE)
    return message.payload


def _refuse_without_role(signer: Signer, trust: TrustRecord) -> None:
    key = signer.public_key
    trust.refuse_revoked(key)
    holders = trust.keys_of(Role.RELEASE).keys
    if key.key_id not in {holder.key_id for holder in holders}:
        raise TrustError(
            "this key does not hold the release role",
            expected=f"one of {', '.join(kid_of(holder).hex() for holder in holders)}",
            got=kid_of(key).hex(),
            where=f"trust record {trust.product} version {trust.version}",
            hint="sign with a release key, or have root add this key to the role",
        )
