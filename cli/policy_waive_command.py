"""`ampforge policy waive`: the policy role accepts one breach of one limit, for a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import DAY, EXISTING_FILE, FILE, config_option, json_option, passphrase_file_option
from cli.policy_signing import (
    add_option,
    key_option,
    load_current_policy,
    sign_and_save,
)
from cli.release_defaults import ReleaseDefaults
from cli.waiver_options import format_waivers
from cli.waveform_options import limits_option

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.limits import LimitsPolicy
    from firmware_images.waiver import LimitWaiver
    from firmware_images.waiver_judging import WaiverRequest


@click.command(
    "waive",
    epilog="Example: ampforge policy waive --rule JDC --mode INFUSE --level 4 --until 2027-01-31 "
    '--reason "study 12, see CAPA-31" --requested-by "R. Engineer"',
)
@click.argument("table_path", type=EXISTING_FILE, required=False)
@click.option("--rule", help="The broken rule, or the limit's name where a rule has several.")
@click.option("--mode", "mode_name", help="The mode that breaks it.")
@click.option("--level", type=click.IntRange(min=1), help="Number of the level.")
@click.option("--all-levels", is_flag=True, help="Every level of the mode, up to the worst now.")
@click.option(
    "--until",
    type=DAY,
    help="Last day on which it counts, UTC; at most a year from now.",
)
@click.option("--reason", help="Why the breach is acceptable; it is printed with every release.")
@click.option("--requested-by", help="Who asked for it.")
@limits_option
@key_option
@click.option("-o", "--output", type=FILE, help="Default: a named file beside [release] approval.")
@add_option
@config_option
@passphrase_file_option
@json_option
def waive(
    *,
    table_path: Path | None,
    rule: str | None,
    mode_name: str | None,
    level: int | None,
    all_levels: bool,
    until: datetime | None,
    reason: str | None,
    requested_by: str | None,
    limits_path: Path | None,
    keys: tuple[str, ...],
    output: Path | None,
    is_added: bool,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Judge a table, and sign a waiver of exactly one broken limit, no worse than it is now.

    It counts for this table under this policy only, and ends by itself. Name its file in [release]
    waivers; then `policy approve` and `bundle build` let that breach pass and show the waiver. With
    --add, another holder of the role signs the waiver in the output file, which states the rest.
    """
    from cli.clock import utc_now
    from firmware_images.waiver import WAIVER_CONTENT_TYPE, serialize_waiver
    from firmware_images.waiver_judging import build_waiver
    from firmware_images.waveform_files import read_or_compile

    defaults = ReleaseDefaults(config_path)
    now = utc_now()
    stated = (rule, mode_name, level, all_levels or None, until, reason, requested_by)
    if is_added and (output is None or stated != (None,) * len(stated)):
        raise UsageRefusal(
            "with --add the file that is signed says what is waived",
            expected="--add with -o FILE, and nothing of what FILE states",
            got="no -o" if output is None else "both",
            hint="run `ampforge policy waive --add -o FILE`",
        )
    request = None
    if not is_added:
        request = _build_request(
            now=now,
            rule=rule,
            mode_name=mode_name,
            level=level,
            all_levels=all_levels,
            until=until,
            reason=reason,
            requested_by=requested_by,
        )
    policy, trust = load_current_policy(defaults, limits_path, output=None)
    path = table_path or defaults.waveforms()
    _, table_bytes = read_or_compile(path, policy, defaults.hardware_class)
    if request is not None:
        waiver = build_waiver(table_bytes, policy, request)
        output = output or defaults.approval().with_name(_file_name(waiver))
    else:
        assert output is not None
        waiver = _read_again(output, table_bytes, policy, now=now)
    saved = sign_and_save(
        output,
        serialize_waiver(waiver),
        content_type=WAIVER_CONTENT_TYPE,
        defaults=defaults,
        trust=trust,
        keys=keys,
        inputs=(path, limits_path),
        is_added=is_added,
        passphrase_file=passphrase_file,
    )
    document = {"schema": "ampforge.limit-waiver/1", **waiver.to_json(), **saved.document}
    lines = [
        *format_waivers([waiver], now=now),
        (
            f"for table {waiver.table_digest.hex()[:16]}… under policy version "
            f"{waiver.policy_version} alone: {saved.status}"
        ),
        f"to use it, name {output} in [release] waivers, then run `ampforge policy approve`",
    ]
    print_result(document, "\n".join(lines), as_json=as_json)


def _build_request(
    *,
    now: datetime,
    rule: str | None,
    mode_name: str | None,
    level: int | None,
    all_levels: bool,
    until: datetime | None,
    reason: str | None,
    requested_by: str | None,
) -> WaiverRequest:
    from firmware_images.waiver_judging import WaiverRequest

    if (level is None) is not all_levels:
        raise UsageRefusal(
            "a waiver is for one level or for all",
            expected="--level N or --all-levels",
            got="both" if all_levels else "neither",
            hint="`ampforge waveform check` names the rule, mode and level",
        )
    if None in (rule, mode_name, until, reason, requested_by):
        raise UsageRefusal(
            "a waiver must say what it waives, until when, why, and for whom",
            expected="--rule, --mode, --until, --reason and --requested-by",
            got="fewer",
            hint="`ampforge waveform check` names the rule, mode and level",
        )
    assert rule is not None
    assert mode_name is not None
    assert until is not None
    assert reason is not None
    assert requested_by is not None
    # The last day counts to its end.
    expires_at = until.replace(tzinfo=UTC) + timedelta(days=1)
    if expires_at <= now:
        raise UsageRefusal(
            "a waiver that has ended already waives nothing",
            expected=f"{now:%Y-%m-%d} or later",
            got=f"{until:%Y-%m-%d}",
            where="--until",
            hint="give the last day on which it should count",
        )
    return WaiverRequest(
        name=rule,
        mode=mode_name,
        level=level,
        reason=reason,
        requested_by=requested_by,
        issued_at=now,
        expires_at=expires_at,
    )


def _read_again(
    path: Path, table_bytes: bytes, policy: LimitsPolicy, *, now: datetime
) -> LimitWaiver:
    """Return the waiver that others signed, if this table still needs exactly it."""
    from firmware_images.errors import WaiverError
    from firmware_images.waiver_files import load_waivers
    from firmware_images.waiver_judging import (
        WaiverRequest,
        build_waiver,
        refuse_foreign_waiver,
        refuse_out_of_force,
    )
    from signing.refusal import refusing_in

    # Its signatures are not yet enough: they are judged when it is used.
    (loaded,) = load_waivers([path], trust=None)
    waiver = loaded.waiver
    with refusing_in(path):
        refuse_out_of_force([waiver], now=now)
        refuse_foreign_waiver(waiver, table_bytes)
        again = build_waiver(
            table_bytes,
            policy,
            WaiverRequest(
                name=waiver.limit_key,
                mode=waiver.mode,
                level=waiver.level,
                reason=waiver.reason,
                requested_by=waiver.requested_by,
                issued_at=waiver.issued_at,
                expires_at=waiver.expires_at,
            ),
        )
        if again != waiver:
            raise WaiverError(
                f"the waiver of {waiver.place} does not state what the table does",
                expected=f"{again.value:f}, limit {again.limit:f}",
                got=f"{waiver.value:f}, limit {waiver.limit:f}",
                hint="do not sign it: have it issued again",
            )
    return waiver


def _file_name(waiver: LimitWaiver) -> str:
    level = "all" if waiver.level is None else waiver.level
    return f"waiver-{waiver.limit_key}-{waiver.mode}-{level}.cose".lower()
