"""`ampforge policy`: the policy role signs limits, and approves tables that keep to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.output import print_result
from cli.output_file import refuse_input_as_output
from cli.params import (
    EXISTING_FILE,
    FILE,
    config_option,
    json_option,
    make_folder,
    passphrase_file_option,
    passphrase_source,
)
from cli.release_defaults import ReleaseDefaults
from cli.signing_keys import open_signers

if TYPE_CHECKING:
    from signing.signers import Signer
    from signing.trust_record import TrustRecord

key_option = click.option(
    "--key",
    "keys",
    multiple=True,
    help="Private key of the policy role; may repeat (default: [signing.roles.policy] signer).",
)
add_option = click.option(
    "--add",
    "is_added",
    is_flag=True,
    help="Add this signature to those in the output file, for a threshold above one.",
)
limits_option = click.option(
    "--limits",
    "limits_path",
    type=EXISTING_FILE,
    help="Limits policy, TOML (default: [release] limits).",
)


@click.group()
def group() -> None:
    """Sign a limits policy; approve a waveform table that keeps to it."""


@group.command("sign", epilog="Example: ampforge policy sign limits.toml -o build/limits.cose")
@click.argument("limits_path", type=EXISTING_FILE, required=False)
@key_option
@click.option("-o", "--output", type=FILE, help="Default: limits.cose in [release] output.")
@add_option
@config_option
@passphrase_file_option
@json_option
def sign(
    *,
    limits_path: Path | None,
    keys: tuple[str, ...],
    output: Path | None,
    is_added: bool,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Sign the canonical form of a limits policy with the policy role's key."""
    from firmware_images.approval import refuse_outdated_policy, sign_policy
    from firmware_images.limits import load_limits
    from firmware_images.limits_policy import POLICY_CONTENT_TYPE, serialize_policy

    defaults = ReleaseDefaults(config_path)
    policy = load_limits(limits_path or defaults.limits())
    trust = defaults.trust_record()
    if trust is not None:
        refuse_outdated_policy(policy.version, trust)
    output = output or defaults.output_folder() / "limits.cose"
    refuse_input_as_output(output, limits_path, *_key_files(keys))
    signers = _open_signers(defaults, keys, passphrase_file, output)
    count, status = _save(
        output,
        sign_policy(policy, signers),
        payload=serialize_policy(policy),
        content_type=POLICY_CONTENT_TYPE,
        signers=signers,
        is_added=is_added,
        trust=trust,
    )
    document: dict[str, object] = {
        "schema": "ampforge.policy-signature/1",
        "path": str(output),
        "policy": policy.name,
        "version": policy.version,
        "digest": policy.digest.hex(),
        "signatures": count,
        "key_ids": [signer.public_key.key_id.hex() for signer in signers],
    }
    human = (
        f"signed {policy.name} version {policy.version} ({policy.digest.hex()[:16]}…): "
        f"{status}, in {output}"
    )
    print_result(document, human, as_json=as_json)


@group.command("approve", epilog="Example: ampforge policy approve build/waveforms.table")
@click.argument("table_path", type=EXISTING_FILE, required=False)
@limits_option
@key_option
@click.option("-o", "--output", type=FILE, help="Default: [release] approval.")
@add_option
@config_option
@passphrase_file_option
@json_option
def approve(
    *,
    table_path: Path | None,
    limits_path: Path | None,
    keys: tuple[str, ...],
    output: Path | None,
    is_added: bool,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Judge a table by the policy, and sign the approval only if it breaks no limit.

    The table is a compiled one, or the configured waveform source, compiled here.
    """
    from firmware_images.approval import (
        APPROVAL_CONTENT_TYPE,
        build_approval,
        refuse_outdated_policy,
        serialize_approval,
        sign_approval,
    )
    from firmware_images.limits import judge_table, load_limits, refuse_violations
    from firmware_images.waveform_files import read_or_compile

    defaults = ReleaseDefaults(config_path)
    policy = load_limits(limits_path or defaults.limits())
    trust = defaults.trust_record()
    if trust is not None:
        refuse_outdated_policy(policy.version, trust)
    path = table_path or defaults.waveforms()
    table, table_bytes = read_or_compile(path, policy, defaults.hardware_class)
    refuse_violations(judge_table(table, policy), where=path)
    approval = build_approval(table_bytes)
    output = output or defaults.approval()
    refuse_input_as_output(output, path, limits_path, *_key_files(keys))
    signers = _open_signers(defaults, keys, passphrase_file, output)
    count, status = _save(
        output,
        sign_approval(approval, signers),
        payload=serialize_approval(approval),
        content_type=APPROVAL_CONTENT_TYPE,
        signers=signers,
        is_added=is_added,
        trust=trust,
    )
    document: dict[str, object] = {
        "schema": "ampforge.table-approval/1",
        "path": str(output),
        "table_digest": approval.table_digest.hex(),
        "policy_digest": approval.policy_digest.hex(),
        "policy_version": approval.policy_version,
        "hardware_class": approval.hardware_class,
        "signatures": count,
        "key_ids": [signer.public_key.key_id.hex() for signer in signers],
    }
    human = (
        f"approved table {approval.table_digest.hex()[:16]}… for {approval.hardware_class} under "
        f"policy version {approval.policy_version}: {status}, in {output}"
    )
    print_result(document, human, as_json=as_json)


def _key_files(keys: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(Path(uri.removeprefix("file:")) for uri in keys)


def _open_signers(
    defaults: ReleaseDefaults, keys: tuple[str, ...], passphrase_file: Path | None, output: Path
) -> tuple[Signer, ...]:
    from signing.roles import Role

    return open_signers(
        Role.POLICY,
        configuration=defaults.find_configuration() if keys else defaults.configuration(),
        keys=keys,
        log_beside=output,
        passphrase=passphrase_source(passphrase_file, prompt="Passphrase or PIN of the policy key"),
    )


def _save(
    output: Path,
    signed: bytes,
    *,
    payload: bytes,
    content_type: str,
    signers: tuple[Signer, ...],
    is_added: bool,
    trust: TrustRecord | None,
) -> tuple[int, str]:
    """Writes the message, or the one that is there with signatures added; says how many.

    A key that the trust record does not give the policy role is refused before anything is written.
    """
    from firmware_images.approval import add_signatures
    from firmware_images.bounded_file import read_bounded
    from firmware_images.errors import ApprovalError
    from signing.cose_message import MAX_MESSAGE_BYTES, parse_message
    from signing.durable_file import save_durably
    from signing.errors import ThresholdError
    from signing.roles import Role

    if is_added:
        earlier = read_bounded(output, MAX_MESSAGE_BYTES, ApprovalError)
        signed = add_signatures(earlier, payload, signers, content_type=content_type)
    count = len(parse_message(signed).signatures)
    status = f"{count} signature{'s' if count > 1 else ''}"
    if trust is not None:
        try:
            trust.verify(signed, Role.POLICY, content_type=content_type)
        except ThresholdError:
            needed = trust.keys_of(Role.POLICY).threshold
            status += f" of the {needed} that the role needs: add the others with --add"
    make_folder(output.parent)
    save_durably(output, signed)
    return count, status
