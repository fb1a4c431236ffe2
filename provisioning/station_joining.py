"""Sets up one more station of a factory that has its ledger and its CA already."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from provisioning.chain_heads import StationCertificates
from provisioning.errors import StationError
from provisioning.ledger import Ledger
from provisioning.ledger_meeting import meet
from provisioning.ledger_values import Writer
from provisioning.ledger_witness import save_witness
from provisioning.station_files import (
    CA_CERTIFICATE_NAME,
    CA_KEY_NAME,
    STATION_CERTIFICATE_NAME,
    STATION_KEY_NAME,
    make_station_folder,
    read_certificate,
)
from provisioning.station_keys import StationKeys, load_ca_signer, require_ca_key
from signing.certificate_issuing import issue_station_certificate
from signing.durable_file import create_durably
from signing.input_file import read_input
from signing.key_files import generate_key
from signing.key_uris import load_signer
from signing.keys import Algorithm
from signing.pkcs11_uri import is_pkcs11_uri

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
    ca_uri: str | None = None,
) -> LedgerIdentity:
    """Make the folder of one more station: the factory's CA, and keys of its own.

    The name is taken with the station's first event, which holds its certificate: of two stations
    that take one name at once, one is refused.

    Args:
        folder: Folder that does not exist, or is empty.
        factory: Folder of a station of the same factory, with its CA.
        ledger_address: The ledger that all of them share.
        product: Product that is made here.
        station_name: A name that no other station has.
        now: The present, aware.
        passphrase: Asked when the CA's key is encrypted; encrypts the new key, too.
        ca_uri: The factory CA's key, a file or a `pkcs11:` URI; the one in `factory` when `None`.

    Returns:
        The ledger that the station will work with.

    Raises:
        StationError: The folder has something in it, the name is taken, or a CA file is missing
            or of another factory. No folder is left.
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
        keys = _make_folder(
            folder,
            factory,
            station_name=station_name,
            now=now,
            passphrase=passphrase,
            ca_uri=ca_uri,
        )
        try:
            save_witness(folder, ledger, station=station_name)  # before its first event
            meet(
                ledger,
                Writer(station=station_name, now=lambda: now, new_job=lambda: ""),
                signer=keys.station_signer,
                certificate=keys.station_der,
                certificates=StationCertificates(keys.ca_der, now=now),
                is_first=True,
            )
            save_witness(folder, ledger, station=station_name, is_closed=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    finally:
        ledger.close()
    return ledger.identity


def _make_folder(
    folder: Path,
    factory: Path,
    *,
    station_name: str,
    now: dt.datetime,
    passphrase: Callable[[], bytes] | None,
    ca_uri: str | None,
) -> StationKeys:
    """Make the station's folder, and return the keys that lie in it."""
    ca_der = read_certificate(factory / CA_CERTIFICATE_NAME)
    # A key that lies elsewhere is used there, and stays there.
    copied = (
        {name: _read_key(factory / name) for name in (CA_KEY_NAME, _CA_PUBLIC_KEY_NAME)}
        if ca_uri is None
        else {}
    )
    asked: list[bytes] = []

    def ask() -> bytes:
        assert passphrase is not None, "an unencrypted key asks for no passphrase"
        if not asked:
            asked.append(passphrase())
        return asked[0]

    source = None if passphrase is None else ask
    made: list[StationKeys] = []

    def fill(draft: Path) -> None:
        for name, content in copied.items():
            mode = 0o644 if name == _CA_PUBLIC_KEY_NAME else 0o600
            create_durably(draft / name, content, mode=mode)
        ca_signer = load_ca_signer(ca_uri or str(draft / CA_KEY_NAME), source)
        require_ca_key(ca_der, ca_signer, where=ca_uri or factory / CA_KEY_NAME)
        if ca_uri is not None and is_pkcs11_uri(ca_uri) and source is not None:
            source()  # the token has a PIN of its own; the station's key is encrypted all the same
        generate_key(
            draft / STATION_KEY_NAME,
            Algorithm.ECDSA_P256,
            passphrase=asked[0] if asked else None,
            is_test_key=bool(getattr(ca_signer, "is_test_key", False)),
        )
        station = load_signer(str(draft / STATION_KEY_NAME), passphrase=source)
        station_der = issue_station_certificate(
            ca_signer, ca_der, station.public_key, station_name=station_name, not_before=now
        )
        create_durably(draft / CA_CERTIFICATE_NAME, ca_der, mode=0o644)
        create_durably(draft / STATION_CERTIFICATE_NAME, station_der, mode=0o644)
        made.append(
            StationKeys(
                ca_signer=ca_signer, ca_der=ca_der, station_signer=station, station_der=station_der
            )
        )

    make_station_folder(folder, fill)
    return made[0]


def _read_key(path: Path) -> bytes:
    try:
        return read_input(path, _KEY_MAX_BYTES)
    except OSError as error:
        raise StationError(
            "the factory's CA is not in this folder",
            expected=f"{CA_KEY_NAME} and {CA_CERTIFICATE_NAME}",
            got=error.strerror,
            where=path,
            hint="give the folder of a station that `ampforge station init` made; where the key "
            "lies elsewhere, set ca under [station]",
        ) from error
