"""What the firmware lets happen at the electrodes: static codes, currents, and waveforms.

A current goes through the unit's calibration and stays inside its verified span; a waveform blocks
everything else but switching off (docs/spec/serial-link.md §4.5, §4.7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.calibration_record import code_for_current_na
from firmware_images.errors import CalibrationRecordError, FirmwareImageError, RecordError
from provisioning.link_messages import BoardErrorCode
from provisioning.link_output import (
    OutputWriteRequest,
    OutputWriteResponse,
    RunWriteRequest,
    RunWriteResponse,
)
from provisioning.simulator.analog import DAC_CODES, MID_CODE
from provisioning.simulator.smp_server import BoardRefusalError
from provisioning.simulator.waveform_engine import WaveformEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_images.calibration_record import CalibrationRecord
    from firmware_images.waveform import Level, Mode, WaveformTable
    from provisioning.simulator.hardware import Hardware


class OutputControl:
    """The output of one boot.

    Args:
        board: The hardware.
        load_calibration: Returns the valid calibration record, or refuses.
    """

    def __init__(
        self, board: Hardware, *, load_calibration: Callable[[], CalibrationRecord]
    ) -> None:
        self._board = board
        self._load_calibration = load_calibration
        self._engine: WaveformEngine | None = None
        self._is_locked = False

    @property
    def has_session(self) -> bool:
        """Whether a waveform is running."""
        return self._engine is not None and self._engine.is_running(self._board.output.time_s)

    def lock(self) -> None:
        """Switch off, and refuse to switch on until unlocked, or the next boot."""
        self._is_locked = True
        self._switch_off()

    def unlock(self) -> None:
        """Take a lock back."""
        self._is_locked = False

    def serve(self, request: OutputWriteRequest) -> OutputWriteResponse:
        """Switch the static output.

        Raises:
            BoardRefusalError: A waveform runs, or the request is not one code or one current that
                this unit may drive.
        """
        if not request.en:
            self._switch_off()
            return OutputWriteResponse(code=MID_CODE)
        self._refuse_start()
        if (request.code is None) == (request.na is None):
            raise BoardRefusalError(BoardErrorCode.BAD_VALUE, "exactly one of code and na")
        if request.na is not None:
            code = _code_for_na(self._load_calibration(), request.na)
        else:
            assert request.code is not None
            code = request.code
        if code >= DAC_CODES:
            raise BoardRefusalError(BoardErrorCode.BAD_VALUE, f"the DAC has {DAC_CODES} codes")
        self._board.drive_code(code)
        return OutputWriteResponse(code=code)

    def run(self, request: RunWriteRequest, table: WaveformTable) -> RunWriteResponse:
        """Start or stop a mode.

        Args:
            request: What to play.
            table: The approved table of the running slot.

        Raises:
            BoardRefusalError: The table has no such level, a waveform runs, or the calibration does
                not cover it.
        """
        try:
            mode = table.mode(request.mode)
        except FirmwareImageError as error:
            raise BoardRefusalError(BoardErrorCode.BAD_VALUE, error) from error
        if request.level >= len(mode.levels):
            raise BoardRefusalError(
                BoardErrorCode.BAD_VALUE, f"{mode.name} has {len(mode.levels)} levels"
            )
        level = mode.levels[request.level]
        if request.en:
            start_us = 0 if request.start_us is None else request.start_us
            self._start(table, mode, level, start_us)
        else:
            self._switch_off()
        return RunWriteResponse(
            period_us=mode.repeat_ticks(level) * table.tick_us, start_us=request.start_us
        )

    def _start(self, table: WaveformTable, mode: Mode, level: Level, start_us: int) -> None:
        self._refuse_start()
        end_us = min(mode.session_ticks, table.hard_stop_ticks) * table.tick_us
        if start_us >= end_us or start_us % table.tick_us:
            raise BoardRefusalError(
                BoardErrorCode.BAD_VALUE,
                f"a start is a multiple of {table.tick_us} µs before {end_us} µs, not {start_us}",
            )
        calibration = self._load_calibration()
        output = self._board.output
        self._engine = WaveformEngine(
            table,
            mode,
            level,
            start_s=output.time_s - start_us * 1e-6,
            code_for_na=lambda current_na: _code_for_na(calibration, current_na),
        )
        output.play(self._engine.pieces)

    def _switch_off(self) -> None:
        self._engine = None
        self._board.output.switch_off()

    def _refuse_start(self) -> None:
        if self.has_session:
            raise BoardRefusalError(BoardErrorCode.IN_SESSION, "a waveform is running")
        if self._is_locked:
            raise BoardRefusalError(
                BoardErrorCode.BAD_STATE, "the output is locked until the next boot"
            )
        try:
            is_unproven = self._board.is_unproven()
        except RecordError as error:
            raise BoardRefusalError(BoardErrorCode.BAD_STATE, error) from error
        if is_unproven:
            raise BoardRefusalError(
                BoardErrorCode.BAD_STATE, "the output is off until this release has proved itself"
            )


def _code_for_na(calibration: CalibrationRecord, current_na: int) -> int:
    try:
        return code_for_current_na(calibration, current_na)
    except CalibrationRecordError as error:
        raise BoardRefusalError(BoardErrorCode.OUT_OF_SPAN, error) from error
