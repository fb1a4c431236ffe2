"""Galleries of refused input: one thing wrong in each file, and a README with the error it gives.

A gallery module builds its files and says how each is read. `write_gallery` writes both files and
README; read the README's lines before committing them, because the tests hold us to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FOLDER = Path(__file__).parent / "rejected"
_README = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """One folder of refused files.

    Attributes:
        name: The folder below tests/rejected.
        title: Heading of its README.
        about: What the files are and how they are made.
        build: Returns each file's name and content.
        read: Reads a file's content as the product would; it must refuse.
    """

    name: str
    title: str
    about: str
    build: Callable[[], Mapping[str, bytes]]
    read: Callable[[str, bytes], object]

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return FOLDER / self.name


def tell_outcome(act: Callable[[], object]) -> str:
    """Return the one line that a refusal is told in."""
    try:
        act()
    except Refusal as refusal:
        return " ".join(f"{type(refusal).__name__}: {refusal}".split())
    return "accepted"


def read_expected(gallery: Gallery) -> dict[str, str]:
    """Return what the README says of each file."""
    expected = {}
    for line in (gallery.folder / _README).read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            _, name, error, _ = line.replace(r"\|", "\0").split("|")
            expected[name.strip().strip("`")] = error.strip().replace("\0", "|")
    return expected


def committed_files(gallery: Gallery) -> dict[str, bytes]:
    """Return the files as they are in the folder."""
    return {
        path.name: path.read_bytes() for path in gallery.folder.iterdir() if path.name != _README
    }


def write_gallery(gallery: Gallery) -> None:
    """Write the files and the README anew."""
    gallery.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, content in sorted(gallery.build().items()):
        (gallery.folder / name).write_bytes(content)
        told = tell_outcome(lambda name=name, content=content: gallery.read(name, content))
        rows.append(f"| `{name}` | {told.replace('|', chr(92) + '|')} |\n")
    head = f"# {gallery.title}\n\n{gallery.about}\n\n| file | error |\n|---|---|\n"
    (gallery.folder / _README).write_text(head + "".join(rows), encoding="utf-8")
