"""`ampforge repo`: make a TUF repository, publish releases to it, say what expires when."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import click

from cli.clock import utc_second
from cli.configuration import load_configuration
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import (
    EXISTING_FILE,
    config_option,
    json_option,
    passphrase_file_option,
    passphrase_source,
    share_option,
)
from cli.repo_life_commands import extend, promote, refresh, withdraw
from cli.repo_prune_command import prune
from cli.repo_reports_command import forward_reports
from cli.repo_rotate_command import rotate
from cli.repo_suit_commands import export_suit, verify_suit
from cli.repo_trust_command import publish_trust
from cli.repo_verify_command import verify

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = "Passphrase or PIN of the signing keys"


@click.group(cls=NounGroup)
def group() -> None:
    """Publish releases in a TUF repository."""


@group.command("init", epilog="Example: ampforge repo init")
@click.option(
    "--insecure-test-keys", is_flag=True, help="Accept keys that are marked as test keys."
)
@config_option
@passphrase_file_option
@json_option
def init(
    *,
    insecure_test_keys: bool,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Make an empty repository that trusts whom the device trust record trusts.

    Root is signed by the [signing] keys of the role root, targets by release, and snapshot,
    timestamp and campaign by their own online keys.
    """
    from cli.repository_files import open_publisher, open_store
    from manifests.repository import init_repository, refuse_present
    from manifests.tuf_metadata import SIGNING_ROLES

    configuration = load_configuration(config_path)
    refuse_present(open_store(configuration))  # before anybody is asked for a passphrase
    passphrase = passphrase_source(passphrase_file, prompt=PROMPT)
    publisher = open_publisher(configuration, SIGNING_ROLES.values(), passphrase=passphrase)
    metadata = init_repository(
        publisher.store,
        publisher.trust,
        publisher.signers,
        publisher.settings,
        now=utc_second(),
        allows_test_keys=insecure_test_keys,
    )
    root = metadata.root.signed
    document = {
        "schema": "ampforge.repo-init/1",
        "folder": str(publisher.store),
        "product": publisher.trust.product,
        "root_version": root.version,
        "thresholds": {name: role.threshold for name, role in root.roles.items()},
        "root_expires_at": root.expires.isoformat(),
    }
    human = (
        f"made a repository for {publisher.trust.product} in {publisher.store}\n"
        f"  clients start from metadata/1.root.json: give it to them by a trusted way\n"
        f"  root expires {root.expires:%Y-%m-%d}; publish with `ampforge repo publish BUNDLE`"
    )
    print_result(document, human, as_json=as_json)


@group.command("publish", epilog="Example: ampforge repo publish build/flare-1.5.0.bundle.zip")
@click.argument("bundle_path", metavar="BUNDLE", type=EXISTING_FILE)
@click.option("--campaign", help="Name of the campaign (default: the release's).")
@share_option(text="Share of the devices that install it.")
@click.option(
    "--delta-from",
    "base_paths",
    type=EXISTING_FILE,
    multiple=True,
    help="Bundle of a release that devices run now: publish a patch from it, too; repeatable.",
)
@config_option
@passphrase_file_option
@json_option
def publish(
    *,
    bundle_path: Path,
    base_paths: tuple[Path, ...],
    campaign: str | None,
    drawn_ppm: int,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Verify a signed bundle, publish its release, and assign it to devices.

    The bundle is verified with the trust record. Manifest and assignment for devices, and the TUF
    metadata for gateways, are derived from it and signed together. A delta is made in the
    encodings of [delta], applied and compared first. Where the patch is above 60 % of the full
    image, the full image is published alone.
    """
    from cli.bundle_files import read_bundle
    from cli.delta_files import load_encodings
    from cli.publication_output import describe_publication, format_publication
    from cli.repository_files import open_publisher
    from manifests.publication import AssignmentPlan
    from manifests.release_deltas import DeltaPlan
    from signing.roles import Role

    configuration = load_configuration(config_path)
    passphrase = passphrase_source(passphrase_file, prompt=PROMPT)
    content = read_bundle(bundle_path)
    delta_plan = None
    if base_paths:
        bases = {str(path): read_bundle(path) for path in base_paths}
        delta_plan = DeltaPlan(bases=bases, encodings=load_encodings(configuration))
    roles = (Role.RELEASE, Role.CAMPAIGN, Role.SNAPSHOT, Role.TIMESTAMP)
    publisher = open_publisher(configuration, roles, passphrase=passphrase)
    plan = AssignmentPlan(campaign=campaign or "", drawn_ppm=drawn_ppm)
    publication = publisher.publish_bundle(
        content, plan, now=utc_second(), delta_plan=delta_plan, where=str(bundle_path)
    )
    print_result(
        describe_publication(publication), format_publication(publication), as_json=as_json
    )


for command in (
    promote,
    extend,
    withdraw,
    prune,
    rotate,
    publish_trust,
    refresh,
    verify,
    export_suit,
    verify_suit,
    forward_reports,
):
    group.add_command(command)
# What `refresh` was called first; daily jobs may still say so.
renew = copy.copy(refresh)
renew.hidden = True
group.add_command(renew, "renew")


@group.command("status", epilog="Example: ampforge repo status")
@config_option
@json_option
def status(*, config_path: Path | None, as_json: bool) -> None:
    """Say which releases are published, who installs what, what expires when, and who must act.

    What devices refuse, because the trust record has moved on since, is said, too; and, where the
    reports of `ampforge serve` lie here, which devices cannot come to the release.
    """
    from cli.held_back import describe_held_back, format_held_back
    from cli.repository_files import load_trust, open_store
    from manifests.repository_status import describe_repository
    from manifests.status_words import format_status

    configuration = load_configuration(config_path)
    document = describe_repository(
        open_store(configuration), load_trust(configuration), now=utc_second()
    )
    held_back = describe_held_back(configuration, document)
    print_result(
        document | {"held_back": held_back},
        format_status(document) + format_held_back(held_back),
        as_json=as_json,
    )
