"""`ampforge serve`: a published repository over HTTP, with nonces and device reports."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.configuration import load_configuration
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import config_option, json_option, passphrase_file_option, passphrase_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from cli.configuration import Configuration
    from manifests.server import ServerPlan
    from signing.signers import Signer


@click.command("serve", epilog="Example: ampforge serve --port 8470")
@click.option("--host", help="Address to listen on (default: [serve] host, else this machine).")
@click.option("--port", type=click.IntRange(1, 65535), help="TCP port (default: [serve] port).")
@click.option(
    "--tls-certificate",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PEM chain to serve with TLS (default: [serve] tls_certificate).",
)
@click.option(
    "--tls-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Its unencrypted PEM key (default: [serve] tls_key).",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="Offer Prometheus metrics at this port (default: [serve] metrics_port).",
)
@click.option(
    "--access-log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append JSON lines to this file (default: [serve] access_log).",
)
@click.option(
    "--take-over",
    "is_successor",
    is_flag=True,
    help="Take the place of the running server behind [serve] control; no download fails.",
)
@config_option
@passphrase_file_option
@json_option
def serve(
    *,
    host: str | None,
    port: int | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    metrics_port: int | None,
    access_log: Path | None,
    is_successor: bool,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Serve the repository to devices and gateways until interrupted.

    Metadata, messages and artifacts are plain files and may come from any web server or CDN; this
    one also answers devices' nonces with the freshness key, and stores their signed reports. Where
    the snapshot and timestamp keys are at hand, it signs both again before they expire.

    SIGTERM or Ctrl-C finishes running downloads first, for at most [serve] drain_s; a second one
    ends at once. SIGHUP reads the TLS files and the list of denied devices again, and goes on in a
    new access log.
    """
    from cli.repository_files import open_store
    from manifests.repository_reading import load_description
    from manifests.server import run_server

    configuration = load_configuration(config_path)
    passphrase = passphrase_source(passphrase_file, prompt="Passphrase of the online keys")
    plan = load_server_plan(configuration, host=host, port=port, passphrase=passphrase)
    plan = _with_options(
        plan,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        metrics_port=metrics_port,
        access_log=access_log,
        is_successor=is_successor,
    )

    load_description(open_store(configuration))  # a folder without it would answer 404 for ever

    def announce(url: str) -> None:
        document = {
            "schema": "ampforge.serve/1",
            "url": url,
            "folder": str(plan.folder),
            "reports": str(plan.reports_path),
            "metrics": _metrics_url(plan),
        }
        human = (
            f"serving {plan.folder} at {url}\n  reports go to {plan.reports_path}; Ctrl-C ends it"
        )
        if plan.metrics is not None:
            human += f"\n  metrics at {_metrics_url(plan)}"
        print_result(document, human, as_json=as_json)

    with _keep_fresh(configuration, passphrase):
        run_server(plan, on_ready=announce)


def _keep_fresh(
    configuration: Configuration, passphrase: Callable[[str], bytes]
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
    passphrase: Callable[[str], bytes],
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
        denied_devices=_resolved(configuration, settings.denied_devices),
        host=host or settings.host,
        port=port or settings.port,
        tls_certificate=_resolved(configuration, settings.tls_certificate),
        tls_key=_resolved(configuration, settings.tls_key),
        trusted_proxies=settings.trusted_proxies,
        forwarded_header=settings.forwarded_header,
        api_requests_per_minute=settings.api_requests_per_minute,
        connections_per_address_max=settings.connections_per_address,
        drain_s=settings.drain_s,
        metrics=(
            None
            if settings.metrics_port is None
            else (settings.metrics_host, settings.metrics_port)
        ),
        access_log=_resolved(configuration, settings.access_log),
        control=_resolved(configuration, settings.control),
    )


def _resolved(configuration: Configuration, path: Path | None) -> Path | None:
    return None if path is None else configuration.resolve(path)


def _metrics_url(plan: ServerPlan) -> str | None:
    if plan.metrics is None:
        return None
    from manifests.server_paths import METRICS_PATH, base_url_of

    return f"{base_url_of(*plan.metrics)}{METRICS_PATH}"


def _with_options(
    plan: ServerPlan,
    *,
    tls_certificate: Path | None,
    tls_key: Path | None,
    metrics_port: int | None,
    access_log: Path | None,
    is_successor: bool,
) -> ServerPlan:
    host = "127.0.0.1" if plan.metrics is None else plan.metrics[0]
    plan = replace(
        plan,
        tls_certificate=tls_certificate or plan.tls_certificate,
        tls_key=tls_key or plan.tls_key,
        metrics=plan.metrics if metrics_port is None else (host, metrics_port),
        access_log=access_log or plan.access_log,
        is_successor=is_successor,
    )
    if (plan.tls_certificate is None) is not (plan.tls_key is None):
        raise UsageRefusal(
            "TLS needs a certificate and its key",
            expected="tls_certificate and tls_key, both or neither",
            got=f"only {plan.tls_certificate or plan.tls_key}",
            where="[serve], --tls-certificate, --tls-key",
            hint="name both, or neither behind a proxy that does TLS",
        )
    if is_successor and plan.control is None:
        raise UsageRefusal(
            "there is no control socket to find the running server by",
            expected='a path such as control = "serve.sock"',
            where="[serve] control",
            hint="set it, and restart the server once; from then on it can be replaced",
        )
    return plan


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
