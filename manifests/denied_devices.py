"""Devices whose reports are not taken: a list that the operator hands to the server.

For a unit whose key is known to be in other hands, and one that the factory has in quarantine. A
trust record revokes keys, too, for everybody; it has room for 64, and root signs it. This is the
fleet operator's own list, of any length, and in force when the server has read it.

A text file, one device a line; `#` begins a comment:

    serial FL26A000123   # sent back 2026-11-20
    mac 02:a1:b2:00:00:01
    key 64 hexadecimal digits: the id of the key in the device's certificate
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from manifests.assignment import SERIAL_MAX_LENGTH
from manifests.errors import DeniedDeviceError, ServerError

if TYPE_CHECKING:
    from pathlib import Path

    from manifests.received_report import ReceivedReport

_SHAPES: Final = {
    "serial": re.compile(rf"[!-~]{{1,{SERIAL_MAX_LENGTH}}}"),
    "mac": re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}"),
    "key": re.compile(r"[0-9a-f]{64}"),
}


class DeniedDevices:
    """The list in one file.

    Args:
        path: The file.

    Raises:
        ServerError: It cannot be read, or a line names no device.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._denied = _read(path)

    def __len__(self) -> int:
        return len(self._denied)

    def reload(self) -> None:
        """Read the file again.

        Raises:
            ServerError: It cannot be used; what was read before stays in force.
        """
        self._denied = _read(self._path)

    def refuse(self, received: ReceivedReport) -> None:
        """Refuse a verified report by a device of the list.

        Raises:
            DeniedDeviceError: Its serial number, MAC address or key is there.
        """
        names = (
            ("serial", received.serial_number),
            ("mac", received.mac),
            ("key", received.key_id.hex()),
        )
        if not self._denied.isdisjoint(names):
            raise DeniedDeviceError(
                "the reports of this device are not taken here",
                hint="the unit is to go back to its maker; the server's operator knows why",
            )


def _read(path: Path) -> frozenset[tuple[str, str]]:
    try:
        lines = path.read_bytes().decode("ascii").splitlines()
    except (OSError, ValueError) as error:
        raise ServerError(
            "the list of denied devices cannot be read",
            expected="a text file, ASCII",
            got=getattr(error, "strerror", None) or error,
            where=path,
            hint="check [serve] denied_devices",
        ) from error
    return frozenset(
        _parse_line(words, where=f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if (words := line.partition("#")[0].split())
    )


def _parse_line(words: list[str], *, where: str) -> tuple[str, str]:
    kind, *names = words
    shape = _SHAPES.get(kind)
    # One that is skipped would be a device whose reports are taken.
    if shape is None or len(names) != 1 or not shape.fullmatch(names[0]):
        raise ServerError(
            "a line of the list of denied devices names no device",
            expected="`serial NUMBER`, `mac aa:bb:cc:dd:ee:ff` or `key` and 64 digits, lower case",
            got=ascii(" ".join(words)[:80]),
            where=where,
            hint="correct the line; the list that was read before stays in force",
        )
    return kind, names[0]
