"""What the ROM loader and the flasher stub of an ESP32-C3 have in common.

A request is `00 · operation (1) · data bytes (2) · checksum (4) · data`, little endian, in a SLIP
packet; the answer `01 · operation (1) · bytes (2) · value (4) · data · status`. Source:
esptool's documentation of the serial protocol. This module does no I/O: bytes in, bytes out, and
what the chip does next.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import TYPE_CHECKING, Final

from firmware_images.errors import FlashMediumError
from firmware_images.flash_medium import SECTOR_BYTES
from provisioning.errors import SimulatorError
from provisioning.simulator.flash_download import FlashDownload, checksum
from provisioning.simulator.slip import PacketAssembler, serialize_packet

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioning.simulator.efuses import EfuseFile
    from provisioning.simulator.flash import NorFlash
    from provisioning.simulator.registers import ChipRegisters

CHIP_ID: Final = 5
_API_VERSION: Final = 3
_PACKET_MAX_BYTES: Final = 0x10000
_REQUEST: Final = struct.Struct("<BBHI")
_RESPONSE: Final = struct.Struct("<BBHI")
_BLOCK: Final = struct.Struct("<IIII")
WRITE_REG: Final = struct.Struct("<IIII")
_SYNC_DATA: Final = b"\x07\x07\x12\x20" + b"\x55" * 32
assert _REQUEST.size == _RESPONSE.size


class Operation(IntEnum):
    """Operation codes of requests."""

    FLASH_BEGIN = 0x02
    FLASH_DATA = 0x03
    FLASH_END = 0x04
    MEM_BEGIN = 0x05
    MEM_END = 0x06
    MEM_DATA = 0x07
    SYNC = 0x08
    WRITE_REG = 0x09
    READ_REG = 0x0A
    SPI_SET_PARAMS = 0x0B
    SPI_ATTACH = 0x0D
    READ_FLASH_SLOW = 0x0E
    CHANGE_BAUDRATE = 0x0F
    FLASH_DEFL_BEGIN = 0x10
    FLASH_DEFL_DATA = 0x11
    FLASH_DEFL_END = 0x12
    SPI_FLASH_MD5 = 0x13
    GET_SECURITY_INFO = 0x14
    ERASE_FLASH = 0xD0
    ERASE_REGION = 0xD1
    READ_FLASH = 0xD2
    RUN_USER_CODE = 0xD3


class Status(IntEnum):
    """Reasons in the second status byte; 0 is success."""

    OK = 0x00
    INVALID_MESSAGE = 0x05
    FAILED = 0x06
    WRONG_CHECKSUM = 0x07


class NextStep(Enum):
    """What the chip does after it has sent its answer."""

    STAY = auto()
    RUN_UPLOADED = auto()
    """Jump to the code that was uploaded to RAM."""
    RUN_FLASH = auto()
    """Leave the loader and boot from flash."""
    RESTART_LOADER = auto()
    """Software reset: the strap is not sampled again, so the ROM loader starts."""
    WATCHDOG_RESET = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request is answered with.

    Attributes:
        value: The 32-bit value field.
        data: Data before the status bytes.
        status: Success, or why not.
    """

    value: int = 0
    data: bytes = b""
    status: Status = Status.OK


class RequestError(SimulatorError):
    """Raised when a request cannot be carried out; the loader answers with its status."""

    def __init__(self, what: str, *, status: Status = Status.FAILED) -> None:
        super().__init__(what)
        self.status = status


class Loader:
    """State and requests that both loaders know; subclasses add theirs to `_commands`.

    Args:
        flash: The flash chip.
        registers: The register space.
        efuse_file: The eFuses.
    """

    STATUS_BYTES = 4
    IS_STUB = False

    def __init__(self, *, flash: NorFlash, registers: ChipRegisters, efuse_file: EfuseFile) -> None:
        self.next_step = NextStep.STAY
        self.baud: int | None = None
        self._flash = flash
        self._registers = registers
        self._efuses = efuse_file
        self._download: FlashDownload | None = None
        self._packets = PacketAssembler(max_bytes=_PACKET_MAX_BYTES)
        self._commands: dict[int, Callable[[bytes], Answer]] = {
            Operation.FLASH_BEGIN: self._begin_flash,
            Operation.FLASH_DATA: self._write_flash,
            Operation.FLASH_END: self._end_flash,
            Operation.FLASH_DEFL_BEGIN: self._begin_flash_compressed,
            Operation.FLASH_DEFL_DATA: self._write_flash,
            Operation.FLASH_DEFL_END: self._end_flash,
            Operation.READ_REG: self._read_register,
            Operation.WRITE_REG: self._write_register,
            Operation.SPI_SET_PARAMS: lambda _: Answer(),
            Operation.SPI_ATTACH: lambda _: Answer(),
            Operation.CHANGE_BAUDRATE: self._change_baud,
            Operation.SPI_FLASH_MD5: self._hash_flash,
            Operation.GET_SECURITY_INFO: self._read_security_info,
        }

    def receive(self, untrusted_bytes: bytes) -> bytes:
        """Take bytes from the UART and return what is sent back.

        Raises:
            PowerCutError: The fault plan cuts the power during the request.
        """
        return b"".join(self._handle(packet) for packet in self._packets.feed(untrusted_bytes))

    def _handle(self, packet: bytes) -> bytes:
        if len(packet) < _REQUEST.size:
            return b""
        direction, operation, data_bytes, stated = _REQUEST.unpack_from(packet)
        data = packet[_REQUEST.size :]
        if direction != 0 or len(data) != data_bytes:
            return self._serialize(operation, Answer(status=Status.INVALID_MESSAGE))
        if operation == Operation.SYNC:
            return self._sync(data)
        command = self._command(operation)
        if command is None:
            return self._serialize(operation, Answer(status=Status.INVALID_MESSAGE))
        if operation in {Operation.FLASH_DATA, Operation.FLASH_DEFL_DATA, Operation.MEM_DATA} and (
            checksum(data[_BLOCK.size :]) != stated & 0xFF
        ):
            return self._serialize(operation, Answer(status=Status.WRONG_CHECKSUM))
        try:
            answer = command(data)
        except RequestError as error:
            answer = Answer(status=error.status)
        except (SimulatorError, FlashMediumError):
            answer = Answer(status=Status.FAILED)
        except struct.error:
            answer = Answer(status=Status.INVALID_MESSAGE)
        return self._serialize(operation, answer) + self._take_extra_output()

    def _command(self, operation: int) -> Callable[[bytes], Answer] | None:
        return self._commands.get(operation)

    def _take_extra_output(self) -> bytes:
        """Return what follows an answer: nothing, unless a subclass streams."""
        return b""

    def _serialize(self, operation: int, answer: Answer) -> bytes:
        status = bytes([int(answer.status is not Status.OK), answer.status])
        data = answer.data + status.ljust(self.STATUS_BYTES, b"\x00")
        return serialize_packet(_RESPONSE.pack(1, operation, len(data), answer.value) + data)

    def _sync(self, data: bytes) -> bytes:
        if data != _SYNC_DATA:
            return b""
        # The ROM answers eight times, with a value that is not 0; the stub does so with 0.
        value = 0 if self.IS_STUB else 0x20120707
        return self._serialize(Operation.SYNC, Answer(value=value)) * 8

    def _begin_flash(self, data: bytes) -> Answer:
        return self._begin(data, is_compressed=False)

    def _begin_flash_compressed(self, data: bytes) -> Answer:
        return self._begin(data, is_compressed=True)

    def _begin(self, data: bytes, *, is_compressed: bool) -> Answer:
        size_bytes, _, _, offset_bytes = _BLOCK.unpack_from(data)
        self._download = FlashDownload(
            self._flash,
            offset_bytes=offset_bytes,
            size_bytes=size_bytes,
            is_compressed=is_compressed,
            is_erased_first=not self.IS_STUB,
        )
        return Answer()

    def _write_flash(self, data: bytes) -> Answer:
        if self._download is None:
            raise RequestError("there is no write in progress")
        block_bytes, number, _, _ = _BLOCK.unpack_from(data)
        block = data[_BLOCK.size :]
        if len(block) != block_bytes:
            raise RequestError("block size differs", status=Status.INVALID_MESSAGE)
        self._download.write_block(number, block)
        return Answer()

    def _end_flash(self, data: bytes) -> Answer:
        raise NotImplementedError

    def _read_register(self, data: bytes) -> Answer:
        (address,) = struct.unpack_from("<I", data)
        return Answer(value=self._registers.read_word(address))

    def _write_register(self, data: bytes) -> Answer:
        if not data or len(data) % WRITE_REG.size:
            raise RequestError("not a list of writes", status=Status.INVALID_MESSAGE)
        for address, value, mask, _delay_us in WRITE_REG.iter_unpack(data):
            self._registers.write_word(address, value, mask)
        if self._registers.is_watchdog_reset_due:
            self._registers.is_watchdog_reset_due = False
            self.next_step = NextStep.WATCHDOG_RESET
        return Answer()

    def _change_baud(self, data: bytes) -> Answer:
        (self.baud,) = struct.unpack_from("<I", data)
        return Answer()

    def _digest_flash(self, data: bytes) -> bytes:
        offset_bytes, size_bytes, _, _ = _BLOCK.unpack_from(data)
        digest = hashlib.md5(usedforsecurity=False)
        for start in range(offset_bytes, offset_bytes + size_bytes, 1 << 18):
            piece_bytes = min(1 << 18, offset_bytes + size_bytes - start)
            digest.update(self._flash.read(start, piece_bytes))
        return digest.digest()

    def _hash_flash(self, data: bytes) -> Answer:
        raise NotImplementedError

    def _erase(self, offset_bytes: int, size_bytes: int) -> Answer:
        if offset_bytes % SECTOR_BYTES or size_bytes % SECTOR_BYTES:
            raise RequestError("not whole sectors")
        self._flash.erase(offset_bytes, size_bytes)
        return Answer()

    def _read_security_info(self, _data: bytes) -> Answer:
        read = self._efuses.read_field
        flags = (
            read(word=3, shift=20, bits=1)  # SECURE_BOOT_EN
            | read(word=3, shift=21, bits=1) << 1  # SECURE_BOOT_AGGRESSIVE_REVOKE
            | read(word=4, shift=5, bits=1) << 2  # ENABLE_SECURITY_DOWNLOAD
            | read(word=2, shift=21, bits=3) << 3  # SECURE_BOOT_KEY_REVOKE0-2
            | int(read(word=1, shift=16, bits=3).bit_count() % 2 == 1) << 6  # SOFT_DIS_JTAG
            | read(word=1, shift=19, bits=1) << 7  # DIS_PAD_JTAG
        )
        purposes = [read(word=2, shift=24, bits=4), read(word=2, shift=28, bits=4)]
        purposes += [read(word=3, shift=4 * index, bits=4) for index in range(4)]
        crypt_count = read(word=2, shift=18, bits=3)
        info = struct.pack("<IB7BII", flags, crypt_count, *purposes, 0, CHIP_ID, _API_VERSION)
        return Answer(data=info)
