"""The page on authoring a waveform is true: its files are written, its commands are run."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from tests.test_getting_started import EXIT_CODE, Shell, Step, read_steps, shown_pattern

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "author-a-waveform.md"
BLOCK = re.compile(
    r"^```(?:console|(?:toml|csv) (?P<name>\S+))\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


def read_page(page: str) -> list[tuple[str, str] | Step]:
    """Return files with their content, and commands with what they show, in order."""
    parts: list[tuple[str, str] | Step] = []
    for block in BLOCK.finditer(page):
        if block["name"]:
            parts.append((block["name"], block["text"]))
        else:
            parts.extend(read_steps(block[0]))
    return parts


def test_every_command_of_the_page_does_what_the_page_shows(tmp_path: Path) -> None:
    parts = read_page(PAGE.read_text(encoding="utf-8"))
    steps = [part for part in parts if isinstance(part, Step)]
    assert (len(steps) > 15, len(parts) - len(steps)) == (True, 2)
    followed_by = dict(zip(map(id, steps), [*steps[1:], None], strict=True))
    with ExitStack() as stack:
        shell = Shell(tmp_path, stack)
        for part in parts:
            if not isinstance(part, Step):
                (shell.folder / part[0]).write_text(part[1], encoding="utf-8")
                continue
            printed = shell.run(part.command)
            where = f"$ {part.command}\n{printed}"
            following = followed_by[id(part)]
            is_told = following is not None and following.command == EXIT_CODE
            assert shell.exit_code == 0 or is_told or part.command == EXIT_CODE, where
            assert re.fullmatch(shown_pattern(part.shown), printed), where
    assert (shell.folder / "plots" / "tighten.png").read_bytes().startswith(b"\x89PNG")
