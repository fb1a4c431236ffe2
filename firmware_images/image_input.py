"""An application image from whatever a build leaves: a `.bin`, an `.elf`, or an ESP-IDF folder.

- A `.bin` is taken as it is.
- An ELF file is converted by `esptool elf2image`. It says neither its chip, so that has to be
  given, nor the chip revisions that the build admits, so that any are.
- A build folder is one with ESP-IDF's `flasher_args.json` (`build_folder`); the file stands for it.

Nothing is built or changed here.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firmware_images.elf_file import refuse_impossible_elf
from firmware_images.errors import EspImageError
from firmware_images.esp_image import EspImage, inspect_image
from signing.input_file import read_input
from signing.value_class import dataclass

if TYPE_CHECKING:
    from firmware_images.build_folder import BuildFolder

ELF_MAX_BYTES: Final = 64 << 20
ELF_MAGIC: Final = b"\x7fELF"
CONVERSION_TIMEOUT_S: Final = 60


class InputKind(StrEnum):
    """What an image was taken from."""

    BIN = "bin"
    ELF = "elf"
    BUILD_FOLDER = "build-folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """An image, and where it came from.

    Attributes:
        content: The image's bytes.
        image: What they say.
        kind: What was given.
        path: The file that was read or converted.
        build: All of the build folder, if that was given.
    """

    content: bytes
    image: EspImage
    kind: InputKind
    path: Path
    build: BuildFolder | None = None


def load_image_input(path: Path, *, chip: str | None = None) -> ImageInput:
    """Load an application image from a `.bin`, an `.elf` or an ESP-IDF build folder.

    Args:
        path: The file or folder.
        chip: esptool's name of the chip; an ELF file needs it, another input must agree.

    Raises:
        EspImageError: It is none of the three, or for another chip.
    """
    if _is_build_file(path):
        path = path.parent
    if path.is_dir():
        return _refuse_other_chip(_load_build_folder(path), chip)
    try:
        content = read_input(path, ELF_MAX_BYTES)
    except OSError as error:
        raise EspImageError(
            "the image cannot be read",
            got=error.strerror,
            where=path,
            hint="give the path of an ESP32 application image (.bin), ELF file or build folder",
        ) from error
    if content.startswith(ELF_MAGIC) and len(content) <= ELF_MAX_BYTES:
        return _convert_elf(content, path, chip)
    image = inspect_image(content, where=str(path))
    loaded = ImageInput(content=content, image=image, kind=InputKind.BIN, path=path)
    return _refuse_other_chip(loaded, chip)


def _refuse_other_chip(loaded: ImageInput, chip: str | None) -> ImageInput:
    if chip is not None and loaded.image.chip != chip:
        raise EspImageError(
            "the image is for another chip",
            expected=chip,
            got=loaded.image.chip,
            where=loaded.path,
            hint="build it for this chip, or correct the chip",
        )
    return loaded


def _is_build_file(path: Path) -> bool:
    if path.suffix != ".json":  # the reader of build folders is loaded where there is one
        return False
    from firmware_images.build_folder import FLASHER_ARGS

    return path.name == FLASHER_ARGS


def _load_build_folder(folder: Path) -> ImageInput:
    from firmware_images.build_folder import load_build_folder

    build = load_build_folder(folder)
    return ImageInput(
        content=build.app.content,
        image=build.app.image,
        kind=InputKind.BUILD_FOLDER,
        path=build.app.path,
        build=build,
    )


def _convert_elf(content: bytes, path: Path, chip: str | None) -> ImageInput:
    if chip is None:
        raise EspImageError(
            "an ELF file does not say which chip it is for",
            expected="the chip, too",
            where=path,
            hint="give --chip, such as esp32c3, or the .bin of the same build",
        )
    refuse_impossible_elf(content, where=path)
    import subprocess
    import sys
    import tempfile

    # A process of its own: esptool's log is shared by a whole process and goes to our output.
    with tempfile.TemporaryDirectory(prefix="ampforge-elf-") as folder:
        elf, image_path = Path(folder) / "app.elf", Path(folder) / "app.bin"
        elf.write_bytes(content)
        command = [sys.executable, "-m", "esptool", "--chip", chip, "elf2image"]
        options = ["--flash-mode", "dio", "--output", str(image_path), str(elf)]
        try:
            done = subprocess.run(
                command + options,
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=CONVERSION_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _refuse_elf(f"no answer in {CONVERSION_TIMEOUT_S} s", path) from error
        if done.returncode != 0 or not image_path.is_file():
            words = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
            raise _refuse_elf(words[-1].strip(), path)
        converted = image_path.read_bytes()
    image = inspect_image(converted, where=str(path))
    loaded = ImageInput(content=converted, image=image, kind=InputKind.ELF, path=path)
    return _refuse_other_chip(loaded, chip)


def _refuse_elf(got: str, path: Path) -> EspImageError:
    return EspImageError(
        "esptool cannot make an image of the ELF file",
        got=got,
        where=path,
        hint="give an ELF file that was linked for this chip, or the .bin of the same build",
    )
