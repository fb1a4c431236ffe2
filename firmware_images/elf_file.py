"""Whether an ELF file is one that is worth converting: its tables and sections lie inside of it.

`esptool elf2image` believes what a file says of itself: it reads each of 65 535 sections that claim
four gigabytes. The fields of a 32-bit little-endian ELF that matter here (System V ABI, chapter 4):

| offset | bytes | field |
|---|---|---|
| 4 | 1 | class, 1 is 32-bit |
| 5 | 1 | byte order, 1 is little-endian |
| 28, 32 | 4, 4 | where the program and section headers begin |
| 42, 44 | 2, 2 | size and number of program headers |
| 46, 48 | 2, 2 | size and number of section headers |

What it does not do: say whether the file is for the chip; esptool does.
"""

from __future__ import annotations

import struct
from typing import Final

from firmware_images.errors import EspImageError

HEADER_COUNT_MAX: Final = 4096
_HEADER: Final = struct.Struct("<4sBB10xHHIIIIIHHHHHH")
_PROGRAM: Final = struct.Struct("<8I")
_SECTION: Final = struct.Struct("<10I")
assert (_HEADER.size, _PROGRAM.size, _SECTION.size) == (52, 32, 40)
_NOBITS: Final = 8


def refuse_impossible_elf(untrusted_bytes: bytes, *, where: object) -> None:
    """Refuse an ELF file whose tables or contents are not all inside of it, once.

    Raises:
        EspImageError: It claims more than it holds, or is no ELF file of a 32-bit chip.
    """
    if len(untrusted_bytes) < _HEADER.size:
        raise _impossible("a whole header", f"{len(untrusted_bytes)} bytes", where)
    fields = _HEADER.unpack_from(untrusted_bytes)
    if fields[1:3] != (1, 1):
        raise _impossible("32 bits, little-endian", f"class {fields[1]}, order {fields[2]}", where)
    program_start, section_start = fields[7:9]
    program_bytes, program_count, section_bytes, section_count = fields[11:15]
    for name, start, size_bytes, count, record in (
        ("program", program_start, program_bytes, program_count, _PROGRAM),
        ("section", section_start, section_bytes, section_count, _SECTION),
    ):
        end = start + count * record.size
        is_whole = count == 0 or size_bytes == record.size
        if not is_whole or count > HEADER_COUNT_MAX or end > len(untrusted_bytes):
            raise _impossible(
                f"at most {HEADER_COUNT_MAX} {name} headers of {record.size} bytes in the file",
                f"{count} of {size_bytes} bytes, to byte {end} of {len(untrusted_bytes)}",
                where,
            )
    contents = [
        _PROGRAM.unpack_from(untrusted_bytes, program_start + index * _PROGRAM.size)
        for index in range(program_count)
    ]
    _refuse_more_than_all([(part[1], part[4]) for part in contents], untrusted_bytes, where)
    sections = [
        _SECTION.unpack_from(untrusted_bytes, section_start + index * _SECTION.size)
        for index in range(section_count)
    ]
    held = [(part[4], part[5]) for part in sections if part[1] != _NOBITS]
    _refuse_more_than_all(held, untrusted_bytes, where)


def _refuse_more_than_all(
    contents: list[tuple[int, int]], untrusted_bytes: bytes, where: object
) -> None:
    size_bytes = len(untrusted_bytes)
    if any(offset + length > size_bytes for offset, length in contents if length):
        raise _impossible("contents inside of the file", "contents beyond its end", where)
    total_bytes = sum(length for _, length in contents)
    if total_bytes > 2 * size_bytes:
        raise _impossible("contents that share little", f"{total_bytes} bytes of contents", where)


def _impossible(expected: str, got: str, where: object) -> EspImageError:
    return EspImageError(
        "the ELF file is not one that a build makes",
        expected=expected,
        got=got,
        where=where,
        hint="give the ELF file of a finished build, or its .bin",
    )
