"""Builds the example's firmware images from their C source, byte for byte the committed ones.

    python build.py            write the images
    python build.py --check    rebuild in a temporary folder and compare; exit 1 on a difference

The compiler is the `ziglang` package and the image maker is esptool, both pinned by the project's
lock, so that the bytes depend on nothing of this machine: sources are named relative to this
folder, there is no debug information, dates are constants, the compiler's cache is temporary.

It does not sign anything and does not build the second-stage bootloader, which is the product's
own ESP-IDF build (`../bootloader/README.md`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parent
FOREIGN = FIRMWARE.parent.parent.parent / "tests" / "assets" / "foreign"

BOARD_SOURCES = ("startup.S", "board.c", "descriptor.c")
COMPILER_FLAGS = (
    "-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c",
    "-std=c11", "-Os", "-Wall", "-Wextra", "-Werror",
    "-ffreestanding", "-nostdlib", "-fno-sanitize=all", "-fno-stack-protector",
    "-fno-unwind-tables", "-fno-asynchronous-unwind-tables",
)  # fmt: skip
LINKER_FLAGS = (
    "-Wl,-T,esp32c3.ld", "-Wl,-e,application_entry",
    "-Wl,--no-gc-sections", "-Wl,--no-eh-frame-hdr", "-Wl,-s",
)  # fmt: skip
# Any chip revision will do; 0xb0 = image header 24 + segment header 8 + 144 bytes of descriptor.
IMAGE_FLAGS = (
    "--flash-mode", "dio", "--flash-freq", "80m", "--flash-size", "4MB",
    "--min-rev-full", "0", "--max-rev-full", "199", "--elf-sha256-offset", "0xb0",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One image to build.

    Attributes:
        source: The C file with `application_main`; the board's files are common to all.
        name: The descriptor's project name, at most 31 characters.
        version: The descriptor's version, at most 31 characters.
        date: The descriptor's compile date, a constant of the release.
        secure_version: The anti-rollback counter.
        image: Where the image is committed.
    """

    source: Path
    name: str
    version: str
    date: str
    secure_version: int
    image: Path


APPLICATIONS = (
    Application(
        source=FIRMWARE / "flare.c",
        name="flare",
        version="1.4.0",
        date="Sep  1 2026",
        secure_version=0,
        image=FIRMWARE / "images" / "flare-1.4.0.bin",
    ),
    Application(
        source=FIRMWARE / "flare.c",
        name="flare",
        version="1.5.0",
        date="Nov  2 2026",
        secure_version=0,
        image=FIRMWARE / "images" / "flare-1.5.0.bin",
    ),
    Application(
        source=FOREIGN / "hello_world.c",
        name="hello_world",
        version="1.0.0",
        date="Sep  1 2026",
        secure_version=0,
        image=FOREIGN / "hello-1.0.0.bin",
    ),
)


def build_image(application: Application, folder: Path) -> bytes:
    """Compile and link one application and turn it into a flashable image.

    Args:
        application: What to build.
        folder: An empty folder for the ELF file, the image and the compiler's cache.

    Returns:
        The image's bytes, SHA-256 appended, as they go to an app slot.

    Raises:
        subprocess.CalledProcessError: When the compiler or esptool fails; it has said why.
    """
    elf, image = folder / "application.elf", folder / "application.bin"
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ZIG_", "ESPTOOL_", "SOURCE_DATE_EPOCH", "CPATH", "C_INCLUDE"))
    }
    cache = str(folder / "cache")
    environment |= {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    defines = (
        f'-DAPPLICATION_NAME="{application.name}"',
        f'-DAPPLICATION_VERSION="{application.version}"',
        f'-DAPPLICATION_DATE="{application.date}"',
        '-DAPPLICATION_TIME="12:00:00"',
        f"-DAPPLICATION_SECURE_VERSION={application.secure_version}",
    )
    source = os.path.relpath(application.source, FIRMWARE)
    compiler = (sys.executable, "-m", "ziglang", "cc")
    subprocess.run(
        (*compiler, *COMPILER_FLAGS, *defines, *LINKER_FLAGS,
         "-I.", *BOARD_SOURCES, source, "-o", str(elf)),
        cwd=FIRMWARE, env=environment, check=True,
    )  # fmt: skip
    subprocess.run(
        (sys.executable, "-m", "esptool", "--chip", "esp32c3", "elf2image",
         *IMAGE_FLAGS, "--output", image.name, elf.name),
        cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return image.read_bytes()


def main(arguments: list[str] | None = None) -> int:
    """Build every application, or compare with what is committed.

    Args:
        arguments: The command line without the program's name; the process's own if None.

    Returns:
        0, or 1 if `--check` found an image that differs.
    """
    parser = argparse.ArgumentParser(description="Build the example's firmware images.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    is_check = parser.parse_args(arguments).check
    different = 0
    for application in APPLICATIONS:
        if not application.source.is_file():
            continue  # a copy of the example, outside the repository, has no test assets
        with tempfile.TemporaryDirectory(prefix="ampforge-firmware-") as folder:
            built = build_image(application, Path(folder))
        if not is_check:
            application.image.parent.mkdir(parents=True, exist_ok=True)
            application.image.write_bytes(built)
            verdict = "written"
        elif application.image.is_file() and application.image.read_bytes() == built:
            verdict = "identical"
        else:
            verdict = "DIFFERS"
            different += 1
        print(f"{application.image.name}: {len(built)} bytes, {verdict}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
