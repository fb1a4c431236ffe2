"""The board's eFuses: a file of `espefuse --virt`, served through the chip's registers.

The file is espefuse's own: the 512 bytes of the register block at 0x60008800, last register first,
each register big endian. Words are read from the file at every access, so that
`espefuse --virt --path-efuse-file` and a running board always agree. Writing goes through
espefuse's model of the controller, which knows the coding scheme and the protection bits.
"""

from __future__ import annotations

import copy
import struct
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from provisioning.errors import SimulatorError
from signing.durable_file import create_durably

if TYPE_CHECKING:
    from pathlib import Path

EFUSE_BASE: Final = 0x60008800
EFUSE_SIZE_BYTES: Final = 0x200
MAC_BYTES: Final = 6
EFUSE_COMMAND: Final = EFUSE_BASE + 0x1D4
EFUSE_READ_COMMAND: Final = 1
_EFUSE_PROGRAM_COMMAND: Final = 2
_WORD: Final = struct.Struct(">I")
_BLOCK0: Final = 0x2C
_BLOCK1: Final = 0x44
_KEY0: Final = 0x9C
_KEY_BLOCKS: Final = 6
_BLOCK_BYTES: Final = 32
_CHECK_BYTES: Final = 12
_FIRST_DIGEST_PURPOSE: Final = 9
_DIGEST_SLOTS: Final = 3
_SECURE_VERSION: Final = (4, 14, 16)
_LITTLE_WORD: Final = struct.Struct("<I")
_WAFER_MINOR_VERSION: Final = 4
_WAFER_MINOR_SHIFT: Final = 18


@cache
def _blank_controller() -> Any:  # reading its YAML takes longer than all the rest of a burn
    from espefuse.efuse.esp32c3.emulate_efuse_controller import EmulateEfuseController

    return EmulateEfuseController()


def contains_address(address: int) -> bool:
    """Whether a register belongs to the eFuse controller."""
    return EFUSE_BASE <= address < EFUSE_BASE + EFUSE_SIZE_BYTES


class EfuseFile:
    """The eFuses of one board.

    Args:
        path: The file; made, with the MAC burned and chip revision v0.4, if it is not there.
        mac: 6 bytes, most significant first.
    """

    def __init__(self, path: Path, *, mac: bytes) -> None:
        self._path = path
        if not path.exists():
            create_durably(path, _factory_content(mac), mode=0o644)
        if self.mac != mac:
            raise SimulatorError(
                "the eFuse file belongs to another board",
                expected=mac.hex(":"),
                got=self.mac.hex(":"),
                where=path,
            )

    @property
    def mac(self) -> bytes:
        """The factory MAC address."""
        low = self.read_word(EFUSE_BASE + _BLOCK1)
        high = self.read_word(EFUSE_BASE + _BLOCK1 + 4)
        return struct.pack(">HI", high & 0xFFFF, low)

    def read_word(self, address: int) -> int:
        """Return one register of the controller.

        Raises:
            SimulatorError: The file is gone or has another size.
        """
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise SimulatorError(
                "the eFuse file cannot be read", got=error.strerror, where=self._path
            ) from error
        if len(content) != EFUSE_SIZE_BYTES:
            raise SimulatorError(
                "the eFuse file has the wrong size",
                expected=EFUSE_SIZE_BYTES,
                got=len(content),
                where=self._path,
            )
        offset = (address - EFUSE_BASE) & ~3
        (value,) = _WORD.unpack_from(content, EFUSE_SIZE_BYTES - offset - 4)
        return int(value)

    def write_word(self, address: int, value: int) -> None:
        """Write one register of the controller; a burn command burns.

        Raises:
            SimulatorError: espefuse's controller refuses it, for example a wrong check code.
        """
        is_command = address & ~3 == EFUSE_COMMAND
        if not is_command or not value & _EFUSE_PROGRAM_COMMAND:
            # Only burning does anything: what the fuses say is in the read registers at once, so
            # that reading them again is done as soon as it is asked for.
            self._store_word(address, 0 if is_command else value)
            return
        from espefuse.efuse.bitstring import BitStream
        from esptool import FatalError

        try:
            controller = copy.copy(_blank_controller())
            controller.efuse_file = str(self._path)
            controller.mem = BitStream(bytes=self._path.read_bytes(), length=EFUSE_SIZE_BYTES * 8)
            controller.write_reg(address & ~3, value)
            controller.save_to_file()
        except FatalError as error:
            raise SimulatorError("the eFuse controller refuses", got=error) from error

    def program_block(self, number: int, content: bytes) -> None:
        """Burn a block, as the chip's own software does: set the bits that are 1.

        Args:
            number: The controller's number of the block.
            content: 32 bytes in the order of the registers; of block 0 the last 8 are ignored.

        Raises:
            SimulatorError: espefuse's controller refuses.
        """
        from reedsolo import RSCodec

        coded = content if number == 0 else bytes(RSCodec(_CHECK_BYTES).encode(content))
        assert len(content) == _BLOCK_BYTES
        for offset in range(0, len(coded), 4):
            word = int.from_bytes(coded[offset : offset + 4], "little")
            self._store_word(EFUSE_BASE + offset, word)
        self.write_word(EFUSE_COMMAND, number << 2 | _EFUSE_PROGRAM_COMMAND)

    def read_secure_version(self) -> int:
        """Return how many bits of SECURE_VERSION in block 0 are burned."""
        word, shift, bits = _SECURE_VERSION
        return self.read_field(word=word, shift=shift, bits=bits).bit_count()

    def burn_secure_version(self, version: int) -> None:
        """Burn SECURE_VERSION, as ESP-IDF does: one bit for each step, from the lowest.

        Raises:
            SimulatorError: The field has fewer bits.
        """
        word, shift, bits = _SECURE_VERSION
        if not 0 <= version <= bits:
            raise SimulatorError(
                "the chip has no bits left for a secure version",
                expected=f"at most {bits}",
                got=version,
            )
        block = bytearray(_BLOCK_BYTES)
        _LITTLE_WORD.pack_into(block, 4 * word, ((1 << version) - 1) << shift)
        self.program_block(0, bytes(block))

    def _store_word(self, address: int, value: int) -> None:
        offset = EFUSE_SIZE_BYTES - ((address - EFUSE_BASE) & ~3) - 4
        try:
            with self._path.open("r+b") as file:
                file.seek(offset)
                file.write(_WORD.pack(value))
        except OSError as error:
            raise SimulatorError(
                "the eFuse file cannot be written", got=error.strerror, where=self._path
            ) from error

    @property
    def is_secure_download(self) -> bool:
        """Whether ENABLE_SECURITY_DOWNLOAD is burned: the ROM's loader takes, and tells nothing."""
        return bool(self.read_field(word=4, shift=5, bits=1))

    @property
    def is_download_disabled(self) -> bool:
        """Whether DIS_DOWNLOAD_MODE is burned: the strap is ignored."""
        return bool(self.read_field(word=4, shift=0, bits=1))

    def read_boot_digests(self) -> frozenset[bytes] | None:
        """Return the keys that the chip boots, or `None` while SECURE_BOOT_EN is not burned."""
        if not self.read_field(word=3, shift=20, bits=1):
            return None
        digests = set()
        for block in range(_KEY_BLOCKS):
            word, shift = (2, 24 + 4 * block) if block < 2 else (3, 4 * (block - 2))  # noqa: PLR2004
            slot = self.read_field(word=word, shift=shift, bits=4) - _FIRST_DIGEST_PURPOSE
            if 0 <= slot < _DIGEST_SLOTS and not self.read_field(word=2, shift=21 + slot, bits=1):
                digests.add(self.read_key_block(block))
        return frozenset(digests)

    def read_key_block(self, number: int) -> bytes:
        """Return what a key block shows: zeros, once it is protected against reading."""
        return self._read_block(_KEY0 + _BLOCK_BYTES * number)

    def _read_block(self, offset: int) -> bytes:
        words = range(EFUSE_BASE + offset, EFUSE_BASE + offset + _BLOCK_BYTES, 4)
        return b"".join(self.read_word(address).to_bytes(4, "little") for address in words)

    def read_field(self, *, word: int, shift: int, bits: int) -> int:
        """Return a field of block 0, as the second-stage bootloader reads it.

        Args:
            word: Word number in block 0, from 0.
            shift: Lowest bit.
            bits: Number of bits.
        """
        return self.read_word(EFUSE_BASE + _BLOCK0 + 4 * word) >> shift & ((1 << bits) - 1)


def _factory_content(mac: bytes) -> bytes:
    assert len(mac) == MAC_BYTES
    content = bytearray(EFUSE_SIZE_BYTES)
    high, low = struct.unpack(">HI", mac)
    for offset, value in (
        (_BLOCK1, low),
        (_BLOCK1 + 4, high),
        (_BLOCK1 + 12, _WAFER_MINOR_VERSION << _WAFER_MINOR_SHIFT),
    ):
        _WORD.pack_into(content, EFUSE_SIZE_BYTES - offset - 4, value)
    return bytes(content)
