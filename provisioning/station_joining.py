"""Sets up one more station of a factory that has its ledger and its CA already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.errors import StationError
from provisioning.ledger import Ledger
from provisioning.ledger_journal import read_head
from provisioning.station_files import (
    CA_CERTIFICATE_NAME,
    CA_KEY_NAME,
    STATION_CERTIFICATE_NAME,
    STATION_KEY_NAME,
    make_station_folder,
    read_certificate,
)
from signing.certificate_issuing import issue_station_certificate
from signing.durable_file import create_durably
from signing.input_file import read_input
from signing.key_files import generate_key, has_test_key_mark
from signing.key_uris import load_signer
from signing.keys import Algorithm

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    from provisioning.ledger_address import LedgerAddress
    from provisioning.ledger_values import LedgerIdentity

_KEY_MAX_BYTES: Final = 16384
_CA_PUBLIC_KEY_NAME: Final = "factory-ca.pub.pem"


def join_station(
    folder: Path,
    factory: Path,
    ledger_address: LedgerAddress,
    *,
    product: str,
    station_name: str,
    now: dt.datetime,
    passphrase: Callable[[], bytes] | None,
) -> LedgerIdentity:
    """Make the folder of one more station: the factory's CA, and keys of its own.

    Args:
        folder: Folder that does not exist, or is empty.
        factory: Folder of a station of the same factory, with its CA.
        ledger_address: The ledger that all of them share.
        product: Product that is made here.
        station_name: A name that no other station has.
        now: The present, aware.
        passphrase: Asked when the CA's key is encrypted; encrypts the new key, too.

    Returns:
        The ledger that the station will work with.

    Raises:
        StationError: The folder has something in it, the name is taken, or a CA file is missing.
        LedgerError: There is no ledger.
        SigningError: The CA's key cannot be used.
    """
    ledger = Ledger.open(ledger_address)
    try:
        if ledger.identity.product != product:
            raise StationError(
                "the ledger is of another product",
                expected=product, got=ledger.identity.product, where=ledger_address,
                hint="each product has its own ledger; name the right one under [station]",
            )  # fmt: skip
        with ledger.database.reading() as connection:
            count, _ = read_head(connection, station_name)
    finally:
        ledger.close()
    if count:
        raise StationError(
            "another station has this name",
            expected="a name that never wrote into the ledger",
            got=f"{station_name}, {count} events",
            where=ledger_address,
            hint="set another name under [station]: each station has a chain of its own",
        )
    ca_der = read_certificate(factory / CA_CERTIFICATE_NAME)
    ca_key = _read_key(factory / CA_KEY_NAME)
    ca_public_key = _read_key(factory / _CA_PUBLIC_KEY_NAME)
    asked: list[bytes] = []

    def ask() -> bytes:
        assert passphrase is not None, "an unencrypted key asks for no passphrase"
        if not asked:
            asked.append(passphrase())
        return asked[0]

    def fill(draft: Path) -> None:
        create_durably(draft / CA_KEY_NAME, ca_key)
        create_durably(draft / _CA_PUBLIC_KEY_NAME, ca_public_key, mode=0o644)
        ca_signer = load_signer(str(draft / CA_KEY_NAME), passphrase=ask)
        generate_key(
            draft / STATION_KEY_NAME,
            Algorithm.ECDSA_P256,
            passphrase=asked[0] if asked else None,
            is_test_key=has_test_key_mark(ca_key),
        )
        station = load_signer(str(draft / STATION_KEY_NAME), passphrase=ask)
        station_der = issue_station_certificate(
            ca_signer, ca_der, station.public_key, station_name=station_name, not_before=now
        )
        create_durably(draft / CA_CERTIFICATE_NAME, ca_der, mode=0o644)
        create_durably(draft / STATION_CERTIFICATE_NAME, station_der, mode=0o644)

    make_station_folder(folder, fill)
    return ledger.identity


def _read_key(path: Path) -> bytes:
    try:
        return read_input(path, _KEY_MAX_BYTES)
    except OSError as error:
        raise StationError(
            "the factory's CA is not in this folder",
            expected=f"{CA_KEY_NAME} and {CA_CERTIFICATE_NAME}",
            got=error.strerror,
            where=path,
            hint="give the folder of a station that `ampforge station init` made",
        ) from error
