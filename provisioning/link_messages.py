"""Messages of the factory serial link: SMP group 64, "board".

SMP (Simple Management Protocol, protocol version 2) carries a CBOR map behind an 8-byte header.
The standard groups OS (echo, reset, mcumgr parameters) and image (state) are used as the `smp`
package defines them; this module adds the one user group: its commands, its errors, and what the
board says of itself. The group's other messages are in `link_identity`, `link_key_storage`,
`link_output` and `link_release`. Framing on the UART is `provisioning.link_frames`. Normative text:
docs/spec/serial-link.md.

These modules describe messages only: they open no port and interpret no answer.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Annotated, Final

from pydantic import Field
from smp import error, message

BOARD_GROUP_ID: Final = 64
BOARD_BUFFER_BYTES: Final = 6144
"""Largest SMP message (header included) that a board accepts or sends: `buf_size`."""

Digest = Annotated[bytes, Field(min_length=32, max_length=32)]
RecordBytes = Annotated[bytes, Field(min_length=1, max_length=4000)]


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
    KEY_STORAGE = 10


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
