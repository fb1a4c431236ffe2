"""From the files that `[release]` names to the parts of a bundle.

The waveform table is compiled here and judged against the limits, so that a bundle never carries a
table that somebody compiled earlier from another source. The approval must already be there: this
module says what is missing, the policy role decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.approval import APPROVAL_CONTENT_TYPE, parse_approval, verify_approval
from firmware_images.bounded_file import read_bounded
from firmware_images.bundle_building import BundleInputs
from firmware_images.errors import ApprovalError, BundleError
from firmware_images.esp_image import load_image
from firmware_images.image_input import load_image_input
from firmware_images.limits import load_limits
from firmware_images.limits_judging import judge_table, refuse_violations
from firmware_images.limits_policy import serialize_policy
from firmware_images.partitions import CSV_MAX_BYTES, load_partition_table
from firmware_images.provenance import find_tool_versions
from firmware_images.release_records import add_provenance, add_sbom
from firmware_images.sbom_document import SBOM_MAX_BYTES, parse_sbom
from firmware_images.toml_document import TOML_BYTES_MAX
from firmware_images.waveform_compile import compile_table
from firmware_images.waveform_slot import APPROVAL_BYTES_MAX
from firmware_images.waveform_source import load_waveforms
from firmware_images.waveform_table import serialize_waveform_table, table_digest
from signing.cose_message import parse_message, refuse_content_type
from signing.input_file import is_present

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.product import ProductSettings, ReleaseSettings
    from signing.trust import TrustRecord


def load_release_inputs(
    root: Path,
    product: ProductSettings,
    release: ReleaseSettings,
    *,
    trust: TrustRecord | None = None,
) -> BundleInputs:
    """Return the inputs of a bundle, each part loaded, compiled and judged.

    Args:
        root: Folder that relative paths in `release` start from.
        product: The section `[product]`.
        release: The section `[release]`, options already applied.
        trust: With it, the product and the approval's signatures are verified, too.

    Raises:
        FirmwareImageError: A file is not acceptable, the table breaks a limit, or is not approved.
        SigningError: The approval is not signed by the policy role.
    """
    if trust is not None and product.name != trust.product:
        raise BundleError(
            "the trust record is for another product",
            expected=product.name,
            got=trust.product,
            hint="correct name in [product], or name this product's trust record",
        )
    policy = load_limits(root / release.limits)
    waveforms = root / release.waveforms
    table = compile_table(load_waveforms(waveforms), policy, product.hardware_class)
    refuse_violations(judge_table(table, policy), where=waveforms)
    table_bytes = serialize_waveform_table(table)
    taken = load_image_input(root / release.app, chip=product.chip)
    app, image = taken.content, taken.image
    sources = {
        "waveforms.toml": read_bounded(waveforms, TOML_BYTES_MAX, BundleError),
        "limits.toml": read_bounded(root / release.limits, TOML_BYTES_MAX, BundleError),
        "partitions.csv": read_bounded(root / release.partitions, CSV_MAX_BYTES, BundleError),
    }
    inputs = BundleInputs(
        product=product.name,
        version=release.version,
        release_counter=release.release_counter,
        hardware_class=product.hardware_class,
        hardware_revision_min=product.hardware_revision_min,
        hardware_revision_max=product.hardware_revision_max,
        chip=product.chip,
        flash_size_bytes=product.flash_size_bytes,
        app=app,
        table=table_bytes,
        approval=_load_approval(root, release, table_bytes, product, trust),
        policy=serialize_policy(policy),
        partition_table=load_partition_table(root / release.partitions),
        bootloader=_load_bootloader(root, release),
        sources=sources,
    )
    bill = _load_sbom(root, release.sbom)
    materials = {
        "app": app,
        "approval": inputs.approval,
        **{name.partition(".")[0]: content for name, content in sources.items()},
        **({} if inputs.bootloader is None else {"bootloader": inputs.bootloader}),
        **({} if bill is None else {"sbom": bill}),
    }
    project = None if bill is None else parse_sbom(bill, where=root / str(release.sbom))
    inputs = add_sbom(inputs, image=image, policy=policy, project=project)
    return add_provenance(inputs, materials=materials, tools=find_tool_versions())


def _load_approval(
    root: Path,
    release: ReleaseSettings,
    table_bytes: bytes,
    product: ProductSettings,
    trust: TrustRecord | None,
) -> bytes:
    path = root / release.approval
    waveforms, limits = root / release.waveforms, root / release.limits
    digest = table_digest(table_bytes)
    command = f"ampforge policy approve {waveforms} --limits {limits} --output {path}"
    hint = f"have a holder of the policy role run `{command}`"
    if not is_present(path):
        raise ApprovalError(
            "the waveform table is not approved",
            expected=f"an approval of table {digest.hex()}",
            got="no such file",
            where=path,
            hint=hint,
        )
    approval = read_bounded(path, APPROVAL_BYTES_MAX, ApprovalError)
    message = parse_message(approval, max_bytes=APPROVAL_BYTES_MAX)
    refuse_content_type(message, APPROVAL_CONTENT_TYPE)
    claimed = parse_approval(message.payload)
    if claimed.table_digest != digest:
        raise ApprovalError(
            "the approval is for another waveform table",
            expected=digest.hex(),
            got=claimed.table_digest.hex(),
            where=path,
            hint=f"waveforms or limits changed since: {hint}",
        )
    if trust is not None:
        verify_approval(
            approval, trust, table_bytes=table_bytes, hardware_class=product.hardware_class
        )
    return approval


def _load_bootloader(root: Path, release: ReleaseSettings) -> bytes | None:
    if release.bootloader is None or not is_present(root / release.bootloader):
        return None
    bootloader, _ = load_image(root / release.bootloader)
    return bootloader


def _load_sbom(root: Path, path: str | None) -> bytes | None:
    if path is None or not is_present(root / path):
        return None
    return read_bounded(root / path, SBOM_MAX_BYTES, BundleError)
