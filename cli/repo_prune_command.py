"""`ampforge repo prune`: the list of releases gets room back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_second
from cli.configuration import load_configuration
from cli.output import count_of, print_result
from cli.params import config_option, json_option, passphrase_file_option, passphrase_source

if TYPE_CHECKING:
    from pathlib import Path


@click.command("prune", epilog="Example: ampforge repo prune")
@config_option
@passphrase_file_option
@json_option
def prune(*, config_path: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Drop images and patches from the list of releases that no published release names.

    Withdrawn releases leave them there. Published releases, steps and campaigns stay as they are,
    and so does every file; what was withdrawn, and why, is listed for ever. Needs the release,
    snapshot and timestamp keys.
    """
    from cli.repository_files import open_publisher
    from manifests.release_pruning import prune_releases
    from signing.roles import Role

    configuration = load_configuration(config_path)
    passphrase = passphrase_source(passphrase_file, prompt="Passphrase or PIN of the signing keys")
    roles = (Role.RELEASE, Role.SNAPSHOT, Role.TIMESTAMP)
    publisher = open_publisher(configuration, roles, passphrase=passphrase)
    pruned = prune_releases(publisher, now=utc_second())
    document = {
        "schema": "ampforge.repo-pruning/1",
        "targets": list(pruned.paths),
        "list_filled_before": round(pruned.fill_before, 6),
        "list_filled_after": round(pruned.fill_after, 6),
    }
    if pruned.paths:
        human = (
            f"{count_of(len(pruned.paths), 'artifact')} left the list of releases: it was "
            f"{pruned.fill_before:.2%} full, and is {pruned.fill_after:.2%} full now"
        )
    else:
        human = (
            "nothing to drop: published releases name every image and patch that is listed\n"
            f"  the list of releases is {pruned.fill_after:.2%} full; withdraw a release that no "
            "device needs any more, and prune then"
        )
    print_result(document, human, as_json=as_json)
