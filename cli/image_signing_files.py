"""Files for a signer elsewhere: the digest that it signs, and the signature that it gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.output import print_result
from cli.params import make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from signing.keys import PublicKey


def export_digest_for(
    content: bytes, path: Path, public_key_paths: tuple[Path, ...], *, as_json: bool
) -> None:
    """Write the digest of a padded image that a key's holder has to sign.

    Args:
        content: The padded image.
        path: Where the digest goes.
        public_key_paths: The public key of who will sign; none means one that signs SHA-256.
        as_json: As of `--json`.

    Raises:
        KeyFileError: That key does not sign images.
    """
    from signing.algorithms import SECURE_BOOT_ALGORITHMS, Algorithm, hash_message, hash_name
    from signing.durable_file import save_durably
    from signing.key_files import load_public_key

    algorithms = [
        load_public_key(key_path, allowed=SECURE_BOOT_ALGORITHMS).algorithm
        for key_path in public_key_paths
    ]
    algorithm = algorithms[0] if algorithms else Algorithm.RSA_3072
    digest, name = hash_message(algorithm, content), hash_name(algorithm)
    ways = {
        Algorithm.RSA_3072: "RSA-PSS (MGF1 with SHA-256, salt of 32 bytes)",
        Algorithm.ECDSA_P256: "ECDSA P-256",
        Algorithm.ECDSA_P384: "ECDSA P-384",
    }
    way = ways[algorithm] if algorithms else f"{ways[Algorithm.RSA_3072]} or ECDSA P-256"
    make_folder(path.parent)
    save_durably(path, digest)
    print_result(
        {
            "schema": "ampforge.image-digest/1",
            "path": str(path),
            "hash": name,
            name: digest.hex(),
        },
        f"wrote {path}: {name.replace('sha', 'SHA-')} {digest.hex()} of the padded image\n"
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
        KeyFileError: A public key does not sign images.
    """
    from firmware_images.errors import SecureBootError
    from firmware_images.toml_document import read_bounded
    from signing.ecdsa_form import parse_foreign_signature
    from signing.key_files import load_public_key
    from signing.keys import KEY_FILE_MAX_BYTES, SECURE_BOOT_ALGORITHMS

    pairs = []
    for signature_path, key_path in zip(signature_paths, public_key_paths, strict=True):
        key = load_public_key(key_path, allowed=SECURE_BOOT_ALGORITHMS)
        raw = read_bounded(signature_path, KEY_FILE_MAX_BYTES, SecureBootError)
        pairs.append((key, parse_foreign_signature(raw, key, where=str(signature_path))))
    return pairs
