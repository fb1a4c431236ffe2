"""Opens a station: everything is verified before the first board is touched.

`open_station` loads what `station init` made, verifies the release bundle against the trust record,
and checks that all of it belongs together. What it returns is passed to `provisioning.slots`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.bundle import verify_bundle
from firmware_images.key_storage import FACTORY_PARTITION, find_key_storage
from firmware_images.waiver_judging import refuse_out_of_force
from provisioning.errors import StationError
from provisioning.instrument_register import apply_register, load_copy, read_register, save_copy
from provisioning.ledger_address import LEDGER_NAME
from provisioning.ledger_values import Writer
from provisioning.ledger_witness import save_witness
from provisioning.link_release import RELEASE_STATEMENT_MAX_BYTES
from provisioning.slot_meter import station_description
from provisioning.station import Outside, Station, meet_others
from provisioning.station_keys import load_station_keys
from provisioning.station_ledger import open_station_ledger
from provisioning.station_trust import remember_trust_record, verify_successor
from provisioning.udi import require_gtin
from signing.refusal import refusing_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_images.bundle import Bundle
    from firmware_images.efuse_plan import EfusePlan
    from firmware_images.nvs_plan import NvsPlan
    from provisioning.ledger import Ledger
    from provisioning.ledger_address import LedgerAddress
    from provisioning.station_keys import StationKeys
    from provisioning.station_settings import SerialSettings, StationSettings
    from signing.trust import TrustRecord

RUN_BYTES = 16


def open_station(
    folder: Path,
    settings: StationSettings,
    *,
    product_model: str,
    gtin: str | None = None,
    bundle_bytes: bytes,
    trust_bytes: bytes,
    outside: Outside,
    passphrase: Callable[[], bytes] | None,
    bundle_where: str = "bundle",
    trust_where: str = "trust record",
    nvs_plan: NvsPlan | None = None,
    efuse_plan: EfusePlan | None = None,
    ca_uri: str | None = None,
    ledger_address: LedgerAddress | None = None,
) -> Station:
    """Verify everything that the station works with.

    Args:
        folder: The station's folder, made by `station init`.
        settings: Section `[station]`.
        product_model: Model of the product, used in serial numbers when the settings name none.
        gtin: The product's GTIN-14, if it has one; without it units get no UDI.
        bundle_bytes: The release bundle, unverified.
        trust_bytes: The signed trust record, unverified.
        outside: Clocks and randomness.
        passphrase: Asked when a key is encrypted.
        bundle_where: The bundle's file, for messages.
        trust_where: The trust record's file, for messages.
        nvs_plan: What each board's NVS partition holds, if anything.
        efuse_plan: What each board's eFuses shall be, if any are burned.
        ca_uri: The factory CA's key, if it is not the one in the folder.
        ledger_address: Where the ledger is; `None` for the folder itself.

    Raises:
        LedgerError: There is no ledger, or it cannot be used.
        LeaseError: The ledger is out of reach, and the lease must not be used.
        InstrumentRegisterError: The register of instruments is damaged, or the configuration has
            certificates of its own.
        SigningError: Trust record, bundle, key or certificate do not verify.
        FirmwareImageError: The bundle's content is not acceptable, a waiver has expired, or the
            NVS plan or the eFuse plan does not fit the release, or it has no partition for a key.
        StationError: The pieces do not belong together.
        SerialNumberError: The model does not fit in a serial number.
        UdiError: The GTIN is not one.
        InstrumentDescriptionError: The meters' description is none.
    """
    serial_model = settings.serials.find_model(product_model)
    if gtin is not None:
        require_gtin(gtin)
    station_description(settings)
    trust = verify_successor(folder, trust_bytes, where=trust_where)
    bundle = verify_bundle(bundle_bytes, trust, where=bundle_where)
    with refusing_in(bundle_where):
        refuse_out_of_force(bundle.waivers, now=outside.now())
    find_key_storage(
        bundle.partition_table,
        factory_partition=FACTORY_PARTITION if nvs_plan is None else nvs_plan.partition,
        where=bundle_where,
    )
    if nvs_plan is not None:
        nvs_plan.check(bundle.partition_table)
    if efuse_plan is not None:
        efuse_plan.check(bundle)
    writer = Writer(
        station=settings.name,
        now=outside.now,
        new_job=outside.new_job,
        run=outside.random_bytes(RUN_BYTES).hex(),
    )
    opened = open_station_ledger(folder, ledger_address or folder / LEDGER_NAME, writer)
    ledger = opened.ledger
    try:
        keys = load_station_keys(
            folder,
            station_name=settings.name,
            now=outside.now(),
            passphrase=passphrase,
            ca_uri=ca_uri,
        )
        _require_same_factory(trust, keys)
        _require_same_product(bundle, ledger)
        require_ledger_format(settings.serials, ledger)
        _require_sendable_statement(bundle, where=bundle_where)
        remember_trust_record(folder, trust_bytes)
        register = load_copy(folder) if opened.is_offline else read_register(ledger)
        settings = apply_register(settings, register)
        if not opened.is_offline:
            save_copy(folder, register)
            save_witness(folder, ledger, station=settings.name)  # open, before anything is written
            meet_others(ledger, writer, keys, now=outside.now())
    except BaseException:
        opened.close()
        raise
    return Station(
        folder=folder,
        settings=settings,
        serial_model=serial_model,
        outside=outside,
        ledger=ledger,
        writer=opened.writer,
        opened=opened,
        keys=keys,
        register=register,
        trust=trust,
        trust_bytes=trust_bytes,
        bundle=bundle,
        nvs_plan=nvs_plan,
        efuse_plan=efuse_plan,
        gtin=gtin,
    )


def require_ledger_format(serials: SerialSettings, ledger: Ledger) -> None:
    """Refuse settings whose serial numbers look otherwise than those of the ledger.

    Raises:
        StationError: The formats differ.
    """
    if serials.serial_format != ledger.identity.serial_format:
        raise StationError(
            "the ledger has serial numbers of another format",
            expected=ledger.identity.serial_format.picture,
            got=serials.format,
            where=ledger.database.address,
            hint="a ledger keeps the format that `station init` gave it, so that no number can be "
            "taken for another: put it back under [station.serials]; a product with another "
            "format has its own ledger",
        )


def _require_same_factory(trust: TrustRecord, keys: StationKeys) -> None:
    if trust.factory_ca_der != keys.ca_der:
        raise StationError(
            "the trust record does not carry this factory's CA",
            expected="the certificate in factory-ca.cert.der",
            got="another one" if trust.factory_ca_der else "none",
            where=f"trust record version {trust.version}",
            hint="sign the next trust record with this CA: "
            "`ampforge trust sign --factory-ca STATION/factory-ca.cert.der`",
        )
    if keys.station_signer.public_key.key_id in trust.revoked_key_ids:
        raise StationError(
            "this station is revoked",
            expected="a station whose key the trust record does not revoke",
            got=keys.station_signer.public_key.key_id.hex()[:16],
            hint="set up a new station; boards refuse what this one signs",
        )


def _require_same_product(bundle: Bundle, ledger: Ledger) -> None:
    if bundle.statement.product != ledger.identity.product:
        raise StationError(
            "the bundle is for another product than the ledger",
            expected=ledger.identity.product,
            got=bundle.statement.product,
            where=ledger.database.address,
            hint="each product has its own station folder",
        )


def _require_sendable_statement(bundle: Bundle, *, where: str) -> None:
    size_bytes = len(bundle.signed_statement)
    if size_bytes > RELEASE_STATEMENT_MAX_BYTES:
        raise StationError(
            "the signed release statement does not fit one message to a board",
            expected=f"at most {RELEASE_STATEMENT_MAX_BYTES} bytes",
            got=f"{size_bytes} bytes",
            where=where,
            hint="build the bundle with fewer source texts",
        )
