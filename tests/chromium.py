"""A real browser prints our pages; tests that need it skip where there is none.

With `AMPFORGE_REQUIRE_SYSTEM_TOOLS=1` they fail instead (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.system_tools import give_up

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium() -> str:
    """Return the browser of this machine, or end the test."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        give_up("no Chromium to print with")
    return found


def print_page(page: Path, *, profile: Path) -> bytes:
    """Return the PDF that the browser prints of a page, with a profile folder of its own."""
    printed = page.with_suffix(".pdf")
    subprocess.run(
        (
            find_chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}", "--no-pdf-header-footer",
            f"--print-to-pdf={printed}", page.as_uri(),
        ),
        check=True, capture_output=True, timeout=180,
    )  # fmt: skip
    return printed.read_bytes()
