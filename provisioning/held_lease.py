"""The lease that a station holds: the signed document in its folder, verified before it is used.

Where the document lies is `lease_folder`, what it says `lease`; here it is held against the
station's certificates and the outbox beside it. Whether it may be used now is not asked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.errors import LeaseError
from provisioning.lease import verify_lease
from provisioning.station_files import (
    CA_CERTIFICATE_NAME,
    STATION_CERTIFICATE_NAME,
    read_certificate,
)

if TYPE_CHECKING:
    import datetime as dt

    from provisioning.lease import Lease
    from provisioning.lease_folder import LeaseFiles


def verify_held(files: LeaseFiles, *, station: str, now: dt.datetime) -> Lease:
    """Return the lease in a station's folder after it was verified.

    Raises:
        LeaseError: It is missing, is no lease, or is another station's or request's.
        SigningError: It does not verify.
        StationError: The station's certificates cannot be read.
    """
    document = files.read_document()
    if document is None:
        raise LeaseError(
            "the signed lease is missing",
            expected="the file that `ampforge serials lease` wrote",
            got="no such file",
            where=files.document,
            hint="put it back from where it went; see the how-to on leases",
        )
    lease = verify_lease(
        document,
        station=station,
        station_der=read_certificate(files.folder / STATION_CERTIFICATE_NAME),
        ca_der=read_certificate(files.folder / CA_CERTIFICATE_NAME),
        now=now,
    )
    if lease.request != files.request:
        raise LeaseError(
            "the lease is another one than the outbox beside it",
            expected=files.request.hex(),
            got=lease.request.hex(),
            where=files.document,
            hint="put the right file back",
        )
    return lease
