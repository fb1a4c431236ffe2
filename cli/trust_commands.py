"""`ampforge trust`: the record of who may sign what, signed by root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import (
    EXISTING_FILE,
    FILE,
    config_option,
    json_option,
    passphrase_file_option,
    passphrase_source,
)
from cli.signing_keys import open_signers
from cli.station_access import read_factory_ca

if TYPE_CHECKING:
    from pathlib import Path

    from cli.configuration import Configuration
    from signing.trust_record import TrustRecord


@click.group(cls=NounGroup)
def group() -> None:
    """Sign and show the device trust record: the keys and thresholds of each role."""


@group.command(
    "sign", epilog="Example: ampforge trust sign --factory-ca station/factory-ca.cert.der"
)
@click.option(
    "--factory-ca",
    type=EXISTING_FILE,
    help="Certificate of the factory CA, DER (written by `ampforge station init`).",
)
@click.option(
    "--minimum-policy-version",
    type=click.IntRange(min=0),
    help="Oldest limits policy whose approvals still count; never goes down.",
)
@click.option(
    "-o", "--output", type=FILE, help="Where to write it (default: [signing] trust_record)."
)
@config_option
@passphrase_file_option
@json_option
def sign(
    *,
    factory_ca: Path | None,
    minimum_policy_version: int | None,
    output: Path | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Write the next version of the trust record from [signing] and sign it with root's keys.

    The record that is there already must be followed: its root keys sign the next one, too.
    """
    from firmware_images.product import ProductSettings
    from signing.input_file import is_present
    from signing.roles import Role
    from signing.roles_settings import SigningSettings
    from signing.trust import sign_trust_record
    from signing.trust_file import load_trust_record, next_trust_record, save_trust_record

    configuration = load_configuration(config_path)
    settings = configuration.section("signing", SigningSettings)
    path = output or configuration.resolve(settings.trust_record)
    current = load_trust_record(path) if is_present(path) else None
    record = next_trust_record(
        current,
        product=configuration.section("product", ProductSettings).name,
        roles=settings.load_role_keys(configuration.root),
        minimum_policy_version=minimum_policy_version,
        factory_ca_der=None if factory_ca is None else read_factory_ca(factory_ca),
        boards_verify=settings.boards_verify,
    )
    signers = open_signers(
        Role.ROOT,
        configuration=configuration,
        passphrase=passphrase_source(passphrase_file, prompt="Passphrase or PIN of the root key"),
    )
    save_trust_record(path, sign_trust_record(record, signers), current=current)
    print_result(_document(record, path), _human(record, path), as_json=as_json)


@group.command("show", epilog="Example: ampforge trust show trust.cose")
@click.argument("record_path", type=EXISTING_FILE, required=False)
@config_option
@json_option
def show(*, record_path: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Verify a trust record (default: the configured one) and say who may sign what."""
    from signing.trust_file import load_trust_record

    path = record_path or trust_record_path(load_configuration(config_path))
    record = load_trust_record(path)
    print_result(_document(record, path), _human(record, path), as_json=as_json)


def trust_record_path(configuration: Configuration) -> Path:
    """Return where the configuration keeps the trust record."""
    from signing.roles_settings import SigningSettings

    return configuration.resolve(configuration.section("signing", SigningSettings).trust_record)


def _document(record: TrustRecord, path: Path) -> dict[str, object]:
    return {
        "schema": "ampforge.trust/1",
        "path": str(path),
        "product": record.product,
        "version": record.version,
        "minimum_policy_version": record.minimum_policy_version,
        "factory_ca": bool(record.factory_ca_der),
        "boards_verify": sorted(record.boards_verify),
        "revoked_key_ids": sorted(key_id.hex() for key_id in record.revoked_key_ids),
        "roles": {
            str(role): {
                "threshold": keys.threshold,
                "keys": [
                    {"key_id": key.key_id.hex(), "algorithm": str(key.algorithm)}
                    for key in keys.keys
                ],
            }
            for role, keys in record.roles.items()
        },
    }


def _human(record: TrustRecord, path: Path) -> str:
    ca = "carried" if record.factory_ca_der else "none yet (give --factory-ca after station init)"
    lines = [
        f"trust record {record.product} version {record.version}  ({path})",
        f"minimum policy version {record.minimum_policy_version}, factory CA {ca}",
        f"{'role':<12} {'needs':<8} keys",
    ]
    for role, keys in record.roles.items():
        needs = f"{keys.threshold} of {len(keys.keys)}"
        named = ", ".join(f"{key.key_id.hex()[:16]} ({key.algorithm})" for key in keys.keys)
        lines.append(f"{role:<12} {needs:<8} {named}")
    if record.boards_verify:
        lines.append(f"boards also verify {', '.join(sorted(record.boards_verify))}")
    lines += [f"revoked      {key_id.hex()}" for key_id in sorted(record.revoked_key_ids)]
    return "\n".join(lines)
