"""Certificates that were verified before, by their very bytes.

A certificate costs two parses and a signature to verify, and those who send one send it with every
message. What may be remembered is that the factory CA issued these bytes, and what they say; the
time is judged each time. Bounded, and only what was verified is remembered: nobody can fill it but
with certificates of the CA.

A trust record never changes; one that takes its place gets a memory of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from signing.certificates import refuse_time

if TYPE_CHECKING:
    from datetime import datetime

    from signing.certificate_fields import CertificateKind
    from signing.certificates import Certificate
    from signing.trust_record import TrustRecord

REMEMBERED_MAX = 4096
"""Certificates; each takes about 3 KiB with its key."""


class CertificateMemory:
    """Verifies certificates through a trust record, each only once while it is remembered.

    Args:
        trust: Names the factory CA and the keys that are revoked.
    """

    def __init__(self, trust: TrustRecord) -> None:
        self._trust = trust
        self._verified: OrderedDict[bytes, Certificate] = OrderedDict()

    def verify_certificate(
        self, untrusted_der: bytes, *, now: datetime, kind: CertificateKind
    ) -> Certificate:
        """Do what `TrustRecord.verify_certificate` does.

        Raises:
            CertificateError, RevokedKeyError, TrustError: As there.
        """
        known = self._verified.get(untrusted_der)
        if known is None or known.kind is not kind:
            verified = self._trust.verify_certificate(untrusted_der, now=now, kind=kind)
            self._verified[untrusted_der] = verified
            if len(self._verified) > REMEMBERED_MAX:
                self._verified.popitem(last=False)
            return verified
        refuse_time(known, now)
        self._verified.move_to_end(untrusted_der)
        return known
