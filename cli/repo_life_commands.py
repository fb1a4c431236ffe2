"""`ampforge repo promote | extend | withdraw | refresh`: what becomes of what was published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_second
from cli.configuration import load_configuration
from cli.output import print_result
from cli.params import (
    config_option,
    hardware_class_option,
    json_option,
    passphrase_file_option,
    passphrase_source,
    share_option,
)

if TYPE_CHECKING:
    from pathlib import Path


_release_counter_option = click.option(
    "--release-counter",
    type=click.IntRange(min=1),
    help="Which release, where the version is published with several.",
)


@click.command("promote", epilog="Example: ampforge repo promote 1.5.0 --percent 25")
@click.argument("version")
@share_option(text="Share of the devices from now on; above what it is.")
@hardware_class_option
@config_option
@passphrase_file_option
@json_option
def promote(
    *,
    version: str,
    drawn_ppm: int,
    hardware_class: str | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Give the release that a campaign runs with to more devices.

    The campaign keeps its name, its pinned devices and those drawn before. Needs the campaign,
    snapshot and timestamp keys only. A release is for one hardware class: another class gets a
    release of its own.
    """
    from cli.publication_output import describe_publication, format_publication
    from cli.repository_files import open_publisher
    from manifests.release_life import promote_release
    from signing.roles import Role

    configuration = load_configuration(config_path)
    passphrase = passphrase_source(passphrase_file, prompt="Passphrase of the online keys")
    roles = (Role.CAMPAIGN, Role.SNAPSHOT, Role.TIMESTAMP)
    publisher = open_publisher(configuration, roles, passphrase=passphrase)
    publication = promote_release(
        publisher, version, drawn_ppm=drawn_ppm, hardware_class=hardware_class, now=utc_second()
    )
    print_result(
        describe_publication(publication), format_publication(publication), as_json=as_json
    )


@click.command("extend", epilog="Example: ampforge repo extend 1.5.0")
@click.argument("version")
@hardware_class_option
@_release_counter_option
@config_option
@passphrase_file_option
@json_option
def extend(
    *,
    version: str,
    hardware_class: str | None,
    release_counter: int | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Sign a release's manifest again before it expires, or after: it holds anew.

    The release stays what it is, counter included: devices that have it are up to date, others take
    it. If it is the one that is assigned, the assignment follows; its share and its end stay.
    """
    from cli.publication_output import describe_extension, format_extension
    from cli.repository_files import open_publisher
    from manifests.release_extension import extend_release
    from signing.roles import Role

    configuration = load_configuration(config_path)
    passphrase = passphrase_source(passphrase_file, prompt="Passphrase or PIN of the signing keys")
    roles = (Role.RELEASE, Role.CAMPAIGN, Role.SNAPSHOT, Role.TIMESTAMP)
    publisher = open_publisher(configuration, roles, passphrase=passphrase)
    now = utc_second()
    done = extend_release(
        publisher,
        version,
        hardware_class=hardware_class,
        release_counter=release_counter,
        now=now,
    )
    print_result(describe_extension(done), format_extension(done, now=now), as_json=as_json)


@click.command(
    "withdraw", epilog='Example: ampforge repo withdraw 1.5.0 --reason "TIGHTEN stops early"'
)
@click.argument("version")
@click.option("--reason", required=True, help="What is wrong with it, for people; it is published.")
@hardware_class_option
@_release_counter_option
@config_option
@passphrase_file_option
@json_option
def withdraw(
    *,
    version: str,
    reason: str,
    hardware_class: str | None,
    release_counter: int | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Take a release back, for ever: nobody is given it from now on.

    The release keys sign that it is withdrawn, and why; a campaign that assigns it is halted. What
    runs on devices stays: they get back on track by a new release with a higher counter.
    """
    from cli.repository_files import open_publisher
    from manifests.release_life import withdraw_release
    from manifests.release_steps import list_unled
    from manifests.repository_reading import load_repository
    from signing.roles import Role

    configuration = load_configuration(config_path)
    passphrase = passphrase_source(passphrase_file, prompt="Passphrase or PIN of the signing keys")
    roles = (Role.RELEASE, Role.CAMPAIGN, Role.SNAPSHOT, Role.TIMESTAMP)
    publisher = open_publisher(configuration, roles, passphrase=passphrase)
    now = utc_second()
    withdrawal, is_halted = withdraw_release(
        publisher,
        version,
        reason=reason,
        hardware_class=hardware_class,
        release_counter=release_counter,
        now=now,
    )
    store, trust = publisher.store, publisher.trust
    unled = list_unled(store, load_repository(store), trust, now=now)
    document = {
        "schema": "ampforge.withdrawal/1",
        "version": withdrawal.version,
        "release_counter": withdrawal.release_counter,
        "hardware_class": withdrawal.hardware_class,
        "manifest_sha256": withdrawal.manifest_sha256.hex(),
        "reason": withdrawal.reason,
        "withdrawn_at": withdrawal.withdrawn_at.isoformat(),
        "is_campaign_halted": is_halted,
        "unled_releases": [release.version for release in unled],
    }
    halted = "its campaign is HALTED" if is_halted else "no campaign ran with it"
    human = (
        f"release {withdrawal.version} (counter {withdrawal.release_counter}) is withdrawn: "
        f"{withdrawal.reason}\n"
        f"  {halted}; devices that run it need a new release with a higher release_counter"
    )
    human += "".join(
        f"\n  NOTHING LEADS TO release {release.version} any more: devices with a release counter "
        f"below {release.constraints.minimum_current_counter} cannot take it\n"
        "    publish a step with a higher counter, and the release again after it"
        for release in unled
    )
    print_result(document, human, as_json=as_json)


@click.command("refresh", epilog="Example: ampforge repo refresh")
@config_option
@passphrase_file_option
@json_option
def refresh(*, config_path: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Sign snapshot and timestamp again, before they expire; for a daily job.

    `ampforge serve` does it by itself where it has both keys.
    """
    from cli.repository_files import open_publisher
    from signing.roles import Role

    configuration = load_configuration(config_path)
    passphrase = passphrase_source(passphrase_file, prompt="Passphrase of the online keys")
    roles = (Role.SNAPSHOT, Role.TIMESTAMP)
    publisher = open_publisher(configuration, roles, passphrase=passphrase)
    metadata = publisher.renew(now=utc_second())
    timestamp = metadata.timestamp.signed
    document = {
        "schema": "ampforge.repo-refresh/1",
        "timestamp_version": timestamp.version,
        "timestamp_expires_at": timestamp.expires.isoformat(),
        "snapshot_expires_at": metadata.snapshot.signed.expires.isoformat(),
    }
    human = f"refreshed: the timestamp holds until {timestamp.expires:%Y-%m-%d %H:%M} UTC"
    print_result(document, human, as_json=as_json)
