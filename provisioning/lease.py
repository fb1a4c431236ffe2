"""A lease: a block of serial numbers that a station may give while the ledger is out of reach.

The payload is deterministic CBOR, a map of integer keys (docs/spec/lease.md §2):

    key  type          meaning
     1   int           format, 1
     2   text          UUID of the ledger
     3   int           epoch of the ledger
     4   text or null  opening of the epoch
     5   text          station
     6   int           number of the lease among the station's, from 1
     7   bytes         name of the request that it answers, 16
     8   text          prefix of the serial numbers
     9   text          model of the serial numbers
    10   int           ISO year of the serial numbers
    11   int           ISO week of the serial numbers
    12   int           first sequence
    13   int           last sequence
    14   text          issued at
    15   text          expires at
    16   int           events in the station's chain when it was written
    17   bytes         head of that chain, 32
    18   bytes         place that it may be used in, 32
    19   text          format of the serial numbers, as a picture

Signed as COSE_Sign1 by the station's own key: the document must be one that this very station made
of what it saw in the ledger, and that nobody edited since. Whether the ledger agrees is asked again
when it can be reached.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioning.errors import LeaseError, ProvisioningError
from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.ledger_events import STATION_PATTERN, format_time, parse_time
from provisioning.number_span import NumberSpan
from provisioning.serial_formats import SerialFormat, parse_format
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.certificate_fields import CertificateKind
from signing.certificates import verify_certificate
from signing.cose import sign_one, verify_one
from signing.errors import CborError

if TYPE_CHECKING:
    from signing.signers import Signer

FORMAT: Final = 1
LEASE_CONTENT_TYPE: Final = "application/vnd.ampforge.lease+cbor"
LEASE_MAX_BYTES: Final = 2048
COUNT_MAX: Final = 10_000
DAYS_MAX: Final = 31
NUMBER_MAX: Final = 999_999
REQUEST_BYTES: Final = 16
STATION_MAX_LENGTH: Final = 57
"""A lease's chain is called STATION/number, and a chain's name has at most 64 characters."""
_HASH_BYTES: Final = 32
_COUNT_LIMIT: Final = 2**53
_NAME: Final = re.compile(r"[!-~]{1,36}", re.ASCII)
_HINT: Final = "do not use it; when the ledger can be reached: `ampforge station sync`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease(NumberSpan):
    """One block of serial numbers, and who may give them until when.

    Attributes:
        ledger_uuid: The ledger that gave it.
        epoch: Its epoch.
        opening: Name of the restore that opened the epoch; `None` in the first.
        station: The only station that may use it.
        number: Number of the lease among the station's, from 1.
        request: Name of the request that it answers, 16 bytes.
        issued_at: When the ledger gave it, aware.
        expires_at: From when on no number of it may be given, aware.
        event_count: Events in the station's chain when it was written.
        head: Head of that chain, 32 bytes.
        place: Digest of the file and the machine that it belongs to, 32 bytes.
        serial_format: What the ledger's serial numbers look like.
    """

    ledger_uuid: str
    epoch: int
    opening: str | None
    station: str
    number: int
    request: bytes
    issued_at: dt.datetime
    expires_at: dt.datetime
    event_count: int
    head: bytes
    place: bytes
    serial_format: SerialFormat

    @property
    def chain(self) -> str:
        """Name of the chain of what is done under it."""
        return f"{self.station}/{self.number}"

    def serial(self, sequence: int) -> str:
        """Return the serial number of one sequence."""
        return self.serial_in(self.serial_format, sequence)


def serialize_lease(lease: Lease) -> bytes:
    """Return the payload of a lease."""
    return serialize_cbor(
        {
            1: FORMAT,
            2: lease.ledger_uuid,
            3: lease.epoch,
            4: lease.opening,
            5: lease.station,
            6: lease.number,
            7: lease.request,
            8: lease.prefix,
            9: lease.model,
            10: lease.year,
            11: lease.week,
            12: lease.first_sequence,
            13: lease.last_sequence,
            14: format_time(lease.issued_at),
            15: format_time(lease.expires_at),
            16: lease.event_count,
            17: lease.head,
            18: lease.place,
            19: lease.serial_format.picture,
        }
    )


def parse_lease(untrusted_bytes: bytes) -> Lease:
    """Return what the payload of a lease says.

    Raises:
        LeaseError: It is not such a payload, or no ledger would give such a lease.
    """
    try:
        document = parse_cbor(untrusted_bytes, max_bytes=LEASE_MAX_BYTES, max_depth=1)
    except CborError as error:
        raise _malformed(str(error)) from error
    match document:
        case {
            1: int(version),
            2: str(ledger_uuid),
            3: int(epoch),
            4: (str() | None) as opening,
            5: str(station),
            6: int(number),
            7: bytes(request),
            8: str(prefix),
            9: str(model),
            10: int(year),
            11: int(week),
            12: int(first_sequence),
            13: int(last_sequence),
            14: str(issued_at),
            15: str(expires_at),
            16: int(event_count),
            17: bytes(head),
            18: bytes(place),
            19: str(picture),
            **rest,
        } if not rest and not _has_booleans(document):
            if version != FORMAT:
                raise _malformed(f"format {version}")
            try:
                lease = Lease(
                    ledger_uuid=ledger_uuid,
                    epoch=epoch,
                    opening=opening,
                    station=station,
                    number=number,
                    request=request,
                    prefix=prefix,
                    model=model,
                    year=year,
                    week=week,
                    first_sequence=first_sequence,
                    last_sequence=last_sequence,
                    issued_at=parse_time(issued_at),
                    expires_at=parse_time(expires_at),
                    event_count=event_count,
                    head=head,
                    place=place,
                    serial_format=parse_format(picture),
                )
            except ProvisioningError as error:
                raise _malformed(str(error)) from error
            _require_sound(lease)
            if serialize_lease(lease) != untrusted_bytes:
                raise _malformed("a time in another form")
            return lease
    raise _malformed("another shape")


def sign_lease(lease: Lease, signer: Signer) -> bytes:
    """Sign a lease with the station's key."""
    return sign_one(serialize_lease(lease), signer, content_type=LEASE_CONTENT_TYPE)


def verify_lease(
    untrusted_bytes: bytes, *, station: str, station_der: bytes, ca_der: bytes, now: dt.datetime
) -> Lease:
    """Return a lease after it was verified as this station's own.

    Args:
        untrusted_bytes: The signed document.
        station: Name of the station that wants to use it.
        station_der: The station's certificate, unverified.
        ca_der: The factory CA's certificate, trusted.
        now: The present, aware.

    Raises:
        SigningError: Certificate or signature do not verify.
        LeaseError: It is not a lease, or another station's.
    """
    certificate = verify_certificate(station_der, ca_der, now=now, kind=CertificateKind.STATION)
    verified = verify_one(
        untrusted_bytes,
        [certificate.public_key],
        content_type=LEASE_CONTENT_TYPE,
        max_bytes=LEASE_MAX_BYTES,
    )
    lease = parse_lease(verified.payload)
    if not lease.station == certificate.common_name == station:
        raise LeaseError(
            "the lease is another station's",
            expected=station,
            got=lease.station,
            hint="each station takes its own: `ampforge serials lease`",
        )
    return lease


def _require_sound(lease: Lease) -> None:
    """Refuse what no ledger gives (docs/spec/lease.md §2)."""
    _require("ledger", _NAME.fullmatch(lease.ledger_uuid), lease.ledger_uuid)
    _require("opening", lease.opening is None or _NAME.fullmatch(lease.opening), lease.opening)
    is_station = STATION_PATTERN.fullmatch(lease.station) is not None
    _require("station", is_station and len(lease.station) <= STATION_MAX_LENGTH, lease.station)
    _require("lease number", 1 <= lease.number <= NUMBER_MAX, lease.number)
    for what, value, length_bytes in (
        ("request", lease.request, REQUEST_BYTES),
        ("chain head", lease.head, _HASH_BYTES),
        ("place", lease.place, _HASH_BYTES),
    ):
        _require(what, len(value) == length_bytes, f"{len(value)} bytes")
    _require("event count", 1 <= lease.event_count <= _COUNT_LIMIT, lease.event_count)
    try:
        allowed = sequences_of_epoch(lease.epoch, lease.serial_format)
        lease.serial(allowed[0])  # refuses prefix, model, year and week
    except ProvisioningError as error:
        raise _malformed(str(error)) from error
    first, last = lease.first_sequence, lease.last_sequence
    is_block = first in allowed and last in allowed and 1 <= last - first + 1 <= COUNT_MAX
    _require("block", is_block, f"{first} to {last}")
    lasts = lease.expires_at - lease.issued_at
    is_time = dt.timedelta(0) < lasts <= dt.timedelta(days=DAYS_MAX)
    _require("time", is_time, f"{format_time(lease.issued_at)} to {format_time(lease.expires_at)}")


def _require(what: str, is_right: object, got: Any) -> None:
    if not is_right:
        raise _malformed(f"{what} {got!r:.80}")


def _malformed(got: object) -> LeaseError:
    return LeaseError(
        "this is not a lease of serial numbers",
        expected="keys 1 to 19 as in docs/spec/lease.md §2",
        got=got,
        hint=_HINT,
    )


def _has_booleans(document: object) -> bool:
    """Whether a value is true or false, which Python takes for integers."""
    return isinstance(document, dict) and any(
        isinstance(value, bool) for value in document.values()
    )
