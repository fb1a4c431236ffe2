"""One simulated board: chip, flash, eFuses, output stage; `reset_lines` says when it starts.

State on disk, in the board's folder: `flash.bin`, `efuse.bin` (of `espefuse --virt`),
`hmac-key.bin` (what the chip hides, once it is burned) and `board.json`. A board made again from
the same folder goes on where it was, even after a kill.

The board does no I/O of its own. Whoever serves its UART calls `set_dtr`, `set_rts`, `receive` and
`tick`, one at a time (they hold the board's lock), and sends what they return.
"""

from __future__ import annotations

import threading
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, assert_never

from firmware_images.device_record import DeviceRecord
from firmware_images.errors import FirmwareImageError
from firmware_images.otadata import OtaState, read_otadata, select_boot
from firmware_images.unproven import is_unproven
from provisioning.simulator.analog import LSB_NA, MID_CODE, OutputStage, draw_truth
from provisioning.simulator.application import Application
from provisioning.simulator.board_folder import open_board_folder
from provisioning.simulator.boot import BootedImage, try_boot
from provisioning.simulator.efuses import EfuseFile
from provisioning.simulator.faults import NO_FAULTS, FaultPlan, PowerCutError
from provisioning.simulator.flash import NorFlash
from provisioning.simulator.hidden_key import HiddenKey
from provisioning.simulator.loader import Loader, NextStep
from provisioning.simulator.product import FLARE, SimulatedProduct
from provisioning.simulator.registers import ChipRegisters
from provisioning.simulator.reset_lines import LineOrder, ResetLines
from provisioning.simulator.rom_loader import RomLoader
from provisioning.simulator.stub_loader import GREETING, StubLoader

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from provisioning.simulator.update_session import UpdateSession

DEFAULT_BAUD: Final = 115200
_ROM_BANNER: Final = "ESP-ROM:esp32c3-api1-20210207\r\nBuild:Feb  7 2021\r\n"
_BAUD_TOLERANCE: Final = 0.03


class BoardMode(Enum):
    """What the chip executes."""

    HELD = auto()
    """EN is low."""
    ROM = auto()
    STUB = auto()
    APPLICATION = auto()
    SILENT = auto()
    """Something that the simulator cannot run, or nothing at all."""


class SimulatedBoard:
    """One board.

    Args:
        folder: Where its state is kept; made if it is not there.
        seed: What its MAC, and through that its analog figures, come from.
        index: Its number on the line, from 0.
        now: Wall clock of the firmware, for certificates.
        faults: What is wrong with it.
        product: What is printed on the board.
        update_session_factory: Makes what answers the update command of this board.
        has_usb_plug: Its port is the chip's own USB-Serial-JTAG unit and not a UART bridge.

    Raises:
        SimulatorError: The folder holds another board, or cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        index: int,
        *,
        now: Callable[[], datetime],
        faults: FaultPlan = NO_FAULTS,
        product: SimulatedProduct = FLARE,
        update_session_factory: Callable[[SimulatedBoard], UpdateSession] | None = None,
        has_usb_plug: bool = False,
    ) -> None:
        self._has_usb_plug = has_usb_plug
        self.index = index
        self.folder = folder
        self.product = product
        self.now = now
        self.mac = open_board_folder(folder, seed=seed, index=index)
        self.battery_percent = 80
        self.boot_count = 0
        self.lock = threading.RLock()
        self.faults = faults
        self.efuse_path = folder / "efuse.bin"
        self._efuses = EfuseFile(self.efuse_path, mac=self.mac)
        self.hidden_key = HiddenKey(folder / "hmac-key.bin", self._efuses, faults=faults)
        self.flash = NorFlash(folder / "flash.bin", faults=faults)
        self.output = OutputStage(draw_truth(self.mac), noise_seed=self.mac, faults=faults)
        self._registers = ChipRegisters(
            efuse_file=self._efuses, flash_size_bytes=self.flash.size_bytes
        )
        self._update_session_factory = update_session_factory
        self._lines = ResetLines(has_usb_plug=has_usb_plug)
        self._loader: Loader | None = None
        self.application: Application | None = None
        self.running: BootedImage | None = None
        self.mode = BoardMode.HELD
        self.baud = DEFAULT_BAUD
        self._pending_output = b""
        self._reset(reason="POWERON")

    def close(self) -> None:
        """Let go of the files; the state stays on disk."""
        with self.lock:
            self.mode = BoardMode.HELD
            self.application = None
            self.flash.close()

    def set_dtr(self, *, is_asserted: bool) -> bytes:
        """Change DTR; return what the board sends because of it."""
        with self.lock:
            is_held = self.mode is BoardMode.HELD
            return self._obey(self._lines.set_dtr(is_asserted=is_asserted, is_held=is_held))

    def set_rts(self, *, is_asserted: bool) -> bytes:
        """Change RTS; return what the board sends because of it."""
        with self.lock:
            is_held = self.mode is BoardMode.HELD
            return self._obey(self._lines.set_rts(is_asserted=is_asserted, is_held=is_held))

    def _obey(self, order: LineOrder) -> bytes:
        match order:
            case LineOrder.GO_ON:
                pass
            case LineOrder.HOLD:
                self._stop()
            case LineOrder.POWER_ON:
                self._reset(reason="POWERON")
            case LineOrder.USB_RESET:
                self._reset(reason="USB_UART_CHIP_RESET")
            case _:
                assert_never(order)
        return self._take_output()

    def power_cycle(self) -> None:
        """Take the supply away and give it back, with the strap released."""
        with self.lock:
            self._stop()
            self._lines.release_strap()
            self._reset(reason="POWERON")

    def receive(self, untrusted_bytes: bytes, *, line_baud: int | None = None) -> bytes:
        """Take bytes from the UART; return what the board sends.

        Args:
            untrusted_bytes: As received.
            line_baud: The peer's baud rate; bytes at a wrong one are noise. `None`: matches.
        """
        with self.lock:
            if line_baud is not None and not self._is_baud_right(line_baud):
                return b""
            try:
                answer = self._dispatch(untrusted_bytes)
            except PowerCutError:
                self.power_cycle()
                return self._take_output()
            return answer + self._take_output()

    def _is_baud_right(self, line_baud: int) -> bool:
        if self._has_usb_plug:
            return True
        if self.mode is BoardMode.ROM and self._loader is not None and self._loader.baud is None:
            self.baud = line_baud  # The ROM measures the rate of what it hears first.
        return abs(line_baud - self.baud) <= _BAUD_TOLERANCE * self.baud

    def _dispatch(self, untrusted_bytes: bytes) -> bytes:
        if self._loader is not None:
            answer = self._loader.receive(untrusted_bytes)
            if self._loader.baud is not None:
                self.baud = self._loader.baud
            self._take_next_step()
            return answer
        if self.application is not None:
            answer = self.application.receive(untrusted_bytes)
            if self.application.is_reset_due:
                self._reset(reason="SW_CPU_RESET")
            return answer
        return b""

    def _take_next_step(self) -> None:
        assert self._loader is not None
        loader, step = self._loader, self._loader.next_step
        loader.next_step = NextStep.STAY
        match step:
            case NextStep.STAY:
                pass
            case NextStep.RUN_UPLOADED:
                self._run_uploaded(loader)
            case NextStep.RUN_FLASH:
                self._start_flash()
            case NextStep.RESTART_LOADER:
                self._start_loader()
            case NextStep.WATCHDOG_RESET:
                self._lines.sample_strap()
                self._reset(reason="RTCWDT_SYS_RST")

    def _run_uploaded(self, loader: Loader) -> None:
        if isinstance(loader, RomLoader) and loader.has_stub:
            self._loader = self._make_stub()
            self._loader.baud = self.baud
            self.mode = BoardMode.STUB
            self._pending_output += GREETING
        else:
            self._loader = None
            self.mode = BoardMode.SILENT

    def tick(self) -> bytes:
        """Return what the application prints once a second; nothing in any other mode."""
        with self.lock:
            return b"" if self.application is None else self.application.banner()

    def _stop(self) -> None:
        self.mode = BoardMode.HELD
        self._loader = None
        self.application = None
        self.running = None
        self._pending_output = b""
        self.output.switch_off()

    def _reset(self, *, reason: str) -> None:
        self._stop()
        self.boot_count += 1
        self.baud = DEFAULT_BAUD
        is_loader_due = self._lines.is_strapped and not self._efuses.is_download_disabled
        boot = "0x4 (DOWNLOAD(USB/UART0/1))" if is_loader_due else "0xc (SPI_FAST_FLASH_BOOT)"
        self._pending_output = f"{_ROM_BANNER}rst:0x1 ({reason}),boot:{boot}\r\n".encode()
        if is_loader_due:
            self._pending_output += b"waiting for download\r\n"
            self._start_loader()
        else:
            self._start_flash()

    def _start_loader(self) -> None:
        self._loader = RomLoader(
            flash=self.flash, registers=self._registers, efuse_file=self._efuses
        )
        self.mode = BoardMode.ROM

    def _make_stub(self) -> StubLoader:
        return StubLoader(flash=self.flash, registers=self._registers, efuse_file=self._efuses)

    def _start_flash(self) -> None:
        self._loader = None
        self.baud = DEFAULT_BAUD
        self.mode = BoardMode.SILENT
        key_digests = self._efuses.read_boot_digests()
        try:
            image = try_boot(self.flash, key_digests=key_digests)
        except PowerCutError:
            image = try_boot(self.flash, key_digests=key_digests)
        if not isinstance(image, BootedImage):
            self._pending_output += f"E (30) boot: {image}\r\n".encode()
            return
        self.running = image
        if image.project_name != self.product.project_name:
            return
        self.mode = BoardMode.APPLICATION
        session = (
            None if self._update_session_factory is None else self._update_session_factory(self)
        )
        try:
            self.application = Application(self, image, update_session=session)
        except FirmwareImageError as error:
            self.mode = BoardMode.SILENT
            self._pending_output += f"E (40) {image.project_name}: {error}\r\n".encode()
            return
        self._pending_output += self.application.banner()

    def slot_state(self) -> OtaState:
        """Return the running slot's state in otadata as it is now, after a confirmation, too."""
        assert self.running is not None
        otadata = read_otadata(self.flash, self.running.table.find("otadata"))
        choice = select_boot(otadata, len(self.running.table.ota_slots))
        return choice.state if choice.slot == self.running.slot else OtaState.UNDEFINED

    def is_unproven(self) -> bool:
        """Tell whether the running release has yet to pass its self-test.

        Raises:
            RecordError: The update state is damaged: nobody can tell.
        """
        assert self.running is not None
        table = self.running.table
        return is_unproven(
            self.flash,
            table.find("otadata"),
            DeviceRecord(self.flash, table.find("devrec")),
            slot=self.running.slot,
            slot_count=len(table.ota_slots),
        )

    def secure_version(self) -> int:
        """Return the anti-rollback counter: the burned bits of SECURE_VERSION in block 0."""
        return self._efuses.read_secure_version()

    def raise_secure_version(self) -> None:
        """Burn the running application's secure version, one bit for each step; never back.

        Raises:
            SimulatorError: The chip has no bits left for it.
        """
        assert self.running is not None
        if self.running.secure_version > self.secure_version():
            self._efuses.burn_secure_version(self.running.secure_version)

    def drive_code(self, code: int) -> None:
        """Put a static code on the DAC.

        Raises:
            PowerCutError: The supply browns out under this load, by plan.
        """
        self.output.set_code(code)
        limit_na = self.faults.brown_out_above_na
        if limit_na is not None and abs(code - MID_CODE) * LSB_NA > limit_na:
            raise PowerCutError("the supply browns out by plan")

    def request_reset(self) -> None:
        """Let the running application restart the chip once its answer is sent."""
        if self.application is not None:
            self.application.is_reset_due = True

    def _take_output(self) -> bytes:
        output, self._pending_output = self._pending_output, b""
        return output
