"""Signing for the chip's own keys, here or with a signature that was made elsewhere.

What an image and a waveform slot have in common: the options, and how keys and foreign signatures
become signatures over padded content.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import (
    EXISTING_FILE,
    FILE,
    make_folder,
    passphrase_file_option,
    passphrase_source,
)
from cli.signing_keys import log_signers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cli.configuration import Configuration
    from firmware_images.efuse_digests import BoardKeys
    from firmware_images.signature_sector import SignatureBlock
    from signing.keys import PublicKey
    from signing.signers import Signer

EXIT_REFUSED = 3
_REVISION = re.compile(r"v?(\d{1,2})\.(\d{1,2})")
_SIGNING_OPTIONS = (
    click.option("--key", "keys", multiple=True, help="Private key file or URI; up to three."),
    click.option(
        "--export-digest",
        type=FILE,
        help="Only write the digest that a signer elsewhere has to sign; nothing else changes.",
    ),
    click.option(
        "--import-signature",
        "signature_paths",
        type=EXISTING_FILE,
        multiple=True,
        help="A signature that was made elsewhere, with its --public-key; repeatable.",
    ),
    click.option(
        "--public-key",
        "public_key_paths",
        type=EXISTING_FILE,
        multiple=True,
        help="The public key of an imported signature, in the same order.",
    ),
    click.option("--append", is_flag=True, help="Keep the signatures that are there."),
    click.option(
        "--chip-revision",
        metavar="MAJOR.MINOR",
        help="Oldest silicon in your boards (default: what an image admits, else any).",
    ),
    passphrase_file_option,
)
public_key_option = click.option(
    "--key",
    "key_paths",
    type=EXISTING_FILE,
    multiple=True,
    help="Public key that must have signed; repeatable.",
)
efuse_digests_option = click.option(
    "--efuse-digests",
    "efuse_paths",
    type=EXISTING_FILE,
    multiple=True,
    help="eFuse summary of a board (espefuse, JSON), or lines with NAME and key digests.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningChoice:
    """What was chosen of `signing_options`.

    Attributes:
        keys: Private keys of `--key`.
        export_digest: Where the digest goes, if nothing is signed here.
        signature_paths: Signatures that were made elsewhere.
        public_key_paths: Their keys, in the same order.
        passphrase_file: The file of `--passphrase-file`.
    """

    keys: tuple[str, ...]
    export_digest: Path | None
    signature_paths: tuple[Path, ...]
    public_key_paths: tuple[Path, ...]
    passphrase_file: Path | None

    def __post_init__(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageRefusal: None or several ways to sign, or a foreign signature without its key.
        """
        ways = [bool(self.keys), self.export_digest is not None, bool(self.signature_paths)]
        if sum(ways) != 1:
            raise UsageRefusal(
                "it is not said how to sign",
                expected="one of --key, --export-digest and --import-signature",
                got=f"{sum(ways)} of them",
            )
        if len(self.signature_paths) != len(self.public_key_paths):
            raise UsageRefusal(
                "each imported signature needs its public key",
                expected=f"{len(self.signature_paths)} --public-key",
                got=len(self.public_key_paths),
            )

    def open_signers(
        self, *, configuration: Configuration | None, log_beside: Path
    ) -> tuple[Signer, ...]:
        """Return the keys of `--key`; what they sign goes to the sign log."""
        from signing.key_uris import load_secure_boot_signer
        from signing.roles import Role

        passphrase = passphrase_source(
            self.passphrase_file, prompt="Passphrase or PIN of the Secure Boot key"
        )
        return log_signers(
            [load_secure_boot_signer(uri, passphrase=passphrase) for uri in self.keys],
            Role.SECURE_BOOT,
            configuration=configuration,
            log_beside=log_beside,
        )

    def read_signatures(self) -> list[tuple[PublicKey, bytes]]:
        """Return what was made elsewhere, not verified."""
        from firmware_images.errors import SecureBootError
        from firmware_images.toml_document import read_bounded
        from signing.ecdsa_form import parse_foreign_signature
        from signing.key_files import load_public_key
        from signing.keys import KEY_FILE_MAX_BYTES, SECURE_BOOT_ALGORITHMS

        pairs = []
        for signature_path, key_path in zip(
            self.signature_paths, self.public_key_paths, strict=True
        ):
            key = load_public_key(key_path, allowed=SECURE_BOOT_ALGORITHMS)
            raw = read_bounded(signature_path, KEY_FILE_MAX_BYTES, SecureBootError)
            pairs.append((key, parse_foreign_signature(raw, key, where=str(signature_path))))
        return pairs

    def sign(
        self,
        padded: bytes,
        *,
        chip: str,
        oldest_revision: int,
        path: Path,
        configuration: Configuration | None,
        before_signing: Callable[[], object],
    ) -> list[tuple[PublicKey, bytes]]:
        """Return signatures over padded content, made here or elsewhere.

        Args:
            padded: What is signed.
            chip: esptool's name of the chip.
            oldest_revision: Oldest silicon that it is for, as 100 * major + minor.
            path: Its file.
            configuration: The loaded `ampforge.toml`, if there is one: the sign log is its.
            before_signing: Called when all else is judged, before any key is used.

        Raises:
            SecureBootError: The silicon lacks the scheme, is too old for it, or is broken in it.
        """
        from firmware_images.secure_boot_chips import judge_scheme

        if not self.keys:
            foreign = self.read_signatures()
            before_signing()
            return foreign
        signers = self.open_signers(configuration=configuration, log_beside=path)
        # Before the keys are used: a signature that no chip takes need not exist.
        judge_scheme(
            chip,
            [signer.public_key for signer in signers],
            oldest_revision=oldest_revision,
            where=str(path),
        )
        before_signing()
        return [(signer.public_key, signer.sign(padded)) for signer in signers]


def signing_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say with what to sign; the command gets them as `choice`."""

    @functools.wraps(function)
    def call(
        *,
        keys: tuple[str, ...],
        export_digest: Path | None,
        signature_paths: tuple[Path, ...],
        public_key_paths: tuple[Path, ...],
        passphrase_file: Path | None,
        **others: object,
    ) -> None:
        choice = SigningChoice(
            keys=keys,
            export_digest=export_digest,
            signature_paths=signature_paths,
            public_key_paths=public_key_paths,
            passphrase_file=passphrase_file,
        )
        function(choice=choice, **others)

    decorated = call
    for option in reversed(_SIGNING_OPTIONS):
        decorated = option(decorated)
    return decorated


def parse_revision(text: str | None) -> int:
    """Return a chip revision as 100 * major + minor; 0 where none is given.

    Raises:
        UsageRefusal: It is something else.
    """
    if text is None:
        return 0
    matched = _REVISION.fullmatch(text)
    if matched is None:
        raise UsageRefusal("this is no chip revision", expected="such as 0.3 or v3.0", got=text)
    return 100 * int(matched[1]) + int(matched[2])


def export_digest(padded: bytes, path: Path, *, what: str, as_json: bool) -> None:
    """Write and print the digest that a signer elsewhere has to sign."""
    import hashlib

    from signing.durable_file import save_durably

    digest = hashlib.sha256(padded).digest()
    make_folder(path.parent)
    save_durably(path, digest)
    print_result(
        {"schema": "ampforge.image-digest/1", "path": str(path), "sha256": digest.hex()},
        f"wrote {path}: SHA-256 {digest.hex()} of the padded {what}\n"
        "sign it with RSA-PSS (salt of 32 bytes) or ECDSA, then give --import-signature",
        as_json=as_json,
    )


def refuse_missing_keys(
    blocks: Sequence[SignatureBlock], key_paths: tuple[Path, ...], *, what: str, command: str
) -> None:
    """Refuse what one of these public keys did not sign.

    Raises:
        UnknownKeyError: A key is in no block.
    """
    from signing.errors import UnknownKeyError
    from signing.key_files import load_public_key
    from signing.keys import SECURE_BOOT_ALGORITHMS

    for path in key_paths:
        wanted = load_public_key(path, allowed=SECURE_BOOT_ALGORITHMS)
        if wanted not in {block.public_key for block in blocks}:
            raise UnknownKeyError(
                f"the {what} is not signed by this key",
                expected=f"key {wanted.key_id.hex()}",
                got=", ".join(block.public_key.key_id.hex() for block in blocks),
                where=path,
                hint=f"sign it with that key, too: `ampforge {command} --append`",
            )


def describe_blocks(blocks: Sequence[SignatureBlock]) -> list[dict[str, str]]:
    """Return signature blocks for scripts."""
    return [
        {
            "algorithm": str(block.public_key.algorithm),
            "key_id": block.public_key.key_id.hex(),
            "key_digest": block.key_digest.hex(),
        }
        for block in blocks
    ]


def format_blocks(blocks: Sequence[SignatureBlock]) -> str:
    """Return signature blocks for people, a line each."""
    return "\n".join(
        f"  signature {number}  {block.public_key.algorithm}, key digest {block.key_digest.hex()}"
        for number, block in enumerate(blocks)
    )


def describe_boards(
    boards: Sequence[BoardKeys], refusing: Sequence[BoardKeys]
) -> list[dict[str, object]]:
    """Return for scripts which boards accept what was signed."""
    return [
        {"name": board.name, "secure_boot": board.is_enabled, "accepts": board not in refusing}
        for board in boards
    ]


def format_boards(boards: Sequence[BoardKeys], refusing: Sequence[BoardKeys], *, what: str) -> str:
    """Return for people which boards accept what was signed."""
    lines = []
    for board in boards:
        if board in refusing:
            verdict = f"REFUSES the {what}: it holds none of these keys"
        elif board.is_enabled:
            verdict = f"accepts the {what}"
        else:
            verdict = f"takes any {what}: Secure Boot is off"
        lines.append(f"  {board.name}  {verdict}")
    lines.append(f"{len(refusing)} of {len(boards)} boards would refuse the {what}")
    return "\n".join(lines)
