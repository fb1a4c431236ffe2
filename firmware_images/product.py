"""The product's own sections of `ampforge.toml`: `[product]` and `[release]`.

This module models what people write there. It opens no file: paths in `[release]` are relative to
the folder of `ampforge.toml`, which the command line knows.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from firmware_images.flash_medium import SECTOR_BYTES

GTIN_DIGITS = 14
RELATIVE_PATH = r"^[^\x00]{1,256}$"

PathText = Annotated[str, Field(pattern=RELATIVE_PATH)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$")]


class ProductSettings(BaseModel):
    """Section `[product]`: what does not change from release to release.

    Attributes:
        name: Product name; the trust record and every release repeat it.
        model: Model code in serial numbers.
        hardware_class: Boards that one table and one app fit.
        hardware_revision_min: Lowest board revision that is supported.
        hardware_revision_max: Highest board revision that is supported.
        chip: esptool's name of the chip.
        flash_size_bytes: Flash on the board.
        claim_load_min_ohm: Lowest load that the labelling claims.
        claim_load_max_ohm: Highest load that the labelling claims.
        gtin: GTIN-14 for labels, with its check digit.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: Name
    model: Annotated[str, Field(pattern=r"^[A-Z0-9]{1,8}$")]
    hardware_class: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]
    hardware_revision_min: Annotated[int, Field(ge=0, le=0xFFFF)] = 1
    hardware_revision_max: Annotated[int, Field(ge=0, le=0xFFFF)] = 1
    chip: Annotated[str, Field(pattern=r"^esp32[a-z0-9]{0,4}$")] = "esp32c3"
    flash_size_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 27, multiple_of=SECTOR_BYTES)]
    claim_load_min_ohm: Annotated[int, Field(ge=0, le=1_000_000)] = 500
    claim_load_max_ohm: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    gtin: Annotated[str, Field(pattern=r"^[0-9]{14}$")] | None = None

    @model_validator(mode="after")
    def _judge(self) -> Self:
        if self.hardware_revision_min > self.hardware_revision_max:
            raise ValueError("hardware_revision_min is above hardware_revision_max")
        if self.claim_load_min_ohm > self.claim_load_max_ohm:
            raise ValueError("claim_load_min_ohm is above claim_load_max_ohm")
        if self.gtin is not None and gtin_check_digit(self.gtin[:-1]) != int(self.gtin[-1]):
            raise ValueError(
                f"the check digit of gtin should be {gtin_check_digit(self.gtin[:-1])}"
            )
        return self


class ReleaseSettings(BaseModel):
    """Section `[release]`: what the next bundle is made of; each is an option, too.

    Attributes:
        release_counter: Rises with every release; a device never goes back.
        version: Only for an app whose image states none.
        app: The application image: a .bin, an .elf, or an ESP-IDF build folder.
        waveforms: The waveform source.
        limits: The limits policy.
        partitions: The partition table, CSV or binary.
        approval: The policy role's approval of the compiled table.
        waivers: The policy role's waivers that the approval was given with.
        bootloader: The second-stage bootloader; carried if the file is there, else that of the
            build folder, if the app is one.
        waveform_slot: The waveform slot, signed for the chip's keys; carried if the file is there.
        sbom: A software bill of materials; carried if the file is there.
        output: Folder for what `bundle build` writes.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    release_counter: Annotated[int, Field(ge=1, le=0xFFFFFFFF)]
    version: Name | None = None
    app: PathText
    waveforms: PathText
    limits: PathText
    partitions: PathText
    approval: PathText
    # TOML has lists alone.
    waivers: Annotated[tuple[PathText, ...], Field(strict=False)] = ()
    bootloader: PathText | None = None
    waveform_slot: PathText | None = None
    sbom: PathText | None = None
    output: PathText = "build"

    def bundle_name(self, product: ProductSettings, version: str) -> str:
        """Return the file name of a bundle, relative to the configuration."""
        name = f"{product.name}-{version}.bundle.zip".replace(" ", "-")
        return str(PurePosixPath(self.output) / name)


def gtin_check_digit(digits: str) -> int:
    """Return the check digit for the digits before it (GS1 General Specifications §7.9.1)."""
    weighted = (
        int(digit) * (3 if index % 2 == 0 else 1) for index, digit in enumerate(digits[::-1])
    )
    return -sum(weighted) % 10
