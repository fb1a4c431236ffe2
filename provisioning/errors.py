"""Errors of the provisioning package."""

from __future__ import annotations

from signing.refusal import Refusal


class ProvisioningError(Refusal):
    """Raised when a station, link, ledger or instrument step is refused."""


class LinkFrameError(ProvisioningError):
    """Raised when bytes on the serial link are not a valid frame."""
