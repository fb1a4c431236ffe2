"""Messages of group 64 about the electrodes: static output, calibration record and waveforms.

Normative text: docs/spec/serial-link.md §4.5 to §4.7.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from smp import message

from provisioning.link_messages import BOARD_GROUP_ID, BoardCommand, RecordBytes


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
    start_us: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """How far into the session the mode begins, in microseconds; a whole number of ticks."""


class RunWriteResponse(message.WriteResponse):
    """Whole repeat period of the running mode, polarity cycle included."""

    _GROUP_ID = BOARD_GROUP_ID
    _COMMAND_ID = BoardCommand.RUN

    period_us: Annotated[int, Field(ge=1, le=2**53)]
    start_us: int | None = None
    """The requested start again; a board that does not know starts leaves it out."""
