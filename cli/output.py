"""What a command prints: JSON for scripts, text for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping


def print_result(value: Mapping[str, object], human: str | None = None, *, as_json: bool) -> None:
    """Print a result once, in the form that was asked for.

    Args:
        value: The result as a JSON document.
        human: The same for a person; `None` prints one `key  value` line for each entry.
        as_json: Whether `--json` was given.
    """
    if as_json:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
    elif human is not None:
        click.echo(human)
    else:
        width = max((len(key) for key in value), default=0)
        for key, entry in value.items():
            click.echo(f"{key:<{width}}  {entry}")
