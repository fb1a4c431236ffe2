"""Messages of group 64 about releases: an update through a gateway, and the floor of releases.

Normative text: docs/spec/serial-link.md §4.9 and §4.11.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field
from smp import message

from provisioning.link_messages import BOARD_GROUP_ID, BoardCommand

UPDATE_CHUNK_MAX_BYTES: Final = 4096
"""Largest piece of an artifact that a board asks its gateway for in one answer."""
RELEASE_STATEMENT_MAX_BYTES: Final = 6000
"""Longest signed release statement that fits one message."""
ReleaseStatementBytes = Annotated[
    bytes, Field(min_length=1, max_length=RELEASE_STATEMENT_MAX_BYTES)
]

Counter = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]


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
