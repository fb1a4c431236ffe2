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
| `waveform-signature.bin` | signature sector of the waveform slot, if the product signs it |
| `sbom.json` | software bill of materials, if there is one |
| `provenance.json` | tools and digests of what the parts were made from, if there is one |
| `waivers/...` | the policy role's waivers, if there are any |
| `sources/...` | the texts that the above were made from, for auditors |

`build_bundle` and `sign_bundle` are in `bundle_building`: who verifies needs neither. They refuse
what `verify_bundle` would refuse, so that nobody signs a release that no device would take.
Normative text: docs/spec/release-statement-and-bundle.md.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from firmware_images.bootloader_place import bootloader_offset_bytes
from firmware_images.bundle_archive import parse_archive
from firmware_images.bundle_contents import (
    APP,
    APPROVAL,
    BOOTLOADER,
    PARTITION_TABLE,
    POLICY,
    PROVENANCE,
    SBOM,
    SIGNED_STATEMENT,
    SOURCES,
    TABLE,
    Contents,
    build_slot_image,
    judge_contents,
    refuse_other_product,
)
from firmware_images.bundle_statement import find_statement, read_signed_statement
from firmware_images.partitions import TABLE_OFFSET_BYTES
from firmware_images.release_statement import ReleaseStatement, parse_statement
from signing.errors import TrustError
from signing.refusal import refusing_in
from signing.trust import Role
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.approval import TableApproval
    from firmware_images.esp_image import EspImage
    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.partitions import PartitionTable
    from firmware_images.waiver import LimitWaiver
    from firmware_images.waveform import WaveformTable
    from signing.trust import TrustRecord


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
        signed_statement: The same with its signatures, for whoever verifies it again: the board.
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
        waveform_slot_image: What the waveform partition of a slot begins with, signature and all.
        policy_bytes: Canonical limits policy.
        policy: The same, parsed.
        partition_table_bytes: Binary partition table.
        partition_table: The same, parsed.
        bootloader: Second-stage bootloader, or `None`.
        sbom: Software bill of materials, or `None`.
        provenance: Tools and digests of what the parts were made from, or `None`.
        sources: Source texts by file name.
        waivers: What of the limits is waived; `refuse_out_of_force` says whether still.
    """

    statement: ReleaseStatement
    signed_statement: bytes
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
    provenance: bytes | None
    sources: Mapping[str, bytes]
    waivers: tuple[LimitWaiver, ...]

    def flash_regions(self) -> tuple[FlashRegion, ...]:
        """Return what a factory writes to a blank board, in ascending order of offset."""
        from firmware_images.otadata import initial_otadata

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
            offset_bytes = bootloader_offset_bytes(self.statement.chip)
            regions.append(
                FlashRegion(name="bootloader", offset_bytes=offset_bytes, content=self.bootloader)
            )
        return tuple(sorted(regions, key=lambda region: region.offset_bytes))


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
    with refusing_in(where):
        return _verify_bundle(untrusted_bytes, trust, where=where)


def _verify_bundle(untrusted_bytes: bytes, trust: TrustRecord, *, where: str) -> Bundle:
    members = parse_archive(untrusted_bytes, where=where)
    name, raw = find_statement(members)
    if name != SIGNED_STATEMENT:
        raise TrustError(
            "the bundle is not signed",
            expected=f"signatures of {trust.keys_of(Role.RELEASE).threshold} release keys",
            got="none",
            where=where,
            hint="have a release engineer run `ampforge bundle sign`",
        )
    message = read_signed_statement(raw)
    signed_by = trust.verify_message(message, Role.RELEASE)
    statement = parse_statement(message.payload, where=name)
    refuse_other_product(statement, trust, where=where)
    parts = {member: content for member, content in members.items() if member != name}
    contents = judge_contents(statement, parts, trust=trust)
    assert contents.approval is not None
    release_keys = trust.keys_of(Role.RELEASE)
    return _assemble(
        statement,
        contents,
        parts,
        signed_statement=raw,
        approval=contents.approval,
        digest=hashlib.sha256(message.payload).digest(),
        signatures=(signed_by, release_keys.threshold, len(release_keys.keys)),
    )


def _assemble(
    statement: ReleaseStatement,
    contents: Contents,
    parts: Mapping[str, bytes],
    *,
    signed_statement: bytes,
    approval: TableApproval,
    digest: bytes,
    signatures: tuple[frozenset[bytes], int, int],
) -> Bundle:
    signed_by, threshold, release_key_count = signatures
    return Bundle(
        statement=statement,
        signed_statement=signed_statement,
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
        waveform_slot_image=build_slot_image(parts),
        policy_bytes=parts[POLICY],
        policy=contents.policy,
        partition_table_bytes=parts[PARTITION_TABLE],
        partition_table=contents.partition_table,
        bootloader=parts.get(BOOTLOADER),
        sbom=parts.get(SBOM),
        provenance=parts.get(PROVENANCE),
        sources={
            name.removeprefix(SOURCES): content
            for name, content in parts.items()
            if name.startswith(SOURCES)
        },
        waivers=contents.waivers,
    )
