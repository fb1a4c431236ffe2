"""`ampforge campaign`: say which devices get which release, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_second
from cli.configuration import load_configuration
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import (
    config_option,
    hardware_class_option,
    json_option,
    passphrase_file_option,
    passphrase_source,
    share_option,
)

if TYPE_CHECKING:
    from pathlib import Path


@click.group(cls=NounGroup)
def group() -> None:
    """Say which devices get which release, and when."""


@group.command(
    "create", epilog="Example: ampforge campaign create --release 1.5.0 --name pilot --percent 5"
)
@click.option("--release", "version", required=True, help="Version of a published release.")
@click.option(
    "--release-counter",
    type=click.IntRange(min=1),
    help="Which of several releases with that version (default: the latest).",
)
@click.option("--name", required=True, help="Name; the same name keeps the devices drawn before.")
@share_option(text="Share of the devices (default: 100, or 0 beside --pin).", default=None)
@click.option("--pin", "pins", multiple=True, help="Serial number that installs it; repeatable.")
@click.option("--halt", is_flag=True, help="Nobody installs anything until the next campaign.")
@hardware_class_option
@config_option
@passphrase_file_option
@json_option
def create(
    *,
    version: str,
    release_counter: int | None,
    name: str,
    drawn_ppm: int | None,
    pins: tuple[str, ...],
    halt: bool,
    hardware_class: str | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Assign a published release to devices; it replaces what was assigned before.

    Needs the campaign, snapshot and timestamp keys only: an online machine can decide who installs
    a release and when, and never what is in it.
    """
    from cli.publication_output import describe_publication, format_publication
    from cli.repository_files import open_publisher
    from manifests.assignment import ALL_DEVICES_PPM
    from manifests.publication import AssignmentPlan
    from signing.roles import Role

    configuration = load_configuration(config_path)
    passphrase = passphrase_source(passphrase_file, prompt="Passphrase of the online keys")
    roles = (Role.CAMPAIGN, Role.SNAPSHOT, Role.TIMESTAMP)
    publisher = open_publisher(configuration, roles, passphrase=passphrase)
    if drawn_ppm is None:
        drawn_ppm = 0 if pins else ALL_DEVICES_PPM
    plan = AssignmentPlan(
        campaign=name,
        drawn_ppm=drawn_ppm,
        pinned_serial_numbers=pins,
        is_halted=halt,
    )
    now = utc_second()
    publication = publisher.publish_plan(
        version, plan, now=now, hardware_class=hardware_class, release_counter=release_counter
    )
    print_result(
        describe_publication(publication), format_publication(publication), as_json=as_json
    )
