"""The board's output as calibration and verification use it, over the factory link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.errors import BoardRefusalError, BoardRestartError, LinkTimeoutError
from provisioning.link_messages import BoardErrorCode
from provisioning.link_output import (
    OutputWriteRequest,
    OutputWriteResponse,
    RunWriteRequest,
    RunWriteResponse,
)

if TYPE_CHECKING:
    from provisioning.device_link import DeviceLink


class BoardOutput:
    """Sets static codes and currents and plays modes; implements `OutputPort`.

    Args:
        link: The board's application.
    """

    def __init__(self, link: DeviceLink) -> None:
        self._link = link
        self._running: tuple[str, int] | None = None

    def set_output_code(self, code: int) -> None:
        """Drive a raw DAC code.

        Raises:
            BoardRefusalError: The board has no such code.
            BoardRestartError: The board restarts instead.
        """
        self._stop_waveform()
        self._drive(f"code {code}", code=code)

    def set_output_current_na(self, current_na: int) -> int:
        """Drive a current through the board's own calibration.

        Args:
            current_na: Current in nanoamps.

        Returns:
            The DAC code that the board chose.

        Raises:
            BoardRefusalError: There is no calibration, or the current is outside its span.
            BoardRestartError: The board restarts instead.
        """
        self._stop_waveform()
        return self._drive(f"{current_na / 1_000:g} µA", na=current_na).code

    def output_off(self) -> None:
        """Stop a waveform and switch the output off."""
        self._stop_waveform()
        self._link.request(OutputWriteRequest, OutputWriteResponse, en=False)

    def run_waveform(self, mode: str, level_index: int) -> int:
        """Play a mode of the board's waveform table.

        Args:
            mode: Name of the mode.
            level_index: Level, from 0.

        Returns:
            Whole repeat period in microseconds, polarity cycle included.

        Raises:
            BoardRefusalError: No approved table, no calibration, or outside the verified span.
        """
        return self._play(mode, level_index).period_us

    def run_waveform_from(self, mode: str, level_index: int, start_us: int) -> int | None:
        """Play a mode as if its session had begun some time ago.

        Args:
            mode: Name of the mode.
            level_index: Level, from 0.
            start_us: How far into the session it begins, µs; a whole number of ticks.

        Returns:
            Whole repeat period in microseconds; `None` from a board that does not know starts, by
            its refusal of the key or by an answer without it. Nothing plays then.

        Raises:
            BoardRefusalError: No approved table, no calibration, or outside the verified span.
        """
        try:
            answer = self._play(mode, level_index, start_us=start_us)
        except BoardRefusalError as error:
            if error.code_name == BoardErrorCode.BAD_VALUE.name:
                return None
            raise
        if answer.start_us == start_us:
            return answer.period_us
        self._stop_waveform()
        return None

    def _play(self, mode: str, level_index: int, **start: int) -> RunWriteResponse:
        def request() -> RunWriteResponse:
            return self._link.request(
                RunWriteRequest, RunWriteResponse, mode=mode, level=level_index, en=True, **start
            )

        self._stop_waveform()
        try:
            answer = request()
        except BoardRefusalError as error:
            if error.code_name != BoardErrorCode.IN_SESSION.name:
                raise
            # The answer was lost and the request repeated: what plays began at an unknown time.
            self._running = (mode, level_index)
            self._stop_waveform()
            answer = request()
        self._running = (mode, level_index)
        return answer

    def _drive(self, what: str, **fields: int) -> OutputWriteResponse:
        try:
            return self._link.request(OutputWriteRequest, OutputWriteResponse, en=True, **fields)
        except LinkTimeoutError as error:
            # A dead link stays silent. A board whose supply gives way is back after its boot.
            try:
                self._link.wait_until_ready()
            except LinkTimeoutError:
                raise error from None
            raise BoardRestartError(
                "the board goes silent each time it drives this, and answers again afterwards",
                expected=f"an answer to {what}",
                got="silence, then an answer to `info`",
                where=self._link.where,
                hint="its supply browns out under load: look at the battery, the boost converter "
                "and the contacts of the fixture",
            ) from error

    def _stop_waveform(self) -> None:
        if self._running is None:
            return
        mode, level_index = self._running
        self._link.request(
            RunWriteRequest, RunWriteResponse, mode=mode, level=level_index, en=False
        )
        self._running = None
