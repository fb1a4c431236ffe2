"""Reads and writes the flash of the chip behind a port, through esptool as a library.

A region whose MD5 in the chip is right already is not written again, so that flashing is safe to
repeat and a unit that was interrupted is not worn. esptool checks the MD5 of what it wrote. A
transfer that fails is tried again at the next lower rate (`transfer_rates`), on the same chip; how
that is found and talked to is `esptool_loader`. This module starts no application and does not know
what the regions mean.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

from firmware_images.efuse_fields import DIGEST_SLOTS
from provisioning.efuse_access import EspefuseAccess
from provisioning.errors import FlashError
from provisioning.esptool_loader import EsptoolLoader
from provisioning.flasher import ChipFacts, RegionReport, SecurityFacts
from provisioning.serial_port import LINK_BAUD
from provisioning.transfer_rates import FLASH_BAUD, RateAttempt, TransferRates, describe_fall_back

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioning.efuse_access import EfuseAccess
    from provisioning.flasher import Region
    from provisioning.serial_port import BoardPort

_Outcome = TypeVar("_Outcome")


class EsptoolFlasher:
    """esptool on an open port. The caller resets the board afterwards, and closes the port.

    Args:
        port: The open port.
        where: What to name in an error: the port's URL.
        baud: Highest rate of a transfer; the stub loader changes to it.
        use_stub: Whether esptool's stub loader is used; the ROM alone is slower.
        on_line: Receives each line that esptool prints.
    """

    def __init__(
        self,
        port: BoardPort,
        *,
        where: str,
        baud: int = FLASH_BAUD,
        use_stub: bool = True,
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._where = where
        self._on_line = on_line
        self._loader = EsptoolLoader(port, where=where, use_stub=use_stub, on_line=on_line)
        # The ROM alone stays at the link's rate, and the chip's own USB unit has none.
        self._rates = TransferRates(baud if use_stub and not port.is_usb_serial_jtag else LINK_BAUD)

    @property
    def rates(self) -> tuple[RateAttempt, ...]:
        """How it went at each rate that was used, in order."""
        return self._rates.attempts

    def detect(self) -> ChipFacts:
        """Reset the board into its ROM loader and say what it is.

        Raises:
            LockedChipError: A loader answers, and does not tell the chip's MAC.
            FlashError: No ROM loader answers, or it does not say the same twice.
            PortError: The port died.
        """
        return self._loader.find()

    def read(self, offset_bytes: int, size_bytes: int) -> bytes | None:
        """Return a part of the flash; `detect` has found the chip.

        Args:
            offset_bytes: Where it begins.
            size_bytes: How long it is.

        Returns:
            The bytes, or `None` from a chip in secure download mode, which does not tell.

        Raises:
            FlashError: The chip does not answer.
            PortError: The port died.
        """
        from esptool import cmds

        if self._loader.is_hiding_flash:
            return None
        content = self._transfer(lambda esp: cmds.read_flash(esp, offset_bytes, size_bytes))
        if not isinstance(content, bytes) or len(content) != size_bytes:
            raise FlashError(
                "the board's flash cannot be read",
                expected=f"{size_bytes} bytes",
                got="none" if content is None else f"{len(content)} bytes",
                where=self._where,
                hint="check that the board is seated and powered, then start the slot again",
            )
        return content

    def erase(self, offset_bytes: int, size_bytes: int) -> None:
        """Erase whole sectors; `detect` has found the chip.

        Raises:
            FlashError: The chip does not answer, or is locked.
            PortError: The port died.
        """
        from esptool import cmds

        self._transfer(lambda esp: cmds.erase_region(esp, offset_bytes, size_bytes))

    def write(
        self, regions: Sequence[Region], *, on_progress: Callable[[float], None]
    ) -> tuple[RegionReport, ...]:
        """Write the regions that are not there yet, and check the MD5 of each.

        Args:
            regions: What goes where; they do not overlap.
            on_progress: Receives the fraction of all bytes that are done.

        Returns:
            One report for each region, in the same order.

        Raises:
            FlashError: The chip cannot be written, or does not hold what was written.
            PortError: The port died.
        """
        total_bytes = sum(len(region.content) for region in regions) or 1
        done_bytes = 0
        reports = []
        for region in regions:
            size_bytes = len(region.content)

            def report(fraction: float, done: int = done_bytes, size: int = size_bytes) -> None:
                on_progress((done + fraction * size) / total_bytes)

            reports.append(self._write_region(region, on_progress=report))
            done_bytes += size_bytes
            report(1.0)
        return tuple(reports)

    def _write_region(
        self, region: Region, *, on_progress: Callable[[float], None]
    ) -> RegionReport:
        from esptool import cmds

        size_bytes = len(region.content)
        md5 = hashlib.md5(region.content, usedforsecurity=False).hexdigest()

        def write(esp: Any) -> bool:
            was_there = bool(esp.flash_md5sum(region.offset_bytes, size_bytes) == md5)
            if not was_there:
                cmds.write_flash(esp, [(region.offset_bytes, region.content)])
            return was_there

        was_there = self._transfer(write, on_progress=on_progress)
        return RegionReport(
            name=region.name,
            offset_bytes=region.offset_bytes,
            size_bytes=size_bytes,
            md5=md5,
            was_there=was_there,
        )

    def _transfer(
        self,
        act: Callable[[Any], _Outcome],
        *,
        on_progress: Callable[[float], None] = lambda _fraction: None,
    ) -> _Outcome:
        """Do something with the stub loader, at the highest rate that has not failed yet.

        Raises:
            FlashError: It failed at every rate, or there is another chip now.
            PortError: The port died.
        """
        while True:
            self._loader.require_same_chip()
            baud = self._rates.current
            try:
                with self._loader.talking(on_progress):
                    outcome = act(self._loader.prepare(baud))
            except FlashError as error:
                if not self._rates.fail(error.got or error.what):
                    error.got = describe_fall_back(self._rates.attempts)
                    raise
                self._on_line(f"{baud} baud failed: {error.got}")
            else:
                self._rates.succeed()
                return outcome

    def open_efuses(self) -> EfuseAccess:
        """Reset the board into its ROM loader, and return what reads and burns its eFuses.

        Raises:
            LockedChipError: The chip does not tell its eFuses.
            FlashError: No ROM loader answers.
            PortError: The port died.
        """
        self.detect()  # espefuse is made for the ROM's loader, not for the stub
        return EspefuseAccess(self._loader.esp, talking=self._loader.talking, where=self._where)

    def read_security(self) -> SecurityFacts:
        """Return what even a locked chip tells of its locks; `detect` has found it.

        Raises:
            FlashError: The chip does not answer.
            PortError: The port died.
        """
        with self._loader.talking():
            flags = self._loader.esp.get_security_info(cache=False)["parsed_flags"]
        return SecurityFacts(
            is_secure_boot_enabled=flags["SECURE_BOOT_EN"],
            is_secure_download=flags["SECURE_DOWNLOAD_ENABLE"],
            is_jtag_disabled=flags["SOFT_DIS_JTAG"] and flags["HARD_DIS_JTAG"],
            revoked_digests=frozenset(
                slot for slot in range(DIGEST_SLOTS) if flags[f"SECURE_BOOT_KEY_REVOKE{slot}"]
            ),
        )
