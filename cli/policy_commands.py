"""`ampforge policy`: the policy role signs limits, approves tables, and waives a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import EXISTING_FILE, FILE, config_option, json_option, passphrase_file_option
from cli.policy_signing import (
    add_option,
    key_option,
    load_current_policy,
    sign_and_save,
)
from cli.policy_waive_command import waive
from cli.release_defaults import ReleaseDefaults
from cli.waiver_options import format_waivers, load_waivers_in_force, waivers_option
from cli.waveform_options import limits_option

if TYPE_CHECKING:
    from pathlib import Path


@click.group(cls=NounGroup)
def group() -> None:
    """Sign a limits policy; approve a waveform table that keeps to it; waive a limit."""


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
    """Sign the canonical form of a limits policy with the policy role's key.

    A version that other limits were signed under before is refused.
    """
    from firmware_images.limits_policy import POLICY_CONTENT_TYPE, serialize_policy

    defaults = ReleaseDefaults(config_path)
    policy, trust = load_current_policy(defaults, limits_path, output=output)
    saved = sign_and_save(
        output or defaults.signed_limits(),
        serialize_policy(policy),
        content_type=POLICY_CONTENT_TYPE,
        defaults=defaults,
        trust=trust,
        keys=keys,
        inputs=(limits_path,),
        is_added=is_added,
        passphrase_file=passphrase_file,
    )
    document: dict[str, object] = {
        "schema": "ampforge.policy-signature/1",
        "policy": policy.name,
        "version": policy.version,
        "digest": policy.digest.hex(),
        **saved.document,
    }
    human = (
        f"signed {policy.name} version {policy.version} ({policy.digest.hex()[:16]}…): "
        f"{saved.status}"
    )
    print_result(document, human, as_json=as_json)


@group.command("approve", epilog="Example: ampforge policy approve build/waveforms.table")
@click.argument("table_path", type=EXISTING_FILE, required=False)
@limits_option
@waivers_option
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
    waiver_paths: tuple[Path, ...],
    keys: tuple[str, ...],
    output: Path | None,
    is_added: bool,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Judge a table by the policy, and sign the approval only if it breaks no limit.

    The table is a compiled one, or the configured waveform source, compiled here. A broken limit
    that a valid waiver covers is let pass; the approval names the waiver and ends with it. A policy
    version that other limits were signed under before is refused.
    """
    from cli.clock import utc_now
    from firmware_images.approval import (
        APPROVAL_CONTENT_TYPE,
        build_approval,
        serialize_approval,
    )
    from firmware_images.waiver_judging import judge_with_waivers
    from firmware_images.waveform_files import read_or_compile

    defaults = ReleaseDefaults(config_path)
    policy, trust = load_current_policy(defaults, limits_path, output=output)
    path = table_path or defaults.waveforms()
    _, table_bytes = read_or_compile(path, policy, defaults.hardware_class)
    now = utc_now()
    waivers = load_waivers_in_force(defaults, waiver_paths, trust=trust, now=now)
    judge_with_waivers(table_bytes, policy, waivers, where=path)
    approval = build_approval(table_bytes, waivers)
    saved = sign_and_save(
        output or defaults.approval(),
        serialize_approval(approval),
        content_type=APPROVAL_CONTENT_TYPE,
        defaults=defaults,
        trust=trust,
        keys=keys,
        inputs=(path, limits_path, *(waiver_paths or defaults.waivers())),
        is_added=is_added,
        passphrase_file=passphrase_file,
    )
    document: dict[str, object] = {
        "schema": "ampforge.table-approval/1",
        "table_digest": approval.table_digest.hex(),
        "policy_digest": approval.policy_digest.hex(),
        "policy_version": approval.policy_version,
        "hardware_class": approval.hardware_class,
        "waivers": [waiver.to_json() for waiver in waivers],
        **saved.document,
    }
    human = (
        f"approved table {approval.table_digest.hex()[:16]}… for {approval.hardware_class} under "
        f"policy version {approval.policy_version}: {saved.status}"
    )
    print_result(document, "\n".join([human, *format_waivers(waivers, now=now)]), as_json=as_json)


group.add_command(waive)
