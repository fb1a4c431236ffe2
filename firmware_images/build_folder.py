"""The build folder of an ESP-IDF project: what `flasher_args.json` says goes where in flash.

ESP-IDF's file names application, bootloader and partition table with their offsets, the chip and
the flash size, and more that does not matter here. The files are taken from the folder and from
nowhere else. Nothing is built or changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from firmware_images.bootloader_place import bootloader_offset_bytes
from firmware_images.bounded_file import read_bounded
from firmware_images.errors import EspImageError
from firmware_images.esp_image import EspImage, load_image
from firmware_images.partition_model import TABLE_OFFSET_BYTES, TYPE_APP
from firmware_images.partitions import load_partition_table
from signing.validation_words import describe_problem
from signing.value_class import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.partitions import Partition, PartitionTable

FLASHER_ARGS: Final = "flasher_args.json"
FLASHER_ARGS_MAX_BYTES: Final = 1 << 20
MEBIBYTE: Final = 1 << 20
_HINT: Final = "give the build folder of a finished `idf.py build`, or the .bin itself"


class _FlashFile(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    file: Annotated[str, Field(min_length=1, max_length=256)]
    offset: Annotated[str, Field(pattern=r"^0x[0-9A-Fa-f]{1,8}$")]
    encrypted: Literal["true", "false"] = "false"


class _EsptoolArguments(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    chip: Annotated[str, Field(pattern=r"^esp32[a-z0-9]{0,4}$")]


class _FlashSettings(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    flash_size: Annotated[str, Field(pattern=r"^([0-9]{1,3}MB|detect|keep)$")] = "keep"


class _FlasherArguments(BaseModel):
    """The entries of ESP-IDF's file that matter here; it has many more."""

    model_config = ConfigDict(frozen=True, strict=True)

    app: _FlashFile
    bootloader: _FlashFile | None = None
    partition_table: Annotated[
        _FlashFile | None,
        Field(validation_alias=AliasChoices("partition-table", "partition_table")),
    ] = None
    flash_settings: _FlashSettings = _FlashSettings()
    extra_esptool_args: _EsptoolArguments


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image of the build.

    Attributes:
        path: Its file.
        offset_bytes: Where in flash the build puts it.
        content: Its bytes.
        image: What they say.
    """

    path: Path
    offset_bytes: int
    content: bytes
    image: EspImage


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFolder:
    """A finished build.

    Attributes:
        chip: esptool's name of the chip.
        flash_size_bytes: Flash that it is for, if it says.
        app: The application.
        bootloader: The second-stage bootloader, if there is one.
        partition_table_path: The partition table's file, if there is one.
        partition_table: The same, parsed.
        app_partition: The partition that the app goes to, if there is a table.
    """

    chip: str
    flash_size_bytes: int | None
    app: BuiltImage
    bootloader: BuiltImage | None
    partition_table_path: Path | None
    partition_table: PartitionTable | None
    app_partition: Partition | None


def load_build_folder(folder: Path) -> BuildFolder:
    """Load what a build made, each part judged by itself and against the others.

    Raises:
        EspImageError: The folder is no finished build, names a file outside of itself, or its
            parts are for different chips or places.
        PartitionTableError: The partition table is damaged, or a part does not fit it.
    """
    source = folder / FLASHER_ARGS
    arguments = _load_arguments(source)
    chip = arguments.extra_esptool_args.chip
    app = _load_image(folder, arguments.app, chip)
    bootloader = (
        None if arguments.bootloader is None else _load_image(folder, arguments.bootloader, chip)
    )
    if bootloader is not None:
        rom_offset_bytes = bootloader_offset_bytes(chip)
        if bootloader.offset_bytes != rom_offset_bytes:
            raise _misplaced("bootloader", rom_offset_bytes, bootloader.offset_bytes, source)
    size_text = arguments.flash_settings.flash_size
    flash_size_bytes = (
        int(size_text.removesuffix("MB")) * MEBIBYTE if size_text.endswith("MB") else None
    )
    table_path = table = app_partition = None
    if arguments.partition_table is not None:
        table_path = _resolve(folder, arguments.partition_table.file)
        offset_bytes = int(arguments.partition_table.offset, 16)
        if offset_bytes != TABLE_OFFSET_BYTES:
            raise _misplaced("partition table", TABLE_OFFSET_BYTES, offset_bytes, source)
        table = load_partition_table(table_path)
        if flash_size_bytes is not None:
            table.check_flash_size(flash_size_bytes)
        app_partition = _find_app_partition(table, app, source)
        table.check_fits(app_partition.name, len(app.content))
    return BuildFolder(
        chip=chip,
        flash_size_bytes=flash_size_bytes,
        app=app,
        bootloader=bootloader,
        partition_table_path=table_path,
        partition_table=table,
        app_partition=app_partition,
    )


def _load_arguments(source: Path) -> _FlasherArguments:
    raw = read_bounded(source, FLASHER_ARGS_MAX_BYTES, EspImageError)
    try:
        return _FlasherArguments.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise EspImageError(
            "the build folder does not say which image it made",
            expected="app.file and extra_esptool_args.chip, as ESP-IDF writes them",
            got=f"{'.'.join(map(str, first['loc'])) or 'the file'} {describe_problem(first)}",
            where=source,
            hint=_HINT,
        ) from error


def _load_image(folder: Path, named: _FlashFile, chip: str) -> BuiltImage:
    path = _resolve(folder, named.file)
    content, image = load_image(path)
    if image.chip != chip:
        raise EspImageError(
            "the image is for another chip",
            expected=chip,
            got=image.chip,
            where=path,
            hint="build it for this chip, or correct the chip",
        )
    return BuiltImage(path=path, offset_bytes=int(named.offset, 16), content=content, image=image)


def _resolve(folder: Path, file: str) -> Path:
    path = folder / file
    # A folder from elsewhere must not make us read, and publish, a file outside of it.
    if "\0" in file or not path.resolve().is_relative_to(folder.resolve()):
        raise EspImageError(
            "the build folder names an image outside of itself",
            expected="a relative path inside of the folder",
            got=file,
            where=folder / FLASHER_ARGS,
            hint=_HINT,
        )
    return path


def _find_app_partition(table: PartitionTable, app: BuiltImage, source: Path) -> Partition:
    for partition in table.partitions:
        if partition.type == TYPE_APP and partition.offset_bytes == app.offset_bytes:
            return partition
    raise EspImageError(
        "the build puts its app where its partition table has no app",
        expected=", ".join(
            f"{partition.offset_bytes:#x} ({partition.name})"
            for partition in table.partitions
            if partition.type == TYPE_APP
        )
        or "an app partition",
        got=f"{app.offset_bytes:#x}",
        where=source,
        hint="build again: partition table and app are of two builds",
    )


def _misplaced(what: str, expected_bytes: int, got_bytes: int, source: Path) -> EspImageError:
    return EspImageError(
        f"the build puts its {what} where nothing looks for it",
        expected=f"{expected_bytes:#x}",
        got=f"{got_bytes:#x}",
        where=source,
        hint="build again with the default offset of this chip",
    )
