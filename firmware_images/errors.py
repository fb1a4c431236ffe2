"""Errors of the firmware_images package."""

from __future__ import annotations

from signing.refusal import Refusal


class FirmwareImageError(Refusal):
    """Raised when an image, waveform, table or bundle is refused."""
