"""esptool's talk with the chip behind one port: found, held to be the same, its loader prepared.

esptool's and pyserial's errors become ours here. What is then read or written, and at which rate,
is `esptool_flasher`.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, cast

import serial

from provisioning.errors import FlashError, LockedChipError, PortError
from provisioning.flasher import ChipFacts
from provisioning.serial_port import LINK_BAUD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioning.serial_port import BoardPort

_CONNECT_ATTEMPTS: Final = 3
_PROBES: Final = 3
_PROBE_TIMEOUT_S: Final = 0.3
_CHIP_DETECT_REGISTER: Final = 0x40001000
"""In the ROM of every ESP32: what it holds does not matter, only that it is answered."""


def _ignore_progress(_fraction: float) -> None:
    pass


class EsptoolLoader:
    """The loader of the chip behind an open port.

    Args:
        port: The open port.
        where: What to name in an error: the port's URL.
        use_stub: Whether esptool's stub loader is used; the ROM alone is slower.
        on_line: Receives each line that esptool prints.
    """

    def __init__(
        self, port: BoardPort, *, where: str, use_stub: bool, on_line: Callable[[str], None]
    ) -> None:
        self._port = port
        self._where = where
        self._use_stub = use_stub
        self._on_line = on_line
        self._esp: Any = None
        self._is_prepared = False
        self._mac: bytes | None = None

    @property
    def esp(self) -> Any:
        """What esptool has of the chip; `None` before it was found, and after a failure."""
        return self._esp

    @property
    def is_hiding_flash(self) -> bool:
        """Whether the chip that was found does not tell what is in its flash."""
        return self._esp is not None and bool(self._esp.secure_download_mode)

    def find(self) -> ChipFacts:
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

        with self.talking():
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

    def require_same_chip(self) -> None:
        """See to it that a loader answers, of the chip that was found first, with an open flash.

        Raises:
            LockedChipError: The chip hides its flash: esptool would write without checking.
            FlashError: No loader answers, or there is another chip now.
            PortError: The port died.
        """
        if self._esp is None:
            self._find_same_chip()
        self._require_open_chip()

    def prepare(self, baud: int) -> Any:
        """Return esptool's loader with the stub running, at this rate, and the flash attached.

        Inside of `talking`, as whatever is done with it.
        """
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

    @contextmanager
    def talking(self, on_progress: Callable[[float], None] = _ignore_progress) -> Iterator[None]:
        """Let the block talk to the chip; after a failure the chip has to be found again.

        Args:
            on_progress: Receives the fraction of the present transfer that is done.

        Raises:
            FlashError: The loader failed, or answered something unusable.
            PortError: The port died.
        """
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
                got=f"an answer that esptool cannot read: {error}",
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

    def _find_same_chip(self) -> None:
        expected = self._mac
        found = self.find().mac
        if expected not in {None, found}:
            self._esp, self._mac = None, expected
            raise FlashError(
                "there is another board in the slot now",
                expected=(expected or b"").hex(":"),
                got=found.hex(":"),
                where=self._where,
                hint="leave boards in their slots until the station is done with them",
            )

    def _require_open_chip(self) -> None:
        if self._esp.secure_download_mode:
            raise LockedChipError(
                "the chip does not say who it is or what is in its flash",
                expected="a chip that is not locked yet",
                got="secure download mode",
                where=self._where,
                hint="a finished board proves who it is through its application; if that is "
                "silent, this board cannot be provisioned again",
            )


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
