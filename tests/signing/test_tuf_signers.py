from __future__ import annotations

import pytest
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key

from signing.keys import Algorithm
from signing.tuf_signers import as_tuf_key, as_tuf_signer
from tests.signing.fixed_keys import fixed_signer


@pytest.mark.parametrize(
    ("algorithm", "scheme"),
    [
        (Algorithm.ECDSA_P256, "ecdsa-sha2-nistp256"),
        (Algorithm.ECDSA_P384, "ecdsa-sha2-nistp384"),
        (Algorithm.ED25519, "ed25519"),
        (Algorithm.RSA_3072, "rsassa-pss-sha256"),
    ],
)
def test_securesystemslib_verifies_what_our_signer_signs(algorithm: Algorithm, scheme: str) -> None:
    signer = fixed_signer("tuf", algorithm)
    tuf_signer = as_tuf_signer(signer)
    key = as_tuf_key(signer.public_key)
    assert tuf_signer.public_key == key
    assert key.scheme == scheme
    read_back = Key.from_dict(key.keyid, key.to_dict())
    signature = tuf_signer.sign(b"metadata")
    assert signature.keyid == key.keyid
    read_back.verify_signature(signature, b"metadata")
    with pytest.raises(UnverifiedSignatureError):
        read_back.verify_signature(signature, b"other")


def test_our_keys_are_not_opened_by_securesystemslib() -> None:
    signer = fixed_signer("tuf")
    with pytest.raises(NotImplementedError):
        type(as_tuf_signer(signer)).from_priv_key_uri("file:x", as_tuf_key(signer.public_key))
