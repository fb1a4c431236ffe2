"""Builds tests/rejected/efuses; `python -m tests.firmware_images.rejected_efuses` writes it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from firmware_images.efuse_plan import parse_efuse_plan
from signing.key_files import load_public_key
from signing.keys import SECURE_BOOT_ALGORITHMS, Algorithm, PublicKey
from signing.signers import SoftwareSigner
from tests.gallery import Gallery, write_gallery

PLAN = b'secure_boot_keys = ["rsa"]\nrevoke_unused_digests = true\nuser_data = "{serial}"\n'
ABOUT = """Each file is an eFuse plan with one thing wrong, and is named after it. The keys `rsa`
and `p256` are made anew each time. Written by `python -m tests.firmware_images.rejected_efuses`;
`tests/firmware_images/test_rejected_by_name.py` checks each error, word by word."""


@cache
def _key(name: str) -> PublicKey:
    if name not in {"rsa", "p256"}:
        return load_public_key(Path(name), allowed=SECURE_BOOT_ALGORITHMS)
    algorithm = Algorithm.RSA_3072 if name == "rsa" else Algorithm.ECDSA_P256
    return SoftwareSigner.generate(algorithm).public_key


def read(name: str, content: bytes) -> object:
    """Read a file as a plan."""
    return parse_efuse_plan(content, load_key=_key, where=name)


def build_rejected() -> dict[str, bytes]:
    """Return each file's name and content."""
    return {
        "not-toml.toml": b"user_data: serial\n",
        "unknown-key.toml": PLAN + b"burn_everything = true\n",
        "burns-nothing.toml": b"disable_jtag = false\n",
        "secure-boot-without-a-key.toml": b"enable_secure_boot = true\n",
        "revokes-every-slot.toml": b"revoke_unused_digests = true\n",
        "key-twice.toml": b'secure_boot_keys = ["rsa", "rsa"]\n',
        "four-keys.toml": b'secure_boot_keys = ["a", "b", "c", "d"]\n',
        "key-of-another-scheme.toml": b'secure_boot_keys = ["p256"]\n',
        "key-missing.toml": b'secure_boot_keys = ["nowhere.pub.pem"]\n',
        "download-mode-unknown.toml": b'download_mode = "locked"\n',
        "jtag-as-text.toml": b'disable_jtag = "yes"\n',
        "user-data-too-long.toml": b'user_data = "{serial}, made by us in 2026"\n',
        "user-data-of-a-job.toml": b'user_data = "{job}"\n',
        "user-data-not-ascii.toml": 'user_data = "Gerät {serial}"\n'.encode(),
        "user-data-unknown-placeholder.toml": b'user_data = "{lot}"\n',
    }


GALLERY = Gallery(
    name="efuses",
    title="eFuse plans that are refused",
    about=ABOUT,
    build=build_rejected,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
