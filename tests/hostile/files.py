"""Files that are made to cost much: of any size, each named for what it tries.

A builder gets a size and returns that many bytes, or a few less. Its families say which entries it
is made for; those of `GENERAL` are for all.
"""

from __future__ import annotations

import base64
import random
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

GENERAL = frozenset({"general"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileFile:
    """One kind of file.

    Attributes:
        name: What it tries.
        families: What kinds of format it is made for.
        build: Returns the content for a size in bytes.
    """

    name: str
    families: frozenset[str]
    build: Callable[[int], bytes]


def _repeat(piece: bytes, *, head: bytes = b"", tail: bytes = b"") -> Callable[[int], bytes]:
    def build(size_bytes: int) -> bytes:
        room = size_bytes - len(head) - len(tail)
        return head + piece * max(0, room // len(piece)) + tail

    return build


def _nest(opening: bytes, closing: bytes, *, head: bytes = b"") -> Callable[[int], bytes]:
    def build(size_bytes: int) -> bytes:
        depth = max(0, size_bytes - len(head)) // (len(opening) + len(closing))
        return head + opening * depth + closing * depth

    return build


def _count(template: bytes, *, head: bytes = b"") -> Callable[[int], bytes]:
    """Numbered lines, so that no two are the same."""

    def build(size_bytes: int) -> bytes:
        count = max(1, (size_bytes - len(head)) // (len(template) + 5))
        before, after = template.decode().split("#")
        text = f"{after}{before}".join(map(str, range(count))).encode()
        text = before.encode() + text + after.encode()
        return (head + text)[:size_bytes]

    return build


def _noise(size_bytes: int) -> bytes:
    return random.Random(16).randbytes(size_bytes)


_LOCAL, _CENTRAL = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")


def _local(name: bytes, size_bytes: int, packed_bytes: int, method: int) -> bytes:
    sizes = (0, packed_bytes, size_bytes, len(name), 0)
    return _LOCAL.pack(b"PK\3\4", 20, 0, method, 0, 0x21, *sizes) + name


def _central(name: bytes, size_bytes: int, packed_bytes: int, method: int, offset: int) -> bytes:
    sizes = (0, packed_bytes, size_bytes, len(name), 0, 0, 0, 0, 0, offset)
    return _CENTRAL.pack(b"PK\1\2", 20, 20, 0, method, 0, 0x21, *sizes) + name


def _zip_bomb(size_bytes: int) -> bytes:
    # Nothing refers across a full flush, so that one MiB of zeros, packed once, is any number.
    squeeze = zlib.compressobj(9, wbits=-15)
    mebibyte = squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    packed = mebibyte * min(size_bytes >> 11, 4095) + squeeze.flush()
    member = _local(b"app.bin", 0xFFFFFFFF, len(packed), 8) + packed
    directory = _central(b"app.bin", 0xFFFFFFFF, len(packed), 8, 0)
    return member + directory + _END.pack(b"PK\5\6", 0, 0, 1, 1, len(directory), len(member), 0)


def _zip_overlapping(size_bytes: int) -> bytes:
    """Thousands of members that all lie in the same bytes."""
    content = bytes(size_bytes // 2)
    member = _local(b"app.bin", len(content), len(content), 0) + content
    entry = _central(b"app.bin", len(content), len(content), 0, 0)
    count = min(0xFFFF, (size_bytes - len(member)) // len(entry))
    directory = entry * max(count, 0)
    return (
        member
        + directory
        + _END.pack(
            b"PK\5\6",
            0,
            0,
            max(count, 0),
            max(count, 0),
            len(directory) & 0xFFFFFFFF,
            len(member),
            0,
        )
    )


def _zip_stored(members: tuple[tuple[bytes, bytes | None], ...]) -> Callable[[int], bytes]:
    """A well packed bundle whose last member without content is filled up."""

    def build(size_bytes: int) -> bytes:
        from firmware_images.bundle_archive import serialize_archive

        fixed = sum(len(content or b"") + 200 for _, content in members)
        return serialize_archive(
            {
                name.decode(): bytes(max(0, size_bytes - fixed)) if content is None else content
                for name, content in members
            }
        )

    return build


def _image(segments: int, length: int, *, flag: int = 1) -> bytes:
    head = struct.pack("<BBBBI", 0xE9, segments, 2, 0x2F, 0x40380000)
    head += struct.pack("<BBBBHBHHBBBBB", 0xEE, 0, 0, 0, 5, 0, 0, 0xFFFF, 0, 0, 0, 0, flag)
    return head + struct.pack("<II", 0x40380000, length)


def _image_full(size_bytes: int) -> bytes:
    """As large as allowed, and everything right but its digest."""
    content = bytes((size_bytes - 24 - 8 - 16 - 32) & ~15)
    body = _image(1, len(content)) + content
    body += bytes(15 - len(body) % 16) + b"\xef"
    return body + bytes(32)


def _image_sixteen(size_bytes: int) -> bytes:
    each = (size_bytes - 200) // 16 & ~3
    body = _image(16, each)[:-8] + (struct.pack("<II", 0x40380000, each) + bytes(each)) * 16
    return body + bytes(64)


def _elf(sections: int, segments: int, *, size: int) -> Callable[[int], bytes]:
    """A RISC-V ELF header that counts more than there is; each section claims `size` bytes."""

    def build(size_bytes: int) -> bytes:
        head = b"\x7fELF\1\1\1" + bytes(9)
        head += struct.pack("<HHIIIII", 2, 243, 1, 0x40380000, 52, 52 + 32 * 64, 0)
        head += struct.pack("<HHHHHH", 52, 32, segments, 40, sections, 0)
        program = struct.pack("<8I", 1, 0, 0x40380000, 0x40380000, size, size, 5, 4)
        section = struct.pack("<10I", 0, 1, 6, 0x40380000, 0, size, 0, 0, 4, 0)
        body = head + program * 64 + section * max(0, min(sections, size_bytes // 80))
        return body.ljust(size_bytes, b"\0")[:size_bytes]

    return build


def _pem(size_bytes: int) -> bytes:
    body = base64.encodebytes(b"\x30\x82" + bytes(max(0, size_bytes * 3 // 4 - 100)))
    return b"-----BEGIN PUBLIC KEY-----\n" + body + b"-----END PUBLIC KEY-----\n"


def _cose_signatures(size_bytes: int) -> bytes:
    """A COSE_Sign with as many signatures as fit."""
    from signing.canonical_cbor import serialize_cbor

    protected = serialize_cbor({1: -7, 4: bytes(8)})
    entry = serialize_cbor([protected, {}, bytes(64)])
    count = max(1, (size_bytes - 60) // len(entry))
    body = serialize_cbor(serialize_cbor({3: "application/x"})) + b"\xa0" + serialize_cbor(b"{}")
    return b"\xd8\x62\x84" + body + b"\x9a" + count.to_bytes(4, "big") + entry * count


def _rising_rows(size_bytes: int) -> bytes:
    lines = []
    left = size_bytes
    number = 0
    while left > 24:
        lines.append(b"%d.25,%d.125\n" % (number, number % 100))
        left -= len(lines[-1])
        number += 1
    return b"".join(lines)


def _sbom_of(inner: Callable[[int], bytes]) -> Callable[[int], bytes]:
    head = b'{"bomFormat":"CycloneDX","specVersion":"1.6","properties":['
    return lambda size_bytes: head + inner(size_bytes - len(head) - 2) + b"]}"


def _export_of(inner: Callable[[int], bytes]) -> Callable[[int], bytes]:
    hash_text = b'"' + b"0" * 64 + b'"'
    head = (
        b'{"schema":"ampforge.unit-export/1","serial":"A","ledger":{"uuid":"u","epoch":1},'
        b'"exported_at":"t","events":[],"heads_cose":"","station_certificate":"",'
        b'"chains":[{"station":"s","previous":' + hash_text + b',"links":['
    )
    return lambda size_bytes: head + inner(size_bytes - len(head) - 4) + b"]}]}"


_COSE_HEAD = b"\xd2\x84\x40\xa0\x5a\xff\xff\xff\xff"
_RESULT = b"\x81\x02"  # 129 bytes (docs/spec/delta.md)
_FAR = b"\xbf" + b"\xff" * 5 + b"\x01"
_PATCH, _PACKED_PATCH = b"\0" + _RESULT + b"\0", b"\4" + _RESULT + b"\x44"
_ENDLESS = _local(b"app.bin", 0xFFFFFFFF, 0xFFFFFFFF, 0)
_LINK = b'{"number":1,"digest":"%s","hash":"%s"},' % (b"0" * 64, b"0" * 64)

HOSTILE_FILES: tuple[HostileFile, ...] = tuple(
    HostileFile(name=name, families=frozenset(families.split()), build=build)
    for name, families, build in (
        ("zeros", "general", _repeat(b"\0")),
        ("erased flash", "general", _repeat(b"\xff")),
        ("noise", "general", _noise),
        ("line ends", "general", _repeat(b"\n")),
        ("carriage returns", "text csv", _repeat(b"\r")),
        ("one long line", "general", _repeat(b"a")),
        ("digits", "general", _repeat(b"9")),
        ("commas", "csv json", _repeat(b",")),
        ("quotes", "csv json toml", _repeat(b'"')),
        ("spaces", "text csv json toml", _repeat(b" ")),
        ("words", "text", _repeat(b"a ")),
        ("short lines", "text csv", _repeat(b"a\n")),
        ("numbered lines", "text csv", _count(b"board-# 00\n")),
        ("comment lines", "text csv toml", _repeat(b"#\n")),
        # CBOR and COSE
        ("nested arrays", "cbor cose", _repeat(b"\x81")),
        ("nested maps", "cbor cose", _repeat(b"\xa1\x00")),
        ("nested tags", "cbor cose", _repeat(b"\xc1")),
        ("array of 2^64-1", "cbor cose", _repeat(b"\0", head=b"\x9b" + b"\xff" * 8)),
        ("array of 2^32-1", "cbor cose", _repeat(b"\0", head=b"\x9a" + b"\xff" * 4)),
        ("map of 2^32-1", "cbor cose", _repeat(b"\0", head=b"\xba" + b"\xff" * 4)),
        ("bytes of 2^32-1", "cbor cose", _repeat(b"\0", head=b"\x5a" + b"\xff" * 4)),
        ("text of 2^64-1", "cbor cose", _repeat(b"\0", head=b"\x7b" + b"\xff" * 8)),
        ("endless array", "cbor cose", _repeat(b"\0", head=b"\x9f")),
        ("many small arrays", "cbor cose", _repeat(b"\x80", head=b"\x99\xff\xff")),
        ("signed array of 2^32-1", "cose", _repeat(b"\0", head=b"\xd2\x9a" + b"\xff" * 4)),
        (
            "signed payload of 2^32-1",
            "cose",
            _repeat(b"\0", head=_COSE_HEAD),
        ),
        ("signed nested arrays", "cose", _repeat(b"\x81", head=b"\xd2")),
        ("many signatures", "cose", _cose_signatures),
        # ZIP and bundles
        ("ZIP bomb", "zip", _zip_bomb),
        ("overlapping members", "zip", _zip_overlapping),
        ("many members", "zip", _repeat(_local(b"a", 0, 0, 0))),
        (
            "member of 4 GiB",
            "zip",
            _repeat(b"\0", head=_ENDLESS),
        ),
        ("stored without statement", "zip", _zip_stored(((b"app.bin", None),))),
        ("stored with a huge statement", "zip", _zip_stored(((b"statement.cose", None),))),
        # TOML
        ("TOML nested arrays", "toml", _repeat(b"[", head=b"a=")),
        ("TOML closed arrays", "toml", _nest(b"[", b"]", head=b"a=")),
        ("TOML nested tables", "toml", _repeat(b"{a=", head=b"a=")),
        ("TOML dotted key", "toml", _repeat(b"a.", tail=b"a=1\n")),
        ("TOML dotted table", "toml", _repeat(b"a.", head=b"[", tail=b"a]\n")),
        ("TOML dotted tables", "toml", _repeat(b"[" + b"a." * 40 + b"b]\n")),
        ("TOML many tables", "toml", _count(b"[a#]\n")),
        ("TOML many deep tables", "toml", _count(b"[" + b"a." * 100 + b"b#]\n")),
        ("TOML many deep keys", "toml", _count(b"a." * 100 + b"b#=1\n")),
        ("TOML array of tables", "toml", _repeat(b"[[a]]\n")),
        ("TOML many modes", "toml", _repeat(b"[[mode]]\n", head=b"format=1\ntick_us=1\n")),
        ("TOML many wrong modes", "toml", _repeat(b"{},", head=b"mode=[", tail=b"]\n")),
        ("TOML many keys", "toml", _count(b"a#=1\n")),
        ("TOML long key", "toml", _repeat(b"a", tail=b"=1\n")),
        ("TOML huge integer", "toml", _repeat(b"9", head=b"a=")),
        ("TOML huge decimal", "toml", _repeat(b"9", head=b"a=0.")),
        ("TOML huge hexadecimal", "toml", _repeat(b"f", head=b"a=0x")),
        ("TOML many dates", "toml", _repeat(b"2026-01-01,", head=b"a=[", tail=b"]\n")),
        ("TOML many numbers", "toml", _repeat(b"1.5,", head=b"a=[", tail=b"]\n")),
        ("TOML escapes", "toml", _repeat(b"\\n", head=b'a="', tail=b'"\n')),
        # JSON
        ("JSON nested arrays", "json", _repeat(b"[")),
        ("JSON nested objects", "json", _repeat(b'{"a":')),
        ("JSON closed arrays", "json", _nest(b"[", b"]")),
        ("JSON many arrays", "json", _repeat(b"[],", head=b"[", tail=b"[]]")),
        ("JSON many objects", "json", _repeat(b"{},", head=b"[", tail=b"{}]")),
        ("JSON many numbers", "json", _repeat(b"1,", head=b"[", tail=b"1]")),
        ("JSON many decimals", "json", _repeat(b"1.5,", head=b"[", tail=b"1]")),
        ("JSON many keys", "json", _count(b'"a#":[],', head=b"{")),
        ("JSON huge number", "json", _repeat(b"9")),
        ("JSON huge exponent", "json", _repeat(b"9", head=b"1e")),
        ("JSON escapes", "json", _repeat(rb"\u00e9", head=b'"', tail=b'"')),
        ("JSON wide text", "json", _repeat(b"\xf0\x9f\x98\x80", head=b'"', tail=b'"')),
        ("JSON object of arrays", "json", _repeat(b"[],", head=b'{"signed":[', tail=b"[]]}")),
        ("SBOM of many arrays", "json", _sbom_of(_repeat(b"[],", tail=b"[]"))),
        ("SBOM of many objects", "json", _sbom_of(_repeat(b'{"a":{}},', tail=b"{}"))),
        ("export of many links", "json", _export_of(_repeat(_LINK, tail=_LINK[:-1]))),
        ("export of wrong links", "json", _export_of(_repeat(b"{},", tail=b"{}"))),
        # CSV
        ("CSV of zeros", "csv", _repeat(b"0,0\n")),
        ("CSV of padded rows", "csv", _repeat(b"0,0" + b" " * 164 + b"\n")),
        ("CSV of wide letters", "csv", _repeat(b"1,2\n", head="\U0001f600,y\n".encode())),
        ("wide letter", "general", _repeat(b"a", head="\U0001f600".encode())),
        ("CSV of rising rows", "csv", _rising_rows),
        ("CSV with a header", "csv", _repeat(b"1,2\n", head=b"x,y\n")),
        ("CSV of wide rows", "csv", _repeat(b"1," * 1000 + b"1\n", head=b"x,y\n")),
        ("CSV of long numbers", "csv", _repeat(b"9" * 4000 + b",1\n", head=b"x,y\n")),
        ("samples", "csv", _repeat(b"0.5\n", head=b"SampleRate=1000\n")),
        ("parameters", "csv", _count(b"Name#=1\n", head=b"SampleRate=1000\n")),
        ("partitions", "csv", _repeat(b"a,data,nvs,,4K\n")),
        ("partitions of huge numbers", "csv", _repeat(b"9", head=b"a,data,nvs,", tail=b",4K\n")),
        # images
        ("image of huge segments", "image", _repeat(b"\0", head=_image(16, 0xFFFFFFFF))),
        ("image of 255 segments", "image", _repeat(b"\0", head=_image(255, 0))),
        ("image without end", "image", _repeat(b"\0", head=_image(16, 0))),
        ("image with a false digest", "image", _image_full),
        ("image of sixteen segments", "image", _image_sixteen),
        ("ELF of 65535 sections", "elf", _elf(0xFFFF, 0xFFFF, size=0xFFFFFFFF)),
        ("ELF of overlapping sections", "elf", _elf(2000, 64, size=1 << 20)),
        # keys and certificates
        ("endless PEM", "pem", _pem),
        ("PEM of many blocks", "pem", _repeat(b"-----BEGIN PUBLIC KEY-----\n")),
        ("PEM of many private blocks", "pem", _repeat(b"-----BEGIN PRIVATE KEY-----\n")),
        ("DER of huge length", "der", _repeat(b"\0", head=b"\x30\x84\xff\xff\xff\xff")),
        ("nested DER", "der", _repeat(b"\x30\x80")),
        # patches: of the golden result's size, and of far more
        ("patch of nothing for ever", "patch", _repeat(b"\0", head=_PATCH)),
        ("patch of far away bases", "patch", _repeat(b"\0\0" + _FAR, head=_PATCH)),
        ("patch of an endless size", "patch", _repeat(b"\xff")),
        ("packed patch of nothing", "patch", _repeat(b"\0", head=_PACKED_PATCH)),
        ("packed patch of zeros", "patch", _repeat(b"\0\x7f", head=_PACKED_PATCH)),
        # tables
        ("table of huge counts", "table", _repeat(b"\xff", head=b"AFWT\1\0")),
    )
)


def continue_valid(valid: bytes, size_bytes: int) -> tuple[tuple[str, bytes], ...]:
    """Files that begin as an entry's own input, and go on in ways that no parser expects."""
    half = valid[: len(valid) // 2]
    copies = (valid * (size_bytes // max(1, len(valid)) + 1))[:size_bytes]
    return (
        ("its own, again and again", copies),
        ("its own, then zeros", valid.ljust(size_bytes, b"\0")),
        ("its own, half, then erased", half.ljust(size_bytes, b"\xff")),
    )
