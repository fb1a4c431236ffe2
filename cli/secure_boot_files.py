"""Files for a signer elsewhere: the digest that it signs, and the signature that it gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.output import print_result
from cli.params import make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from signing.keys import PublicKey


def load_public_keys(paths: tuple[Path, ...]) -> tuple[PublicKey, ...]:
    """Load the public keys of whoever signs elsewhere.

    Raises:
        KeyFileError: One is no public key, or cannot sign for Secure Boot.
    """
    from signing.algorithms import SECURE_BOOT_ALGORITHMS
    from signing.key_files import load_public_key

    return tuple(load_public_key(path, allowed=SECURE_BOOT_ALGORITHMS) for path in paths)


def write_digest(
    padded: bytes, path: Path, key: PublicKey | None, *, what: str, as_json: bool
) -> None:
    """Write and print the digest that a key's holder has to sign.

    Args:
        padded: The padded content.
        path: Where the digest goes.
        key: Of who will sign; `None` means one that signs SHA-256.
        what: What it is, for people: an image, a waveform slot.
        as_json: As of `--json`.
    """
    from signing.algorithms import Algorithm, hash_message, hash_name, hash_title
    from signing.durable_file import save_durably

    algorithm = Algorithm.RSA_3072 if key is None else key.algorithm
    digest, name = hash_message(algorithm, padded), hash_name(algorithm)
    ways = {
        Algorithm.RSA_3072: "RSA-PSS (MGF1 with SHA-256, salt of 32 bytes)",
        Algorithm.ECDSA_P256: "ECDSA P-256",
        Algorithm.ECDSA_P384: "ECDSA P-384",
    }
    way = f"{ways[algorithm]} or ECDSA P-256" if key is None else ways[algorithm]
    make_folder(path.parent)
    save_durably(path, digest)
    print_result(
        {
            "schema": "ampforge.image-digest/1",
            "path": str(path),
            "hash": name,
            name: digest.hex(),
        },
        f"wrote {path}: {hash_title(algorithm)} {digest.hex()} of the padded {what}\n"
        f"sign it with {way}, then give --import-signature",
        as_json=as_json,
    )


def read_signatures(
    signature_paths: tuple[Path, ...], public_key_paths: tuple[Path, ...]
) -> list[tuple[PublicKey, bytes]]:
    """Read signatures that were made elsewhere, each with its public key; none is verified here.

    Raises:
        SecureBootError: A file cannot be read.
        SignatureError: A file holds no signature by such a key.
        KeyFileError: A public key cannot sign for Secure Boot.
    """
    from firmware_images.bounded_file import read_bounded
    from firmware_images.errors import SecureBootError
    from signing.ecdsa_form import parse_foreign_signature
    from signing.keys import KEY_FILE_MAX_BYTES

    pairs = []
    keys = load_public_keys(public_key_paths)
    for signature_path, key in zip(signature_paths, keys, strict=True):
        raw = read_bounded(signature_path, KEY_FILE_MAX_BYTES, SecureBootError)
        pairs.append((key, parse_foreign_signature(raw, key, where=str(signature_path))))
    return pairs
