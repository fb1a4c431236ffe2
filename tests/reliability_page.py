"""What docs/reliability.md says of a test, so that the test can hold the page to it."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"


def figures(beginning: str) -> tuple[str, str, str]:
    """The points of a proof, those of `make check` and those of `make soak`, by its first words."""
    (row,) = (
        line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| {beginning}")
    )
    _, _, points, in_check, in_soak, _, _ = (cell.strip() for cell in row.split("|"))
    return points, in_check, in_soak
