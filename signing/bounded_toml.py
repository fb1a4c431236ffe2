"""TOML, with a bound on how long a dotted key may be, told before it is parsed.

`tomllib` remembers each beginning of a dotted key, so that a key of 24 000 parts, 48 kilobytes,
takes two gigabytes. A parser that looks at size alone lets it in.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_PARTS_MAX: Final = 32
# Strings, comments, bare words, blanks, dots, and any other character alone. A string that does not
# end is taken as far as it goes, so that no text is looked through twice.
_TOKEN: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?'
    r"|'''(?:[^']|'(?!''))*+(?:''')?"
    r'|"(?:[^"\\\n]|\\.)*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+"
    r"|[A-Za-z0-9_-]++"
    r"|[ \t]++"
    r"|.",
    re.DOTALL,
)


def parse_toml(text: str, *, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """Read a TOML text as `tomllib.loads` does, but for keys that are too long.

    Args:
        text: The document.
        parse_float: Makes a number of the text of one.

    Raises:
        ValueError: It is not TOML, or has a number out of range or a key of more than
            `KEY_PARTS_MAX` parts.
        RecursionError: It is nested too deeply.
    """
    _refuse_long_keys(text)
    return tomllib.loads(text, parse_float=parse_float)


def _refuse_long_keys(text: str) -> None:
    dots = 0
    is_after_dot = False
    for match in _TOKEN.finditer(text):
        piece = match[0]
        if piece == ".":
            dots += 1
            is_after_dot = True
            if dots >= KEY_PARTS_MAX:
                line = text.count("\n", 0, match.start()) + 1
                raise tomllib.TOMLDecodeError(
                    f"A key of more than {KEY_PARTS_MAX} parts (at line {line})"
                )
        elif piece[0] in " \t":
            continue
        elif is_after_dot:
            is_after_dot = False
        else:
            dots = 0
