"""Ways in to keys, messages, certificates, ceremonies and trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.params import read_passphrase_file
from signing.canonical_cbor import parse_cbor
from signing.ceremony_plan import parse_plan
from signing.ceremony_replay import replay
from signing.ceremony_transcript import parse_transcript
from signing.certificate_requests import parse_csr
from signing.certificates import parse_ca_certificate, verify_certificate
from signing.cose import verify_many, verify_one
from signing.cose_message import parse_message
from signing.ecdsa_form import parse_foreign_signature
from signing.key_encryption import serialize_pem
from signing.key_files import load_public_key
from signing.key_uris import load_software_signer
from signing.keys import Algorithm
from signing.logged_signer import load_sign_log
from signing.pkcs11_public_key import parse_ec_point, parse_rsa_numbers
from signing.pkcs11_uri import parse_pkcs11_uri
from signing.sign_log import EMPTY, SignLogEntry, parse_head, serialize_entry
from signing.trust_file import load_trust_record
from tests.signing.fixed_keys import fixed_signer
from tests.signing.golden_vectors import CONTENT_TYPE, P256

if TYPE_CHECKING:
    from pathlib import Path


from tests.hostile.entry import KEYS, NOW, add, add_bytes, golden, text


def _load_private_key(path: Path) -> object:
    path.chmod(0o600)
    return load_software_signer(str(path), passphrase=lambda: b"passphrase")


def _load_passphrase(path: Path) -> object:
    path.chmod(0o600)
    return read_passphrase_file(path)


def _private_pem() -> bytes:
    return serialize_pem("PRIVATE KEY", P256.to_pkcs8_der())


def _sign_log() -> bytes:
    entry = SignLogEntry(
        sequence=1,
        time=NOW,
        who="somebody@somewhere",
        role="release",
        key_id=KEYS[0].key_id,
        content_type=CONTENT_TYPE,
        digest=bytes(32),
        tool="ampforge",
        previous=EMPTY.hash,
    )
    return serialize_entry(entry)


_RSA = fixed_signer("hostile RSA", Algorithm.RSA_3072)


def _point(content: bytes) -> object:
    return parse_ec_point(content, Algorithm.ECDSA_P256, where="token")


add_bytes(
    "CBOR", "cbor", lambda c: parse_cbor(c, max_bytes=65_536), golden("manifests/manifest.cbor")
)
add_bytes("COSE message", "cose", parse_message, golden("signing/sign-two.cose"))
add_bytes(
    "COSE_Sign1",
    "cose",
    lambda c: verify_one(c, KEYS, content_type=CONTENT_TYPE),
    golden("signing/sign1-p256.cose"),
)
add_bytes(
    "COSE_Sign",
    "cose",
    lambda c: verify_many(c, KEYS, threshold=2, content_type=CONTENT_TYPE),
    golden("signing/sign-two.cose"),
)
add("trust record", "cose", load_trust_record, golden("signing/trust-record-1.cose"))
add("public key", "pem der", load_public_key, KEYS[0].pem)
add("private key", "pem", _load_private_key, _private_pem)
add("passphrase", "text", _load_passphrase, lambda: b"passphrase\n")
add_bytes("certificate request", "der", parse_csr, golden("signing/device.csr.der"))
add_bytes("CA certificate", "der", parse_ca_certificate, golden("signing/factory-ca.der"))
add_bytes(
    "certificate",
    "der",
    lambda c: verify_certificate(c, golden("signing/factory-ca.der")(), now=NOW),
    golden("signing/station.der"),
)
add_bytes(
    "foreign signature",
    "der",
    lambda c: parse_foreign_signature(c, KEYS[0], where="signature"),
    lambda: bytes.fromhex("3006020101020102"),
)
add_bytes("token's point", "der", _point, lambda: b"\x04\x41" + KEYS[0].spki_der[-65:])
add_bytes(
    "token's URI",
    "text",
    text(parse_pkcs11_uri),
    lambda: b"pkcs11:token=release;object=key?module-path=/usr/lib/softhsm/libsofthsm2.so",
)
add("sign log", "json text", load_sign_log, _sign_log)
add_bytes("head of a sign log", "text", text(parse_head), lambda: b"1:" + b"0" * 64)
add_bytes(
    "token's RSA numbers",
    "der",
    lambda c: parse_rsa_numbers(c[:-3], c[-3:], where="token"),
    lambda: _RSA.public_key.raw + b"\1\0\1",
)
add_bytes(
    "plan of a ceremony",
    "toml",
    lambda c: parse_plan(c, where="plan"),
    golden("ceremony/plan.toml"),
)
add_bytes(
    "transcript of a ceremony",
    "json text",
    lambda c: parse_transcript(c, where="transcript"),
    golden("ceremony/transcript.jsonl"),
)
add_bytes(
    "ceremony",
    "json text",
    lambda c: replay(
        golden("ceremony/plan.toml")(), parse_transcript(c, where="transcript"), where="transcript"
    ),
    golden("ceremony/transcript.jsonl"),
)
