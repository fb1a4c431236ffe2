"""`ampforge key ceremony`: make root's keys and the first trust record before witnesses."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.ceremony_output import (
    describe_run,
    describe_verified,
    format_run,
    format_step,
    format_verified,
)
from cli.clock import utc_second
from cli.failures import UsageRefusal
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import (
    EXISTING_FOLDER,
    FOLDER,
    ask_passphrase,
    json_option,
    read_passphrase_file,
    refuse_short,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from signing.ceremony_plan import PlannedKey
    from signing.ceremony_run import CeremonyRoom, StepDone


@click.group("ceremony", cls=NounGroup)
def ceremony() -> None:
    """Make root's keys and the first trust record, step by step, before witnesses."""


@ceremony.command(
    "plan", epilog="Example: ampforge key ceremony plan ceremony --product flare --root 2-of-3"
)
@click.argument("folder", type=FOLDER)
@click.option("--product", required=True, help="Name of the product, as in ampforge.toml.")
@click.option(
    "--root",
    "quorum",
    default="2-of-3",
    show_default=True,
    metavar="T-of-N",
    help="Root keys that must sign, of how many; one more than must sign at least.",
)
@click.option(
    "--witness", "witnesses", multiple=True, help="Name of a witness; repeatable, at least one."
)
@click.option("--rehearsal", is_flag=True, help="Make marked test keys: a ceremony to practise.")
@click.option(
    "--no-passphrase", is_flag=True, help="Leave the test keys of a rehearsal unencrypted."
)
@json_option
def plan(
    *,
    folder: Path,
    product: str,
    quorum: str,
    witnesses: tuple[str, ...],
    rehearsal: bool,
    no_passphrase: bool,
    as_json: bool,
) -> None:
    """Write FOLDER/plan.toml, for a person to edit: roles, holders, thresholds, key URIs."""
    from signing.ceremony_folder import PLAN_NAME
    from signing.ceremony_plan import parse_plan, steps_of
    from signing.ceremony_template import build_plan
    from signing.durable_folder import create_folder_durably

    if no_passphrase and not rehearsal:
        raise UsageRefusal(
            "keys for products are not left open by an option",
            expected="--rehearsal with --no-passphrase",
            hint="leave it out; no_passphrase in the plan does so for one key, with its own reason",
        )
    threshold, count = _parse_quorum(quorum)
    content = build_plan(
        product=product,
        threshold=threshold,
        root_count=count,
        witnesses=witnesses or ("the witness",),
        rehearsal=rehearsal,
        no_passphrase=no_passphrase,
    )
    parsed = parse_plan(content, where="the plan that these options make")
    create_folder_durably(folder, {PLAN_NAME: content})
    path = folder / PLAN_NAME
    document = {
        "schema": "ampforge.ceremony-plan/1",
        "path": str(path),
        "product": product,
        "root_threshold": threshold,
        "root_keys": count,
        "steps": len(steps_of(parsed)),
    }
    human = (
        f"wrote {path}: root {threshold} of {count}, {len(parsed.keys)} keys\n"
        f"edit it: who holds which key, and where each private key is made\n"
        f"then: ampforge key ceremony run {folder}"
    )
    print_result(document, human, as_json=as_json)


@ceremony.command("run", epilog="Example: ampforge key ceremony run ceremony")
@click.argument("folder", type=EXISTING_FOLDER)
@click.option("--one-step", is_flag=True, help="Do the next step only, and end.")
@click.option(
    "--passphrase-file",
    "passphrase_files",
    multiple=True,
    metavar="NAME=FILE",
    help="A key's passphrase or PIN from a file, for rehearsals; repeatable (default: ask).",
)
@json_option
def run(*, folder: Path, one_step: bool, passphrase_files: tuple[str, ...], as_json: bool) -> None:
    """Go on with the ceremony of FOLDER at the first step that is not done.

    Each holder comes to the machine when asked, and types their own passphrase or PIN. After each
    step a witness writes the check value down. Interrupted at any moment, it goes on when it is
    run again.
    """
    from signing.ceremony_folder import hold_folder
    from signing.ceremony_run import run_next_step

    room = _open_room(folder, _parse_passphrase_files(passphrase_files))
    done: list[StepDone] = []
    with hold_folder(folder):
        while (step := run_next_step(folder, room)) is not None:
            done.append(step)
            if not as_json:
                click.echo(format_step(step))
            if one_step:
                break
        document = describe_run(folder, done)
    print_result(document, format_run(folder, document), as_json=as_json)


@ceremony.command(
    "verify",
    epilog="Example: ampforge key ceremony verify ceremony --check 2:1a2b-3c4d-5e6f-7081-92a3",
)
@click.argument("folder", type=EXISTING_FOLDER)
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="STEP:VALUE",
    help="A check value that a witness wrote down; repeatable.",
)
@click.option("--unfinished", is_flag=True, help="Accept a ceremony that is still going on.")
@json_option
def verify(*, folder: Path, checks: tuple[str, ...], unfinished: bool, as_json: bool) -> None:
    """Check a ceremony again, on any machine, from its public files alone.

    Every line's hash, each holder's proof of possession, the thresholds, root's signatures over
    the trust record and over the transcript, and that trust.cose is exactly what the steps made.
    """
    from signing.ceremony_verify import verify_ceremony

    verified = verify_ceremony(
        folder, checks=tuple(map(_parse_check, checks)), allow_unfinished=unfinished
    )
    document = describe_verified(folder, verified, check_count=len(checks))
    print_result(
        document, format_verified(folder, verified, check_count=len(checks)), as_json=as_json
    )


def _parse_quorum(text: str) -> tuple[int, int]:
    threshold, _, count = text.partition("-of-")
    if not (threshold.isdecimal() and count.isdecimal() and len(text) < 8):  # noqa: PLR2004 - 99-of-99
        raise UsageRefusal(
            "root's threshold is not readable",
            expected="T-of-N, as 2-of-3",
            got=ascii(text[:40]),
            where="--root",
            hint="give how many root keys must sign, and of how many, such as 2-of-3",
        )
    return int(threshold), int(count)


def _parse_check(text: str) -> tuple[int, str]:
    number, _, value = text.partition(":")
    if not number.isdecimal() or not value:
        raise UsageRefusal(
            "a check value is not readable",
            expected="STEP:VALUE, as 2:1a2b-3c4d-5e6f-7081-92a3",
            got=ascii(text[:80]),
            where="--check",
            hint="type the number of the step, a colon, and what the witness wrote down",
        )
    return int(number), value.strip().lower()


def _parse_passphrase_files(texts: tuple[str, ...]) -> dict[str, Path]:
    files = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise UsageRefusal(
                "a passphrase file is not given for a key",
                expected="NAME=FILE, NAME as in the plan",
                got=ascii(text[:80]),
                where="--passphrase-file",
                hint="each holder has a passphrase of their own",
            )
        files[name] = Path(path)
    return files


def _open_room(folder: Path, files: dict[str, Path]) -> CeremonyRoom:
    from cli.signing_keys import open_sign_log
    from signing.ceremony_run import CeremonyRoom
    from signing.logged_signer import SIGN_LOG_NAME

    return CeremonyRoom(
        passphrase=_ask(files),
        clock=utc_second,
        log=open_sign_log(folder / SIGN_LOG_NAME),
        tool=f"ampforge {version('ampforge')}",
        environment=os.environ,
    )


def _ask(files: dict[str, Path]) -> Callable[[PlannedKey, bool], bytes]:
    def ask(planned: PlannedKey, is_new: bool) -> bytes:
        if planned.name in files:
            passphrase = read_passphrase_file(files[planned.name])
            if is_new:
                refuse_short(passphrase, where=files[planned.name])
            return passphrase
        what = "PIN of" if planned.is_in_token else "passphrase of"
        if is_new:
            what = "choose the passphrase of the new key"
        return ask_passphrase(f"{planned.holder}: {what} {planned.name}", is_new=is_new)

    return ask
