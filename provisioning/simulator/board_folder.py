"""A simulated board's folder: whose it is, so that no board wakes up with another one's memory."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from provisioning.errors import SimulatorError
from signing.durable_file import create_durably

if TYPE_CHECKING:
    from pathlib import Path

_BOARD_FORMAT: Final = 1


def mac_for(seed: int, index: int) -> bytes:
    """Return a locally administered MAC, distinct for each index below 65536 of one seed."""
    digest = hashlib.sha256(f"ampforge board {seed}".encode()).digest()
    return b"\x02" + digest[:3] + index.to_bytes(2, "big")


def open_board_folder(folder: Path, *, seed: int, index: int) -> bytes:
    """Make a board's folder, or see that it is this board's.

    Args:
        folder: The folder.
        seed: The line's seed.
        index: The board's number on the line.

    Returns:
        The board's MAC.

    Raises:
        SimulatorError: It holds another board, or cannot be used.
    """
    mac = mac_for(seed, index)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SimulatorError(
            "the board's folder cannot be made",
            got=error.strerror,
            where=folder,
            hint="name another folder, or check the permissions of the one above",
        ) from error
    _check_board_file(folder / "board.json", mac=mac, seed=seed, index=index)
    return mac


def _check_board_file(path: Path, *, mac: bytes, seed: int, index: int) -> None:
    wanted = {"format": _BOARD_FORMAT, "index": index, "mac": mac.hex(":"), "seed": seed}
    if not path.exists():
        content = json.dumps(wanted, indent=2, sort_keys=True) + "\n"
        create_durably(path, content.encode(), mode=0o644)
        return
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SimulatorError(
            "the board's file cannot be read",
            expected="the file that was made with the board",
            got=error.strerror if isinstance(error, OSError) else "something else",
            where=path,
            hint="use another folder",
        ) from error
    if found != wanted:
        raise SimulatorError(
            "the folder holds another board",
            expected=wanted,
            got=found,
            where=path,
            hint="use the seed that the line was made with, or another folder",
        )
