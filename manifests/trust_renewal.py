"""How a board in the field comes to the next trust record, before it believes anything else.

A board that holds version N asks for the record that follows N. It accepts it when the root
thresholds of both records signed it, and nothing goes back (docs/spec/trust.md §4), writes it into
the sector that does not hold the one in force, and asks again: so a board that was away for years
follows record by record. Who carries the bytes can hold a record back, and nothing more.

Not here: how the files come there, which is `trust_publication`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from manifests.errors import TransportError
from manifests.transfer import Fetch
from signing.trust import MAX_TRUST_RECORD_BYTES, verify_trust_record

if TYPE_CHECKING:
    from collections.abc import Generator

    from manifests.update_device import UpdateDevice
    from signing.trust_record import TrustRecord

STEPS_MAX: Final = 16
"""Records in one session; the next session goes on."""


def trust_path(version: int) -> str:
    """Return where the record lies that follows a version."""
    return f"device/trust/after-{version}.cose"


def renew_trust(device: UpdateDevice) -> Generator[Fetch, bytes, TrustRecord]:
    """Follow the trust records to the last one, and return it; usually the one in force.

    Implements docs/spec/trust.md §4.1.

    Raises:
        SigningError: What was shown does not follow the record in force, which stays.
        RecordError: The flash did not keep the new record; the one in force stays.
    """
    trust = device.load_trust()
    for _ in range(STEPS_MAX):
        try:
            untrusted_bytes = yield Fetch(
                path=trust_path(trust.version), max_bytes=MAX_TRUST_RECORD_BYTES
            )
        except TransportError:
            # None follows, or it is held back: what is signed by the keys in force still counts.
            break
        verify_trust_record(untrusted_bytes, current=trust)
        device.record.trust.save(untrusted_bytes)
        trust = device.load_trust()
    return trust
