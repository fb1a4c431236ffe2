"""A NOR flash chip in a file: erases to FF by sector, and a write can only clear bits.

Every operation goes straight to the file, so a killed process leaves exactly what the chip would
hold. One chip is soldered to one board: the file is locked while it is open. The chip's faults
come from the board's `FaultPlan`.
"""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING, Final, Self

from firmware_images.flash_medium import ERASED_BYTE, SECTOR_BYTES, check_range
from provisioning.errors import SimulatorError
from provisioning.simulator.faults import NO_FAULTS, FaultPlan, PowerCutError
from signing.durable_file import create_durably

if TYPE_CHECKING:
    from pathlib import Path

FLASH_SIZE_BYTES: Final = 4 * 1024 * 1024
_ERASED: Final = bytes([ERASED_BYTE])


class NorFlash:
    """One flash chip; implements `firmware_images.flash_medium.FlashMedium`.

    Args:
        path: The file; made, and filled with FF, if it is not there.
        size_bytes: Capacity.
        faults: What is wrong with the chip.

    Raises:
        SimulatorError: The file has another size, cannot be opened, or another board uses it.
    """

    def __init__(
        self, path: Path, *, size_bytes: int = FLASH_SIZE_BYTES, faults: FaultPlan = NO_FAULTS
    ) -> None:
        self.size_bytes = size_bytes
        self.written_bytes = 0
        self._faults = faults
        self._lock = threading.RLock()
        try:
            if not path.exists():
                create_durably(path, _ERASED * size_bytes, mode=0o644)
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise SimulatorError(
                "the flash file cannot be opened", got=error.strerror, where=path
            ) from error
        self._refuse_second_user(path)
        actual_bytes = os.fstat(self._file).st_size
        if actual_bytes != size_bytes:
            os.close(self._file)
            raise SimulatorError(
                "the flash file has the wrong size",
                expected=f"{size_bytes} bytes",
                got=f"{actual_bytes} bytes",
                where=path,
                hint="remove the file to start with an erased flash",
            )

    def _refuse_second_user(self, path: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise SimulatorError(
                "the simulated board is in use",
                got=error.strerror,
                where=path,
                hint="end the process that runs this board, or talk to it through its port",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the content stays."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return bytes of the flash."""
        check_range(offset_bytes, size_bytes, capacity_bytes=self.size_bytes)
        return os.pread(self._file, size_bytes, offset_bytes)

    def erase(self, offset_bytes: int, size_bytes: int) -> None:
        """Set whole sectors to FF.

        Raises:
            PowerCutError: The plan cuts the power here; the sectors before it are erased.
        """
        check_range(offset_bytes, size_bytes, capacity_bytes=self.size_bytes, whole_sectors=True)
        with self._lock:
            self._change(offset_bytes, _ERASED * size_bytes)

    def write(self, offset_bytes: int, content: bytes) -> None:
        """Clear bits: each byte becomes the old byte AND the new one.

        Raises:
            PowerCutError: The plan cuts the power here; the bytes before it are written.
        """
        check_range(offset_bytes, len(content), capacity_bytes=self.size_bytes)
        with self._lock:
            old = os.pread(self._file, len(content), offset_bytes)
            if old.count(_ERASED) != len(old):
                both = int.from_bytes(old, "little") & int.from_bytes(content, "little")
                content = both.to_bytes(len(content), "little")
            self._change(offset_bytes, content)

    def _change(self, offset_bytes: int, content: bytes) -> None:
        cut_after_bytes = self._faults.power_cut_after_bytes
        is_cut = (
            cut_after_bytes is not None
            and self.written_bytes <= cut_after_bytes < self.written_bytes + len(content)
        )
        if is_cut and cut_after_bytes is not None:
            content = content[: cut_after_bytes - self.written_bytes]
        self.written_bytes += len(content) + int(is_cut)
        if self._faults.dead_sectors:
            self._change_living(offset_bytes, content)
        else:
            os.pwrite(self._file, content, offset_bytes)
        if is_cut:
            raise PowerCutError(f"the power is cut by plan at flash offset {offset_bytes:#x}")

    def _change_living(self, offset_bytes: int, content: bytes) -> None:
        position = offset_bytes
        end = offset_bytes + len(content)
        while position < end:
            sector, skipped = divmod(position, SECTOR_BYTES)
            piece_bytes = min(SECTOR_BYTES - skipped, end - position)
            if sector not in self._faults.dead_sectors:
                start = position - offset_bytes
                os.pwrite(self._file, content[start : start + piece_bytes], position)
            position += piece_bytes
