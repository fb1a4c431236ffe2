"""Finds the chip behind a port and reads and writes its flash, through esptool as a library.

A region whose MD5 in the chip is right already is not written again, so that flashing is safe to
repeat and a unit that was interrupted is not worn. esptool checks the MD5 of what it wrote. A
transfer that fails is tried again at the next lower rate (`transfer_rates`), on the same chip. This
module starts no application and does not know what the regions mean.
"""

from __future__ import annotations

import hashlib
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import serial

from firmware_images.efuse_fields import DIGEST_SLOTS
from provisioning.efuse_access import EspefuseAccess
from provisioning.errors import FlashError, LockedChipError, PortError
from provisioning.flasher import ChipFacts, RegionReport, SecurityFacts
from provisioning.serial_port import LINK_BAUD
from provisioning.transfer_rates import FLASH_BAUD, RateAttempt, TransferRates, describe_fall_back

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provisioning.efuse_access import EfuseAccess
    from provisioning.flasher import Region
    from provisioning.serial_port import BoardPort

_CONNECT_ATTEMPTS: Final = 3
_PROBES: Final = 3
_PROBE_TIMEOUT_S: Final = 0.3
_CHIP_DETECT_REGISTER: Final = 0x40001000
"""In the ROM of every ESP32: what it holds does not matter, only that it is answered."""
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
        self._port = port
        self._where = where
        self._use_stub = use_stub
        self._on_line = on_line
        # The ROM alone stays at the link's rate, and the chip's own USB unit has none.
        self._rates = TransferRates(baud if use_stub and not port.is_usb_serial_jtag else LINK_BAUD)
        self._esp: Any = None
        self._is_prepared = False
        self._mac: bytes | None = None

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
        try:
            return self._connect()
        except FlashError:
            # esptool closes a port on which no loader answers; the application may be behind it.
            if not self._port.is_open:
                with suppress(serial.SerialException, OSError):
                    self._port.open()
            raise

    def _connect(self) -> ChipFacts:
        from esptool import cmds

        with self._talking(lambda _fraction: None):
            if not self._port.is_open:
                self._port.open()
            self._port.baudrate = LINK_BAUD
            esp: Any = cmds.detect_chip(
                cast("Any", self._port),  # esptool takes an open port as well as a name
                baud=LINK_BAUD,
                connect_mode="usb-reset" if self._port.is_usb_serial_jtag else "default-reset",
                connect_attempts=_CONNECT_ATTEMPTS,
            )
            self._esp = esp
            self._is_prepared = False
            self._require_open_chip()
            revision = esp.get_chip_revision()
            # A loader's answer has no checksum, and a number is given to what stands here.
            macs = {bytes(esp.read_mac("BASE_MAC")) for _ in range(2)}
        if len(macs) > 1:
            self._esp = None
            raise FlashError(
                "the chip's MAC cannot be read reliably",
                expected="the same twice",
                got=" and ".join(sorted(mac.hex(":") for mac in macs)),
                where=self._where,
                hint="check the cable, then start the slot again; it got no serial number",
            )
        (self._mac,) = macs
        return ChipFacts(
            chip=esp.CHIP_NAME,
            revision=f"{revision // 100}.{revision % 100}",
            mac=self._mac,
        )

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

        if self._esp is not None and self._esp.secure_download_mode:
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
            if self._esp is None:
                self._find_same_chip()
            self._require_open_chip()
            baud = self._rates.current
            try:
                with self._talking(on_progress):
                    outcome = act(self._prepared_loader(baud))
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
        return EspefuseAccess(
            self._esp, talking=lambda: self._talking(lambda _fraction: None), where=self._where
        )

    def read_security(self) -> SecurityFacts:
        """Return what even a locked chip tells of its locks; `detect` has found it.

        Raises:
            FlashError: The chip does not answer.
            PortError: The port died.
        """
        with self._talking(lambda _fraction: None):
            flags = self._esp.get_security_info(cache=False)["parsed_flags"]
        return SecurityFacts(
            is_secure_boot_enabled=flags["SECURE_BOOT_EN"],
            is_secure_download=flags["SECURE_DOWNLOAD_ENABLE"],
            is_jtag_disabled=flags["SOFT_DIS_JTAG"] and flags["HARD_DIS_JTAG"],
            revoked_digests=frozenset(
                slot for slot in range(DIGEST_SLOTS) if flags[f"SECURE_BOOT_KEY_REVOKE{slot}"]
            ),
        )

    def _find_same_chip(self) -> None:
        expected = self._mac
        found = self.detect().mac
        if expected not in {None, found}:
            self._esp, self._mac = None, expected
            raise FlashError(
                "there is another board in the slot now",
                expected=(expected or b"").hex(":"),
                got=found.hex(":"),
                where=self._where,
                hint="leave boards in their slots until the station is done with them",
            )

    def _prepared_loader(self, baud: int) -> Any:
        """Return esptool's loader with the stub running and the flash attached."""
        from esptool import cmds

        esp: Any = self._esp
        if not self._is_prepared:
            if self._use_stub:
                esp = cmds.run_stub(esp)
            if esp.IS_STUB and baud != LINK_BAUD:
                esp.change_baud(baud)
                _probe(esp)
            cmds.attach_flash(esp)
            self._esp = esp
            self._is_prepared = True
        return esp

    def _require_open_chip(self) -> None:
        """Refuse a chip that hides its flash: esptool would write without checking."""
        if self._esp.secure_download_mode:
            raise LockedChipError(
                "the chip does not say who it is or what is in its flash",
                expected="a chip that is not locked yet",
                got="secure download mode",
                where=self._where,
                hint="a finished board proves who it is through its application; if that is "
                "silent, this board cannot be provisioned again",
            )

    @contextmanager
    def _talking(self, on_progress: Callable[[float], None]) -> Iterator[None]:
        from esptool.util import FatalError

        from provisioning.esptool_log import listening

        try:
            with listening(on_line=self._on_line, on_progress=on_progress):
                yield
        except FatalError as error:
            self._esp = None
            raise FlashError(
                "the board's flash loader failed",
                expected="a chip in download mode",
                got=next(iter(str(error).splitlines()), type(error).__name__),
                where=self._where,
                hint="check that the board is seated and powered, then start the slot again",
            ) from error
        except (LookupError, ValueError, struct.error) as error:
            # esptool takes answers apart without looking whether they are long enough.
            self._esp = None
            raise FlashError(
                "the board's flash loader answered something unusable",
                expected="a chip in download mode",
                got=f"{type(error).__name__}: {error}",
                where=self._where,
                hint="check that a board is at this port, and nothing else, then start again",
            ) from error
        except (serial.SerialException, OSError) as error:
            self._esp = None
            raise PortError(
                "the serial port died while the board was flashed",
                got=str(error),
                where=self._where,
                hint="check the cable, then start the slot again: it goes on where it stopped",
            ) from error


def _probe(esp: Any) -> None:
    """Find out in a moment whether anything is answered at a new rate; esptool waits for seconds.

    Raises:
        esptool.util.FatalError: Nothing is.
    """
    register = struct.pack("<I", _CHIP_DETECT_REGISTER)
    for _ in range(_PROBES):
        esp.check_command(
            "answer at the new rate",
            esp.ESP_CMDS["READ_REG"],
            register,
            timeout=_PROBE_TIMEOUT_S,
        )
