"""From the files that `[release]` names to the parts of a bundle.

The waveform table is compiled here and judged against the limits, so that a bundle never carries a
table that somebody compiled earlier from another source. The approval must already be there: this
module says what is missing, the policy role decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_images.approval import APPROVAL_CONTENT_TYPE, parse_approval, verify_approval
from firmware_images.bounded_file import read_bounded
from firmware_images.bundle_archive import NAME_PATTERN
from firmware_images.bundle_building import BundleInputs
from firmware_images.errors import ApprovalError, BundleError, WaveformTableError
from firmware_images.esp_image import load_image
from firmware_images.image_input import load_image_input
from firmware_images.limits import load_limits
from firmware_images.limits_policy import serialize_policy
from firmware_images.partitions import CSV_MAX_BYTES, is_binary_table, load_partition_table
from firmware_images.provenance import find_tool_versions
from firmware_images.release_records import add_provenance, add_sbom
from firmware_images.release_waivers import match_waivers, name_waivers
from firmware_images.sbom_document import SBOM_MAX_BYTES, parse_sbom
from firmware_images.secure_boot import pad_image
from firmware_images.toml_document import TOML_BYTES_MAX
from firmware_images.waiver_files import load_waivers
from firmware_images.waiver_judging import judge_with_waivers, refuse_out_of_force
from firmware_images.waveform_compile import compile_table
from firmware_images.waveform_slot import APPROVAL_BYTES_MAX, SLOT_BYTES
from firmware_images.waveform_slot_signing import verify_signed_slot
from firmware_images.waveform_source import load_waveforms_and_files
from firmware_images.waveform_table import serialize_waveform_table, table_digest
from signing.cose_message import parse_message, refuse_content_type
from signing.input_file import is_present
from signing.refusal import refusing_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from firmware_images.build_folder import BuildFolder
    from firmware_images.partitions import PartitionTable
    from firmware_images.product import ProductSettings, ReleaseSettings
    from firmware_images.waiver import LimitWaiver
    from firmware_images.waveform_slot_signing import SignedSlot
    from signing.trust import TrustRecord

SOURCE_NAMES: Final = frozenset({"waveforms.toml", "limits.toml", "partitions.csv"})


def load_release_inputs(
    root: Path,
    product: ProductSettings,
    release: ReleaseSettings,
    *,
    trust: TrustRecord | None = None,
    now: datetime | None = None,
) -> BundleInputs:
    """Return the inputs of a bundle, each part loaded, compiled and judged.

    Args:
        root: Folder that relative paths in `release` start from.
        product: The section `[product]`.
        release: The section `[release]`, options already applied.
        trust: With it, the product and the signatures of approval and waivers are verified, too.
        now: The present, UTC; with it, every waiver must be in force.

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
    source, waveforms_toml, csv_files = load_waveforms_and_files(waveforms)
    table = compile_table(source, policy, product.hardware_class)
    table_bytes = serialize_waveform_table(table)
    signed_waivers = load_waivers((root / path for path in release.waivers), trust=trust)
    waivers = tuple(entry.waiver for entry in signed_waivers)
    judge_with_waivers(table_bytes, policy, waivers, where=waveforms)
    if now is not None:
        refuse_out_of_force(waivers, now=now)
    taken = load_image_input(root / release.app, chip=product.chip)
    app, image = taken.content, taken.image
    sources = {
        "waveforms.toml": waveforms_toml,
        "limits.toml": read_bounded(root / release.limits, TOML_BYTES_MAX, BundleError),
    }
    partitions = read_bounded(root / release.partitions, CSV_MAX_BYTES, BundleError)
    if not is_binary_table(partitions):
        sources["partitions.csv"] = partitions
    _refuse_csv_names(csv_files, where=waveforms)
    partition_table = load_partition_table(root / release.partitions)
    if taken.build is not None:
        _refuse_other_table(taken.build, partition_table, where=root / release.partitions)
    bootloader = _load_bootloader(root, release, taken.build)
    approval = _load_approval(
        root, release, product, table_bytes=table_bytes, waivers=waivers, trust=trust
    )
    slot = _load_signed_slot(root, release, table_bytes, approval)
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
        approval=approval,
        policy=serialize_policy(policy),
        partition_table=partition_table,
        bootloader=bootloader,
        waveform_signature=None if slot is None else slot.sector,
        sources={**sources, **csv_files},
        waivers=tuple(entry.signed for entry in signed_waivers),
        constraints=release.constraints(product),
    )
    bill = _load_sbom(root, release.sbom)
    materials = {
        "app": app,
        "approval": approval,
        "partitions": partitions,
        **{name.partition(".")[0]: content for name, content in sources.items()},
        **{f"waveforms/{name}": content for name, content in csv_files.items()},
        **({} if bootloader is None else {"bootloader": bootloader}),
        **({} if bill is None else {"sbom": bill}),
        **({} if slot is None else {"waveform_signature": slot.sector}),
        **name_waivers(inputs.waivers),
    }
    project = None if bill is None else parse_sbom(bill, where=root / str(release.sbom))
    inputs = add_sbom(inputs, image=image, policy=policy, project=project)
    return add_provenance(inputs, materials=materials, tools=find_tool_versions())


def _refuse_csv_names(names: Iterable[str], *, where: Path) -> None:
    # Carried beside waveforms.toml under its own name, so that the extracted sources compile again.
    for name in names:
        if name in SOURCE_NAMES or "/" in name or not NAME_PATTERN.fullmatch(name):
            raise BundleError(
                "a waveform's CSV file cannot be carried under its name",
                expected="lower-case letters, digits, dots, dashes and underscores, and not "
                + ", ".join(sorted(SOURCE_NAMES)),
                got=ascii(name[:60]),
                where=where,
                hint="rename the file, and name it so in the mode's csv; the approval stays good",
            )


def _load_approval(
    root: Path,
    release: ReleaseSettings,
    product: ProductSettings,
    *,
    table_bytes: bytes,
    waivers: Sequence[LimitWaiver],
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
    with refusing_in(path):
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
    with refusing_in(path):
        match_waivers(waivers, claimed)
        if trust is not None:
            verify_approval(
                approval, trust, table_bytes=table_bytes, hardware_class=product.hardware_class
            )
    return approval


def _load_bootloader(
    root: Path, release: ReleaseSettings, build: BuildFolder | None
) -> bytes | None:
    built = None if build is None else build.bootloader
    if release.bootloader is None or not is_present(root / release.bootloader):
        return None if built is None else built.content
    path = root / release.bootloader
    bootloader, _ = load_image(path)
    if built is None:
        return bootloader
    # Signed for the chip or not, it is the same bootloader; the configured one is the signed one.
    configured, beside = (
        pad_image(content, where=str(place))[1]
        for content, place in ((bootloader, path), (built.content, built.path))
    )
    if configured != beside:
        raise BundleError(
            "the configured bootloader is not the one of the build",
            expected=f"the bootloader in {built.path}, signed for the chip or not",
            got=f"another one of {len(bootloader)} bytes",
            where=path,
            hint="remove the configured file, or build the app with that bootloader",
        )
    return bootloader


def _refuse_other_table(build: BuildFolder, table: PartitionTable, *, where: Path) -> None:
    built = build.partition_table
    if built is None or built == table:
        return
    # The app was linked and sized for its build's table: the board must not get another one.
    rows = {*built.partitions} ^ {*table.partitions}
    raise BundleError(
        "the partition table is not the one that the app was built with",
        expected=f"that of {build.partition_table_path}",
        got="a difference in " + ", ".join(sorted({row.name for row in rows})),
        where=where,
        hint="give the build's own table as partitions, or build the app with this one",
    )


def _load_signed_slot(
    root: Path, release: ReleaseSettings, table_bytes: bytes, approval: bytes
) -> SignedSlot | None:
    if release.waveform_slot is None or not is_present(root / release.waveform_slot):
        return None
    path = root / release.waveform_slot
    slot = verify_signed_slot(read_bounded(path, SLOT_BYTES, WaveformTableError), where=str(path))
    if (slot.table, slot.approval) != (table_bytes, approval):
        raise BundleError(
            "the signed waveform slot is not of this table and approval",
            expected=f"table {table_digest(table_bytes).hex()}, with the approval of this release",
            got="another approval of it"
            if slot.table == table_bytes
            else f"table {table_digest(slot.table).hex()}",
            where=path,
            hint="sign it again with `ampforge waveform sign-slot`, or remove the file",
        )
    return slot


def _load_sbom(root: Path, path: str | None) -> bytes | None:
    if path is None or not is_present(root / path):
        return None
    return read_bounded(root / path, SBOM_MAX_BYTES, BundleError)
