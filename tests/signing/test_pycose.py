"""COSE checked in both directions by pycose, an implementation that shares no code with ours.

Our protected headers are deterministic; pycose keeps the order in which a header is given, so that
messages of pycose have ours when their keys are given in rising order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from pycose.algorithms import EdDSA, Es256, Es384, Ps256
from pycose.headers import KID, Algorithm, ContentType
from pycose.keys import EC2Key, OKPKey, RSAKey
from pycose.keys.curves import P256, P384, Ed25519
from pycose.messages import Sign1Message, SignMessage
from pycose.messages.signer import CoseSignature

from signing.cose import sign_many, sign_one, verify_many, verify_one
from signing.errors import CoseError, SignatureError
from signing.keys import Algorithm as OurAlgorithm
from signing.trust import TRUST_RECORD_CONTENT_TYPE, Role, verify_trust_record
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from signing.signers import SoftwareSigner

GOLDEN = Path(__file__).parents[1] / "golden" / "signing"
TYPE = "application/vnd.ampforge.example"
PYCOSE_ALGORITHMS = {
    OurAlgorithm.ECDSA_P256: Es256,
    OurAlgorithm.ECDSA_P384: Es384,
    OurAlgorithm.ED25519: EdDSA,
    OurAlgorithm.RSA_3072: Ps256,
}


def pycose_public_key(spki_der: bytes) -> EC2Key | OKPKey | RSAKey:
    key = load_der_public_key(spki_der)
    if isinstance(key, EllipticCurvePublicKey):
        return EC2Key(**ec_numbers(key))
    if isinstance(key, RSAPublicKey):
        numbers = key.public_numbers()
        return RSAKey(n=as_bytes(numbers.n, 384), e=as_bytes(numbers.e, 3))
    return OKPKey(crv=Ed25519, x=key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def pycose_private_key(signer: SoftwareSigner) -> EC2Key | OKPKey | RSAKey:
    private = load_der_private_key(signer.to_pkcs8_der(), password=None)
    public = private.public_key()
    if isinstance(public, EllipticCurvePublicKey):
        secret = as_bytes(private.private_numbers().private_value, public.key_size // 8)
        return EC2Key(**ec_numbers(public), d=secret)
    if isinstance(public, RSAPublicKey):
        numbers = private.private_numbers()
        names = {"p": "p", "q": "q", "d": "d", "dp": "dmp1", "dq": "dmq1", "qinv": "iqmp"}
        return RSAKey(
            n=as_bytes(numbers.public_numbers.n, 384),
            e=as_bytes(numbers.public_numbers.e, 3),
            **{name: as_bytes(getattr(numbers, theirs), 384) for name, theirs in names.items()},
        )
    return OKPKey(crv=Ed25519, x=public.public_bytes_raw(), d=private.private_bytes_raw())


def ec_numbers(key: EllipticCurvePublicKey) -> dict[str, object]:
    size_bytes, numbers = key.key_size // 8, key.public_numbers()
    return {
        "crv": {32: P256, 48: P384}[size_bytes],
        "x": as_bytes(numbers.x, size_bytes),
        "y": as_bytes(numbers.y, size_bytes),
    }


def as_bytes(number: int, size_bytes: int) -> bytes:
    return number.to_bytes(size_bytes, "big")


def golden_keys() -> dict[bytes, EC2Key | OKPKey | RSAKey]:
    """Every golden key in pycose's form, by the kid that messages name it by."""
    told = json.loads((GOLDEN / "keys.json").read_text())
    return {
        bytes.fromhex(key["key_id"])[:8]: pycose_public_key(bytes.fromhex(key["spki_der"]))
        for key in told.values()
    }


def pycose_decode(kind: type[Sign1Message | SignMessage], name: str) -> Sign1Message | SignMessage:
    """What pycose's `decode` does, which cannot take the tuples that current cbor2 gives it."""
    tagged = cbor2.loads((GOLDEN / f"{name}.cose").read_bytes())
    assert tagged.tag == kind.cbor_tag
    return kind.from_cose_obj(as_lists(tagged.value), allow_unknown_attributes=False)


def as_lists(value: object) -> object:
    if isinstance(value, list | tuple):
        return [as_lists(element) for element in value]
    return dict(value) if isinstance(value, Mapping) else value


@pytest.mark.parametrize(
    ("name", "external_aad"),
    [
        ("sign1-p256", b""),
        ("sign1-p384", b""),
        ("sign1-ed25519", b""),
        ("sign1-rsa", b""),
        ("sign1-aad", b"nonce"),
    ],
)
def test_pycose_verifies_our_messages_of_one_key(name, external_aad):
    message = pycose_decode(Sign1Message, name)
    assert message.phdr[ContentType] == TYPE
    message.key = golden_keys()[message.phdr[KID]]
    message.external_aad = external_aad
    assert message.verify_signature()
    message.external_aad = external_aad + b"x"
    assert not message.verify_signature()


@pytest.mark.parametrize("name", ["sign-two", "trust-record-1", "trust-record-2", "trust-record-3"])
def test_pycose_verifies_each_signature_of_our_messages_of_several_keys(name):
    message = pycose_decode(SignMessage, name)
    keys = golden_keys()
    assert len(message.signers) >= 2
    for signature in message.signers:
        # pycose 1.1.0 does not tie decoded signatures to their message.
        signature._parent = message
        signature.key = keys[signature.phdr[KID]]
        assert signature.verify_signature()
    message.payload += b"x"
    assert not any(signature.verify_signature() for signature in message.signers)


def pycose_sign1(signer: SoftwareSigner, *, payload: bytes = b"payload", **changes) -> bytes:
    key = signer.public_key
    message = Sign1Message(
        phdr={Algorithm: PYCOSE_ALGORITHMS[key.algorithm], ContentType: TYPE, KID: key.key_id[:8]},
        payload=payload,
        **changes,
    )
    message.key = pycose_private_key(signer)
    return message.encode()


def pycose_sign(*signers: SoftwareSigner, payload: bytes = b"payload") -> bytes:
    message = SignMessage(phdr={ContentType: TYPE}, payload=payload)
    signatures = []
    for signer in sorted(signers, key=lambda signer: signer.public_key.key_id):
        key = signer.public_key
        signature = CoseSignature(
            phdr={Algorithm: PYCOSE_ALGORITHMS[key.algorithm], KID: key.key_id[:8]}
        )
        signature.key = pycose_private_key(signer)
        signatures.append(signature)
    message.signers = signatures
    return message.encode()


@pytest.mark.parametrize("algorithm", list(OurAlgorithm))
def test_we_verify_pycoses_messages_of_one_key(algorithm):
    signer = fixed_signer("one", algorithm)
    encoded = pycose_sign1(signer, external_aad=b"aad")
    verified = verify_one(encoded, [signer.public_key], content_type=TYPE, external_aad=b"aad")
    assert verified.payload == b"payload"
    with pytest.raises(SignatureError):
        verify_one(encoded, [signer.public_key], content_type=TYPE)


def test_we_verify_pycoses_messages_of_several_keys():
    signers = [fixed_signer(algorithm, algorithm) for algorithm in OurAlgorithm]
    keys = [signer.public_key for signer in signers]
    encoded = pycose_sign(*signers)
    verified = verify_many(encoded, keys, threshold=len(keys), content_type=TYPE)
    assert verified.key_ids == {key.key_id for key in keys}
    with pytest.raises(SignatureError):
        verify_many(encoded.replace(b"payload", b"Payload"), keys, threshold=1, content_type=TYPE)


def test_both_write_the_same_bytes_where_signatures_are_deterministic():
    signer = fixed_signer("one", OurAlgorithm.ED25519)
    assert pycose_sign1(signer) == sign_one(b"payload", signer, content_type=TYPE)
    others = [signer, fixed_signer("two", OurAlgorithm.ED25519)]
    assert pycose_sign(*others) == sign_many(b"payload", others, content_type=TYPE)


@pytest.mark.parametrize(
    "changes", [{"uhdr": {KID: b"12345678"}}, {"payload": None}, {"payload": b"x" * 70_000}]
)
def test_what_pycose_may_write_and_we_do_not_is_refused(changes):
    signer = fixed_signer("one", OurAlgorithm.ED25519)
    changes = {"payload": b"payload"} | changes
    if changes["payload"] is None:
        tag = cbor2.loads(pycose_sign1(signer))
        encoded = cbor2.dumps(cbor2.CBORTag(18, [*tag.value[:2], None, tag.value[3]]))
    else:
        encoded = pycose_sign1(signer, **changes)
    with pytest.raises(CoseError):
        verify_one(encoded, [signer.public_key], content_type=TYPE)


def test_a_trust_record_that_pycose_signed_counts_like_ours():
    golden = (GOLDEN / "trust-record-1.cose").read_bytes()
    record = verify_trust_record(golden, current=None)
    payload = cbor2.loads(golden).value[2]
    roots = [fixed_signer(f"golden root {number}") for number in (1, 2)]
    message = SignMessage(phdr={ContentType: TRUST_RECORD_CONTENT_TYPE}, payload=payload)
    message.signers = [
        CoseSignature(
            phdr={Algorithm: Es256, KID: root.public_key.key_id[:8]}, key=pycose_private_key(root)
        )
        for root in sorted(roots, key=lambda root: root.public_key.key_id)
    ]
    assert verify_trust_record(message.encode(), current=None) == record
    assert record.keys_of(Role.ROOT).threshold == 2
