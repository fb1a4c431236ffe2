"""Errors of the manifests package."""

from __future__ import annotations

from signing.refusal import Refusal


class ManifestError(Refusal):
    """Raised when a manifest, repository or update is refused."""


class DeviceMessageError(ManifestError):
    """Raised when a manifest, assignment, freshness answer or report is refused."""


class RepositoryError(ManifestError):
    """Raised when a repository folder cannot be made, read or published to."""


class SuitError(ManifestError):
    """Raised when a SUIT envelope is refused, or a release cannot be written as one."""


class UpdateRefusedError(ManifestError):
    """Raised when a device declines an update; nothing was switched."""


class TransportError(ManifestError):
    """Raised when bytes cannot be fetched from, or delivered to, a server."""


class AskedTooOftenError(TransportError):
    """Raised when a server says after how long it may be asked again.

    Args:
        what: As of `Refusal`, and so are the other parts.
        wait_s: How long.
        parts: `expected`, `got`, `where` and `hint`.
    """

    def __init__(self, what: str, *, wait_s: int, **parts: str) -> None:
        super().__init__(what, **parts)
        self.wait_s = wait_s


class ServerError(ManifestError):
    """Raised when the server cannot be started."""


class DeniedDeviceError(ManifestError):
    """Raised when a device reports whose reports the operator does not take."""


class FleetStoreError(ManifestError):
    """Raised when device reports cannot be stored or read."""
