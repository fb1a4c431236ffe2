"""What a command prints: JSON for scripts, text for people."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from cli.failures import UsageRefusal

if TYPE_CHECKING:
    from collections.abc import Mapping


def print_result(value: Mapping[str, object], human: str | None = None, *, as_json: bool) -> None:
    """Print a result once, in the form that was asked for.

    A reader that went away (`| head`) stops nothing: the command goes on to its exit code, which a
    script may still ask for.

    Args:
        value: The result as a JSON document.
        human: The same for a person; `None` prints one `key  value` line for each entry.
        as_json: Whether `--json` was given.

    Raises:
        UsageRefusal: The disk that standard output goes to is full.
    """
    if as_json:
        import json

        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    elif human is not None:
        text = human
    else:
        width = max((len(key) for key in value), default=0)
        text = "\n".join(f"{key:<{width}}  {entry}" for key, entry in value.items())
    try:
        click.echo(text)
    except OSError as error:
        if error.errno == errno.EPIPE:
            _write_nowhere()
            return
        raise UsageRefusal(
            "the result cannot be written out",
            got=error.strerror,
            where="standard output",
            hint="what the command does is done; make room, or send its output elsewhere",
        ) from error


def per_million(probability: float) -> str:
    """Return a probability as so many in a million, never with an exponent for many."""
    count = 1e6 * probability
    return f"{count:.0f}" if count >= 999.5 else f"{count:.3g}"  # noqa: PLR2004 - 3 digits


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 unit` or `2 units`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _write_nowhere() -> None:
    """Let what is still in the buffers of standard output go nowhere, when Python ends."""
    with suppress(OSError, ValueError):  # a test's stream has no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
