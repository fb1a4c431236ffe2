"""The smallest ELF files that esptool makes an image of, for each chip family."""

from __future__ import annotations

import struct

XTENSA, RISC_V = 0x5E, 0xF3
# chip -> (machine, an address in mapped flash data, an address in instruction RAM)
CHIPS = {
    "esp32": (XTENSA, 0x3F400020, 0x40080000),
    "esp32s2": (XTENSA, 0x3F000020, 0x40028000),
    "esp32s3": (XTENSA, 0x3C000020, 0x40378000),
    "esp32c3": (RISC_V, 0x3C000020, 0x40380000),
    "esp32c6": (RISC_V, 0x42000020, 0x40800000),
    "esp32h2": (RISC_V, 0x42000020, 0x40800000),
}


def build_elf(chip: str, descriptor: bytes, code: bytes = bytes(range(64))) -> bytes:
    """An ELF32 file with an application descriptor in flash and a little code in RAM."""
    machine, data_address, code_address = CHIPS[chip]
    names = b"\0.flash.appdesc\0.iram0.text\0.shstrtab\0"
    parts = (descriptor, code, names)
    offsets = [0x34]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    header = struct.pack(
        "<16sHHLLLLLHHHHHH",
        b"\x7fELF\x01\x01\x01",
        *(2, machine, 1, code_address, 0, offsets[-1], 0, 0x34, 0x20, 0, 0x28, 4, 3),
    )
    sections = (
        (0, 0, 0, 0, 0, 0),
        (names.index(b".flash"), 1, 2, data_address, offsets[0], len(descriptor)),
        (names.index(b".iram"), 1, 6, code_address, offsets[1], len(code)),
        (names.index(b".shstr"), 3, 0, 0, offsets[2], len(names)),
    )
    table = b"".join(struct.pack("<LLLLLLLLLL", *section, 0, 0, 4, 0) for section in sections)
    return header + b"".join(parts) + table
