"""Errors of the signing package."""

from __future__ import annotations

from signing.refusal import Refusal


class SigningError(Refusal):
    """Raised when a key, signature, certificate or trust decision is refused."""


class KeyFileError(SigningError):
    """Raised when a private or public key cannot be loaded or created."""


class SignatureError(SigningError):
    """Raised when signed bytes do not verify."""


class TrustError(SigningError):
    """Raised when a signer lacks the role, or a threshold is not met."""


class CborError(SigningError):
    """Raised when bytes are not the deterministic CBOR that a format asks for."""


class DurableFileError(SigningError):
    """Raised when a file cannot be written so that it survives a power cut."""
