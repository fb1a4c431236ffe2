"""The product's own sections of `ampforge.toml`: `[product]` and `[release]`.

This module models what people write there. It opens no file: paths in `[release]` are relative to
the folder of `ampforge.toml`, which the command line knows.
"""

from __future__ import annotations

from dataclasses import field
from pathlib import PurePosixPath

from firmware_images.errors import BundleError
from firmware_images.flash_medium import SECTOR_BYTES
from firmware_images.release_constraints import DATE_PATTERN, ReleaseConstraints, support_end_of
from signing.value_class import dataclass
from signing.written_checks import several, text, whole
from signing.written_table import written

GTIN_DIGITS = 14
RELATIVE_PATH = r"^[^\x00]{1,256}$"

_PATH = written(text(RELATIVE_PATH))
_NAME = written(text(r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$"))
_REVISION = written(whole(least=0, most=0xFFFF))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductSettings:
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
        supported_until: Last day on which releases are supported, `YYYY-MM-DD`, UTC; every release
            states it.
        secure_version_bits: How many steps of the anti-rollback counter the bootloader was built
            to use, where that is fewer than the chip has.
    """

    name: str = field(metadata=_NAME)
    model: str = field(metadata=written(text(r"^[A-Z0-9]{1,8}$")))
    hardware_class: str = field(metadata=written(text(r"^[a-z0-9][a-z0-9._-]{0,31}$")))
    hardware_revision_min: int = field(default=1, metadata=_REVISION)
    hardware_revision_max: int = field(default=1, metadata=_REVISION)
    chip: str = field(default="esp32c3", metadata=written(text(r"^esp32[a-z0-9]{0,4}$")))
    flash_size_bytes: int = field(
        metadata=written(whole(least=1 << 20, most=1 << 27, multiple_of=SECTOR_BYTES))
    )
    claim_load_min_ohm: int = field(default=500, metadata=written(whole(least=0, most=1_000_000)))
    claim_load_max_ohm: int = field(
        default=10_000, metadata=written(whole(least=1, most=1_000_000))
    )
    gtin: str | None = field(default=None, metadata=written(text(r"^[0-9]{14}$")))
    supported_until: str | None = field(default=None, metadata=written(text(DATE_PATTERN)))
    secure_version_bits: int | None = field(default=None, metadata=written(whole(least=0, most=32)))

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.hardware_revision_min > self.hardware_revision_max:
            raise ValueError("hardware_revision_min is above hardware_revision_max")
        if self.claim_load_min_ohm > self.claim_load_max_ohm:
            raise ValueError("claim_load_min_ohm is above claim_load_max_ohm")
        if self.supported_until is not None:
            support_end_of(self.supported_until)
        if self.gtin is not None and gtin_check_digit(self.gtin[:-1]) != int(self.gtin[-1]):
            raise ValueError(
                f"the check digit of gtin should be {gtin_check_digit(self.gtin[:-1])}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSettings:
    """Section `[release]`: what the next bundle is made of; each is an option, too.

    Attributes:
        release_counter: Rises with every release; a device never goes back.
        version: Only for an app whose image states none.
        minimum_current_counter: Lowest release counter of a board that may take the release
            directly; boards below it take that release first.
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

    release_counter: int = field(metadata=written(whole(least=1, most=0xFFFFFFFF)))
    version: str | None = field(default=None, metadata=_NAME)
    minimum_current_counter: int = field(
        default=0, metadata=written(whole(least=0, most=0xFFFFFFFF))
    )
    app: str = field(metadata=_PATH)
    waveforms: str = field(metadata=_PATH)
    limits: str = field(metadata=_PATH)
    partitions: str = field(metadata=_PATH)
    approval: str = field(metadata=_PATH)
    waivers: tuple[str, ...] = field(default=(), metadata=written(several(text(RELATIVE_PATH))))
    bootloader: str | None = field(default=None, metadata=_PATH)
    waveform_slot: str | None = field(default=None, metadata=_PATH)
    sbom: str | None = field(default=None, metadata=_PATH)
    output: str = field(default="build", metadata=_PATH)

    def constraints(self, product: ProductSettings) -> ReleaseConstraints:
        """Return what the next release asks of boards.

        Raises:
            BundleError: The step does not come before the release.
        """
        if self.minimum_current_counter >= self.release_counter:
            raise BundleError(
                "the step that boards take first does not come before the release",
                expected=f"minimum_current_counter below release_counter {self.release_counter}",
                got=self.minimum_current_counter,
                where="[release]",
                hint="name the counter of an earlier release, or leave it out",
            )
        last_day = product.supported_until
        return ReleaseConstraints(
            minimum_current_counter=self.minimum_current_counter,
            support_ends_at_s=0 if last_day is None else support_end_of(last_day),
        )

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
