"""Any `Signer` as the private key that `cryptography` builds certificates with.

The builders hash nothing themselves: they ask the key object to sign. So a key whose private half
lies in a hardware module can issue certificates, too. Everything that would need the private half
itself is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signing.algorithms import Algorithm
from signing.certificate_fields import refuse_algorithm
from signing.ecdsa_form import to_der
from signing.errors import CertificateError

if TYPE_CHECKING:
    from signing.signers import Signer


def as_private_key(signer: Signer) -> Any:
    """Return a key object that signs with one of our signers.

    Raises:
        CertificateError: The key is of an algorithm that certificates are not signed with.
    """
    refuse_algorithm(signer.public_key)
    if signer.public_key.algorithm is Algorithm.ED25519:
        return _Ed25519Key(signer)
    return _EcdsaKey(signer)


class _KeyOfSigner:
    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def public_key(self) -> Any:
        return load_der_public_key(self._signer.public_key.spki_der)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def private_bytes(self, *_arguments: object, **_named: object) -> NoReturn:
        raise CertificateError("a private key is not given out to make a certificate")


class _EcdsaKey(_KeyOfSigner, EllipticCurvePrivateKey):
    @property
    def curve(self) -> Any:
        return self.public_key().curve

    @property
    def key_size(self) -> int:
        size_bits: int = self.public_key().key_size
        return size_bits

    def sign(self, data: Any, signature_algorithm: Any) -> bytes:
        del signature_algorithm  # always SHA-256: `certificate_fields.sign_der` asks for no other
        return to_der(self._signer.sign(bytes(data)))

    def exchange(self, algorithm: Any, peer_public_key: Any) -> NoReturn:
        del algorithm, peer_public_key
        self.private_bytes()

    def private_numbers(self) -> NoReturn:
        self.private_bytes()


class _Ed25519Key(_KeyOfSigner, Ed25519PrivateKey):
    def sign(self, data: Any) -> bytes:
        return self._signer.sign(bytes(data))

    def private_bytes_raw(self) -> NoReturn:
        self.private_bytes()
