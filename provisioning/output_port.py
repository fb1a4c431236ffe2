"""What calibration and verification need from a board: to set its output and to play a mode."""

from __future__ import annotations

from typing import Protocol


class OutputPort(Protocol):
    """The output of one board. Every method may raise a `ProvisioningError` of the link."""

    def set_output_code(self, code: int) -> None:
        """Drive a raw DAC code."""
        ...

    def set_output_current_na(self, current_na: int) -> int:
        """Drive a current, nA, through the board's own record; return the code it chose."""
        ...

    def output_off(self) -> None:
        """Stop whatever is driven and disconnect."""
        ...

    def run_waveform(self, mode: str, level_index: int) -> int:
        """Play a level (from 0) of a mode; return the whole repeat period, µs."""
        ...

    def run_waveform_from(self, mode: str, level_index: int, start_us: int) -> int | None:
        """Play a level as if its session had begun so many µs ago.

        Returns:
            The whole repeat period, µs; `None` from a board that can begin at the start only, and
            then nothing plays.
        """
        ...
