"""Where a command writes: never over what it reads."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from cli.failures import UsageRefusal

if TYPE_CHECKING:
    from pathlib import Path


def refuse_input_as_output(output: Path, *inputs: Path | None, option: str = "--output") -> None:
    """Refuse an output that is one of the inputs, under whatever name.

    Args:
        output: The file that will be replaced.
        inputs: Files that the command reads; `None` for one that was not given.
        option: The option that names the output.

    Raises:
        UsageRefusal: It is one of them.
    """
    for path in inputs:
        # What is not there yet is no input, and what cannot be looked at is refused when written.
        with suppress(OSError, ValueError):
            if path is not None and output.samefile(path):
                raise UsageRefusal(
                    "the output would replace what it is made from",
                    expected="a file of its own",
                    got=path,
                    where=option,
                    hint="give another name",
                )
