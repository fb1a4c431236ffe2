"""`ampforge repo rotate`: the repository follows the trust record's keys with its next root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_second
from cli.configuration import load_configuration
from cli.output import print_result
from cli.params import config_option, json_option, passphrase_file_option, passphrase_source

if TYPE_CHECKING:
    from pathlib import Path


@click.command("rotate", epilog="Example: ampforge repo rotate --old-key keys/root-1.pem")
@click.option(
    "--old-key",
    "old_keys",
    multiple=True,
    help="A root key that the record names no more and that signs its successor; repeatable.",
)
@config_option
@passphrase_file_option
@json_option
def rotate(
    *,
    old_keys: tuple[str, ...],
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Publish the next TUF root, with the keys of the trust record in force.

    After `ampforge key rotate` and `ampforge key revoke`: gateways follow the new root, and every
    other document is signed again under it. Boards in the field get the trust record itself, as by
    `ampforge repo publish-trust`.
    """
    from cli.repo_trust_command import describe_trust_publication, format_trust_publication
    from cli.repository_files import find_trust_record, open_publisher
    from cli.signing_keys import open_signers
    from manifests.root_rotation import rotate_root
    from manifests.trust_publication import publish_trust
    from manifests.tuf_metadata import SIGNING_ROLES
    from signing.roles import Role
    from signing.trust_file import read_trust_record

    configuration = load_configuration(config_path)
    passphrase = passphrase_source(passphrase_file, prompt="Passphrase or PIN of the signing keys")
    publisher = open_publisher(configuration, SIGNING_ROLES.values(), passphrase=passphrase)
    signers = dict(publisher.signers)
    if old_keys:
        old = open_signers(
            Role.ROOT, configuration=configuration, keys=old_keys, passphrase=passphrase
        )
        signers[Role.ROOT] = (*signers[Role.ROOT], *old)
    now = utc_second()
    record = read_trust_record(find_trust_record(configuration))
    metadata = rotate_root(
        publisher.store,
        publisher.trust,
        signers,
        publisher.settings,
        now=now,
    )
    trust = publish_trust(publisher, record, now=now)
    root = metadata.root.signed
    document = {
        "schema": "ampforge.repo-rotation/1",
        "folder": str(publisher.store),
        "root_version": root.version,
        "thresholds": {name: role.threshold for name, role in root.roles.items()},
        "root_expires_at": root.expires.isoformat(),
        "trust": describe_trust_publication(trust),
    }
    human = (
        f"root {root.version} is published in {publisher.store}, with the keys of trust record "
        f"version {publisher.trust.version}\n"
        f"  clients follow it from the root that they have; it expires {root.expires:%Y-%m-%d}\n"
        f"{format_trust_publication(trust)}"
    )
    print_result(document, human, as_json=as_json)
