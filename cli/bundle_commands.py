"""`ampforge bundle`: build, sign, inspect, verify, extract and compare bundles."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cli.bundle_diff_commands import diff
from cli.bundle_extract_commands import extract
from cli.bundle_files import (
    OPTIONAL_BUNDLE_ARGUMENT,
    REPLACE_SIGNED_OPTION,
    choose_bundle,
    find_trust,
    read_bundle,
    refuse_signed_output,
    require_trust,
    trust_option,
)
from cli.bundle_output import (
    describe_verified,
    format_inspection,
    format_verified,
    format_waiver_lines,
)
from cli.bundle_signing import SigningRequest, sign_content, signing_options
from cli.clock import utc_now
from cli.configuration import load_configuration
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import (
    DAY,
    EXISTING_FILE,
    EXISTING_PATH,
    FILE,
    config_option,
    json_option,
    make_folder,
)
from cli.secure_version_commands import group as secure_version_group
from cli.secure_version_ledgers import describe_budget, open_ledger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@click.group(cls=NounGroup)
def group() -> None:
    """Build, sign, verify and compare release bundles."""


@group.command(
    "build",
    epilog="Example: ampforge bundle build --app firmware/images/flare-1.5.0.bin "
    "--release-counter 2 --sign",
)
@click.option("--app", type=EXISTING_PATH, help="Application: .bin, .elf or ESP-IDF build folder.")
@click.option("--waveforms", type=EXISTING_FILE, help="Waveform source.")
@click.option("--limits", type=EXISTING_FILE, help="Limits policy.")
@click.option("--partitions", type=EXISTING_FILE, help="Partition table: CSV or binary.")
@click.option("--approval", type=FILE, help="The policy role's approval of the compiled table.")
@click.option(
    "--waiver",
    "waivers",
    type=EXISTING_FILE,
    multiple=True,
    help="Signed waiver that the approval was given with; may repeat.",
)
@click.option(
    "--bootloader",
    type=EXISTING_FILE,
    help="Second-stage bootloader to carry (default: the build folder's own).",
)
@click.option("--sbom", type=EXISTING_FILE, help="Software bill of materials to carry.")
@click.option("--release-counter", type=click.IntRange(min=1), help="Rises with every release.")
@click.option(
    "--minimum-current-counter",
    type=click.IntRange(min=0),
    help="Boards with a lower release counter take that release first.",
)
@click.option("--version", help="Only for an app whose image does not state a version.")
@click.option(
    "-o", "--output", type=FILE, help="Bundle to write (default: [release] output folder)."
)
@click.option(
    REPLACE_SIGNED_OPTION,
    "is_replacing",
    is_flag=True,
    help="Let it take the place of a signed bundle, whose signatures are lost.",
)
@click.option("--sign", "is_signing", is_flag=True, help="Sign it, too, as `bundle sign` does.")
@signing_options
@trust_option
@config_option
@json_option
def build(
    *,
    output: Path | None,
    is_replacing: bool,
    is_signing: bool,
    keys: tuple[str, ...],
    spend_reason: str | None,
    passphrase_file: Path | None,
    trust_path: Path | None,
    config_path: Path | None,
    as_json: bool,
    waivers: tuple[Path, ...],
    **overrides: Path | str | int | None,
) -> None:
    """Put together everything that a release consists of, unsigned unless --sign is given.

    The inputs come from [product] and [release]; each can be given as an option. The waveforms are
    compiled and judged against the limits, and the policy role must have approved the table. With
    --sign nothing is written before it is signed. A signed bundle is not replaced unasked.
    """
    from firmware_images.bundle_building import build_bundle
    from firmware_images.bundle_inspection import inspect_bundle
    from firmware_images.product import ProductSettings, ReleaseSettings
    from firmware_images.release_inputs import load_release_inputs
    from firmware_images.secure_version import SPEND_OPTION
    from signing.durable_file import save_durably

    request = SigningRequest(keys=keys, spend_reason=spend_reason, passphrase_file=passphrase_file)
    request.refuse_without(is_signing=is_signing)
    configuration = load_configuration(config_path)
    product = configuration.section("product", ProductSettings)
    ledger = open_ledger(
        configuration,
        hardware_class=product.hardware_class,
        chip=product.chip,
        beside=configuration.path,
    )
    release = configuration.section("release", ReleaseSettings)
    changes = _as_changes(overrides)
    if waivers:
        changes["waivers"] = tuple(str(path.absolute()) for path in waivers)
    release = replace(release, **changes)
    now = utc_now()
    trust = find_trust(configuration, trust_path)
    inputs = load_release_inputs(configuration.root, product, release, trust=trust, now=now)
    content = build_bundle(inputs)
    document = inspect_bundle(content, is_judged=True)
    path = output or configuration.resolve(release.bundle_name(product, str(document["version"])))
    if not is_replacing:
        refuse_signed_output(path, document["digest"])
    human = [
        f"built {path}",
        f"  {product.name} {document['version']}, release counter {release.release_counter}",
        f"  {len(content)} bytes, digest {document['digest']}",
        "  with the product's bootloader"
        if inputs.bootloader is not None
        else "  without a bootloader: boards must already have one",
    ]
    if is_signing:
        make_folder(path.parent)
        signed = sign_content(
            content,
            request,
            configuration=configuration,
            trust=trust,
            beside=trust_path or path,
            where=path,
            now=now,
        )
        save_durably(path, signed.content)
        human.append("signed " + "\n".join(signed.lines))
        print_result({"path": str(path), **signed.document}, "\n".join(human), as_json=as_json)
        return
    history = ledger.load()
    app = document["app"]
    assert isinstance(app, dict)
    cost = history.budget.judge(app["secure_version"] or 0, where=release.app)
    make_folder(path.parent)
    save_durably(path, content)
    human += [
        f"  {history.budget}"
        + (f'; signing it spends one, with {SPEND_OPTION} "why"' if cost else ""),
        *format_waiver_lines(document, now=now),
        "not signed yet: run `ampforge bundle sign`",
    ]
    document["secure_version_budget"] = describe_budget(history, ledger.path) | {"costs": cost}
    print_result({"path": str(path), **document}, "\n".join(human), as_json=as_json)


def _as_changes(overrides: Mapping[str, Path | str | int | None]) -> dict[str, Any]:
    # A path on the command line is relative to this folder, one in the file to the file's folder.
    from pathlib import Path

    return {
        name: str(value.absolute()) if isinstance(value, Path) else value
        for name, value in overrides.items()
        if value is not None
    }


@group.command("sign", epilog="Example: ampforge bundle sign build/flare-1.4.0.bundle.zip")
@OPTIONAL_BUNDLE_ARGUMENT
@signing_options
@click.option("-o", "--output", type=FILE, help="Where to write it (default: in place).")
@trust_option
@config_option
@json_option
def sign(
    *,
    bundle_path: Path | None,
    keys: tuple[str, ...],
    output: Path | None,
    spend_reason: str | None,
    trust_path: Path | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Judge a bundle's content and add release signatures, until the threshold is met.

    BUNDLE is the release (default: the only one that `bundle build` wrote). What the app's
    secure_version costs the boards is judged and recorded first.
    """
    from signing.durable_file import save_durably

    bundle_path = choose_bundle(bundle_path, config_path)
    configuration = None if keys and trust_path is not None else load_configuration(config_path)
    signed = sign_content(
        read_bundle(bundle_path),
        SigningRequest(keys=keys, spend_reason=spend_reason, passphrase_file=passphrase_file),
        configuration=configuration,
        trust=find_trust(configuration, trust_path),
        beside=trust_path or bundle_path,
        where=bundle_path,
        now=utc_now(),
    )
    path = output or bundle_path
    save_durably(path, signed.content)
    document = {"path": str(path), **signed.document}
    print_result(document, f"signed {path} " + "\n".join(signed.lines), as_json=as_json)


@group.command("inspect", epilog="Example: ampforge bundle inspect flare-1.4.0.bundle.zip --json")
@OPTIONAL_BUNDLE_ARGUMENT
@config_option
@json_option
def inspect(*, bundle_path: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Show what a bundle says about itself, without verifying any signature.

    BUNDLE is the release (default: the only one that `bundle build` wrote).
    """
    from firmware_images.bundle_inspection import inspect_bundle

    bundle_path = choose_bundle(bundle_path, config_path)
    document = inspect_bundle(read_bundle(bundle_path), where=str(bundle_path))
    print_result(document, format_inspection(document, now=utc_now()), as_json=as_json)


@group.command("verify", epilog="Example: ampforge bundle verify build/flare-1.4.0.bundle.zip")
@OPTIONAL_BUNDLE_ARGUMENT
@click.option(
    "--at",
    "at",
    type=DAY,
    help="Judge its waivers as of the beginning of this day, UTC (default: now).",
)
@trust_option
@config_option
@json_option
def verify(
    *,
    bundle_path: Path | None,
    at: datetime | None,
    trust_path: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Verify a bundle: signatures, approval, every part, and that the parts fit each other.

    BUNDLE is the release (default: the only one that `bundle build` wrote). A release with an
    expired waiver is refused: it may not be put to use any more.
    """
    from firmware_images.bundle import verify_bundle
    from firmware_images.waiver_judging import refuse_out_of_force
    from signing.refusal import refusing_in

    bundle_path = choose_bundle(bundle_path, config_path)
    trust = require_trust(config_path, trust_path)
    now = utc_now() if at is None else at.replace(tzinfo=UTC)
    bundle = verify_bundle(read_bundle(bundle_path), trust, where=str(bundle_path))
    with refusing_in(bundle_path):
        refuse_out_of_force(bundle.waivers, now=now)
    print_result(describe_verified(bundle), format_verified(bundle, now=now), as_json=as_json)


group.add_command(extract)
group.add_command(diff)
group.add_command(secure_version_group)
