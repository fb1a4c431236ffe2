"""Opens the station as section `[station]` describes it, ready to work on boards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.params import passphrase_source
from cli.station_access import (
    PASSPHRASE_PROMPT,
    find_ca,
    load_station_settings,
    read_file,
    real_outside,
    trust_path,
)
from cli.station_options import BUNDLE_MAX_BYTES, TRUST_MAX_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from cli.configuration import Configuration
    from provisioning.station import Station


def open_configured_station(
    configuration: Configuration,
    *,
    bundle_path: Path,
    station_folder: Path | None,
    trust_file: Path | None,
    passphrase_file: Path | None,
    lot: str | None = None,
) -> Station:
    """Open the station with the plans of its section, everything verified.

    Args:
        configuration: The loaded `ampforge.toml`.
        bundle_path: The release.
        station_folder: As given; else `[station] folder`.
        trust_file: As given; else the configured trust record.
        passphrase_file: Of the station's keys; else it is asked for.
        lot: As given; else `[station] lot`.
    """
    from firmware_images.efuse_plan import load_efuse_plan
    from firmware_images.nvs_plan import load_nvs_plan
    from firmware_images.product import ProductSettings
    from provisioning.ledger_address import find_ledger
    from provisioning.station_opening import open_station
    from provisioning.udi import require_lot
    from provisioning.verification_plan import refuse_unverified_claim

    settings = load_station_settings(configuration)
    if lot is not None:
        settings = settings.model_copy(update={"lot": require_lot(lot)})
    product = configuration.section("product", ProductSettings)
    refuse_unverified_claim(
        settings.metrology,
        load_min_ohm=product.claim_load_min_ohm,
        load_max_ohm=product.claim_load_max_ohm,
    )
    nvs_plan = None if settings.nvs is None else load_nvs_plan(configuration.resolve(settings.nvs))
    efuses = settings.efuses
    record_path = trust_path(configuration, trust_file)
    folder = station_folder or configuration.resolve(settings.folder)
    return open_station(
        folder,
        settings,
        product_model=product.model,
        gtin=product.gtin,
        bundle_bytes=read_file(bundle_path, max_bytes=BUNDLE_MAX_BYTES),
        trust_bytes=read_file(record_path, max_bytes=TRUST_MAX_BYTES),
        outside=real_outside(),
        passphrase=passphrase_source(passphrase_file, prompt=PASSPHRASE_PROMPT),
        bundle_where=str(bundle_path),
        trust_where=str(record_path),
        ca_uri=find_ca(configuration),
        nvs_plan=nvs_plan,
        efuse_plan=None
        if efuses is None
        else load_efuse_plan(configuration.resolve(efuses), chip=product.chip),
        ledger_address=find_ledger(folder, settings.ledger, root=configuration.root),
    )
