"""`ampforge station join`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.configuration import load_configuration
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import (
    EXISTING_FOLDER,
    config_option,
    json_option,
    passphrase_file_option,
    passphrase_source,
)
from cli.station_access import (
    find_ca,
    find_ledger_address,
    find_station_folder,
    load_station_settings,
    station_option,
)

if TYPE_CHECKING:
    from pathlib import Path


@click.command("join", epilog="Example: ampforge station join /media/stick/station")
@click.argument("factory", metavar="FACTORY", type=EXISTING_FOLDER)
@station_option
@config_option
@passphrase_file_option
@click.option(
    "--no-passphrase", is_flag=True, help="Leave the new key unencrypted (CA in a token)."
)
@json_option
def join(
    *,
    factory: Path,
    no_passphrase: bool,
    station_folder: Path | None,
    config_path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Set up one more station of a factory that has its ledger.

    FACTORY is the folder of a station that is there already, or a copy of it: its CA signs the new
    station's certificate. Where that key lies in a token or in another file, FACTORY needs to hold
    nothing but factory-ca.cert.der. Name, ledger and ca are those of [station] in this station's
    ampforge.toml. The name is taken for good: the station writes its first event.
    """
    from firmware_images.product import ProductSettings
    from provisioning.station_joining import join_station

    configuration = load_configuration(config_path)
    settings = load_station_settings(configuration)
    if settings.ledger is None:
        raise UsageRefusal(
            "it is not said which ledger the stations share",
            expected="ledger = a path or a URL under [station]",
            got="none",
            where=configuration.path,
            hint="name the ledger that the first station works with",
        )
    ca_uri = find_ca(configuration)
    folder = find_station_folder(config_path, station_folder)
    address = find_ledger_address(config_path, station_folder)
    identity = join_station(
        folder,
        factory,
        address,
        product=configuration.section("product", ProductSettings).name,
        station_name=settings.name,
        now=utc_now(),
        passphrase=None
        if no_passphrase
        else passphrase_source(passphrase_file, prompt=_prompt(ca_uri)),
        ca_uri=ca_uri,
    )
    document = {
        "schema": "ampforge.station-join/1",
        "station": settings.name,
        "folder": str(folder),
        "ledger": {"path": str(address), "uuid": identity.uuid, "epoch": identity.epoch},
    }
    human = [
        f"station {settings.name} is set up in {folder}",
        f"  it works with ledger {identity.uuid}, epoch {identity.epoch}, in {address}",
        "next: `ampforge station check`",
    ]
    print_result(document, "\n".join(human), as_json=as_json)


def _prompt(ca_uri: str | None) -> str:
    from signing.pkcs11_uri import is_pkcs11_uri

    is_in_token = ca_uri is not None and is_pkcs11_uri(ca_uri)
    return (
        "Passphrase for the station's key" if is_in_token else "Passphrase of the factory CA's key"
    )
