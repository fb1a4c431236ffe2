"""Which boards would refuse a signed image, from the key digests in their eFuses.

Implements docs/spec/secure-boot.md §5. Reads what `espefuse summary --format json` says of one
board, or a list with one board a line. It reads no board: a station does that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from firmware_images.bounded_file import read_bounded
from firmware_images.errors import SecureBootError
from firmware_images.secure_boot_chips import CHIPS
from signing.bounded_json import count_values
from signing.text_lines import count_lines
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from firmware_images.signature_sector import SignatureBlock

EFUSE_FILE_MAX_BYTES: Final = 4 * 1024 * 1024
BOARD_COUNT_MAX: Final = 50_000
SUMMARY_VALUES_MAX: Final = 50_000
DIGEST_BYTES: Final = 32
_DIGEST_PURPOSE: Final = "SECURE_BOOT_DIGEST"
_KEY_BLOCKS: Final = 6
_HINT: Final = "give the output of `espefuse summary --format json`, or lines of NAME DIGEST…"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardKeys:
    """What one board, or one kind of board, accepts.

    Attributes:
        name: As in the list, or the file's name.
        digests: Key digests that it holds and has not revoked.
        is_enabled: Whether Secure Boot is on; a board where it is off boots everything.
    """

    name: str
    digests: frozenset[bytes]
    is_enabled: bool = True


def load_board_keys(path: Path) -> tuple[BoardKeys, ...]:
    """Load a board's eFuse summary, or a list of boards.

    Raises:
        SecureBootError: The file cannot be read, or is neither.
    """
    content = read_bounded(path, EFUSE_FILE_MAX_BYTES, SecureBootError)
    return parse_board_keys(content, name=path.stem, where=str(path))


def parse_board_keys(untrusted_bytes: bytes, *, name: str, where: str) -> tuple[BoardKeys, ...]:
    """Parse a board's eFuse summary, or a list of boards.

    Args:
        untrusted_bytes: The file; what espefuse prints before its JSON is skipped.
        name: The board's name, if it is a summary.
        where: The file, for messages.

    Raises:
        SecureBootError: It is neither.
    """
    try:
        text = untrusted_bytes.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _neither("bytes that are not UTF-8", where) from error
    if "{" in text:
        return (_parse_summary(text[text.index("{") :], name=name, where=where),)
    if (count := count_lines(untrusted_bytes)) > BOARD_COUNT_MAX:
        raise _neither(f"{count} lines, more than {BOARD_COUNT_MAX} boards", where)
    boards = tuple(
        _parse_line(line, where=f"{where}, line {number}")
        for number, raw in enumerate(text.splitlines(), start=1)
        if (line := raw.partition("#")[0].split())
    )
    if not boards:
        raise _neither("no board", where)
    return boards


def find_refusing(
    blocks: tuple[SignatureBlock, ...], boards: tuple[BoardKeys, ...], *, chip: str
) -> tuple[BoardKeys, ...]:
    """Return the boards that would not take what these blocks sign, in their order."""
    silicon = CHIPS.get(chip)
    seen = blocks if silicon is None else blocks[: silicon.block_count_max]
    digests = {block.key_digest for block in seen}
    return tuple(board for board in boards if board.is_enabled and not digests & board.digests)


def _parse_line(words: list[str], *, where: str) -> BoardKeys:
    name, *digests = words
    return BoardKeys(
        name=name, digests=frozenset(_parse_digest(digest, where=where) for digest in digests)
    )


def _parse_digest(text: str, *, where: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError as error:
        raise _neither(f"the word {text[:80]!r}", where) from error
    if len(digest) != DIGEST_BYTES:
        raise _neither(f"{len(digest)} bytes for a digest", where)
    return digest


def _parse_summary(text: str, *, name: str, where: str) -> BoardKeys:
    if (count := count_values(text.encode())) > SUMMARY_VALUES_MAX:
        raise _neither(f"{count} values, more than {SUMMARY_VALUES_MAX}", where)
    try:
        summary = json.loads(text)
        values = {field: entry["value"] for field, entry in summary.items()}
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise _neither("JSON of another kind", where) from error
    if "ABS_DONE_1" in values:  # ESP32: one digest, in BLOCK2
        enabled, blocks = values["ABS_DONE_1"], {"BLOCK2"}
    elif "SECURE_BOOT_EN" in values:
        enabled, blocks = values["SECURE_BOOT_EN"], _digest_blocks(values)
    else:
        raise _neither("a summary without Secure Boot fields", where)
    if not isinstance(enabled, bool):
        raise _neither(f"{enabled!r} for whether Secure Boot is on", where)
    digests = frozenset(
        _parse_digest(str(values.get(block, "")), where=f"{where}, {block}") for block in blocks
    )
    return BoardKeys(name=name, digests=digests, is_enabled=enabled)


def _digest_blocks(values: Mapping[str, Any]) -> set[str]:
    if "KEY_PURPOSE_0" not in values:  # ESP32-C2: its only key block has a half for the digest
        raise SecureBootError(
            "a board with half a key block cannot be judged from a summary",
            hint="give a list of boards with their digests instead",
        )
    blocks = set()
    for number in range(_KEY_BLOCKS):
        purpose = str(values.get(f"KEY_PURPOSE_{number}", ""))
        slot = purpose.removeprefix(_DIGEST_PURPOSE)
        if slot != purpose and values.get(f"SECURE_BOOT_KEY_REVOKE{slot}") is not True:
            blocks.add(f"BLOCK_KEY{number}")
    return blocks


def _neither(got: str, where: str) -> SecureBootError:
    return SecureBootError(
        "this does not say which keys boards hold",
        expected="an eFuse summary, or lines with a name and digests",
        got=got,
        where=where,
        hint=_HINT,
    )
