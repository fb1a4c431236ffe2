"""`ampforge key log`: show and verify what was signed with this product's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.noun_group import NounGroup
from cli.output import count_of, print_result
from cli.params import EXISTING_FILE, config_option, json_option
from cli.signing_keys import sign_log_path

if TYPE_CHECKING:
    from pathlib import Path

    from signing.sign_log import Head, SignLogEntry

SHORT_CHARACTERS = 16
LOG_ARGUMENT = click.argument("log_path", metavar="[LOG]", type=EXISTING_FILE, required=False)


@click.group(cls=NounGroup)
def log() -> None:
    """Show and verify the sign log: one line for each signature, beside the trust record."""


@log.command("show", epilog="Example: ampforge key log show")
@LOG_ARGUMENT
@config_option
@json_option
def show(*, log_path: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Show who signed what, with which key and when; the log is verified first."""
    path, entries = _load(log_path, config_path, ())
    document = {
        "schema": "ampforge.sign-log/1",
        "path": str(path),
        "head": str(_head_of(entries)),
        "entries": [entry.document() for entry in entries],
    }
    lines = [_format_entry(entry) for entry in entries]
    print_result(document, "\n".join(lines) or "nothing was signed yet", as_json=as_json)


@log.command("verify", epilog="Example: ampforge key log verify --head 12:9f86d081884c7d65…")
@LOG_ARGUMENT
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="COUNT:HASH",
    help="A head that this log once had, kept elsewhere; may repeat.",
)
@config_option
@json_option
def verify(
    *,
    log_path: Path | None,
    heads: tuple[str, ...],
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Find any line of the log that was changed, removed, added or moved.

    Lines that are missing at the end are found by the head beside the log. Who can write to both
    can shorten both: keep the head that this prints elsewhere, and give it with --head next time.
    """
    from signing.sign_log import parse_head

    known = tuple(parse_head(text, where="--head") for text in heads)
    path, entries = _load(log_path, config_path, known)
    head = _head_of(entries)
    document = {
        "schema": "ampforge.sign-log-verification/1",
        "path": str(path),
        "count": head.count,
        "head": str(head),
        "heads_found": [str(each) for each in known],
    }
    human = [f"{count_of(head.count, 'signature')}, none changed, removed or moved  ({path})"]
    human += [f"it still has its head of {count_of(each.count, 'signature')}" for each in known]
    human.append(f"head {head}  (keep it elsewhere, and give it with --head next time)")
    print_result(document, "\n".join(human), as_json=as_json)


def _load(
    log_path: Path | None, config_path: Path | None, heads: tuple[Head, ...]
) -> tuple[Path, tuple[SignLogEntry, ...]]:
    from signing.logged_signer import load_sign_log

    path = log_path or sign_log_path(load_configuration(config_path))
    return path, load_sign_log(path, heads=heads)


def _head_of(entries: tuple[SignLogEntry, ...]) -> Head:
    from signing.sign_log import EMPTY

    return entries[-1].head if entries else EMPTY


def _format_entry(entry: SignLogEntry) -> str:
    time, key = entry.document()["time"], entry.key_id.hex()[:SHORT_CHARACTERS]
    return (
        f"{entry.sequence:>4}  {time}  {entry.role:<11}  key {key}"
        f"  {entry.content_type}  {entry.digest.hex()[:SHORT_CHARACTERS]}  by {entry.who}"
        f"  with {entry.tool}"
    )
