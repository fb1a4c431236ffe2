"""Signing for the chip's own keys, here or with a signature that was made elsewhere.

What an image and a waveform slot have in common: the options, and how keys and foreign signatures
become signatures over padded content.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from cli.failures import UsageRefusal
from cli.params import (
    EXISTING_FILE,
    FILE,
    passphrase_file_option,
    passphrase_source,
)
from cli.secure_boot_files import load_public_keys, read_signatures, write_digest
from cli.signing_keys import log_signers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cli.configuration import Configuration
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
        help="The public key of an imported signature, in the same order; with --export-digest the "
        "key that will sign it (P-384 signs another digest than the others).",
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
        public_key_paths: Their keys, in the same order; or the key that signs the digest.
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
            UsageRefusal: None or several ways to sign, a foreign signature without its key, or a
                digest for several keys.
        """
        ways = [bool(self.keys), self.export_digest is not None, bool(self.signature_paths)]
        if sum(ways) != 1:
            raise UsageRefusal(
                "it is not said how to sign",
                expected="one of --key, --export-digest and --import-signature",
                got=f"{sum(ways)} of them",
                hint="--key signs here; the others, in this order, are for a signer elsewhere",
            )
        if self.export_digest is not None:
            if len(self.public_key_paths) > 1:
                raise UsageRefusal(
                    "a digest is exported for one key at a time",
                    expected="at most one --public-key",
                    got=len(self.public_key_paths),
                    hint="export once for each key: P-384 signs another digest than the others",
                )
        elif len(self.signature_paths) != len(self.public_key_paths):
            raise UsageRefusal(
                "each imported signature needs its public key",
                expected=f"{len(self.signature_paths)} --public-key",
                got=len(self.public_key_paths),
                hint="give --import-signature and --public-key in the same order",
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
            [
                load_secure_boot_signer(uri, passphrase=partial(passphrase, uri))
                for uri in self.keys
            ],
            Role.SECURE_BOOT,
            configuration=configuration,
            log_beside=log_beside,
        )

    def export(
        self,
        padded: bytes,
        path: Path,
        *,
        what: str,
        as_json: bool,
        before_signing: Callable[[], object] = lambda: None,
    ) -> None:
        """Write and print the digest that a signer elsewhere has to sign.

        Args:
            padded: What is signed.
            path: Where the digest goes.
            what: What it is, for people: an image, a waveform slot.
            as_json: As of `--json`.
            before_signing: Called when all else is judged: the signature itself is made where we
                do not see it.

        Raises:
            KeyFileError: The key of `--public-key` cannot sign for Secure Boot.
        """
        keys = load_public_keys(self.public_key_paths)
        before_signing()
        write_digest(padded, path, keys[0] if keys else None, what=what, as_json=as_json)

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
            foreign = read_signatures(self.signature_paths, self.public_key_paths)
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
        raise UsageRefusal(
            "this is no chip revision",
            expected="such as 0.3 or v3.0",
            got=text,
            where="--chip-revision",
            hint="esptool prints it when it connects to a board",
        )
    return 100 * int(matched[1]) + int(matched[2])


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
