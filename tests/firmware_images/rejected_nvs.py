"""Builds tests/rejected/nvs; `python -m tests.firmware_images.rejected_nvs` writes it."""

from __future__ import annotations

from firmware_images.nvs import nvs_crc, parse_nvs
from firmware_images.nvs_building import build_nvs
from firmware_images.nvs_plan import parse_nvs_plan
from firmware_images.nvs_values import NvsType
from tests.firmware_images.nvs_parts import PLAN, entry
from tests.gallery import Gallery, write_gallery

ABOUT = """Each file has one thing wrong and is named after it: `plan-` files are a product's NVS
file, `page-` files the first page of a partition. Written by
`python -m tests.firmware_images.rejected_nvs`; `tests/firmware_images/test_rejected_by_name.py`
checks each error, word by word."""


def read(name: str, content: bytes) -> object:
    """Read a file as what its name begins with."""
    if name.startswith("plan-"):
        return parse_nvs_plan(content, where=name)
    return parse_nvs(content, where=name)


def build_partition() -> bytes:
    """Return a partition that is right: three entries, of which the second has data."""
    entries = [entry("text", NvsType.STRING, "a text"), entry("number", NvsType.U32, 7)]
    return build_nvs(entries, size_bytes=0x3000)


def build_page() -> bytes:
    """Return the first page of a partition that is right."""
    return build_partition()[:4096]


def build_rejected() -> dict[str, bytes]:
    """Return each file's name and content."""
    return {**_plans(), **_pages()}


def _plans() -> dict[str, bytes]:
    def with_line(line: str) -> bytes:
        return PLAN + line.encode() + b"\n"

    return {
        "plan-not-toml.toml": b"serial: {serial}\n",
        "plan-without-namespaces.toml": b'partition = "nvs"\n',
        "plan-unknown-section.toml": with_line("[keys]"),
        "plan-unknown-placeholder.toml": with_line('lot = { string = "{lot}" }'),
        "plan-format-in-a-placeholder.toml": with_line('lot = { string = "{serial!r}" }'),
        "plan-lone-brace.toml": with_line('lot = { string = "a } b" }'),
        "plan-unknown-type.toml": with_line("lot = { u128 = 1 }"),
        "plan-two-types.toml": with_line("lot = { u8 = 1, u16 = 1 }"),
        "plan-no-type.toml": with_line("lot = {}"),
        "plan-number-out-of-range.toml": with_line("lot = { u8 = 256 }"),
        "plan-number-as-text.toml": with_line('lot = { u8 = "1" }'),
        "plan-boolean-as-number.toml": with_line("lot = { u8 = true }"),
        "plan-key-too-long.toml": with_line("a-key-of-sixteen = { u8 = 1 }"),
        "plan-key-twice.toml": with_line("revision = { u8 = 2 }"),
        "plan-namespace-too-long.toml": with_line("[namespaces.factory-settings]\na = { u8 = 1 }"),
        "plan-blob-not-hexadecimal.toml": with_line('lot = { blob = "{mac}" }'),
        "plan-blob-empty.toml": with_line('lot = { blob = "" }'),
        "plan-text-too-long.toml": with_line(f'lot = {{ string = "{"x" * 4000}" }}'),
        "plan-key-beside-its-lock.toml": b'keys_partition = "nvs"\n' + PLAN,
    }


def _pages() -> dict[str, bytes]:
    right = build_page()

    def changed(offset: int, content: bytes) -> bytes:
        return right[:offset] + content + right[offset + len(content) :]

    def resealed(index: int, offset: int, content: bytes) -> bytes:
        """Change an entry and make its checksum right again."""
        start = 64 + 32 * index
        page = bytearray(changed(start + offset, content))
        crc = nvs_crc(page[start : start + 4] + page[start + 8 : start + 32])
        page[start + 4 : start + 8] = crc.to_bytes(4, "little")
        return bytes(page)

    return {
        "page-empty.bin": b"",
        "page-too-short.bin": right[:-1],
        "page-being-freed.bin": changed(0, b"\xf8"),
        "page-corrupt.bin": changed(0, b"\xf0"),
        "page-header-damaged.bin": changed(4, b"\x01"),
        "page-unused-but-written.bin": changed(0, b"\xff" * 4),
        "page-entry-damaged.bin": changed(64 + 24, b"\x02"),
        "page-entry-state-unknown.bin": changed(32, b"\xa9"),
        "page-value-not-whole.bin": changed(32, b"\xba"),
        "page-span-zero.bin": resealed(1, 2, b"\0"),
        "page-span-beyond-the-page.bin": resealed(1, 2, b"\x7f"),
        "page-type-unknown.bin": resealed(3, 1, b"\x07"),
        "page-key-not-a-text.bin": resealed(3, 8, b"n\0mber"),
        "page-namespace-without-a-name.bin": resealed(3, 0, b"\x02"),
        "page-namespace-zero.bin": resealed(0, 24, b"\0"),
        "page-text-data-damaged.bin": changed(64 + 32 * 2, b"A"),
        "page-text-longer-than-its-data.bin": resealed(1, 24, b"\x40"),
        "page-blob-without-index.bin": resealed(1, 1, b"\x42"),
        "page-blob-without-pieces.bin": resealed(3, 1, b"\x48"),
    }


GALLERY = Gallery(
    name="nvs", title="NVS that is refused", about=ABOUT, build=build_rejected, read=read
)

if __name__ == "__main__":
    write_gallery(GALLERY)
