"""`ampforge image sign` and `image verify`: Secure Boot v2 signatures of an image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import (
    EXISTING_FILE,
    FILE,
    json_option,
    make_folder,
    passphrase_file_option,
    passphrase_source,
)
from cli.release_defaults import ReleaseDefaults
from cli.signing_keys import log_signers

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.efuse_digests import BoardKeys
    from firmware_images.secure_boot import SignedImage
    from signing.keys import PublicKey

EXIT_REFUSED = 3
_REVISION = re.compile(r"v?(\d{1,2})\.(\d{1,2})")
IMAGE_ARGUMENT = click.argument("image_path", metavar="IMAGE.bin", type=EXISTING_FILE)


@click.command(
    "sign", epilog="Example: ampforge image sign app.bin --key keys/boot.pem -o app-signed.bin"
)
@IMAGE_ARGUMENT
@click.option("--key", "keys", multiple=True, help="Private key file or URI; up to three.")
@click.option(
    "--export-digest",
    type=FILE,
    help="Only write the digest that a signer elsewhere has to sign; the image stays as it is.",
)
@click.option(
    "--import-signature",
    "signature_paths",
    type=EXISTING_FILE,
    multiple=True,
    help="A signature that was made elsewhere, with its --public-key; repeatable.",
)
@click.option(
    "--public-key",
    "public_key_paths",
    type=EXISTING_FILE,
    multiple=True,
    help="The public key of an imported signature, in the same order.",
)
@click.option("--append", is_flag=True, help="Keep the signatures that the image has.")
@click.option(
    "--chip-revision",
    metavar="MAJOR.MINOR",
    help="Oldest silicon in your boards (default: the oldest that the image admits).",
)
@click.option("-o", "--output", type=FILE, help="Where to write it (default: in place).")
@passphrase_file_option
@json_option
def sign(
    *,
    image_path: Path,
    keys: tuple[str, ...],
    export_digest: Path | None,
    signature_paths: tuple[Path, ...],
    public_key_paths: tuple[Path, ...],
    append: bool,
    chip_revision: str | None,
    output: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Sign an image for the chip's boot ROM, here or with a signature that was made elsewhere.

    A scheme that the chip lacks, or that is broken in it, is refused.
    """
    from firmware_images.esp_image import load_image
    from firmware_images.secure_boot import attach_signatures, pad_image, verify_signed_image
    from firmware_images.secure_boot_chips import judge_scheme
    from signing.durable_file import save_durably

    _refuse_mixed(keys, export_digest, signature_paths, public_key_paths)
    content, image = load_image(image_path)
    where = str(image_path)
    if export_digest is not None:
        _export_digest(pad_image(content, where=where)[1], export_digest, as_json=as_json)
        return
    oldest_revision = max(image.min_chip_revision, _parse_revision(chip_revision))
    if keys:
        signatures = _sign_here(
            content,
            keys,
            passphrase_file,
            chip=image.chip,
            oldest_revision=oldest_revision,
            image_path=image_path,
        )
    else:
        signatures = _read_signatures(signature_paths, public_key_paths)
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
    print_result(
        {"path": str(path), **_describe(signed)},
        f"signed {path}\n{_format(signed)}",
        as_json=as_json,
    )


@click.command("verify", epilog="Example: ampforge image verify app.bin --efuse-digests boards.txt")
@IMAGE_ARGUMENT
@click.option(
    "--key",
    "key_paths",
    type=EXISTING_FILE,
    multiple=True,
    help="Public key that must have signed; repeatable.",
)
@click.option(
    "--efuse-digests",
    "efuse_paths",
    type=EXISTING_FILE,
    multiple=True,
    help="eFuse summary of a board (espefuse, JSON), or lines with NAME and key digests.",
)
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
    from signing.errors import UnknownKeyError
    from signing.key_files import load_public_key
    from signing.keys import SECURE_BOOT_ALGORITHMS

    content, _ = load_image(image_path)
    signed = verify_signed_image(content, where=str(image_path))
    for path in key_paths:
        wanted = load_public_key(path, allowed=SECURE_BOOT_ALGORITHMS)
        if wanted not in {block.public_key for block in signed.blocks}:
            raise UnknownKeyError(
                "the image is not signed by this key",
                expected=f"key {wanted.key_id.hex()}",
                got=", ".join(block.public_key.key_id.hex() for block in signed.blocks),
                where=path,
                hint="sign it with that key, too: `ampforge image sign --append`",
            )
    boards = tuple(board for path in efuse_paths for board in load_board_keys(path))
    refusing = find_refusing(signed, boards)
    document = _describe(signed) | {
        "boards": [
            {
                "name": board.name,
                "secure_boot": board.is_enabled,
                "accepts": board not in refusing,
            }
            for board in boards
        ]
    }
    human = f"{image_path}: every signature verifies\n{_format(signed)}"
    if boards:
        human += "\n" + _format_boards(boards, refusing)
    print_result(document, human, as_json=as_json)
    if refusing:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _refuse_mixed(
    keys: tuple[str, ...],
    export_digest: Path | None,
    signature_paths: tuple[Path, ...],
    public_key_paths: tuple[Path, ...],
) -> None:
    ways = [bool(keys), export_digest is not None, bool(signature_paths)]
    if sum(ways) != 1:
        raise UsageRefusal(
            "it is not said how to sign",
            expected="one of --key, --export-digest and --import-signature",
            got=f"{sum(ways)} of them",
        )
    if len(signature_paths) != len(public_key_paths):
        raise UsageRefusal(
            "each imported signature needs its public key",
            expected=f"{len(signature_paths)} --public-key",
            got=len(public_key_paths),
        )


def _parse_revision(text: str | None) -> int:
    if text is None:
        return 0
    matched = _REVISION.fullmatch(text)
    if matched is None:
        raise UsageRefusal("this is no chip revision", expected="such as 0.3 or v3.0", got=text)
    return 100 * int(matched[1]) + int(matched[2])


def _export_digest(content: bytes, path: Path, *, as_json: bool) -> None:
    import hashlib

    from signing.durable_file import save_durably

    digest = hashlib.sha256(content).digest()
    make_folder(path.parent)
    save_durably(path, digest)
    print_result(
        {"schema": "ampforge.image-digest/1", "path": str(path), "sha256": digest.hex()},
        f"wrote {path}: SHA-256 {digest.hex()} of the padded image\n"
        "sign it with RSA-PSS (salt of 32 bytes) or ECDSA, then give --import-signature",
        as_json=as_json,
    )


def _sign_here(
    content: bytes,
    keys: tuple[str, ...],
    passphrase_file: Path | None,
    *,
    chip: str,
    oldest_revision: int,
    image_path: Path,
) -> list[tuple[PublicKey, bytes]]:
    from firmware_images.secure_boot import pad_image
    from firmware_images.secure_boot_chips import judge_scheme
    from signing.key_uris import load_secure_boot_signer
    from signing.roles import Role

    passphrase = passphrase_source(
        passphrase_file, prompt="Passphrase or PIN of the Secure Boot key"
    )
    signers = log_signers(
        [load_secure_boot_signer(uri, passphrase=passphrase) for uri in keys],
        Role.SECURE_BOOT,
        configuration=ReleaseDefaults(None).find_configuration(),
        log_beside=image_path,
    )
    public_keys = [signer.public_key for signer in signers]
    # Before the keys are used: a signature that no chip takes need not exist.
    where = str(image_path)
    judge_scheme(chip, public_keys, oldest_revision=oldest_revision, where=where)
    _, padded = pad_image(content, where=where)
    return [(signer.public_key, signer.sign(padded)) for signer in signers]


def _read_signatures(
    signature_paths: tuple[Path, ...], public_key_paths: tuple[Path, ...]
) -> list[tuple[PublicKey, bytes]]:
    from firmware_images.bounded_file import read_bounded
    from firmware_images.errors import SecureBootError
    from signing.ecdsa_form import parse_foreign_signature
    from signing.key_files import load_public_key
    from signing.keys import KEY_FILE_MAX_BYTES, SECURE_BOOT_ALGORITHMS

    pairs = []
    for signature_path, key_path in zip(signature_paths, public_key_paths, strict=True):
        key = load_public_key(key_path, allowed=SECURE_BOOT_ALGORITHMS)
        raw = read_bounded(signature_path, KEY_FILE_MAX_BYTES, SecureBootError)
        pairs.append((key, parse_foreign_signature(raw, key, where=str(signature_path))))
    return pairs


def _describe(signed: SignedImage) -> dict[str, object]:
    return {
        "schema": "ampforge.image-signatures/1",
        "chip": signed.image.chip,
        "secure_version": signed.image.secure_version,
        "signed_sha256": signed.blocks[0].image_sha256.hex(),
        "signatures": [
            {
                "algorithm": str(block.public_key.algorithm),
                "key_id": block.public_key.key_id.hex(),
                "key_digest": block.key_digest.hex(),
            }
            for block in signed.blocks
        ],
    }


def _format(signed: SignedImage) -> str:
    return "\n".join(
        f"  signature {number}  {block.public_key.algorithm}, key digest {block.key_digest.hex()}"
        for number, block in enumerate(signed.blocks)
    )


def _format_boards(boards: tuple[BoardKeys, ...], refusing: tuple[BoardKeys, ...]) -> str:
    lines = []
    for board in boards:
        if board in refusing:
            verdict = "REFUSES the image: it holds none of these keys"
        elif board.is_enabled:
            verdict = "accepts the image"
        else:
            verdict = "boots anything: Secure Boot is off"
        lines.append(f"  {board.name}  {verdict}")
    lines.append(f"{len(refusing)} of {len(boards)} boards would refuse the image")
    return "\n".join(lines)
