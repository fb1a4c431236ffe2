"""`ampforge bundle secure-version`: what is left of the boards' anti-rollback counter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import config_option, json_option, make_folder
from cli.secure_version_ledgers import describe_budget, open_ledger

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.secure_version_entry import LedgerEntry
    from firmware_images.secure_version_history import SecureVersionHistory
    from firmware_images.secure_version_ledger import SecureVersionLedger

DIGEST_CHARACTERS = 16


@click.group("secure-version", cls=NounGroup)
def group() -> None:
    """Show how often the boards' secure_version can still rise, and what raised it."""


@group.command("status", epilog="Example: ampforge bundle secure-version status --json")
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="COUNT:HASH",
    help="A head that this ledger once had, kept elsewhere; may repeat.",
)
@config_option
@json_option
def status(*, heads: tuple[str, ...], config_path: Path | None, as_json: bool) -> None:
    """Verify the ledger of the product's boards, and show its lines and what is left."""
    from signing.sign_log import parse_head

    known = tuple(
        parse_head(
            text,
            where="--head",
            log="secure-version ledger",
            printed_by="ampforge bundle secure-version status",
        )
        for text in heads
    )
    ledger = _open(config_path)
    history = ledger.load(heads=known)
    lines = [f"{ledger.hardware_class}, {ledger.chip}: {history.budget}"]
    lines += [_format_entry(entry) for entry in history.entries]
    if history.entries:
        lines.append(f"head {history.head}  (keep it elsewhere, and give it with --head)")
    else:
        lines.append(
            "nothing was signed yet; where boards burned bits before, begin with "
            "`ampforge bundle secure-version adopt`"
        )
    print_result(_describe(ledger, history), "\n".join(lines), as_json=as_json)


@group.command(
    "adopt", epilog='Example: ampforge bundle secure-version adopt 3 --reason "boards before 2026"'
)
@click.argument("secure_version", metavar="SECURE_VERSION", type=click.IntRange(min=0))
@click.option("--reason", required=True, help="Which boards hold it, and how that is known.")
@config_option
@json_option
def adopt(*, secure_version: int, reason: str, config_path: Path | None, as_json: bool) -> None:
    """Begin the ledger of boards that were made before it, with what their eFuses hold."""
    ledger = _open(config_path)
    make_folder(ledger.path.parent)
    history = ledger.adopt(secure_version, reason=reason)
    human = f"began {ledger.path}\n{ledger.hardware_class}, {ledger.chip}: {history.budget}"
    print_result(_describe(ledger, history), human, as_json=as_json)


def _open(config_path: Path | None) -> SecureVersionLedger:
    from firmware_images.product import ProductSettings

    configuration = load_configuration(config_path)
    product = configuration.section("product", ProductSettings)
    return open_ledger(
        configuration,
        hardware_class=product.hardware_class,
        chip=product.chip,
        beside=configuration.path,
    )


def _describe(ledger: SecureVersionLedger, history: SecureVersionHistory) -> dict[str, object]:
    return {
        "schema": "ampforge.secure-version/1",
        "hardware_class": ledger.hardware_class,
        "chip": ledger.chip,
        **describe_budget(history, ledger.path),
        "entries": [entry.document() for entry in history.entries],
    }


def _format_entry(entry: LedgerEntry) -> str:
    digest = "" if entry.digest is None else f"  {entry.digest[:DIGEST_CHARACTERS]}"
    reason = "" if entry.reason is None else f"  because: {entry.reason}"
    return (
        f"{entry.sequence:>4}  {entry.time}  {entry.act:<12}  secure_version "
        f"{entry.secure_version:>2}  {entry.app_version or '-'}{digest}  by {entry.who}{reason}"
    )
