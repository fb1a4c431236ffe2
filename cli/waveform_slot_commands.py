"""`ampforge waveform sign-slot` and `verify-slot`: a table that the chip's own keys vouch for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.clock import utc_now
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.output_file import refuse_input_as_output
from cli.params import EXISTING_FILE, FILE, config_option, json_option, make_folder
from cli.release_defaults import ReleaseDefaults
from cli.secure_boot_output import (
    describe_blocks,
    describe_boards,
    format_blocks,
    format_boards,
)
from cli.secure_boot_signing import (
    EXIT_REFUSED,
    efuse_digests_option,
    parse_revision,
    public_key_option,
    refuse_missing_keys,
    signing_options,
)
from cli.waveform_options import limits_option, waveform_argument

if TYPE_CHECKING:
    from pathlib import Path

    from cli.secure_boot_signing import SigningChoice
    from firmware_images.waveform_slot_signing import SignedSlot

SCHEMA = "ampforge.waveform-slot/1"


@click.command("sign-slot", epilog="Example: ampforge waveform sign-slot --key keys/boot.pem")
@waveform_argument
@limits_option
@click.option(
    "--approval",
    "approval_path",
    type=EXISTING_FILE,
    help="The policy role's approval of the table (default: [release] approval).",
)
@click.option("--chip", help="What the boards have (default: [product] chip).")
@signing_options
@click.option("-o", "--output", type=FILE, help="Default: [release] waveform_slot.")
@config_option
@json_option
def sign_slot(
    *,
    choice: SigningChoice,
    waveform_path: Path | None,
    limits_path: Path | None,
    approval_path: Path | None,
    chip: str | None,
    append: bool,
    chip_revision: str | None,
    output: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Sign the waveform partition's content with the Secure Boot keys of the boards.

    That is table and approval, from a waveform source, a compiled table or a slot image, as a
    signed data partition. `bundle build` then carries the signatures.
    """
    from firmware_images.secure_boot_chips import judge_scheme
    from firmware_images.waveform_slot import pad_waveform_slot
    from firmware_images.waveform_slot_signing import attach_slot_signatures, verify_signed_slot
    from signing.durable_file import save_durably

    defaults = ReleaseDefaults(config_path)
    source = waveform_path or defaults.waveforms()
    slot_image, is_slot = _build_slot(defaults, source, limits_path, approval_path)
    padded = pad_waveform_slot(slot_image, where=str(source))
    if choice.export_digest is not None:
        choice.export(padded, choice.export_digest, what="waveform slot", as_json=as_json)
        return
    path = output or defaults.waveform_slot()
    if path is None:
        raise UsageRefusal(
            "it is not said where the signed slot goes",
            expected="-o FILE, or waveform_slot in [release]",
            where=defaults.configuration().path,
            hint="give -o, such as `-o build/waveform.slot`",
        )
    # A slot image may be signed in place, as an image is; nothing else is its own output.
    refuse_input_as_output(path, approval_path, limits_path, None if is_slot else source)
    kept = _read_signed(path, padded) if append else None
    oldest_revision = parse_revision(chip_revision)
    boards_chip = chip or defaults.chip()
    signatures = choice.sign(
        padded,
        chip=boards_chip,
        oldest_revision=oldest_revision,
        path=path,
        configuration=defaults.find_configuration(),
        before_signing=lambda: make_folder(path.parent),
    )
    signed_bytes = attach_slot_signatures(
        slot_image, signatures, kept=() if kept is None else kept.blocks, where=str(path)
    )
    signed = verify_signed_slot(signed_bytes, where=str(path))
    judge_scheme(
        boards_chip,
        (block.public_key for block in signed.blocks),
        oldest_revision=oldest_revision,
        where=str(path),
    )
    save_durably(path, signed_bytes)
    document = {"path": str(path), "size_bytes": len(signed_bytes), **_describe(signed)}
    human = f"signed {path}: {len(signed_bytes)} bytes\n{format_blocks(signed.blocks)}"
    print_result(document, "\n".join([human, *format_approved(document)]), as_json=as_json)


@click.command(
    "verify-slot", epilog="Example: ampforge waveform verify-slot build/waveform.slot --json"
)
@click.argument("slot_path", metavar="SLOT", type=EXISTING_FILE)
@public_key_option
@efuse_digests_option
@click.option("--chip", help="What the boards have, if it looks at fewer than three signatures.")
@json_option
def verify_slot(
    *,
    slot_path: Path,
    key_paths: tuple[Path, ...],
    efuse_paths: tuple[Path, ...],
    chip: str | None,
    as_json: bool,
) -> None:
    """Verify every Secure Boot v2 signature of a waveform slot; of its approval, none.

    Exits with 3 if a board holds none of the keys.
    """
    from firmware_images.bounded_file import read_bounded
    from firmware_images.efuse_digests import find_refusing, load_board_keys
    from firmware_images.errors import WaveformTableError
    from firmware_images.waveform_slot import SLOT_BYTES
    from firmware_images.waveform_slot_signing import verify_signed_slot

    content = read_bounded(slot_path, SLOT_BYTES, WaveformTableError)
    signed = verify_signed_slot(content, where=str(slot_path))
    refuse_missing_keys(
        signed.blocks, key_paths, what="waveform slot", command="waveform sign-slot"
    )
    boards = tuple(board for path in efuse_paths for board in load_board_keys(path))
    refusing = find_refusing(signed.blocks, boards, chip=chip or "")
    document = _describe(signed) | {"boards": describe_boards(boards, refusing)}
    human = f"{slot_path}: every signature verifies\n{format_blocks(signed.blocks)}"
    if boards:
        human += "\n" + format_boards(boards, refusing, what="waveform slot")
    human = "\n".join([human, *format_approved(document)])
    print_result(document, human, as_json=as_json)
    if refusing:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _build_slot(
    defaults: ReleaseDefaults,
    source: Path,
    limits_path: Path | None,
    approval_path: Path | None,
) -> tuple[bytes, bool]:
    from firmware_images.approval import (
        refuse_expired_approval,
        refuse_other_table,
        verify_approval,
    )
    from firmware_images.bounded_file import read_bounded
    from firmware_images.errors import ApprovalError
    from firmware_images.limits import load_limits
    from firmware_images.waveform_files import read_or_compile, read_table
    from firmware_images.waveform_slot import APPROVAL_BYTES_MAX, serialize_waveform_slot
    from signing.refusal import refusing_in

    approval: bytes | None = None
    path = source
    if source.suffix.lower() in {".toml", ".csv"}:
        policy = load_limits(limits_path or defaults.limits())
        table, table_bytes = read_or_compile(source, policy, defaults.hardware_class)
    else:
        table, table_bytes, approval = read_table(source)
    is_slot = approval is not None
    if approval is None or approval_path is not None:
        path = approval_path or defaults.approval()
        approval = read_bounded(path, APPROVAL_BYTES_MAX, ApprovalError)
    trust = defaults.trust_record()
    with refusing_in(path):
        claimed = (
            refuse_other_table(approval, table_bytes=table_bytes)
            if trust is None
            else verify_approval(
                approval, trust, table_bytes=table_bytes, hardware_class=table.hardware_class
            )
        )
        refuse_expired_approval(claimed, now=utc_now())
    return serialize_waveform_slot(table_bytes, approval), is_slot


def _read_signed(path: Path, padded: bytes) -> SignedSlot:
    from firmware_images.bounded_file import read_bounded
    from firmware_images.errors import WaveformTableError
    from firmware_images.waveform_slot import SLOT_BYTES
    from firmware_images.waveform_slot_signing import verify_signed_slot
    from signing.errors import SignatureError

    content = read_bounded(path, SLOT_BYTES, WaveformTableError)
    signed = verify_signed_slot(content, where=str(path))
    if not content.startswith(padded):
        raise SignatureError(
            "the signatures that are there are of another waveform slot",
            expected="the same table and approval",
            where=path,
            hint="sign without --append: they are then replaced",
        )
    return signed


def _describe(signed: SignedSlot) -> dict[str, object]:
    import hashlib

    from firmware_images.waveform_table import table_digest

    return {
        "schema": SCHEMA,
        "table_digest": table_digest(signed.table).hex(),
        "signed_sha256": hashlib.sha256(signed.content).hexdigest(),
        "signatures": describe_blocks(signed.blocks),
        **describe_approved(signed.approval, signed.table),
    }


def describe_approved(approval_bytes: bytes, table_bytes: bytes) -> dict[str, object]:
    """Return what an approval in a slot says of waivers, whoever signed it."""
    from firmware_images.approval import refuse_other_table
    from firmware_images.errors import FirmwareImageError
    from firmware_images.waiver_text import find_approved_waivers
    from signing.errors import SigningError

    try:
        waivers = find_approved_waivers(refuse_other_table(approval_bytes, table_bytes=table_bytes))
    except (FirmwareImageError, SigningError) as error:
        return {"approval_problem": str(error), "approved_waivers": None}
    approved = None if waivers is None else waivers.to_json()
    return {"approval_problem": None, "approved_waivers": approved}


def format_approved(document: dict[str, Any]) -> list[str]:
    """Return the lines that show the same to a person."""
    from firmware_images.waiver_text import format_approved_waivers

    lines = []
    if problem := document["approval_problem"]:
        lines.append(f"the approval beside it is none for this table: {problem}")
    if approved := document["approved_waivers"]:
        lines.append(format_approved_waivers(approved, now=utc_now()))
    return lines
