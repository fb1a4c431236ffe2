"""What a station signs about its chain: how many events it has, and the hash of the last.

The payload is deterministic CBOR (docs/spec/ledger-and-record-export.md §8):

| key | type | meaning |
|---|---|---|
| 1 | int | format, 1 |
| 2 | str | UUID of the ledger |
| 3 | int | epoch of the ledger |
| 4 | str | station |
| 5 | int | count: events in the station's chain |
| 6 | bytes | head: hash of the last of them, 32 bytes; zeros when there is none |
| 7 | str | time, UTC, RFC 3339 with microseconds |

Signed as COSE_Sign1 by the station's key, whose certificate the factory CA issued. A head says
nothing about what comes after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.errors import LedgerError
from provisioning.ledger_events import STATION_PATTERN, format_time, parse_time
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.certificate_fields import CertificateKind
from signing.certificates import verify_certificate
from signing.cose import sign_one, verify_one
from signing.cose_message import parse_message
from signing.errors import CborError
from signing.hash_chain import GENESIS, HASH_BYTES

if TYPE_CHECKING:
    import datetime as dt

    from signing.certificates import Certificate
    from signing.signers import Signer

HEAD_FORMAT: Final = 1
HEAD_CONTENT_TYPE: Final = "application/vnd.ampforge.signed-head+cbor"
SIGNED_HEAD_MAX_BYTES: Final = 1024
_COUNT_MAX: Final = 1 << 53
_UUID_CHARACTERS_MAX: Final = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """Where a station's chain ended when the station signed it.

    Attributes:
        ledger_uuid: The ledger.
        epoch: Its epoch then.
        station: The station, whose chain and whose key it is.
        count: Events in the chain.
        head: Hash of the last, 32 bytes.
        at: When it was signed, aware.
    """

    ledger_uuid: str
    epoch: int
    station: str
    count: int
    head: bytes
    at: dt.datetime


def serialize_head(head: ChainHead) -> bytes:
    """Return the payload."""
    return serialize_cbor(
        {
            1: HEAD_FORMAT,
            2: head.ledger_uuid,
            3: head.epoch,
            4: head.station,
            5: head.count,
            6: head.head,
            7: format_time(head.at),
        }
    )


def parse_head(untrusted_bytes: bytes) -> ChainHead:
    """Return what a payload says.

    Raises:
        LedgerError: It is not such a payload, or says what no chain can be.
    """
    try:
        document = parse_cbor(untrusted_bytes, max_bytes=SIGNED_HEAD_MAX_BYTES, max_depth=1)
    except CborError as error:
        raise _no_head(error) from error
    match document:
        case {
            1: int(version),
            2: str(ledger_uuid),
            3: int(epoch),
            4: str(station),
            5: int(count),
            6: bytes(head),
            7: str(at),
            **rest,
        } if not rest and type(version) is int and version == HEAD_FORMAT:
            pass
        case _:
            raise _no_head("another shape")
    if not 1 <= len(ledger_uuid) <= _UUID_CHARACTERS_MAX or type(epoch) is not int or epoch < 1:
        raise _no_head("no ledger that there could be")
    if STATION_PATTERN.fullmatch(station) is None:
        raise _no_head("a station that cannot be one")
    if type(count) is not int or not 0 <= count <= _COUNT_MAX or len(head) != HASH_BYTES:
        raise _no_head("no count and hash of a chain")
    if (count == 0) != (head == GENESIS):
        raise _no_head("a count that contradicts its hash")
    parsed = ChainHead(
        ledger_uuid=ledger_uuid,
        epoch=epoch,
        station=station,
        count=count,
        head=head,
        at=parse_time(at),
    )
    if serialize_head(parsed) != untrusted_bytes:
        raise _no_head("a time in another form")
    return parsed


def sign_head(head: ChainHead, signer: Signer) -> bytes:
    """Sign a head with the station's key, as COSE_Sign1."""
    return sign_one(serialize_head(head), signer, content_type=HEAD_CONTENT_TYPE)


class StationCertificates:
    """Verifies heads against the factory CA; each certificate once, however many heads it signed.

    Args:
        ca_der: Certificate of the factory CA, trusted; `None` to read heads unverified, where
            nothing says which CA is the factory's.
        now: The present, aware.

    Attributes:
        ca_der: As given.
    """

    def __init__(self, ca_der: bytes | None, *, now: dt.datetime | None) -> None:
        self.ca_der = ca_der
        self._now = now
        self._known: dict[bytes, Certificate] = {}

    @property
    def is_verifying(self) -> bool:
        """Whether signatures are verified at all."""
        return self.ca_der is not None

    def verify(self, untrusted_bytes: bytes, untrusted_der: bytes) -> ChainHead:
        """Return a head that was signed by the station it names.

        Args:
            untrusted_bytes: The signed head.
            untrusted_der: Certificate of the station that signed it.

        Raises:
            SigningError: Certificate or signature do not verify.
            LedgerError: It is no head, or one of another station than the certificate's.
        """
        if self.ca_der is None:
            return parse_head(
                parse_message(untrusted_bytes, max_bytes=SIGNED_HEAD_MAX_BYTES).payload
            )
        certificate = self._certificate(untrusted_der, self.ca_der)
        verified = verify_one(
            untrusted_bytes,
            [certificate.public_key],
            content_type=HEAD_CONTENT_TYPE,
            max_bytes=SIGNED_HEAD_MAX_BYTES,
        )
        head = parse_head(verified.payload)
        if head.station != certificate.common_name:
            raise LedgerError(
                "the head of a chain is signed by another station",
                expected=f"the key of {head.station}",
                got=f"the key of {ascii(certificate.common_name)[:80]}",
                hint="a station signs its own chain alone",
            )
        return head

    def key_id(self, untrusted_der: bytes) -> bytes:
        """Return the id of the key that a station's certificate is for.

        Raises:
            CertificateError: The factory CA did not issue it.
        """
        assert self.ca_der is not None, "an unverified certificate is nobody's"
        return self._certificate(untrusted_der, self.ca_der).public_key.key_id

    def _certificate(self, untrusted_der: bytes, ca_der: bytes) -> Certificate:
        known = self._known.get(untrusted_der)
        if known is None:
            assert self._now is not None, "a certificate is verified at a moment"
            known = verify_certificate(
                untrusted_der, ca_der, now=self._now, kind=CertificateKind.STATION
            )
            self._known[untrusted_der] = known
        return known


def _no_head(got: object) -> LedgerError:
    return LedgerError(
        "this is not the head of a chain",
        expected="a CBOR map with keys 1 to 7",
        got=got,
        hint="get it again from the station that signed it",
    )
