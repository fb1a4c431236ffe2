"""Messages of group 64 about the storage of the private key: is it encrypted, and encrypt it.

Normative text: docs/spec/serial-link.md §4.12.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field
from smp import message

from provisioning.link_messages import BOARD_GROUP_ID, BoardCommand


class StoredKey(StrEnum):
    """Where the unit's private key lies."""

    NONE = "none"
    OPEN = "open"
    """In flash that is not encrypted: it was made too early."""
    ENCRYPTED = "encrypted"


class KeyStorageReadRequest(message.ReadRequest):
    """Ask whether the key storage is encrypted."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.KEY_STORAGE


class KeyStorageReadResponse(message.ReadResponse):
    """What the key storage is."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.KEY_STORAGE

    enc: bool
    """Whether it is encrypted by a key that only the chip has."""
    block: Annotated[int, Field(ge=0, le=5)] | None = None
    """Number of the eFuse key block that holds it; absent while nothing is encrypted."""
    key: Annotated[StoredKey, Field(strict=False)]
    """Where the private key lies."""


class KeyStorageWriteRequest(message.WriteRequest):
    """Have the board burn the key of its key storage, if it has none."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.KEY_STORAGE


class KeyStorageWriteResponse(message.WriteResponse):
    """What the key storage is now."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.KEY_STORAGE

    enc: bool
    block: Annotated[int, Field(ge=0, le=5)] | None = None
    key: Annotated[StoredKey, Field(strict=False)]
