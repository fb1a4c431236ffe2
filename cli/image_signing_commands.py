"""`ampforge image sign` and `image verify`: Secure Boot v2 signatures of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.output import print_result
from cli.params import EXISTING_FILE, FILE, json_option, make_folder
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
from cli.secure_version_ledgers import admit_image, format_budget, spend_option

if TYPE_CHECKING:
    from pathlib import Path

    from cli.secure_boot_signing import SigningChoice
    from firmware_images.secure_boot import SignedImage

IMAGE_ARGUMENT = click.argument("image_path", metavar="IMAGE.bin", type=EXISTING_FILE)


@click.command(
    "sign", epilog="Example: ampforge image sign app.bin --key keys/boot.pem -o app-signed.bin"
)
@IMAGE_ARGUMENT
@signing_options
@spend_option
@click.option("-o", "--output", type=FILE, help="Where to write it (default: in place).")
@json_option
def sign(
    *,
    choice: SigningChoice,
    image_path: Path,
    append: bool,
    chip_revision: str | None,
    spend_reason: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Sign an image for the chip's boot ROM, here or with a signature that was made elsewhere.

    A scheme that the chip lacks, or that is broken in it, is refused. In a product's folder, what
    the app's secure_version costs the boards is judged and recorded first.
    """
    from firmware_images.esp_image import load_image
    from firmware_images.secure_boot import attach_signatures, pad_image, verify_signed_image
    from firmware_images.secure_boot_chips import judge_scheme
    from signing.durable_file import save_durably

    content, image = load_image(image_path)
    where = str(image_path)
    padded = pad_image(content, where=where)[1]
    configuration = ReleaseDefaults(None).find_configuration()
    budget: dict[str, object] | None = None

    def record() -> None:
        nonlocal budget
        budget = admit_image(configuration, image, padded, reason=spend_reason, where=where)

    if choice.export_digest is not None:
        choice.export(
            padded, choice.export_digest, what="image", as_json=as_json, before_signing=record
        )
        return
    oldest_revision = max(image.min_chip_revision, parse_revision(chip_revision))
    signatures = choice.sign(
        padded,
        chip=image.chip,
        oldest_revision=oldest_revision,
        path=image_path,
        configuration=configuration,
        before_signing=record,
    )
    signed_bytes = attach_signatures(content, signatures, where=where, append=append)
    signed = verify_signed_image(signed_bytes, where=where)
    judge_scheme(
        image.chip,
        (block.public_key for block in signed.blocks),
        oldest_revision=oldest_revision,
        where=where,
    )
    path = output or image_path
    make_folder(path.parent)
    save_durably(path, signed_bytes)
    human = f"signed {path}\n{format_blocks(signed.blocks)}"
    if budget is not None:
        human += f"\n{format_budget(budget)}"
    document = {"path": str(path), **_describe(signed), "secure_version_budget": budget}
    print_result(document, human, as_json=as_json)


@click.command("verify", epilog="Example: ampforge image verify app.bin --efuse-digests boards.txt")
@IMAGE_ARGUMENT
@public_key_option
@efuse_digests_option
@json_option
def verify(
    *,
    image_path: Path,
    key_paths: tuple[Path, ...],
    efuse_paths: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Verify every Secure Boot v2 signature of an image, and say which boards would refuse it.

    Exits with 3 if a board would.
    """
    from firmware_images.efuse_digests import find_refusing, load_board_keys
    from firmware_images.esp_image import load_image
    from firmware_images.secure_boot import verify_signed_image

    content, _ = load_image(image_path)
    signed = verify_signed_image(content, where=str(image_path))
    refuse_missing_keys(signed.blocks, key_paths, what="image", command="image sign")
    boards = tuple(board for path in efuse_paths for board in load_board_keys(path))
    refusing = find_refusing(signed.blocks, boards, chip=signed.image.chip)
    document = _describe(signed) | {"boards": describe_boards(boards, refusing)}
    human = f"{image_path}: every signature verifies\n{format_blocks(signed.blocks)}"
    if boards:
        human += "\n" + format_boards(boards, refusing, what="image")
    print_result(document, human, as_json=as_json)
    if refusing:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _describe(signed: SignedImage) -> dict[str, object]:
    import hashlib

    return {
        "schema": "ampforge.image-signatures/1",
        "chip": signed.image.chip,
        "secure_version": signed.image.secure_version,
        "signed_sha256": hashlib.sha256(signed.content).hexdigest(),
        "signatures": describe_blocks(signed.blocks),
    }
