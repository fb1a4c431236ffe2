"""Waivers as the files that `ampforge policy waive` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.bounded_file import read_bounded
from firmware_images.errors import WaiverError
from firmware_images.waiver import WAIVER_BYTES_MAX, LimitWaiver, read_waiver, verify_waiver
from signing.refusal import refusing_in
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from signing.trust_record import TrustRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedWaiver:
    """A waiver with the message that it came in."""

    signed: bytes
    waiver: LimitWaiver


def load_waivers(paths: Iterable[Path], *, trust: TrustRecord | None) -> tuple[SignedWaiver, ...]:
    """Load signed waivers.

    Args:
        paths: Their files.
        trust: With it, the policy role's signatures are verified.

    Raises:
        WaiverError: A file cannot be read, or holds no waiver.
        SigningError: The policy role did not sign one.
    """
    loaded = []
    for path in paths:
        signed = read_bounded(path, WAIVER_BYTES_MAX, WaiverError)
        with refusing_in(path):
            waiver = read_waiver(signed) if trust is None else verify_waiver(signed, trust)
        loaded.append(SignedWaiver(signed=signed, waiver=waiver))
    return tuple(loaded)
