"""TOML whose keys are bounded reads as TOML does, and costs no more than it is long."""

from __future__ import annotations

import time
import tomllib
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

from signing.bounded_toml import KEY_PARTS_MAX, parse_toml

FLARE = Path(__file__).parents[2] / "examples" / "flare"
_SHORT, _TICK_S = 1 << 15, 0.001
DOTTED = ".".join("a" * (KEY_PARTS_MAX + 1))


@pytest.mark.parametrize("name", ["ampforge.toml", "limits.toml", "waveforms.toml"])
def test_the_example_reads_as_tomllib_reads_it(name):
    text = (FLARE / name).read_text(encoding="utf-8")
    assert parse_toml(text, parse_float=Decimal) == tomllib.loads(text, parse_float=Decimal)


@pytest.mark.parametrize(
    "text",
    [
        f"{DOTTED[2:]} = 1\n",
        f"[{DOTTED[2:]}]\n",
        f'a = "{DOTTED}"\n',
        f"a = '{DOTTED}'\n",
        f'a = """\n{DOTTED} "" \\"\n"""\n',
        f"a = '''\n{DOTTED} ''\n'''\n",
        f"# {DOTTED}\na = 1\n",
        f"a = [{'1.5, ' * 100}]\n",
        "".join(f"a.b{number} = 1.5\n" for number in range(100)),
    ],
)
def test_dots_elsewhere_and_keys_within_the_bound_are_read(text):
    assert parse_toml(text) == tomllib.loads(text)


@pytest.mark.parametrize(
    "key",
    [
        DOTTED,
        " . ".join("a" * (KEY_PARTS_MAX + 1)),
        ".".join(['"."'] * (KEY_PARTS_MAX + 1)),
        ".".join(["'\"'"] * (KEY_PARTS_MAX + 1)),
        ".".join([r'"\""'] * (KEY_PARTS_MAX + 1)),
    ],
)
@pytest.mark.parametrize("form", ["\n{} = 1\n", "\n[{}]\n", "\nb = {{ {} = 1 }}\n"])
def test_a_key_of_too_many_parts_is_refused_with_its_line(key, form):
    with pytest.raises(tomllib.TOMLDecodeError, match=r"more than 32 parts \(at line 2\)"):
        parse_toml(form.format(key))


@pytest.mark.parametrize("piece", ["a", '"', '\\"', "'", '"""', "'''", "#", "a.b,", ". "])
def test_no_text_is_looked_through_twice(piece):
    """Eight times the text takes about eight times as long; looked through again, sixty-four."""
    short, long = piece * (_SHORT // len(piece)), piece * (8 * _SHORT // len(piece))
    # The least of three: whoever else is busy can only add.
    short_s, long_s = (min(_seconds_of(text) for _ in range(3)) for text in (short, long))
    assert long_s < 24 * max(short_s, _TICK_S)


def _seconds_of(text):
    begun_s = time.process_time()
    with suppress(tomllib.TOMLDecodeError):
        parse_toml(text)
    return time.process_time() - begun_s
