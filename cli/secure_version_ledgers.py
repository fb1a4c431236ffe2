"""Opens the secure-version ledger of what is about to be signed, and says what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.configuration import FILE_NAME
from cli.failures import UsageRefusal
from cli.params import make_folder
from cli.signing_keys import describe_account, describe_tool, sign_log_path

if TYPE_CHECKING:
    from pathlib import Path

    from cli.configuration import Configuration
    from firmware_images.esp_image import EspImage
    from firmware_images.release_statement import ReleaseStatement
    from firmware_images.secure_version_history import SecureVersionHistory
    from firmware_images.secure_version_ledger import SecureVersionLedger

SPEND_OPTION = "--spend-secure-version"
spend_option = click.option(
    SPEND_OPTION,
    "spend_reason",
    metavar="REASON",
    help="Spend one eFuse bit of every board: why older releases must not run any more.",
)


def open_ledger(
    configuration: Configuration | None,
    *,
    hardware_class: str,
    chip: str,
    beside: Path | None = None,
) -> SecureVersionLedger:
    """Return the ledger of a hardware class; it lies beside the sign log.

    Args:
        configuration: The loaded `ampforge.toml`, if there is one.
        hardware_class: The boards.
        chip: esptool's name of their chip.
        beside: What it lies beside where no trust record is configured.
    """
    from firmware_images.secure_version_ledger import SecureVersionLedger, ledger_name

    if configuration is not None and configuration.has_section("signing"):
        neighbour = sign_log_path(configuration)
    else:
        assert beside is not None
        neighbour = beside
    return SecureVersionLedger(
        path=neighbour.with_name(ledger_name(hardware_class)),
        hardware_class=hardware_class,
        chip=chip,
        who=describe_account(),
        tool=describe_tool(),
        clock=utc_now,
        bits=product_bits(configuration),
    )


def product_bits(configuration: Configuration | None) -> int | None:
    """Return what the product uses of its chip's field; `None` for all of it."""
    from firmware_images.product import ProductSettings

    if configuration is None or not configuration.has_section("product"):
        return None
    product: ProductSettings = configuration.section("product", ProductSettings)
    return product.secure_version_bits


def describe_budget(history: SecureVersionHistory, path: Path) -> dict[str, object]:
    """Return what is left, for scripts."""
    budget = history.budget
    return {
        "highest": budget.highest,
        "bits": budget.bits,
        "left": budget.left,
        "ledger": str(path),
        "head": str(history.head),
    }


class ReleaseRecorder:
    """Records a release in the ledger of its boards, when `sign_bundle` is about to sign it.

    Args:
        configuration: The loaded `ampforge.toml`, if there is one.
        beside: What the ledger lies beside where no trust record is configured.
        reason: Why an eFuse bit may be spent, or `None`.
        where: The bundle, for messages.
    """

    def __init__(
        self,
        configuration: Configuration | None,
        *,
        beside: Path,
        reason: str | None,
        where: str,
    ) -> None:
        self._configuration = configuration
        self._beside = beside
        self._reason = reason
        self._where = where
        self._path = beside
        self._history: SecureVersionHistory | None = None

    def admit(self, statement: ReleaseStatement, digest: bytes) -> None:
        """Judge and record; on the disk when this returns.

        Raises:
            SecureVersionError: The release may not be signed.
            ChainError: The ledger is damaged.
            DurableFileError: The ledger cannot be written.
        """
        from firmware_images.secure_version_entry import Act
        from firmware_images.secure_version_ledger import Signing

        ledger = open_ledger(
            self._configuration,
            hardware_class=statement.hardware_class,
            chip=statement.chip,
            beside=self._beside,
        )
        signing = Signing(
            act=Act.SIGN_RELEASE,
            digest=digest,
            # An app without a descriptor has nothing that a board could burn.
            secure_version=statement.app.secure_version or 0,
            app_version=statement.version,
            where=self._where,
        )
        make_folder(ledger.path.parent)
        self._history = ledger.admit(signing, reason=self._reason)
        self._path = ledger.path

    def describe(self) -> dict[str, object]:
        """Return what is left after it, for scripts."""
        assert self._history is not None
        return describe_budget(self._history, self._path)

    def __str__(self) -> str:
        return format_budget(self.describe())


def admit_image(
    configuration: Configuration | None,
    image: EspImage,
    padded: bytes,
    *,
    reason: str | None,
    where: str,
) -> dict[str, object] | None:
    """Judge an image that is about to be signed, and record it in the ledger of its boards.

    An app is recorded where `ampforge.toml` is that of a product with its chip. Elsewhere nobody
    knows its boards, and only what no chip can hold is refused. A bootloader, and whatever else has
    no descriptor, raises nothing.

    Args:
        configuration: The loaded `ampforge.toml`, if there is one.
        image: What the image says.
        padded: What is signed.
        reason: Why an eFuse bit may be spent, or `None`.
        where: The image, for messages.

    Returns:
        What is left after it, or `None` if nothing was recorded.

    Raises:
        SecureVersionError: The image may not be signed.
        UsageRefusal: A reason was given and there is no ledger to record it in.
    """
    import hashlib

    from firmware_images.product import ProductSettings
    from firmware_images.secure_version import find_budget
    from firmware_images.secure_version_entry import Act
    from firmware_images.secure_version_ledger import Signing

    product = None
    if configuration is not None and configuration.has_section("product"):
        product = configuration.section("product", ProductSettings)
    if image.secure_version is not None:
        find_budget(image.chip).refuse_beyond(image.secure_version, where=where)
    if product is None or product.chip != image.chip or image.secure_version is None:
        if reason is not None:
            raise UsageRefusal(
                "there is nothing to spend, or no ledger to record it in",
                expected=f"an app for the chip of a product ({FILE_NAME})",
                got="an image without a secure_version"
                if image.secure_version is None
                else f"an image for {image.chip}, and no product with it",
                where=where,
                hint=f"leave {SPEND_OPTION} out, or run this in the product's folder",
            )
        return None
    assert configuration is not None
    ledger = open_ledger(
        configuration,
        hardware_class=product.hardware_class,
        chip=product.chip,
        beside=configuration.path,
    )
    signing = Signing(
        act=Act.SIGN_IMAGE,
        digest=hashlib.sha256(padded).digest(),
        secure_version=image.secure_version,
        app_version=image.version or None,
        where=where,
    )
    make_folder(ledger.path.parent)
    return describe_budget(ledger.admit(signing, reason=reason), ledger.path)


def format_budget(document: dict[str, object]) -> str:
    """Return what `describe_budget` says, for people."""
    return (
        f"secure_version {document['highest']} of {document['bits']}; {document['left']} left, "
        f"recorded in {document['ledger']}"
    )
