"""A publisher to a bucket in a process of its own, which may be killed: `python -m … ENDPOINT ACT`.

It is given on stdin what `pack` made: keys, trust record and bundle of the process that starts it.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from datetime import UTC, datetime

from manifests.manifests_settings import RepositorySettings
from manifests.publishing import Publisher
from manifests.release_life import withdraw_release
from manifests.s3_address import S3Address
from manifests.s3_lease import LEASE_LIFETIME
from manifests.s3_store import S3Store
from signing.signers import SoftwareSigner
from signing.trust import verify_trust_record


def pack(publisher: Publisher, trust_bytes: bytes, bundle: bytes) -> bytes:
    keys = {
        role: [signer.to_pkcs8_der() for signer in held] for role, held in publisher.signers.items()
    }
    return pickle.dumps((keys, trust_bytes, bundle))


def unpack(content, endpoint):
    keys, trust_bytes, bundle = pickle.loads(content)  # noqa: S301 - from the test that started it
    publisher = Publisher(
        store=None,
        trust=verify_trust_record(trust_bytes, current=None),
        signers={
            role: tuple(SoftwareSigner.from_pkcs8_der(der) for der in held)
            for role, held in keys.items()
        },
        settings=RepositorySettings(),
        draw_bytes=lambda size_bytes: bytes(range(size_bytes)),
    )
    return onto_bucket(publisher, endpoint), bundle


def onto_bucket(publisher, endpoint, *, is_later=False):
    """The publisher now, or when the lease of a killed one has ended."""
    address = S3Address(bucket="flare", prefix="prod", endpoint=endpoint)
    ahead = LEASE_LIFETIME if is_later else LEASE_LIFETIME * 0
    return replace(publisher, store=S3Store(address, clock=lambda: datetime.now(UTC) + ahead))


def publish(publisher, bundle):
    publisher.publish_bundle(bundle, None, now=datetime.now(UTC).replace(microsecond=0))


def withdraw(publisher, _bundle):
    now = datetime.now(UTC).replace(microsecond=0)
    withdraw_release(publisher, "1.4.0", reason="stops early", now=now)


if __name__ == "__main__":
    act = {"publish": publish, "withdraw": withdraw}[sys.argv[2]]
    act(*unpack(sys.stdin.buffer.read(), sys.argv[1]))
