"""SCPI's grammar, as far as a simulated instrument needs it: headers, numbers, channel lists.

A header is matched in its long and its short form (SCPI-1999 §6.2). What does not fit raises
`ScpiError` with the standard's error number; the instrument puts it into its error queue.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

ERROR_TEXTS: Final = {
    -102: "Syntax error",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -222: "Data out of range",
    -224: "Illegal parameter value",
    -350: "Queue overflow",
}
_CHANNEL_LIST: Final = re.compile(
    r"\(@\s*(\d{1,4}(?::\d{1,4})?(?:\s*,\s*\d{1,4}(?::\d{1,4})?)*)\s*\)"
)
_MNEMONIC: Final = re.compile(r"[*A-Za-z][A-Za-z]*\??")


class ScpiError(Exception):
    """Raised while a command is carried out; its number goes to the error queue."""

    def __init__(self, number: int) -> None:
        super().__init__(ERROR_TEXTS[number])
        self.number = number


def parse_header(header: str) -> list[str]:
    """Split a header into its mnemonics.

    Raises:
        ScpiError: It is not one.
    """
    mnemonics = header.lstrip(":").split(":")
    if not all(_MNEMONIC.fullmatch(mnemonic) for mnemonic in mnemonics):
        raise ScpiError(-102)
    return mnemonics


def is_match(pattern: tuple[str, ...], mnemonics: list[str]) -> bool:
    """Whether mnemonics are the pattern, each in its long or short form."""
    if len(pattern) != len(mnemonics):
        return False
    for long_form, got in zip(pattern, mnemonics, strict=True):
        short_form = "".join(letter for letter in long_form if not letter.islower())
        if got.upper() not in {long_form.upper(), short_form}:
            return False
    return True


def without_parameter(act: Callable[[], str | None]) -> Callable[[str], str | None]:
    """Return a command that refuses any parameter."""

    def checked(text: str) -> str | None:
        if text:
            raise ScpiError(-108)
        return act()

    return checked


def ignore_number(text: str) -> None:
    """Take a mask of IEEE 488.2 and do nothing with it."""
    parse_number(text, lowest=0, highest=255)


def parse_number(text: str, *, lowest: float, highest: float) -> float:
    """Parse a number, MIN or MAX.

    Raises:
        ScpiError: It is missing, not a number, or outside the bounds.
    """
    if not text:
        raise ScpiError(-109)
    named = {"MIN": lowest, "MAX": highest}.get(text.upper())
    if named is not None:
        return named
    try:
        value = float(text)
    except ValueError:
        raise ScpiError(-104) from None
    if not lowest <= value <= highest:
        raise ScpiError(-222)
    return value


def parse_channels(text: str, known: Collection[int]) -> list[int]:
    """Parse a channel list such as `(@101,103:104)`, in the order given.

    Raises:
        ScpiError: It is missing, not a list, or names a channel that is not known.
    """
    if not text:
        raise ScpiError(-109)
    match = _CHANNEL_LIST.fullmatch(text)
    if match is None:
        raise ScpiError(-102)
    channels: list[int] = []
    for part in match[1].split(","):
        first, _, last = part.partition(":")
        if int(first) not in known or int(last or first) not in known:
            raise ScpiError(-222)
        channels += [channel for channel in known if int(first) <= channel <= int(last or first)]
    return channels


def format_number(value: float) -> str:
    """Write a number as instruments do."""
    return f"{value:+.8E}"
