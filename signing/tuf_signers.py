"""Our keys as python-tuf takes them: `Key` and `Signer` of securesystemslib.

Importing this module imports securesystemslib; import it inside the verb that needs it. The same
key has two names: our key id (SHA-256 of SubjectPublicKeyInfo) and TUF's (SHA-256 of canonical
JSON). `as_tuf_key(key).keyid` translates.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn

from cryptography.hazmat.primitives.serialization import load_der_public_key
from securesystemslib.exceptions import FormatError
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import (  # type: ignore[attr-defined]  # public names, not re-exported in its types
    Key,
    SecretsHandler,
    Signature,
    SSlibKey,
)
from securesystemslib.signer import (  # type: ignore[attr-defined]
    Signer as TufSigner,
)

from signing.algorithms import ECDSA_ALGORITHMS
from signing.ecdsa_form import to_der

if TYPE_CHECKING:
    from signing.keys import PublicKey
    from signing.signers import Signer


def as_tuf_key(public_key: PublicKey) -> SSlibKey:
    """Return a public key for TUF metadata.

    Its scheme is ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, ed25519 or rsassa-pss-sha256: what
    python-tuf's clients verify.
    """
    loaded = load_der_public_key(public_key.spki_der)
    return SSlibKey.from_crypto(loaded)


def as_tuf_signer(signer: Signer) -> TufSigner:
    """Return a signer for TUF metadata that signs with one of ours."""
    return _TufSigner(signer)


class _TufSigner(TufSigner):
    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._key = as_tuf_key(signer.public_key)

    @property
    def public_key(self) -> Key:
        return self._key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> NoReturn:
        # Our keys are opened by `signing.key_uris.load_signer`, which checks the file's mode.
        raise NotImplementedError

    def sign(self, payload: bytes) -> Signature:
        raw = self._signer.sign(payload)
        if self._signer.public_key.algorithm in ECDSA_ALGORITHMS:
            # TUF's ECDSA schemes carry the DER form (ECDSA-Sig-Value).
            raw = to_der(raw)
        return Signature(self._key.keyid, raw.hex())


def encode_canonical_json(value: object) -> bytes:
    """Return the canonical JSON of a value without fractions: what TUF signs.

    It escapes nothing but quotes and backslashes. With no other escape than for the line ends of
    PEM keys, the standard library's encoder writes the same but for those, and in a tenth of the
    time of securesystemslib's, which is Python.

    Raises:
        ValueError: The value cannot be said in it.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    # Each backslash is one before an n: of an escaped backslash the first one is not.
    if text.count("\\") == text.count("\\n"):
        return text.replace("\\n", "\n").encode("utf-8")
    try:
        return str(encode_canonical(value)).encode("utf-8")  # type: ignore[arg-type]  # what it refuses, it says
    except FormatError as error:
        raise ValueError(str(error)[:200]) from error
