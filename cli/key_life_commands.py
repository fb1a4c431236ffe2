"""`ampforge key revoke` and `ampforge key rotate`: the next trust record, signed by root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import (
    EXISTING_FILE,
    config_option,
    json_option,
    passphrase_file_option,
    passphrase_source,
)
from cli.signing_keys import open_signers

if TYPE_CHECKING:
    from pathlib import Path

    from cli.configuration import Configuration
    from signing.trust_record import TrustRecord

_REPOSITORY_ROLES = ("root", "release", "campaign", "snapshot", "timestamp")

root_key_option = click.option(
    "--key",
    "keys",
    multiple=True,
    help="Root key, file or URI; repeatable (default: [signing.roles.root] signer).",
)


@click.command("revoke", epilog="Example: ampforge key revoke 1cb566db17f16b37")
@click.argument("key_id", metavar="KEY_ID")
@root_key_option
@config_option
@passphrase_file_option
@json_option
def revoke(
    *,
    key_id: str,
    keys: tuple[str, ...],
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Write the next trust record, in which a key counts nowhere, and sign it with root's keys.

    KEY_ID is the beginning of a key's id (`ampforge trust show` lists them), or the whole id of a
    station's or a device's key. Refused where the role would have too few keys left: rotate the key
    instead.
    """
    from cli.repository_files import load_trust
    from signing.key_life import find_key_id, revoke_key, role_of_key

    configuration = load_configuration(config_path)
    current = load_trust(configuration)
    revoked = find_key_id(current, key_id)
    record = revoke_key(current, revoked)
    path = _sign(record, current, configuration, keys=keys, passphrase_file=passphrase_file)
    role = role_of_key(current, revoked)
    document: dict[str, object] = {
        "schema": "ampforge.key-revocation/1",
        "path": str(path),
        "version": record.version,
        "revoked_key_id": revoked.hex(),
        "role": None if role is None else str(role),
    }
    human = [f"trust record version {record.version} revokes {revoked.hex()}  ({path})"]
    if role is None:
        human.append("no role of the record had this key: a station's or a device's")
    else:
        human.append(_next_step(configuration, role, revoked))
    print_result(document, "\n".join(human), as_json=as_json)


@click.command(
    "rotate", epilog="Example: ampforge key rotate 1cb566db17f16b37 keys/release-4.pub.pem"
)
@click.argument("old_key_id", metavar="OLD_KEY_ID")
@click.argument("new_path", metavar="NEW.pub.pem", type=EXISTING_FILE)
@click.option(
    "--revoke",
    "is_revoked",
    is_flag=True,
    help="Revoke the old key, too: it was lost or stolen.",
)
@root_key_option
@config_option
@passphrase_file_option
@json_option
def rotate(
    *,
    old_key_id: str,
    new_path: Path,
    is_revoked: bool,
    keys: tuple[str, ...],
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Write the next trust record, in which a new key takes the role of an old one.

    Root's keys sign it: enough of those in force, and enough of those that the new record names.
    """
    from cli.repository_files import load_trust
    from signing.key_files import load_public_key
    from signing.key_life import find_key_id, role_of_key, rotate_key

    configuration = load_configuration(config_path)
    current = load_trust(configuration)
    old = find_key_id(current, old_key_id)
    new = load_public_key(new_path)
    record = rotate_key(current, old, new, is_revoked=is_revoked)
    path = _sign(record, current, configuration, keys=keys, passphrase_file=passphrase_file)
    role = role_of_key(record, new.key_id)
    document: dict[str, object] = {
        "schema": "ampforge.key-rotation/1",
        "path": str(path),
        "version": record.version,
        "role": str(role),
        "old_key_id": old.hex(),
        "new_key_id": new.key_id.hex(),
        "revoked": is_revoked,
    }
    human = (
        f"trust record version {record.version}: the role {role} has {new.key_id.hex()[:16]} in "
        f"place of {old.hex()[:16]}{', which is revoked' if is_revoked else ''}  ({path})\n"
        f"{_next_step(configuration, str(role), old, added=new_path)}"
    )
    print_result(document, human, as_json=as_json)


def _sign(
    record: TrustRecord,
    current: TrustRecord,
    configuration: Configuration,
    *,
    keys: tuple[str, ...],
    passphrase_file: Path | None,
) -> Path:
    from cli.repository_files import find_trust_record
    from signing.roles import Role
    from signing.trust import sign_trust_record
    from signing.trust_file import save_trust_record

    passphrase = passphrase_source(passphrase_file, prompt="Passphrase or PIN of the root key")
    signers = open_signers(Role.ROOT, configuration=configuration, keys=keys, passphrase=passphrase)
    for signer in signers:
        if signer.public_key not in (*current.roles[Role.ROOT].keys, *record.roles[Role.ROOT].keys):
            raise UsageRefusal(
                "a key is not root's",
                expected="keys of the role root, in this record or the next",
                got=f"key {signer.public_key.key_id.hex()[:16]}",
                where="--key" if keys else "[signing.roles.root] signer",
                hint="name root's keys with --key",
            )
    # A root key that leaves may sign its own successor; it does not count for the next record.
    root = record.roles[Role.ROOT]
    staying = [
        signer.public_key.key_id.hex()[:16]
        for signer in signers
        if signer.public_key in root.keys and signer.public_key.key_id not in record.revoked_key_ids
    ]
    if len(staying) < root.threshold:
        raise UsageRefusal(
            "too few of the keys that root has in the next record sign it",
            expected=f"{root.threshold} of them",
            got=", ".join(staying) or "none",
            where="--key" if keys else "[signing.roles.root] signer",
            hint="name each root key that signs, of those that are left and the new one: --key FILE"
            " --key FILE",
        )
    path = find_trust_record(configuration)
    save_trust_record(path, sign_trust_record(record, signers), current=current)
    return path


def _next_step(
    configuration: Configuration, role: str, gone: bytes, *, added: Path | None = None
) -> str:
    """Says what to change in ampforge.toml, so that the next `trust sign` does not undo this."""
    from signing.errors import SigningError
    from signing.key_files import load_public_key
    from signing.roles import Role
    from signing.roles_settings import SigningSettings

    settings = configuration.section("signing", SigningSettings)
    named = []
    for known, role_settings in settings.roles.items():
        for path in role_settings.keys if known == role else ():
            try:
                if load_public_key(configuration.resolve(path)).key_id == gone:
                    named.append(str(path))
            except SigningError:
                continue
    what = f"take {', '.join(named) or 'the old key'} out of [signing.roles.{role}] keys"
    if added is not None:
        what += f", put {added} in, and name its private key in signer"
    publish = "publish the trust record"
    if configuration.has_section("repository"):
        publish = "then run `ampforge repo publish-trust`, so that boards follow"
        if role in _REPOSITORY_ROLES:
            publish = "then run `ampforge repo rotate`, so that gateways and boards follow"
        if role == Role.ROOT:
            publish += "; --old-key FILE for each root key of before that signs along"
    return f"now {what} in {configuration.path.name}; {publish}"
