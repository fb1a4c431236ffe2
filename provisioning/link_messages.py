"""Messages of the factory serial link: SMP group 64, "board".

SMP (Simple Management Protocol, protocol version 2) carries a CBOR map behind an 8-byte header.
The standard groups OS (echo, reset, mcumgr parameters) and image (state) are used as the `smp`
package defines them; this module adds the one user group. Framing on the UART is
`provisioning.link_frames`. Normative text: docs/spec/serial-link.md.

This module describes messages only: it opens no port and interprets no answer.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Annotated, Final

from pydantic import Field
from smp import error, message

BOARD_GROUP_ID: Final = 64
BOARD_BUFFER_BYTES: Final = 6144
"""Largest SMP message (header included) that a board accepts or sends: `buf_size`."""
UPDATE_CHUNK_MAX_BYTES: Final = 4096
"""Largest piece of an artifact that a board asks its gateway for in one answer."""
CHALLENGE_CONTENT_TYPE: Final = "application/vnd.ampforge.challenge+cbor"
NONCE_MIN_BYTES: Final = 16
NONCE_MAX_BYTES: Final = 64

SerialText = Annotated[str, Field(min_length=1, max_length=20)]
JobText = Annotated[str, Field(min_length=1, max_length=64)]
Digest = Annotated[bytes, Field(min_length=32, max_length=32)]
RecordBytes = Annotated[bytes, Field(min_length=1, max_length=4000)]
CertificateBytes = Annotated[bytes, Field(min_length=1, max_length=2048)]
RELEASE_STATEMENT_MAX_BYTES: Final = 6000
"""Longest signed release statement that fits one message."""
ReleaseStatementBytes = Annotated[
    bytes, Field(min_length=1, max_length=RELEASE_STATEMENT_MAX_BYTES)
]
Counter = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]


@unique
class BoardCommand(IntEnum):
    """Command ids of group 64."""

    INFO = 0
    IDENTITY = 1
    CERTIFICATE = 2
    CHALLENGE = 3
    OUTPUT = 4
    CALIBRATION = 5
    RUN = 6
    TRUST = 7
    UPDATE = 8
    RELEASE = 9


@unique
class BoardErrorCode(IntEnum):
    """`rc` of an SMP version 2 error of group 64."""

    OK = 0
    BAD_STATE = 1
    """The board cannot do this now, or was given another identity before."""
    BAD_VALUE = 2
    """A field is missing, of another type, or out of its range."""
    NOT_CALIBRATED = 3
    """A current was asked for and there is no valid calibration record."""
    OUT_OF_SPAN = 4
    """The current is outside the verified span, or needs a code the DAC does not have."""
    BAD_SIGNATURE = 5
    """A record, certificate or approval does not verify against the board's trust record."""
    STORAGE = 6
    """Flash could not be written, or read back differently."""
    IN_SESSION = 7
    """A waveform is running."""


class BoardError(error.ErrorV2[BoardErrorCode]):
    """Error answer of group 64: `{"err": {"group": 64, "rc": n}}`."""

    _GROUP_ID = BOARD_GROUP_ID


class InfoReadRequest(message.ReadRequest):
    """Ask who the board is and what it runs."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.INFO


class InfoReadResponse(message.ReadResponse):
    """What the board is and runs (docs/spec/serial-link.md §4.1)."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.INFO

    product: str
    hwclass: str
    hwrev: int
    chip: str
    mac: Annotated[bytes, Field(min_length=6, max_length=6)]
    app: str
    """Project name in the running application's descriptor."""
    ver: str
    """Version in the running application's descriptor."""
    appsha: Digest
    """SHA-256 of the application image file, exactly the bytes that were flashed."""
    elfsha: Digest
    tabsha: Annotated[bytes, Field(max_length=32)]
    """SHA-256 of the waveform table in use; empty when there is no valid, approved table."""
    serial: Annotated[str, Field(max_length=20)]
    """Serial number, empty before identity."""
    calgen: Annotated[int, Field(ge=0)]
    """Generation of the valid calibration record; 0 when there is none."""
    slot: Annotated[int, Field(ge=0, le=1)]
    otastate: str
    """State of the running slot in otadata, lower case, as `firmware_images.otadata` names it."""
    bat: Annotated[int, Field(ge=0, le=100)]
    """Battery charge, percent."""
    session: bool
    """True while a waveform runs."""


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


class OutputWriteRequest(message.WriteRequest):
    """Switch the static output; exactly one of `code` and `na` when it is switched on."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.OUTPUT

    en: bool
    code: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Raw DAC code."""
    na: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] | None = None
    """Current in nanoamps, converted by the board's own calibration record."""


class OutputWriteResponse(message.WriteResponse):
    """The DAC code that is set now."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.OUTPUT

    code: Annotated[int, Field(ge=0, le=65535)]


class CalibrationWriteRequest(message.WriteRequest):
    """Store a station-signed calibration record."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.CALIBRATION

    rec: RecordBytes


class CalibrationWriteResponse(message.WriteResponse):
    """Generation of the record slot that now holds the record."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.CALIBRATION

    gen: Annotated[int, Field(ge=1)]


class CalibrationReadRequest(message.ReadRequest):
    """Ask for the stored calibration record."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.CALIBRATION


class CalibrationReadResponse(message.ReadResponse):
    """The stored record, exactly as it was written; empty and generation 0 when there is none."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.CALIBRATION

    rec: Annotated[bytes, Field(max_length=4000)]
    gen: Annotated[int, Field(ge=0)]


class RunWriteRequest(message.WriteRequest):
    """Start or stop a mode of the waveform table."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.RUN

    mode: Annotated[str, Field(min_length=1, max_length=32)]
    level: Annotated[int, Field(ge=0, le=255)]
    """Index of the level, from 0."""
    en: bool


class RunWriteResponse(message.WriteResponse):
    """Whole repeat period of the running mode, polarity cycle included."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.RUN

    period_us: Annotated[int, Field(ge=1)]


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


class UpdateWriteRequest(message.WriteRequest):
    """Start an update through this gateway, or answer what the board asked for last."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.UPDATE

    start: bool | None = None
    """True once, to begin; then absent."""
    data: Annotated[bytes, Field(max_length=UPDATE_CHUNK_MAX_BYTES)] | None = None
    """The bytes asked for; shorter than asked only at the end of the resource."""
    off: Annotated[int, Field(ge=0)] | None = None
    """Offset of `data`; must equal the one asked for."""


class UpdateWriteResponse(message.WriteResponse):
    """What the board needs next, or how the update ended."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.UPDATE

    path: Annotated[str, Field(max_length=256)] | None = None
    off: Annotated[int, Field(ge=0)] | None = None
    len: Annotated[int, Field(ge=1, le=UPDATE_CHUNK_MAX_BYTES)] | None = None
    post: Annotated[bytes, Field(max_length=4096)] | None = None
    """When present, `path` is to be POSTed with these bytes and `data` is the answer's body."""
    done: bool | None = None
    result: Annotated[str, Field(max_length=256)] | None = None


class ReleaseWriteRequest(message.WriteRequest):
    """Show the board the signed statement of the release that it runs."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.RELEASE

    stmt: ReleaseStatementBytes
    """COSE_Sign by the release role, exactly as the bundle carries it."""


class ReleaseWriteResponse(message.WriteResponse):
    """What the board refuses to go below from now on, as read back from its flash."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.RELEASE

    counter: Counter
    policy: Counter


class ReleaseReadRequest(message.ReadRequest):
    """Ask below which release the board never goes."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.RELEASE


class ReleaseReadResponse(message.ReadResponse):
    """The release counter in force and the policy version floor; 0 before the first release."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.RELEASE

    counter: Counter
    policy: Counter
