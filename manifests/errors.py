"""Errors of the manifests package."""

from __future__ import annotations

from signing.refusal import Refusal


class ManifestError(Refusal):
    """Raised when a manifest, repository or update is refused."""
