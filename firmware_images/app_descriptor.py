"""The application descriptor with which an ESP-IDF application begins its first segment.

`esp_app_desc_t`, 256 bytes, little endian:

| offset | bytes | field |
|---|---|---|
| 0 | 4 | magic ABCD5432 |
| 4 | 4 | secure version |
| 16 | 32 | version, text |
| 48 | 32 | project name, text |
| 80 | 16 | build time, text |
| 96 | 16 | build date, text |
| 112 | 32 | ESP-IDF version, text |
| 144 | 32 | SHA-256 of the ELF file |
| 176 | 4 | lowest and highest eFuse block revision |
| 180 | 1 | MMU page size, as a power of two |

Texts are UTF-8, padded with zero bytes. Other toolchains may leave the descriptor out.
"""

from __future__ import annotations

import struct

from firmware_images.errors import EspImageError
from signing.value_class import dataclass

DESCRIPTOR_MAGIC = 0xABCD5432
MMU_PAGE_EXPONENT_MAX = 20
_DESCRIPTOR = struct.Struct("<II8s32s32s16s16s32s32sHHB3s72s")
assert _DESCRIPTOR.size == 256  # noqa: PLR2004 - the size in the text above


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDescriptor:
    """What the application says about itself.

    Attributes:
        project_name: Name of the project.
        version: The application's version text.
        secure_version: The anti-rollback counter.
        idf_version: ESP-IDF version that it was built with.
        elf_sha256: SHA-256 of the ELF file that it was made from.
        build_date: Date and time texts of the build, if the build states them.
        mmu_page_size_bytes: Flash mapping granularity, if the build states it.
    """

    project_name: str
    version: str
    secure_version: int
    idf_version: str
    elf_sha256: bytes
    build_date: str | None
    mmu_page_size_bytes: int | None


def parse_app_descriptor(untrusted_bytes: bytes, *, where: str) -> AppDescriptor | None:
    """Return the descriptor at the start of an image's first segment, or `None`.

    Args:
        untrusted_bytes: Content of the segment.
        where: The image, for messages.

    Raises:
        EspImageError: There is one, and a text in it is not text.
    """
    if len(untrusted_bytes) < _DESCRIPTOR.size:
        return None
    (magic, secure_version, _, version, project, time, date, idf, elf_sha256, _, _, page, _, _) = (
        _DESCRIPTOR.unpack_from(untrusted_bytes)
    )
    if magic != DESCRIPTOR_MAGIC:
        return None
    built = [_parse_text(field, name="build date", where=where) for field in (date, time)]
    return AppDescriptor(
        project_name=_parse_text(project, name="project name", where=where),
        version=_parse_text(version, name="version", where=where),
        secure_version=secure_version,
        idf_version=_parse_text(idf, name="ESP-IDF version", where=where),
        elf_sha256=elf_sha256,
        build_date=" ".join(built).strip() or None,
        mmu_page_size_bytes=1 << page if 0 < page <= MMU_PAGE_EXPONENT_MAX else None,
    )


def _parse_text(field: bytes, *, name: str, where: str) -> str:
    content, _, rest = field.partition(b"\0")
    # An undecodable byte becomes a surrogate, which is not printable.
    text = content.decode("utf-8", errors="surrogateescape")
    if not text.isprintable() or rest.strip(b"\0"):
        raise EspImageError(
            f"the application descriptor's {name} is not text",
            expected="printable UTF-8, padded with zero bytes",
            got=field.rstrip(b"\0").hex(),
            where=where,
            hint="build the image again, or copy it again from where it was built",
        )
    return text
