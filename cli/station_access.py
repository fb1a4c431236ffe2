"""What the station's commands share: settings, folder, ledger, clocks."""

from __future__ import annotations

import os
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.clock import utc_now
from cli.configuration import current_folder, find_configuration_file, load_configuration
from cli.failures import UsageRefusal
from cli.params import FOLDER
from signing.input_file import read_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.configuration import Configuration
    from provisioning.ledger import Ledger
    from provisioning.ledger_address import LedgerAddress
    from provisioning.ledger_reader import LedgerReader
    from provisioning.ledger_values import Writer
    from provisioning.station import Outside
    from provisioning.station_settings import StationSettings

PASSPHRASE_PROMPT = "Passphrase of the station's keys"  # noqa: S105 - what to ask, not a secret

station_option = click.option(
    "--station",
    "station_folder",
    type=FOLDER,
    help="The station's folder (default: [station] folder).",
)


def real_outside() -> Outside:
    """Return the clocks and the randomness of this machine."""
    from provisioning.station import Outside

    return Outside(
        now=utc_now,
        clock_s=time.monotonic,
        new_job=lambda: str(uuid.uuid4()),
        random_bytes=os.urandom,
    )


def load_station_settings(configuration: Configuration) -> StationSettings:
    """Return section `[station]`, or its defaults where there is none."""
    from provisioning.station_settings import SECTION, StationSettings

    if not configuration.has_section(SECTION):
        return StationSettings()
    settings = configuration.section(SECTION, StationSettings)
    meter = settings.meter
    if not meter.description.endswith(".toml"):
        return settings
    # A path is relative to the configuration, as all paths in it are.
    description = str(configuration.resolve(Path(meter.description)))
    meter = meter.model_copy(update={"description": description})
    return settings.model_copy(update={"meter": meter})


def station_writer(config_path: Path | None) -> Writer:
    """Return who writes into the ledger: the station of section `[station]`, by this clock."""
    from provisioning.ledger_values import Writer

    outside = real_outside()
    name = load_station_settings(load_configuration(config_path)).name
    return Writer(station=name, now=outside.now, new_job=outside.new_job)


def find_ca(configuration: Configuration) -> str | None:
    """Return the factory CA's key as the configuration names it, or `None` for the folder's."""
    from signing.roles_settings import resolve_key_uri

    uri = load_station_settings(configuration).ca
    return None if uri is None else resolve_key_uri(uri, configuration.root)


def find_station_folder(config_path: Path | None, station_folder: Path | None) -> Path:
    """Return the station's folder, from the command line or the configuration."""
    if station_folder is not None:
        return station_folder
    configuration = load_configuration(config_path)
    return configuration.resolve(load_station_settings(configuration).folder)


def find_ledger_address(config_path: Path | None, station_folder: Path | None) -> LedgerAddress:
    """Return where the station's ledger is: `[station] ledger`, else in the station's folder.

    A folder that was named on the command line needs no configuration.
    """
    from provisioning.ledger_address import find_ledger

    configuration = _load_unless_needless(config_path, station_folder)
    folder = find_station_folder(config_path, station_folder)
    if configuration is None:
        return find_ledger(folder, None, root=folder)
    setting = load_station_settings(configuration).ledger
    return find_ledger(folder, setting, root=configuration.root)


def _load_unless_needless(
    config_path: Path | None, station_folder: Path | None
) -> Configuration | None:
    is_named = config_path is not None or os.environ.get("AMPFORGE_CONFIG")
    if station_folder is None or is_named or find_configuration_file(current_folder()):
        return load_configuration(config_path)
    return None


@contextmanager
def open_ledger(config_path: Path | None, station_folder: Path | None) -> Iterator[Ledger]:
    """Open the ledger that `station init` made; nothing else ever makes one."""
    from provisioning.ledger import Ledger

    ledger = Ledger.open(find_ledger_address(config_path, station_folder))
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def read_ledger(
    config_path: Path | None, station_folder: Path | None
) -> Iterator[LedgerReader[Any]]:
    """Open the same ledger for reading what was done to units, without what only writers need."""
    from provisioning.ledger_reader import open_reader

    ledger = open_reader(find_ledger_address(config_path, station_folder))
    try:
        yield ledger
    finally:
        ledger.close()


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """Return a file's content, if it is not longer than anything that could be meant."""
    try:
        content = read_input(path, max_bytes)
    except OSError as error:
        raise UsageRefusal(
            "the file cannot be read",
            got=error.strerror,
            where=path,
            hint="check the path and its permissions",
        ) from error
    if len(content) > max_bytes:
        raise UsageRefusal(
            "the file is too long",
            expected=f"at most {max_bytes} bytes",
            got="more",
            where=path,
            hint="check that this is the file that was meant",
        )
    return content


def read_factory_ca(path: Path) -> bytes:
    """Return the factory CA's certificate, DER, if that is what the file holds.

    Raises:
        UsageRefusal: The file cannot be read, or is too long.
        CertificateError: It is no CA's certificate.
    """
    from signing.certificate_fields import MAX_CERTIFICATE_BYTES
    from signing.certificates import parse_ca_certificate
    from signing.refusal import refusing_in

    untrusted_der = read_file(path, max_bytes=MAX_CERTIFICATE_BYTES)
    with refusing_in(path):
        parse_ca_certificate(untrusted_der)
    return untrusted_der


def trust_path(configuration: Configuration, given: Path | None) -> Path:
    """Return the trust record's file."""
    if given is not None:
        return given
    from signing.roles_settings import SigningSettings

    return configuration.resolve(configuration.section("signing", SigningSettings).trust_record)
