"""Errors of the signing package."""

from __future__ import annotations

from signing.refusal import Refusal


class SigningError(Refusal):
    """Raised when a key, signature, certificate or trust decision is refused."""


class KeyFileError(SigningError):
    """Raised when a private or public key cannot be loaded or created."""


class PassphraseError(KeyFileError):
    """Raised when a private key needs a passphrase, or the one given does not open it."""


class Pkcs11Error(KeyFileError):
    """Raised when a key in a hardware module cannot be reached, or its token does not sign."""


class SignatureError(SigningError):
    """Raised when signed bytes do not verify."""


class CoseError(SignatureError):
    """Raised when signed bytes do not have the one COSE shape that we write."""


class AlgorithmError(SignatureError):
    """Raised when a message names another algorithm than the key that it names."""


class TrustError(SigningError):
    """Raised when a signer lacks the role, or a threshold is not met."""


class UnknownKeyError(TrustError):
    """Raised when a message is signed by none of the keys that may sign it."""


class ThresholdError(TrustError):
    """Raised when fewer distinct keys signed than the role asks for."""


class RevokedKeyError(TrustError):
    """Raised when a message needs the signature of a key that has been revoked."""


class RollbackError(TrustError):
    """Raised when a document would take trust back to an earlier state."""


class CertificateError(SigningError):
    """Raised when a certificate or a certificate request is refused."""


class ChainError(SigningError):
    """Raised when a link of a hash chain does not follow from the one before."""


class CeremonyError(SigningError):
    """Raised when a key ceremony's plan, transcript or folder is refused."""


class CborError(SigningError):
    """Raised when bytes are not the deterministic CBOR that a format asks for."""


class DurableFileError(SigningError):
    """Raised when a file cannot be written so that it survives a power cut."""
