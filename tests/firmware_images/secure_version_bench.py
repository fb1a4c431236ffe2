"""A secure-version ledger in a folder, with a clock that stands still."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from firmware_images.secure_version_entry import Act
from firmware_images.secure_version_ledger import SecureVersionLedger, Signing, ledger_name

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOARDS = "flare-c3"


def open_ledger(folder: Path, *, chip: str = "esp32c3") -> SecureVersionLedger:
    return SecureVersionLedger(
        path=folder / ledger_name(BOARDS),
        hardware_class=BOARDS,
        chip=chip,
        who="rita@bench",
        tool="ampforge 0.1.0",
        clock=lambda: NOON,
    )


def release(secure_version: int, name: str = "a") -> Signing:
    return Signing(
        act=Act.SIGN_RELEASE,
        digest=hashlib.sha256(name.encode()).digest(),
        secure_version=secure_version,
        app_version=f"1.{secure_version}.0",
        where=f"{name}.bundle.zip",
    )
