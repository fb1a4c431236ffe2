"""Messages of group 64 that make a board one unit: identity, certificate, challenge and trust.

Normative text: docs/spec/serial-link.md §4.2 to §4.4 and §4.8.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field
from smp import message

from provisioning.link_messages import BOARD_GROUP_ID, BoardCommand, RecordBytes

CHALLENGE_CONTENT_TYPE: Final = "application/vnd.ampforge.challenge+cbor"
NONCE_MIN_BYTES: Final = 16
NONCE_MAX_BYTES: Final = 64

SerialText = Annotated[str, Field(min_length=1, max_length=20)]
JobText = Annotated[str, Field(min_length=1, max_length=64)]
CertificateBytes = Annotated[bytes, Field(min_length=1, max_length=2048)]


class IdentityWriteRequest(message.WriteRequest):
    """Give the board its serial number and ask for a certificate request."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.IDENTITY

    serial: SerialText
    job: JobText


class IdentityWriteResponse(message.WriteResponse):
    """PKCS#10 request over the board's own key, DER."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.IDENTITY

    csr: CertificateBytes


class CertificateWriteRequest(message.WriteRequest):
    """Store the device certificate and, when given, the first trust record."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.CERTIFICATE

    cert: CertificateBytes
    trust: RecordBytes | None = None


class CertificateWriteResponse(message.WriteResponse):
    """The certificate is stored and read back."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.CERTIFICATE


class CertificateReadRequest(message.ReadRequest):
    """Ask for the stored device certificate."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.CERTIFICATE


class CertificateReadResponse(message.ReadResponse):
    """The device certificate, DER; empty when there is none."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.CERTIFICATE

    cert: Annotated[bytes, Field(max_length=2048)]


class ChallengeWriteRequest(message.WriteRequest):
    """Ask the board to prove that it holds the private key."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.CHALLENGE

    nonce: Annotated[bytes, Field(min_length=NONCE_MIN_BYTES, max_length=NONCE_MAX_BYTES)]


class ChallengeWriteResponse(message.WriteResponse):
    """COSE_Sign1 by the device key over {1: nonce, 2: serial, 3: mac, 4: application SHA-256}."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.CHALLENGE

    sig: Annotated[bytes, Field(min_length=1, max_length=1024)]


class TrustWriteRequest(message.WriteRequest):
    """Store a next trust record, signed by the old and the new root keys."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.TRUST

    rec: RecordBytes


class TrustWriteResponse(message.WriteResponse):
    """Version of the trust record in force."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.TRUST

    ver: Annotated[int, Field(ge=1)]


class TrustReadRequest(message.ReadRequest):
    """Ask which trust record is in force."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.TRUST


class TrustReadResponse(message.ReadResponse):
    """Version of the trust record in force; 0 when there is none."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.TRUST

    ver: Annotated[int, Field(ge=0)]
