"""Putting a bundle together, and signing it.

Both judge the content as `bundle.verify_bundle` does, so that nobody signs a release that no device
would take. Implements docs/spec/release-statement-and-bundle.md §1 to §3.
"""

from __future__ import annotations

import hashlib
from dataclasses import field
from typing import TYPE_CHECKING

from firmware_images.bundle_archive import parse_archive, serialize_archive
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
    UNSIGNED_STATEMENT,
    WAVEFORM_SIGNATURE,
    judge_contents,
    refuse_other_product,
)
from firmware_images.bundle_statement import find_statement, read_signed_statement
from firmware_images.errors import BundleError
from firmware_images.esp_image import inspect_image
from firmware_images.limits_policy_bytes import parse_policy
from firmware_images.partitions import serialize_partition_table
from firmware_images.release_constraints import NO_CONSTRAINTS, ReleaseConstraints
from firmware_images.release_statement import (
    RELEASE_CONTENT_TYPE,
    ReleaseStatement,
    describe_app,
    describe_part,
    parse_statement,
    serialize_statement,
)
from firmware_images.release_waivers import name_waivers
from firmware_images.waiver_judging import refuse_out_of_force
from signing.cose import add_signature, sign_many, verify_signatures
from signing.cose_message import kid_of
from signing.errors import TrustError
from signing.refusal import refusing_in
from signing.trust import Role
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from firmware_images.partitions import PartitionTable
    from signing.signers import Signer
    from signing.trust import TrustRecord


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
        waveform_signature: Signature sector over the waveform slot, or `None`.
        sbom: Software bill of materials, or `None`.
        provenance: Tools and digests of what the parts were made from, or `None`.
        sources: Source texts by file name.
        waivers: Signed waivers; the approval must name exactly these.
        constraints: Which boards may take it directly, and until when it is supported.
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
    waveform_signature: bytes | None = None
    sbom: bytes | None = None
    provenance: bytes | None = None
    sources: Mapping[str, bytes] = field(default_factory=dict)
    waivers: tuple[bytes, ...] = ()
    constraints: ReleaseConstraints = NO_CONSTRAINTS


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
    members = collect_parts(inputs)
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
        constraints=inputs.constraints,
    )
    judge_contents(statement, members, trust=None)
    return serialize_archive(members | {UNSIGNED_STATEMENT: serialize_statement(statement)})


def collect_parts(inputs: BundleInputs) -> dict[str, bytes]:
    """Return the parts of a bundle by member name; the statement about them is not one."""
    optional = {
        BOOTLOADER: inputs.bootloader,
        WAVEFORM_SIGNATURE: inputs.waveform_signature,
        SBOM: inputs.sbom,
        PROVENANCE: inputs.provenance,
    }
    return {
        APP: inputs.app,
        TABLE: inputs.table,
        APPROVAL: inputs.approval,
        POLICY: inputs.policy,
        PARTITION_TABLE: serialize_partition_table(inputs.partition_table),
        **{name: content for name, content in optional.items() if content is not None},
        **name_waivers(inputs.waivers),
        **{f"{SOURCES}{name}": content for name, content in inputs.sources.items()},
    }


def sign_bundle(
    untrusted_bytes: bytes,
    signers: Sequence[Signer],
    *,
    trust: TrustRecord | None = None,
    now: datetime | None = None,
    where: str = "bundle",
    before_signing: Callable[[ReleaseStatement, bytes], None] | None = None,
) -> bytes:
    """Add release signatures to a bundle, signed before or not; its content is judged first.

    Args:
        untrusted_bytes: The bundle.
        signers: One for each release engineer who signs now.
        trust: With it, the product and the approval are verified and each signer must hold the
            release role.
        now: The present, UTC; with it, every waiver must be in force.
        where: The file's name, for messages.
        before_signing: Given the statement and its SHA-256 once everything else is judged, and
            before any key is used; what it raises leaves nothing signed.

    Raises:
        FirmwareImageError: The content is not acceptable.
        SigningError: A signer does not hold the role, or has signed already.
    """
    with refusing_in(where):
        return _sign_bundle(
            untrusted_bytes,
            signers,
            trust=trust,
            now=now,
            where=where,
            before_signing=before_signing,
        )


def _sign_bundle(
    untrusted_bytes: bytes,
    signers: Sequence[Signer],
    *,
    trust: TrustRecord | None,
    now: datetime | None,
    where: str,
    before_signing: Callable[[ReleaseStatement, bytes], None] | None,
) -> bytes:
    members = parse_archive(untrusted_bytes, where=where)
    name, raw = find_statement(members)
    is_signed = name == SIGNED_STATEMENT
    payload = read_signed_statement(raw).payload if is_signed else raw
    statement = parse_statement(payload, where=name)
    parts = {member: content for member, content in members.items() if member != name}
    if trust is not None:
        refuse_other_product(statement, trust, where=where)
    contents = judge_contents(statement, parts, trust=trust)
    if now is not None:
        refuse_out_of_force(contents.waivers, now=now)
    if trust is not None:
        for signer in signers:
            _refuse_without_role(signer, trust)
        if is_signed:
            verify_signatures(read_signed_statement(raw), trust.keys_of(Role.RELEASE).keys)
    if before_signing is not None:
        before_signing(statement, hashlib.sha256(payload).digest())
    remaining = list(signers)
    if is_signed:
        signed = raw
    else:
        signed = sign_many(payload, remaining[:1], content_type=RELEASE_CONTENT_TYPE)
        remaining = remaining[1:]
    for signer in remaining:
        signed = add_signature(signed, signer, content_type=RELEASE_CONTENT_TYPE)
    return serialize_archive(parts | {SIGNED_STATEMENT: signed})


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
