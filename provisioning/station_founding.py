"""Sets up the first station of a factory: its CA, its keys, and the factory's one ledger.

A further station of the same factory is `station_joining`. Done once: a second ledger would start a
second series of serial numbers.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from provisioning.ledger_address import LEDGER_NAME
from provisioning.ledger_creation import create_ledger
from provisioning.serial_formats import STANDARD_FORMAT, SerialFormat
from provisioning.station_files import (
    CA_CERTIFICATE_NAME,
    CA_KEY_NAME,
    STATION_CERTIFICATE_NAME,
    STATION_KEY_NAME,
    make_station_folder,
)
from provisioning.station_keys import load_ca_signer
from signing.certificate_issuing import create_ca_certificate, issue_station_certificate
from signing.durable_file import create_durably
from signing.key_files import generate_key
from signing.key_uris import load_signer
from signing.keys import Algorithm

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from provisioning.ledger_address import LedgerAddress
    from provisioning.ledger_values import LedgerIdentity


def create_station(
    folder: Path,
    *,
    product: str,
    station_name: str,
    ledger_uuid: str,
    now: dt.datetime,
    passphrase: bytes | None,
    is_test_key: bool = False,
    ca_uri: str | None = None,
    ledger: LedgerAddress | None = None,
    serial_format: SerialFormat = STANDARD_FORMAT,
) -> LedgerIdentity:
    """Make the station's folder: keys, certificates and the factory's one ledger.

    Args:
        folder: Folder that does not exist, or is empty.
        product: Product that is made here.
        station_name: Name of the station.
        ledger_uuid: A new UUID.
        now: The present, aware.
        passphrase: Encrypts both keys; `None` leaves them in plain text.
        is_test_key: Mark the keys as test keys.
        ca_uri: The factory CA's key, a file or a `pkcs11:` URI; a new one is made when `None`.
        ledger: Where the ledger is to be; `None` for the folder itself.
        serial_format: What its serial numbers look like, for ever.

    Raises:
        StationError: The folder has something in it, or cannot be made.
        LedgerError: There is a ledger already, or it cannot be created; no folder is left.
        SigningError: A key cannot be written.
    """

    def make_ledger(address: LedgerAddress) -> LedgerIdentity:
        return create_ledger(
            address, product=product, ledger_uuid=ledger_uuid, created_at=now,
            serial_format=serial_format, station=station_name,
        )  # fmt: skip

    identities: list[LedgerIdentity] = []

    def fill(draft: Path) -> None:
        _write_keys(
            draft,
            product=product,
            station_name=station_name,
            now=now,
            passphrase=passphrase,
            is_test_key=is_test_key,
            ca_uri=ca_uri,
        )
        if ledger is None:
            identities.append(make_ledger(draft / LEDGER_NAME))

    make_station_folder(folder, fill)
    if ledger is not None:
        # Last: keys without a ledger can be thrown away, a ledger without its CA cannot be used.
        try:
            identities.append(make_ledger(ledger))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return identities[0]


def _write_keys(
    draft: Path,
    *,
    product: str,
    station_name: str,
    now: dt.datetime,
    passphrase: bytes | None,
    is_test_key: bool,
    ca_uri: str | None,
) -> None:
    for name in (STATION_KEY_NAME,) if ca_uri is not None else (CA_KEY_NAME, STATION_KEY_NAME):
        generate_key(
            draft / name, Algorithm.ECDSA_P256, passphrase=passphrase, is_test_key=is_test_key
        )

    def given_passphrase() -> bytes:
        assert passphrase is not None, "an unencrypted key asks for no passphrase"
        return passphrase

    ca_signer = load_ca_signer(
        ca_uri or str(draft / CA_KEY_NAME), None if passphrase is None else given_passphrase
    )
    station = load_signer(str(draft / STATION_KEY_NAME), passphrase=given_passphrase)
    ca_der = create_ca_certificate(ca_signer, common_name=f"{product} factory CA", not_before=now)
    station_der = issue_station_certificate(
        ca_signer, ca_der, station.public_key, station_name=station_name, not_before=now
    )
    create_durably(draft / CA_CERTIFICATE_NAME, ca_der, mode=0o644)
    create_durably(draft / STATION_CERTIFICATE_NAME, station_der, mode=0o644)
