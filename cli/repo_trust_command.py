"""`ampforge repo publish-trust`: boards in the field follow the trust record in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_second
from cli.configuration import load_configuration
from cli.output import print_result
from cli.params import config_option, json_option, passphrase_file_option, passphrase_source

if TYPE_CHECKING:
    from pathlib import Path

    from manifests.trust_publication import TrustPublication


@click.command("publish-trust", epilog="Example: ampforge repo publish-trust")
@config_option
@passphrase_file_option
@json_option
def publish_trust(*, config_path: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Give the trust record in force to the boards in the field.

    They take it at their next poll, before they look at anything else, if the root keys of the
    record that they have signed it, too. From then on they refuse keys that it revokes or no
    longer names, and tables under policies that are too old. `ampforge repo rotate` does this by
    itself.
    """
    from cli.repository_files import find_trust_record, open_publisher
    from manifests.trust_publication import publish_trust as publish
    from signing.roles import Role
    from signing.trust_file import read_trust_record

    configuration = load_configuration(config_path)
    passphrase = passphrase_source(passphrase_file, prompt="Passphrase or PIN of the signing keys")
    roles = (Role.RELEASE, Role.CAMPAIGN, Role.SNAPSHOT, Role.TIMESTAMP)
    publisher = open_publisher(configuration, roles, passphrase=passphrase)
    publication = publish(
        publisher,
        read_trust_record(find_trust_record(configuration)),
        now=utc_second(),
    )
    print_result(
        describe_trust_publication(publication),
        format_trust_publication(publication),
        as_json=as_json,
    )


def describe_trust_publication(publication: TrustPublication) -> dict[str, object]:
    """Return a publication as a document (`ampforge.trust-publication/1`)."""
    return {
        "schema": "ampforge.trust-publication/1",
        "trust_version": publication.version,
        "follows_versions": list(publication.follows),
        "assignments_signed_again": list(publication.hardware_classes),
        "releases_refused": list(publication.refused_versions),
    }


def format_trust_publication(publication: TrustPublication) -> str:
    """Return a publication for a person."""
    if publication.follows:
        first, last = publication.follows[0], publication.follows[-1]
        span = f"version {last}" if first == last else f"versions {first} to {last}"
        lines = [
            f"trust record version {publication.version} is published",
            f"  boards with {span} take it at their next poll",
        ]
        if publication.hardware_classes:
            lines.append(f"  assignments signed again: {', '.join(publication.hardware_classes)}")
    elif publication.version == 1:
        lines = ["trust record version 1 follows none: boards have it from the factory"]
    else:
        lines = [f"trust record version {publication.version} is published already"]
    lines.extend(
        f"  boards with it refuse release {version}: publish its content as a new release, signed "
        "by keys in force"
        for version in publication.refused_versions
    )
    return "\n".join(lines)
