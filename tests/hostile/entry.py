"""What an entry is, and how one is added to the list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from signing.trust_file import load_trust_record
from tests.gallery import FOLDER
from tests.signing.golden_vectors import ED25519, P256, POLICY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from signing.trust_record import TrustRecord

GOLDEN = FOLDER.parent / "golden"
NOW = datetime(2026, 9, 2, tzinfo=UTC)
KEYS = [signer.public_key for signer in (P256, ED25519, POLICY)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One way in.

    Attributes:
        name: What is read.
        families: Which hostile files it is meant to be given, by what its format is made of.
        read: Reads a file as the product does.
        valid: Content that it accepts, or at least understands far into.
        suffix: How the file's name must end.
    """

    name: str
    families: frozenset[str]
    read: Callable[[Path], object]
    valid: Callable[[], bytes]
    suffix: str = ".bin"


ENTRIES: list[Entry] = []


def add(
    name: str,
    families: str,
    read: Callable[[Path], object],
    valid: Callable[[], bytes],
    suffix: str = ".bin",
) -> None:
    ENTRIES.append(
        Entry(
            name=name,
            families=frozenset(families.split()),
            read=read,
            valid=cache(valid),
            suffix=suffix,
        )
    )


def add_bytes(
    name: str, families: str, parse: Callable[[bytes], object], valid: Callable[[], bytes]
) -> None:
    add(name, families, lambda path: parse(path.read_bytes()), valid)


def golden(name: str) -> Callable[[], bytes]:
    return (GOLDEN / name).read_bytes


def text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    # What arrives as text was decoded at the door: any bytes are some text.
    return lambda content: parse(content.decode("latin-1"))


def argument(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    # Linux takes no longer argument (execve(2), MAX_ARG_STRLEN).
    return lambda content: parse(content[: 128 << 10].decode("latin-1"))


def trust() -> TrustRecord:
    return load_trust_record(GOLDEN / "bundle" / "thing.trust.cose")
