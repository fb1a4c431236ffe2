"""From error to exit code: the one table, and the one place that prints an error.

| code | meaning |
|---|---|
| 0 | done |
| 1 | a bug of ours (a traceback is shown) |
| 2 | usage or configuration, or a file that cannot be written |
| 3 | signature or trust |
| 4 | manifest or repository |
| 5 | firmware image or waveform |
| 6 | station or link |
| 10 | the unit failed |
| 130 | interrupted |
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from cli.entry import EXIT_INTERRUPTED, INTERRUPTED
from firmware_images.errors import FirmwareImageError
from manifests.errors import ManifestError
from provisioning.errors import LedgerDamageError, ProvisioningError
from signing.errors import DurableFileError, SigningError
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_UNIT_FAILED = 10
EXIT_CODES: tuple[tuple[type[Refusal], int], ...] = (
    (DurableFileError, EXIT_USAGE),  # a full disk says nothing of signatures
    (SigningError, 3),
    (ManifestError, 4),
    (FirmwareImageError, 5),
    (ProvisioningError, 6),
)


class UsageRefusal(Refusal):
    """Raised when an argument or `ampforge.toml` cannot be used."""


class UnitFailed(click.exceptions.Exit):
    """Raised by a command after it printed the verdict of a unit that did not pass."""

    def __init__(self) -> None:
        super().__init__(EXIT_UNIT_FAILED)


def exit_code(error: Refusal) -> int:
    """Return the exit code for one of our errors."""
    for root, code in EXIT_CODES:
        if isinstance(error, root):
            return code
    return EXIT_USAGE


def describe_error(error: Refusal) -> dict[str, object]:
    """Return an error as a document for scripts: what, expected, got, where, next.

    Of a damaged ledger it also names the event, and what was done to it.
    """
    document: dict[str, object] = {
        "schema": "ampforge.error/1",
        "error": type(error).__name__,
        "exit_code": exit_code(error),
        "what": error.what,
        "expected": error.expected,
        "got": error.got,
        "where": error.where,
        "next": error.hint,
    }
    if isinstance(error, LedgerDamageError):
        document["event"] = {
            "station": error.station,
            "number": error.number,
            "at": error.at,
            "damage": error.damage.value,
        }
    return document


def format_error(error: Refusal) -> str:
    """Return an error as a person reads it: one line per part, parts that are empty left out."""
    document = describe_error(error)
    lines = [f"error: {printable(error.what)}"]
    lines += [
        f"  {name + ':':<10}{printable(str(document[name]))}"
        for name in ("expected", "got", "where", "next")
        if document[name] is not None
    ]
    return "\n".join(lines)


def describe_usage_error(error: click.ClickException) -> UsageRefusal:
    """Return what Click says about an argument or an option in the form of our own errors."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return UsageRefusal(error.format_message())
    return UsageRefusal(
        error.format_message(),
        expected=" ".join(context.get_usage().removeprefix("Usage: ").split()),
        hint=f"`{context.command_path} --help` explains each part",
    )


def printable(text: str) -> str:
    """Return a text that a stranger may have written as one that is safe to print.

    It must not move the cursor, forge a line of ours, or fail to encode (a file name need not be
    Unicode).
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def run_and_exit(command: click.Command, arguments: Sequence[str]) -> NoReturn:
    """Run a Click command; print an error of ours as text, or as JSON when `--json` was given."""
    try:
        outcome = command.main(args=list(arguments), prog_name="ampforge", standalone_mode=False)
    except Refusal as error:
        _print_error(error, as_json="--json" in arguments)
        sys.exit(exit_code(error))
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        _print_error(describe_usage_error(error), as_json="--json" in arguments)
        sys.exit(EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo(INTERRUPTED, err=True)
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit:
        # Out of standalone mode Click exits by itself in one case, with 1: the reader went away
        # (| head) before the command came to its result. That is not an error, and certainly not
        # a bug of ours. Results go by `cli.output`, and keep their exit code.
        sys.exit(0)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _print_error(error: Refusal, *, as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps(describe_error(error), indent=2), err=True)
    else:
        click.echo(format_error(error), err=True)
