"""Builds tests/rejected/keys; `python -m tests.signing.rejected_keys` writes it."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signing.errors import KeyFileError
from signing.key_files import load_public_key
from signing.key_uris import load_software_signer
from tests.gallery import Gallery, write_gallery
from tests.signing.fixed_keys import fixed_signer

OWNER = fixed_signer("gallery key")
ABOUT = """Each file has one thing wrong and is named after it. `public-` files are read as the
public key of a role, `private-` files as a key to sign with, for which the right passphrase is
not known. Written by `python -m tests.signing.rejected_keys`;
`tests/signing/test_rejected_keys.py` checks each error, word by word."""


def read(name: str, content: bytes) -> object:
    """Read a key file; its place is told without the folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        path.chmod(0o600)
        try:
            if name.startswith("public-"):
                return load_public_key(path)
            return load_software_signer(str(path), passphrase=lambda: b"not this one")
        except KeyFileError as refusal:
            refusal.where = str(refusal.where).replace(f"{folder}/", "")
            raise
        finally:
            assert path.read_bytes() == content


def pem(label: str, der: bytes) -> bytes:
    """Return a PEM block, whatever is in it."""
    body = base64.encodebytes(der).replace(b"\n", b"")
    lines = b"\n".join(body[start : start + 64] for start in range(0, len(body), 64))
    return f"-----BEGIN {label}-----\n".encode() + lines + f"\n-----END {label}-----\n".encode()


def _spki(private_value: int, curve: ec.EllipticCurve) -> bytes:
    key = ec.derive_private_key(private_value, curve).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def build_rejected() -> dict[str, bytes]:
    """Return each file's name and content."""
    right = OWNER.public_key.pem()
    der = OWNER.public_key.spki_der
    private = pem("PRIVATE KEY", OWNER.to_pkcs8_der())
    off_curve = der[:-1] + bytes([der[-1] ^ 1])
    return {
        "public-empty.pem": b"",
        "public-not-base64.pem": right.replace(b"M", b"!", 1),
        "public-cut-short.pem": right[: len(right) // 2],
        "public-without-end.pem": right.replace(b"-----END PUBLIC KEY-----\n", b""),
        "public-point-not-on-the-curve.pem": pem("PUBLIC KEY", off_curve),
        "public-curve-p521.pem": pem("PUBLIC KEY", _spki(7, ec.SECP521R1())),
        "public-curve-secp256k1.pem": pem("PUBLIC KEY", _spki(7, ec.SECP256K1())),
        "public-trailing-byte.der": der + b"\0",
        "public-a-private-key.pem": private,
        "public-another-label.pem": right.replace(b"PUBLIC KEY", b"CERTIFICATE"),
        "public-endless.pem": right + b"\n" * 20_000,
        "private-empty.pem": b"",
        "private-a-public-key.pem": right,
        "private-cut-short.pem": private[: len(private) // 2],
        "private-not-base64.pem": private.replace(b"M", b"!", 1),
        "private-scalar-zero.pem": pem("PRIVATE KEY", _zero_scalar(OWNER.to_pkcs8_der())),
        "private-two-blocks-endless.pem": private * 100,
        "private-encrypted-garbage.pem": pem("ENCRYPTED PRIVATE KEY", bytes(200)),
        "private-old-form.pem": pem("DSA PRIVATE KEY", OWNER.to_pkcs8_der()),
    }


def _zero_scalar(pkcs8_der: bytes) -> bytes:
    start = pkcs8_der.index(b"\x04\x20") + 2
    return pkcs8_der[:start] + bytes(32) + pkcs8_der[start + 32 :]


GALLERY = Gallery(
    name="keys",
    title="Keys that are refused",
    about=ABOUT,
    build=build_rejected,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
