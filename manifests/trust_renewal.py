"""How a board in the field comes to the next trust record, before it believes anything else.

A board that holds version N asks for the record that follows N. It accepts it when the root
thresholds of both records signed it, and nothing goes back (docs/spec/trust.md §4), writes it into
the sector that does not hold the one in force, and asks again: so a board that was away for years
follows record by record. Who carries the bytes can hold a record back, and nothing more.

With a key that no longer signs assignments or freshness answers goes what it counted: whoever stole
it may have driven the sequence to its end. The counting begins anew before the record is in force,
so that a cut between the two costs nothing.

Not here: how the files come there, which is `trust_publication`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from manifests.errors import TransportError
from manifests.transfer import Fetch
from signing.roles import Role
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
        following = verify_trust_record(untrusted_bytes, current=trust)
        device.record.forget_sequences(
            of_assignments=_has_lost_a_key(Role.CAMPAIGN, trust, following),
            of_freshness=_has_lost_a_key(Role.FRESHNESS, trust, following),
        )
        device.record.trust.save(untrusted_bytes)
        trust = device.load_trust()
    return trust


def _has_lost_a_key(role: Role, before: TrustRecord, after: TrustRecord) -> bool:
    return bool(_key_ids(role, before) - (_key_ids(role, after) - after.revoked_key_ids))


def _key_ids(role: Role, record: TrustRecord) -> frozenset[bytes]:
    held = record.roles.get(role)
    return frozenset() if held is None else frozenset(key.key_id for key in held.keys)
