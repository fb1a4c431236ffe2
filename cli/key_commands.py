"""`ampforge key`: make signing keys, and say which there are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from cli.ceremony_commands import ceremony
from cli.configuration import current_folder, find_configuration_file, load_configuration
from cli.drill_command import drill
from cli.failures import UsageRefusal
from cli.key_life_commands import revoke, rotate
from cli.key_public_command import public
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    FILE,
    config_option,
    json_option,
    make_folder,
    new_passphrase,
    passphrase_file_option,
    passphrase_source,
)
from cli.sign_log_commands import log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cli.configuration import Configuration
    from signing.key_inventory import KeyFacts
    from signing.roles import Role

ALGORITHMS = ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-3072")
SHORT_KEY_ID_CHARACTERS = 16


@click.group(cls=NounGroup)
def group() -> None:
    """Make signing keys, alone or in a ceremony; list, revoke and rotate them; show their use."""


group.add_command(ceremony)
group.add_command(drill)
group.add_command(public)
group.add_command(revoke)
group.add_command(rotate)
group.add_command(log)


@group.command("generate", epilog="Example: ampforge key generate keys/release.pem")
@click.argument("path", type=FILE)
@click.option(
    "--algorithm",
    type=click.Choice(ALGORITHMS),
    default=ALGORITHMS[0],
    show_default=True,
    help="Every board verifies ecdsa-p256 and ed25519; where the others fit: docs/spec/trust.md.",
)
@click.option("--no-passphrase", is_flag=True, help="Leave the private key unencrypted.")
@click.option("--test-key", is_flag=True, help="Mark the key as never for products.")
@passphrase_file_option
@json_option
def generate(
    *,
    path: Path,
    algorithm: str,
    no_passphrase: bool,
    test_key: bool,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Make a key pair: PATH (private, mode 0600) and its .pub.pem beside it.

    The private key is encrypted with a passphrase that is asked for twice.
    """
    from signing.key_files import generate_key, public_key_path, refuse_key_path
    from signing.key_inventory import describe_key_file
    from signing.keys import Algorithm

    if no_passphrase and passphrase_file is not None:
        raise UsageRefusal(
            "--no-passphrase and --passphrase-file exclude each other",
            hint="leave one of them out (AMPFORGE_PASSPHRASE_FILE counts as given)",
        )
    refuse_key_path(path)
    passphrase = (
        None
        if no_passphrase
        else new_passphrase(passphrase_file, prompt="Passphrase for the new key")
    )
    make_folder(path.parent)
    generate_key(path, Algorithm(algorithm), passphrase=passphrase, is_test_key=test_key)
    facts = describe_key_file(path)
    document = {
        "schema": "ampforge.key/1",
        **_document(facts, role=None),
        "public_path": str(public_key_path(path)),
    }
    print_result(document, _format_generated(document), as_json=as_json)


@group.command("list", epilog="Example: ampforge key list keys")
@click.argument("folder", type=EXISTING_FOLDER, required=False)
@config_option
@json_option
def list_keys(*, folder: Path | None, config_path: Path | None, as_json: bool) -> None:
    """List the keys of FOLDER, or those that ampforge.toml names, with the roles they hold.

    No passphrase is needed: an encrypted key is described by its .pub.pem.
    """
    from signing.key_inventory import describe_key_file, find_key_files

    if folder is None:
        held = _configured_files(load_configuration(config_path))
        documents = [_document(describe_key_file(path), role=role) for role, path in held]
    else:
        roles = _known_roles(config_path)
        found = [describe_key_file(path) for path in find_key_files(folder)]
        documents = [_document(facts, role=_role_of(facts, roles)) for facts in found]
    print_result(
        {"schema": "ampforge.keys/1", "keys": documents},
        _format_table(documents) if documents else "no keys here",
        as_json=as_json,
    )


@group.command("inspect", epilog="Example: ampforge key inspect keys/release-1.pub.pem")
@click.argument("path", type=EXISTING_FILE)
@config_option
@passphrase_file_option
@json_option
def inspect(
    *, path: Path, config_path: Path | None, passphrase_file: Path | None, as_json: bool
) -> None:
    """Show one key, private or public; a private one is opened, so its passphrase is checked."""
    from signing.key_files import load_public_key
    from signing.key_inventory import describe_key_file, refuse_foreign_sibling
    from signing.key_uris import load_software_signer

    facts = describe_key_file(path)
    if facts.is_private:
        source = passphrase_source(passphrase_file, prompt=f"Passphrase of {path}")
        signer = load_software_signer(f"file:{path}", passphrase=source)
        key = signer.public_key
        refuse_foreign_sibling(path, key)
    else:
        key = load_public_key(path)
    document = {
        "schema": "ampforge.key/1",
        **_document(facts, role=_known_roles(config_path).get(key.key_id)),
        "algorithm": str(key.algorithm),
        "key_id": key.key_id.hex(),
        "kid": key.key_id[:8].hex(),
        "public_pem": key.pem().decode(),
        "problem": None,
    }
    print_result(document, _format_key(document), as_json=as_json)


def _configured_files(configuration: Configuration) -> list[tuple[Role, Path]]:
    from signing.key_inventory import private_sibling
    from signing.roles_settings import SigningSettings

    settings = configuration.section("signing", SigningSettings)
    return [
        (role, private_sibling(configuration.resolve(path)))
        for role, role_settings in settings.roles.items()
        for path in role_settings.keys
    ]


def _known_roles(config_path: Path | None) -> dict[bytes, Role]:
    # A folder can be listed where there is no ampforge.toml, or one whose keys are yet to be made.
    is_named = config_path is not None or "AMPFORGE_CONFIG" in os.environ
    if not is_named and find_configuration_file(current_folder()) is None:
        return {}
    configuration = load_configuration(config_path)
    if not configuration.has_section("signing"):
        return {}
    from signing.key_inventory import describe_key_file

    roles: dict[bytes, Role] = {}
    for role, path in _configured_files(configuration):
        key = describe_key_file(path).public_key
        if key is not None:
            roles[key.key_id] = role
    return roles


def _role_of(facts: KeyFacts, roles: dict[bytes, Role]) -> Role | None:
    return None if facts.public_key is None else roles.get(facts.public_key.key_id)


def _document(facts: KeyFacts, *, role: Role | None) -> dict[str, object]:
    return {
        "path": str(facts.path),
        "role": None if role is None else str(role),
        "algorithm": None if facts.algorithm is None else str(facts.algorithm),
        "key_id": None if facts.public_key is None else facts.public_key.key_id.hex(),
        "private": facts.is_private,
        "encrypted": facts.is_encrypted,
        "test_key": facts.is_test_key,
        "problem": facts.problem,
    }


def _format_generated(document: dict[str, object]) -> str:
    lines = [
        f"private key  {document['path']}  ({_describe_protection(document)})",
        f"public key   {document['public_path']}",
        f"key id       {document['key_id']}",
        f"algorithm    {document['algorithm']}",
    ]
    if document["test_key"]:
        lines.append("test key: never for products; publishing refuses it")
    return "\n".join(lines)


def _format_key(document: dict[str, object]) -> str:
    lines = [
        f"{name:<12} {document[key]}"
        for name, key in (("file", "path"), ("algorithm", "algorithm"), ("key id", "key_id"))
    ]
    lines.append(f"{'in messages':<12} kid {document['kid']}")
    lines.append(f"{'holds':<12} {_describe_protection(document)}")
    lines.append(f"{'role':<12} {document['role'] or 'none that ampforge.toml names'}")
    if document["test_key"]:
        lines.append(f"{'mark':<12} test key: never for products")
    return "\n".join([*lines, str(document["public_pem"]).rstrip()])


def _format_table(documents: Sequence[dict[str, object]]) -> str:
    rows = [("role", "algorithm", "key id", "file", "")]
    for document in documents:
        notes = [_describe_protection(document)]
        if document["test_key"]:
            notes.append("TEST KEY")
        if document["problem"]:
            notes.append(f"PROBLEM: {document['problem']}")
        rows.append(
            (
                str(document["role"] or "-"),
                str(document["algorithm"] or "?"),
                str(document["key_id"] or "?")[:SHORT_KEY_ID_CHARACTERS],
                str(document["path"]),
                ", ".join(notes),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(f"{row[column]:<{widths[column]}}" for column in range(4)), row[4]]).rstrip()
        for row in rows
    )


def _describe_protection(document: dict[str, object]) -> str:
    if not document["private"]:
        return "public only"
    return "encrypted" if document["encrypted"] else "no passphrase"
