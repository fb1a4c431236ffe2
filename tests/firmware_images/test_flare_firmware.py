"""The example's firmware: reproducible, accepted by esptool, and it runs."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import unicorn

from tests.espressif_tools import esptool
from tests.firmware_images.esp32c3_machine import (
    DRAM,
    DROM_WINDOW,
    IRAM,
    IROM_WINDOW,
    PAGE_BYTES,
    Machine,
    parse_segments,
)
from tests.untraced import untraced_environment

REPOSITORY = Path(__file__).resolve().parents[2]
FIRMWARE = REPOSITORY / "examples" / "flare" / "firmware"
FLARE_1_4_0 = FIRMWARE / "images" / "flare-1.4.0.bin"
FLARE_1_5_0 = FIRMWARE / "images" / "flare-1.5.0.bin"
HELLO_WORLD = REPOSITORY / "tests" / "assets" / "foreign" / "hello-1.0.0.bin"
IMAGES = (FLARE_1_4_0, FLARE_1_5_0, HELLO_WORLD)
APP_SLOT_BYTES = 0x180000

DESCRIPTOR = struct.Struct("<II8x32s32s16s16s32s32sHHB3x72x")
assert DESCRIPTOR.size == 256

each_image = pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)


def run_build(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, str(folder / "build.py"), *arguments),
        env=untraced_environment(),
        check=False,
        capture_output=True,
        text=True,
    )


def text_of(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("ascii")


def test_rebuilding_gives_the_committed_bytes() -> None:
    built = run_build(FIRMWARE, "--check")
    assert built.returncode == 0, built.stdout + built.stderr
    assert built.stdout.count("identical") == len(IMAGES)


def test_a_copy_in_another_folder_gives_the_same_bytes_and_a_difference_is_told(
    tmp_path: Path,
) -> None:
    copy = tmp_path / "some product" / "firmware"
    shutil.copytree(FIRMWARE, copy)
    changed = copy / "images" / FLARE_1_5_0.name
    content = bytearray(changed.read_bytes())
    content[100] ^= 1
    changed.write_bytes(content)
    checked = run_build(copy, "--check")
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert "flare-1.4.0.bin: 65936 bytes, identical" in checked.stdout
    assert "flare-1.5.0.bin: 65936 bytes, DIFFERS" in checked.stdout
    assert changed.read_bytes() == content

    assert run_build(copy).returncode == 0
    assert changed.read_bytes() == FLARE_1_5_0.read_bytes()


@each_image
def test_esptool_accepts_the_image(path: Path) -> None:
    told = esptool("image-info", path)
    assert "Detected image type: ESP32-C3" in told
    assert "Flash size: 4MB" in told
    checksum, digest = (
        next(line for line in told.splitlines() if line.startswith(name))
        for name in ("Checksum", "Validation hash")
    )
    assert checksum.endswith("(valid)")
    assert digest.endswith("(valid)")


@each_image
def test_header_and_trailer_are_what_the_bootloader_checks(path: Path) -> None:
    image = path.read_bytes()
    magic, _count, mode, size_and_frequency = struct.unpack_from("<BBBB", image)
    chip_id, min_revision, max_revision = struct.unpack_from("<H1xHH", image, 12)
    assert (magic, mode, size_and_frequency) == (0xE9, 2, 0x2F)  # DIO; 4 MiB, 80 MHz
    assert chip_id == 5
    assert (min_revision, max_revision) == (0, 199)
    assert image[23] == 1, "SHA-256 appended"
    assert hashlib.sha256(image[:-32]).digest() == image[-32:]
    _entry, segments = parse_segments(image)
    checksum = 0xEF
    for segment in segments:
        for byte in segment.content:
            checksum ^= byte
    assert image[-33] == checksum
    assert len(image) % 16 == 0
    assert len(image) <= APP_SLOT_BYTES


@pytest.mark.parametrize(
    ("path", "name", "version"),
    [
        (FLARE_1_4_0, "flare", "1.4.0"),
        (FLARE_1_5_0, "flare", "1.5.0"),
        (HELLO_WORLD, "hello_world", "1.0.0"),
    ],
)
def test_the_descriptor_is_complete(path: Path, name: str, version: str) -> None:
    (
        magic,
        secure_version,
        version_field,
        name_field,
        time_field,
        date_field,
        idf_field,
        elf_sha256,
        min_block,
        max_block,
        page_size_log2,
    ) = DESCRIPTOR.unpack_from(path.read_bytes(), 0x20)
    assert magic == 0xABCD5432
    assert secure_version == 0
    assert (text_of(version_field), text_of(name_field)) == (version, name)
    assert text_of(time_field) == "12:00:00"
    assert text_of(date_field).endswith("2026")
    assert text_of(idf_field) == "none"
    assert len(set(elf_sha256)) > 8, "a digest, not zeros"
    assert (min_block, max_block) == (0, 199)
    assert 1 << page_size_log2 == PAGE_BYTES


def test_every_image_has_its_own_elf_digest() -> None:
    digests = {DESCRIPTOR.unpack_from(path.read_bytes(), 0x20)[7] for path in IMAGES}
    assert len(digests) == len(IMAGES)


@each_image
def test_segments_lie_where_an_esp32_c3_can_have_them(path: Path) -> None:
    entry, segments = parse_segments(path.read_bytes())
    assert segments[0].load_address == 0x3C000020, "the descriptor opens the first segment"
    pages: list[int] = []
    sram: list[range] = []
    for segment in segments:
        address, size_bytes = segment.load_address, len(segment.content)
        last = address + size_bytes - 1
        assert size_bytes % 4 == 0
        if address == 0:
            continue
        if address in DROM_WINDOW or address in IROM_WINDOW:
            window = DROM_WINDOW if address in DROM_WINDOW else IROM_WINDOW
            assert last in window
            assert address % PAGE_BYTES == segment.file_offset % PAGE_BYTES
            pages += [
                page - window.start // PAGE_BYTES
                for page in range(address // PAGE_BYTES, last // PAGE_BYTES + 1)
            ]
        else:
            bus = IRAM if address in IRAM else DRAM
            assert address in bus
            assert last < bus.start + 0x40000, "the bootloader's own memory lies above"
            sram.append(range(address - bus.start, last - bus.start + 1))
    assert len(pages) == len(set(pages)), "both windows share one page table"
    assert all(
        a.stop <= b.start or b.stop <= a.start for i, a in enumerate(sram) for b in sram[:i]
    ), "IRAM and DRAM are one memory"
    assert entry in IRAM


@pytest.mark.parametrize(
    ("path", "line"), [(FLARE_1_4_0, "flare 1.4.0"), (FLARE_1_5_0, "flare 1.5.0")]
)
def test_it_runs_and_says_name_and_version_once_a_second(path: Path, line: str) -> None:
    machine = Machine(image=path.read_bytes())
    assert machine.run(lines=4, max_instructions=1_000_000) == [line] * 4
    assert bytes(machine.sent) == (line + "\n").encode() * 4
    steps_us = [
        later - earlier
        for earlier, later in zip(
            machine.newline_times_us, machine.newline_times_us[1:], strict=False
        )
    ]
    assert all(abs(step_us - 1_000_000) <= 1_000 for step_us in steps_us), steps_us
    assert machine.lost_bytes == 0


def test_it_leaves_no_watchdog_that_nobody_feeds() -> None:
    machine = Machine(image=FLARE_1_4_0.read_bytes())
    machine.run(lines=12, max_instructions=4_000_000)
    assert len(machine.newline_times_us) == 12, "past the RTC watchdog's nine seconds"
    assert not machine.is_reset_by_watchdog
    assert machine.feeds > 11
    assert machine.registers[0x60008090] >> 31 == 1, "the RTC watchdog stays on, and is fed"
    assert machine.registers[0x6001F048] == machine.registers[0x60020048] == 0
    assert machine.registers[0x600080AC] >> 31 == 1, "the super watchdog feeds itself"
    for lock in (0x6001F064, 0x60020064, 0x600080A8, 0x600080B0):
        assert machine.registers[lock] == 0, "locked again"


def test_a_hung_uart_ends_in_the_watchdog_and_not_in_lost_bytes() -> None:
    machine = Machine(image=FLARE_1_4_0.read_bytes(), is_uart_stuck=True)
    machine.run(lines=100, max_instructions=8_000_000)
    assert machine.is_reset_by_watchdog
    assert machine.lost_bytes == 0
    assert len(machine.sent) == 127


def test_the_foreign_application_runs_and_says_something_else() -> None:
    machine = Machine(image=HELLO_WORLD.read_bytes())
    assert machine.run(lines=2, max_instructions=1_000_000) == ["Hello world!"] * 2


def test_a_segment_that_moved_in_the_file_does_not_run() -> None:
    """The machine maps flash page by page as the chip does; this is a test of the machine."""
    image = FLARE_1_4_0.read_bytes()
    machine = Machine(image=image[:0x10018] + bytes(16) + image[0x10018:-16])
    with pytest.raises(unicorn.UcError):
        machine.run(lines=1, max_instructions=100_000)


def test_an_exception_is_caught_by_a_loop_that_the_watchdog_ends() -> None:
    machine = Machine(image=FLARE_1_4_0.read_bytes())
    machine.run(lines=1, max_instructions=100_000)
    handler = machine.read_trap_vector()
    assert handler & 0xFF == 1, "vectored mode, aligned to 256 bytes"
    assert machine.read_memory(handler & ~1, 2) == bytes.fromhex("01a0"), "a jump to itself"
