"""`ampforge serve`: a published repository over HTTP, with nonces and device reports."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import config_option, json_option, passphrase_file_option, passphrase_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cli.configuration import Configuration
    from manifests.server import ServerPlan
    from signing.signers import Signer


@click.command("serve", epilog="Example: ampforge serve --port 8470")
@click.option("--host", help="Address to listen on (default: [serve] host, else this machine).")
@click.option("--port", type=click.IntRange(1, 65535), help="TCP port (default: [serve] port).")
@config_option
@passphrase_file_option
@json_option
def serve(
    *,
    host: str | None,
    port: int | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Serve the repository to devices and gateways until interrupted.

    Metadata, messages and artifacts are plain files and may come from any web server or CDN; this
    one also answers devices' nonces with the freshness key, and stores their signed reports. Where
    the snapshot and timestamp keys are at hand, it signs both again before they expire.
    """
    from manifests.server import run_server

    configuration = load_configuration(config_path)
    passphrase = passphrase_source(passphrase_file, prompt="Passphrase of the freshness key")
    plan = load_server_plan(configuration, host=host, port=port, passphrase=passphrase)

    def announce(url: str) -> None:
        document = {
            "schema": "ampforge.serve/1",
            "url": url,
            "folder": str(plan.folder),
            "reports": str(plan.reports_path),
        }
        human = (
            f"serving {plan.folder} at {url}\n  reports go to {plan.reports_path}; Ctrl-C ends it"
        )
        print_result(document, human, as_json=as_json)

    with _keep_fresh(configuration, passphrase):
        run_server(plan, on_ready=announce)


def _keep_fresh(
    configuration: Configuration, passphrase: Callable[[], bytes]
) -> AbstractContextManager[None]:
    """Sign snapshot and timestamp again while the server runs, where it has both keys."""
    from cli.repository_files import open_publisher
    from manifests.refreshing import refreshing
    from signing.refusal import Refusal
    from signing.roles import Role

    try:
        publisher = open_publisher(
            configuration, (Role.SNAPSHOT, Role.TIMESTAMP), passphrase=passphrase
        )
    except Refusal as error:
        click.echo(
            f"the timestamp is not signed again here ({error.what}): "
            "run `ampforge repo refresh` daily where its keys are",
            err=True,
        )
        return nullcontext()
    return refreshing(
        publisher,
        on_refresh=lambda until: click.echo(
            f"signed the timestamp again: it holds until {until:%Y-%m-%d %H:%M} UTC", err=True
        ),
        on_failure=lambda error: click.echo(
            f"the timestamp could not be signed again: {error}", err=True
        ),
    )


def load_server_plan(
    configuration: Configuration,
    *,
    host: str | None,
    port: int | None,
    passphrase: Callable[[], bytes],
) -> ServerPlan:
    """Return what `ampforge.toml` says is to be served.

    Args:
        configuration: The loaded file.
        host: Overrides `[serve] host`.
        port: Overrides `[serve] port`.
        passphrase: Asked when the freshness key is encrypted.

    Raises:
        UsageRefusal: There is no trust record or no such section.
        SigningError: The freshness key cannot be opened.
    """
    from cli.repository_files import (
        find_trust_record,
        load_repository_settings,
        load_serve_settings,
    )
    from manifests.server import ServerPlan
    from signing.roles import Role
    from signing.roles_settings import SigningSettings
    from signing.trust_file import read_trust_record

    settings = load_serve_settings(configuration)
    repository = load_repository_settings(configuration)
    if repository.bucket:
        raise UsageRefusal(
            "the repository lies in a bucket, which serves its files itself",
            expected="[repository] folder alone",
            got=repository.bucket,
            hint="point clients at the bucket or its CDN; nonces and reports need a server with a "
            "folder beside it, which `ampforge repo publish` fills when bucket is left out",
        )
    # Answers to nonces are not in the sign log: they come by the thousand, and release nothing.
    (freshness, *_) = configuration.section("signing", SigningSettings).load_signers(
        Role.FRESHNESS, configuration.root, passphrase=passphrase
    )
    return ServerPlan(
        folder=configuration.resolve(repository.folder),
        trust_record=read_trust_record(find_trust_record(configuration)),
        freshness_key_der=_private_key_der(freshness),
        reports_path=configuration.resolve(settings.reports),
        host=host or settings.host,
        port=port or settings.port,
    )


def _private_key_der(freshness: Signer) -> bytes:
    from signing.errors import KeyFileError
    from signing.signers import SoftwareSigner

    # A token's login does not survive into the server's processes.
    if not isinstance(freshness, SoftwareSigner):
        raise KeyFileError(
            "the freshness key must be in a file to be served with",
            expected="a PEM file",
            got="a key in a hardware module",
            hint="name its file in [signing.roles.freshness] signer; it is an online key",
        )
    return freshness.to_pkcs8_der()
