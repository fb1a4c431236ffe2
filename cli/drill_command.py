"""`ampforge key drill`: the compromise of one key, played on a scratch copy of the product."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.clock import utc_second
from cli.configuration import load_configuration
from cli.failures import EXIT_CODES
from cli.output import print_result
from cli.params import config_option, json_option
from signing.errors import SigningError

if TYPE_CHECKING:
    from cli.configuration import Configuration
    from cli.drill_play import Play
    from signing.roles import Role

ROLES = (
    "root",
    "policy",
    "release",
    "secure-boot",
    "campaign",
    "freshness",
    "timestamp",
    "snapshot",
    "station",
    "supervisor",
    "factory-ca",
)


@click.command("drill", epilog="Example: ampforge key drill release")
@click.argument("role", metavar="ROLE", type=click.Choice(ROLES))
@click.option("--verbose", is_flag=True, help="Print what each refusal says.")
@config_option
@json_option
def drill(*, role: str, verbose: bool, config_path: Path | None, as_json: bool) -> None:
    """Play the compromise of one key of ROLE on a scratch copy, and show who refuses it afterwards.

    ROLE is root, policy, release, secure-boot, campaign, freshness, timestamp, snapshot,
    station, supervisor or factory-ca. The copy has the product's roles, thresholds and release
    parts, and keys of its own: no private key of the product is opened, and nothing outside the
    scratch folder is written. Ends with the steps that people take in the real case. Exits with
    3 where a verifier accepts what it must refuse, or refuses what it must accept.
    """
    configuration = load_configuration(config_path)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ampforge-drill-") as folder:
        play = run_drill(configuration, folder=Path(folder), role=_as_role(role))
    document = _describe(play, wall_s=time.monotonic() - started_s)
    print_result(document, _format(play, document, verbose=verbose), as_json=as_json)
    if not play.findings.are_right:
        raise click.exceptions.Exit(dict(EXIT_CODES)[SigningError])


def run_drill(configuration: Configuration, *, folder: Path, role: Role) -> Play:
    """Play the compromise of one key of a role.

    Args:
        configuration: The product's `ampforge.toml`.
        folder: An empty scratch folder.
        role: Whose key is stolen.

    Raises:
        Refusal: The product's own parts are not acceptable.
    """
    from cli.drill_factory import play_factory_ca, play_secure_boot, play_station
    from cli.drill_findings import Moment
    from cli.drill_forgeries import show_cose, show_tuf
    from cli.drill_play import (
        begin_play,
        replace_key,
        rotate_repository,
        show_alone,
        show_honest,
        sign_again,
    )
    from cli.drill_world import make_world
    from manifests.tuf_metadata import SIGNING_ROLES
    from signing.roles import Role

    now = utc_second()
    play = begin_play(make_world(configuration, folder, now=now), role)
    factory = {
        Role.STATION: play_station,
        Role.FACTORY_CA: play_factory_ca,
        Role.SECURE_BOOT: play_secure_boot,
    }
    if role in factory:
        factory[role](play)
        return play
    show_alone(play)
    show_cose(play, Moment.BEFORE)
    show_tuf(play, Moment.BEFORE)
    replace_key(play)
    if role in SIGNING_ROLES.values():
        rotate_repository(play)
    sign_again(play)
    show_honest(play, Moment.AFTER)
    show_cose(play, Moment.AFTER)
    show_tuf(play, Moment.AFTER)
    return play


def _as_role(text: str) -> Role:
    from signing.roles import Role

    return Role(text)


def _describe(play: Play, *, wall_s: float) -> dict[str, object]:
    from cli.drill_steps import REAL_STEPS

    findings = play.findings.found
    return {
        "schema": "ampforge.key-drill/1",
        "role": str(play.role),
        "product": play.world.product.name,
        "passed": play.findings.are_right,
        "findings": [finding.document() for finding in findings],
        "wrong": sum(not finding.is_right for finding in findings),
        "still_holds": play.kept,
        "sign_again": play.resigned,
        "recovery_s": play.spent_s,
        "wall_s": round(wall_s, 1),
        "steps": list(REAL_STEPS[play.role]),
    }


def _format(play: Play, document: dict[str, object], *, verbose: bool) -> str:
    from cli.drill_findings import Moment
    from cli.drill_steps import REAL_STEPS

    lines = [f"drill: one {play.role} key of {document['product']} is stolen (test keys, a copy)"]
    for moment, title in (
        (Moment.BEFORE, "before the key is replaced"),
        (Moment.AFTER, "after it was replaced and revoked"),
    ):
        lines.append(f"\n{title}")
        for finding in play.findings.found:
            if finding.moment is not moment:
                continue
            mark = "✓" if finding.is_right else "✗"
            lines.append(f"  {mark} {finding.verifier:<21} {finding.got:<9} {finding.what}")
            if not finding.is_right:
                lines.append(f"      expected: {finding.expected}")
            if finding.said and (verbose or not finding.is_right):
                lines.append(f"      {finding.said}")
    for title, texts in (("still holds", play.kept), ("to be signed again", play.resigned)):
        lines += [f"\n{title}", *(f"  - {text}" for text in texts or ["nothing"])]
    lines.append("\nin the real case")
    lines += [f"  {number}. {text}" for number, text in enumerate(REAL_STEPS[play.role], 1)]
    spent = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in play.spent_s.items())
    lines.append(f"\n{spent or 'nothing to sign'}; the whole drill {document['wall_s']} s")
    wrong = document["wrong"]
    lines.append(
        "passed: every verifier did what it must"
        if document["passed"]
        else f"FAILED: {wrong} of {len(play.findings.found)} did not do what they must"
    )
    return "\n".join(lines)
