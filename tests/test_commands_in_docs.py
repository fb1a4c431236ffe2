"""Every command that a page names is there, with the options that the page gives it.

Pages whose console blocks are run are in `test_getting_started`; this is for all the other places:
a table's cell, a sentence, a block that needs more than a test has.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from cli.main import ampforge

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), ROOT / "README.md"])
# Tables that name commands without the program: what recovers from which lost key.
BARE = {
    "docs/security/threat-model.md": "## 3. Keys",
    "docs/how-to/rotate-a-lost-key.md": "## Which key, which command",
}


def find_command(words: list[str]) -> tuple[click.Command, list[str]] | None:
    """The command that words name, and what follows them; `None` if there is none."""
    command: click.Command = ampforge
    while isinstance(command, click.Group):
        if not words or not re.fullmatch(r"[a-z][a-z-]+", words[0]):
            return command, words  # `ampforge repo …`, said of all its verbs
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return None
        command, words = found, words[1:]
    return command, words


def what_is_wrong(text: str) -> str | None:
    """Return why a command cannot be run as it is written; `None` if it can."""
    words = text.partition(" #")[0].rstrip("\\").split()
    found = find_command(words)
    if found is None:
        return f"no such command: {text}"
    command, rest = found
    known = {"--help", "-h", "--version"}
    for parameter in command.params:
        known |= {*parameter.opts, *parameter.secondary_opts}
    given = {word.partition("=")[0] for word in rest if re.match(r"--[a-z]", word)}
    unknown = {option.rstrip("…,.)") for option in given} - known
    return f"{sorted(unknown)} of {text}" if unknown else None


def commands_of(page: str, text: str) -> list[str]:
    blocks = re.findall(r"^```(?:console|bash|sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", prose)
    parts = [part for one in [*lines, *spans] for part in re.split(r"\||&&|;|\$\(| & ?$", one)]
    named = [part.strip() for part in parts]
    found = [one.removeprefix("ampforge ") for one in named if re.match(r"ampforge [a-z]+\b", one)]
    if page in BARE:
        table = text.partition(BARE[page])[2].partition("\n## ")[0]
        found += re.findall(r"`(?!ampforge)([a-z]+ [a-z-]+[^`]*)`", table)
    # Strings that are hashed, in the specifications: `ampforge hash chain v1`.
    return [one for one in found if not re.match(r"(place of|certificate number|hash chain)", one)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_command_of_a_page_is_there_with_its_options(path):
    page = path.relative_to(ROOT).as_posix()
    commands = commands_of(page, path.read_text(encoding="utf-8"))
    assert [wrong for one in commands if (wrong := what_is_wrong(one))] == []
    assert page not in BARE or len(commands) > 8


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("repo publish BUNDLE --percent 5", True),
        ("repo pubish BUNDLE", False),
        ("repo publish BUNDLE --percents 5", False),
        ("key ceremony verify FOLDER --check 2:1a2b", True),
        ("key ceremony verfy FOLDER", False),
        ("repo …", True),
    ],
)
def test_a_command_that_is_not_there_is_found(text, is_right):
    assert (what_is_wrong(text) is None) is is_right
