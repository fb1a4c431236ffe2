"""Builds tests/rejected/signing; `python -m tests.signing.rejected_vectors` writes.

Each file is a message or certificate that someone could hand us, with one thing wrong, and is named
after it. Everything else about it is right: the signatures are by the golden keys, over what the
file says, wherever that is not the point.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.certificate_issuing import create_ca_certificate, issue_station_certificate
from signing.certificates import verify_certificate
from signing.cose import sign_many, sign_one, verify_many, verify_one
from signing.cose_message import (
    SIGN1_TAG,
    SIGN_TAG,
    kid_of,
    serialize_sign1,
    serialize_sign1_header,
    sign1_structure,
)
from signing.trust import TRUST_RECORD_CONTENT_TYPE, verify_trust_record
from tests.gallery import Gallery, write_gallery
from tests.signing.fixed_keys import fixed_signer
from tests.signing.golden_vectors import (
    CA,
    CONTENT_TYPE,
    ED25519,
    NOT_BEFORE,
    P256,
    P384,
    PAYLOAD,
    POLICY,
    ROOTS,
    RSA,
    STATION,
    build_vectors,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signing.signers import Signer
    from tests.signing.fixed_keys import RepeatablePss

HEADER: Mapping[int, object] = {1: -7, 3: CONTENT_TYPE, 4: kid_of(P256.public_key)}

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEYS = [signer.public_key for signer in (P256, ED25519, POLICY, P384, RSA)]
ABOUT = """Each file has one thing wrong and is named after it. Written by
`python -m tests.signing.rejected_vectors` with the golden keys; `tests/signing/test_rejected.py`
checks each error, word by word, and that the golden file beside it is accepted by the same check.
`one-` is verified as COSE_Sign1, `two-` as COSE_Sign with a threshold of two, `trust-` as a first
trust record, `station-` as a certificate of the golden factory CA."""


def read(name: str, content: bytes) -> object:
    """Verify a file as what the part of its name before the dash says."""
    match name.partition("-")[0]:
        case "one":
            return verify_one(content, KEYS, content_type=CONTENT_TYPE)
        case "two":
            return verify_many(content, KEYS, threshold=2, content_type=CONTENT_TYPE)
        case "trust":
            return verify_trust_record(content, current=None)
        case _:
            return verify_certificate(content, build_vectors()["factory-ca.der"], now=NOW)


def build_rejected() -> dict[str, bytes]:
    """Return each rejected file's name and content."""
    return {**_messages_of_one(), **_messages_of_two(), **_trust_records(), **_certificates()}


def _forge(header: Mapping[int, object], payload: object = PAYLOAD, unprotected: object = None):
    protected = serialize_cbor(header)
    signed = payload if isinstance(payload, bytes) else b""
    signature = P256.sign(sign1_structure(protected, signed))
    fields = [protected, {} if unprotected is None else unprotected, payload, signature]
    return SIGN1_TAG + serialize_cbor(fields)


def _with_signature(signer: RepeatablePss, signature: bytes) -> bytes:
    protected = serialize_sign1_header(CONTENT_TYPE, signer.public_key)
    return serialize_sign1(protected, PAYLOAD, signature)


def _messages_of_one() -> dict[str, bytes]:
    right = sign_one(PAYLOAD, P256, content_type=CONTENT_TYPE)
    by_rsa = sign_one(PAYLOAD, RSA, content_type=CONTENT_TYPE)
    without_algorithm = {key: value for key, value in HEADER.items() if key != 1}
    return {
        "one-algorithm-of-another-key.cose": _forge({**HEADER, 1: -8}),
        "one-content-type-of-another-kind.cose": _forge({**HEADER, 3: "application/other"}),
        "one-flipped-payload-bit.cose": right.replace(b"\x1a\0\x03\xa9\x80", b"\x1a\0\x03\xa9\x81"),
        "one-kid-of-another-key.cose": _forge({**HEADER, 4: kid_of(POLICY.public_key)}),
        "one-length-in-long-form.cose": right[:1] + b"\x98\x04" + right[2:],
        "one-p384-in-64-bytes.cose": _forge({**HEADER, 1: -35, 4: kid_of(P384.public_key)}),
        "one-rsa-cut-short.cose": _with_signature(RSA, RSA.sign(b"")[:-1]),
        "one-rsa-flipped-signature-bit.cose": by_rsa[:-1] + bytes([by_rsa[-1] ^ 1]),
        "one-payload-detached.cose": _forge(HEADER, payload=None),
        "one-signed-by-stranger.cose": sign_one(
            PAYLOAD, fixed_signer("stranger"), content_type=CONTENT_TYPE
        ),
        "one-trailing-byte.cose": right + b"\0",
        "one-unprotected-algorithm.cose": _forge(without_algorithm, unprotected={1: -7}),
        "one-without-tag.cose": right[1:],
    }


def _messages_of_two() -> dict[str, bytes]:
    body = parse_cbor(
        sign_many(PAYLOAD, [P256, ED25519], content_type=CONTENT_TYPE)[2:], max_bytes=1000
    )
    assert isinstance(body, list)
    first, second = body[3]

    def signed_by(*signatures: object) -> bytes:
        return SIGN_TAG + serialize_cbor([*body[:3], list(signatures)])

    return {
        "two-below-threshold.cose": signed_by(first),
        "two-by-one-key.cose": signed_by(first, first),
        "two-out-of-order.cose": signed_by(second, first),
    }


def _trust_records() -> dict[str, bytes]:
    golden = parse_cbor(build_vectors()["trust-record-1.cose"][2:], max_bytes=4000)
    assert isinstance(golden, list)
    document = parse_cbor(golden[2], max_bytes=4000)
    assert isinstance(document, dict)
    extra = fixed_signer("golden root 4").public_key
    wide = sorted([*(root.public_key for root in ROOTS), extra], key=lambda key: key.key_id)
    roles = document[4]
    revoking = {
        **document,
        4: {**roles, "root": [2, [key.spki_der for key in wide]]},
        6: [ROOTS[0].public_key.key_id],
    }
    two_keys = {**document, 4: {**roles, "root": [2, roles["root"][1][:2]]}}

    def signed(record: object, *signers) -> bytes:
        return sign_many(serialize_cbor(record), signers, content_type=TRUST_RECORD_CONTENT_TYPE)

    def held_by(role: str, signer: Signer, **further: object) -> bytes:
        keys = {**roles, role: [1, [signer.public_key.spki_der]]}
        changes = {int(key.removeprefix("_")): value for key, value in further.items()}
        return signed({**document, 4: keys, **changes}, *ROOTS)

    return {
        "trust-boards-verify-nothing-listed.cose": signed({**document, 8: []}, *ROOTS),
        "trust-boards-verify-unknown-algorithm.cose": signed({**document, 8: [-257]}, *ROOTS),
        "trust-campaign-by-rsa.cose": held_by("campaign", RSA, _8=[-37]),
        "trust-ed25519-for-secure-boot.cose": held_by("secure-boot", ED25519),
        "trust-p384-that-boards-cannot-verify.cose": held_by("policy", P384),
        "trust-root-below-threshold.cose": signed(document, ROOTS[0]),
        "trust-signed-by-policy.cose": signed(document, POLICY),
        "trust-with-revoked-root-signing.cose": signed(revoking, ROOTS[0], ROOTS[1]),
        "trust-without-spare-root-key.cose": signed(two_keys, *ROOTS),
    }


def _certificates() -> dict[str, bytes]:
    other_ca = fixed_signer("golden other ca")
    other_der = create_ca_certificate(
        other_ca, common_name="Flare factory CA", not_before=NOT_BEFORE
    )
    ca_der = create_ca_certificate(CA, common_name="Flare factory CA", not_before=NOT_BEFORE)

    def station(ca, der, not_before) -> bytes:
        return issue_station_certificate(
            ca, der, STATION.public_key, station_name="station-1", not_before=not_before
        )

    return {
        "station-of-another-ca.der": station(other_ca, other_der, NOT_BEFORE),
        "station-with-trailing-byte.der": station(CA, ca_der, NOT_BEFORE) + b"\0",
        "station-before-its-time.der": station(CA, ca_der, NOT_BEFORE.replace(year=2099)),
    }


GALLERY = Gallery(
    name="signing",
    title="Messages, trust records and certificates that are refused",
    about=ABOUT,
    build=build_rejected,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
