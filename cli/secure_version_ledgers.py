"""Opens the secure-version ledger of what is about to be signed, and says what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.params import make_folder
from cli.signing_keys import describe_account, describe_tool, read_clock, sign_log_path

if TYPE_CHECKING:
    from pathlib import Path

    from cli.configuration import Configuration
    from firmware_images.release_statement import ReleaseStatement
    from firmware_images.secure_version_history import SecureVersionHistory
    from firmware_images.secure_version_ledger import SecureVersionLedger

spend_option = click.option(
    "--spend-secure-version",
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
    path = neighbour.with_name(ledger_name(hardware_class))
    make_folder(path.parent)
    return SecureVersionLedger(
        path=path,
        hardware_class=hardware_class,
        chip=chip,
        who=describe_account(),
        tool=describe_tool(),
        clock=read_clock,
    )


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
        self._history = ledger.admit(signing, reason=self._reason)
        self._path = ledger.path

    def describe(self) -> dict[str, object]:
        """Return what is left after it, for scripts."""
        assert self._history is not None
        return describe_budget(self._history, self._path)

    def __str__(self) -> str:
        assert self._history is not None
        return f"{self._history.budget}, recorded in {self._path}"
