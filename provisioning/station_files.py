"""The station's folder: ledger, factory CA, the station's own key and certificate.

| file | content |
|---|---|
| `ledger.sqlite3` | the ledger, unless `[station] ledger` names another place |
| `ledger-witness.json` | what the station last saw of the ledger (`provisioning.ledger_witness`) |
| `station.lock` | held by the process that works as this station (`provisioning.station_lock`) |
| `factory-ca.pem`, `factory-ca.pub.pem` | key of the factory CA, unless `ca` names another |
| `factory-ca.cert.der` | its certificate, which every board's trust record carries |
| `station.pem`, `station.pub.pem` | key that signs calibration records and chain heads |
| `station.cert.der` | its certificate, issued by the factory CA |

The folder is made complete or not at all: a half-made one could not be told from a damaged one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioning.errors import LedgerError, StationError
from provisioning.ledger import create_ledger
from provisioning.ledger_address import parse_ledger_address
from provisioning.serial_formats import STANDARD_FORMAT, SerialFormat
from signing.certificate_fields import CertificateKind
from signing.certificate_issuing import create_ca_certificate, issue_station_certificate
from signing.certificates import Certificate, ca_public_key, verify_certificate
from signing.durable_file import create_durably
from signing.input_file import read_input
from signing.key_files import generate_key
from signing.key_uris import load_signer
from signing.keys import Algorithm
from signing.pkcs11_uri import is_pkcs11_uri

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from provisioning.ledger_address import LedgerAddress
    from provisioning.ledger_values import LedgerIdentity
    from signing.signers import Signer

LEDGER_NAME: Final = "ledger.sqlite3"
CA_KEY_NAME: Final = "factory-ca.pem"
CA_CERTIFICATE_NAME: Final = "factory-ca.cert.der"
STATION_KEY_NAME: Final = "station.pem"
STATION_CERTIFICATE_NAME: Final = "station.cert.der"
_CERTIFICATE_MAX_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class StationKeys:
    """What a station signs with.

    Attributes:
        ca_signer: Key of the factory CA.
        ca_der: Its certificate.
        station_signer: The station's own key.
        station_der: Its certificate, verified.
    """

    ca_signer: Signer
    ca_der: bytes
    station_signer: Signer
    station_der: bytes


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


def make_station_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a station's folder, complete or not at all.

    Args:
        folder: Folder that does not exist, or is empty.
        fill: Writes its files into a draft of it.

    Raises:
        StationError: The folder has something in it, or cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StationError(
            "the station is set up already",
            expected="no folder, or an empty one",
            got="a folder with something in it",
            where=folder,
            hint="a second ledger would start a second series of serial numbers; "
            "use the station that is there",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(
            tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".draft", dir=folder.parent)
        )
    except OSError as error:
        raise _cannot_make(folder, error) from error
    try:
        fill(draft)
        try:
            draft.rename(folder)  # onto an empty folder or a free name; refused otherwise
        except OSError as error:
            raise _cannot_make(folder, error) from error
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def find_ledger(folder: Path, setting: str | None, *, root: Path) -> LedgerAddress:
    """Return where a station's ledger is.

    Args:
        folder: The station's folder.
        setting: `ledger` of section `[station]`: a path or a URL; `None` for the folder itself.
        root: Folder that a relative path starts from.

    Raises:
        LedgerError: The setting cannot be used, or the folder holds another ledger than it names.
    """
    own = folder / LEDGER_NAME
    if setting is None:
        return own
    address = parse_ledger_address(setting, root=root)
    is_own = isinstance(address, Path) and address.resolve() == own.resolve()
    if own.exists() and not is_own:
        raise LedgerError(
            "there are two ledgers for this station",
            expected=f"{address} alone",
            got=f"{own}, too",
            where="[station] ledger",
            hint="find out which one the boards were made with, and move the other one away; two "
            "ledgers give the same serial numbers twice",
        )
    return address


def load_station_keys(
    folder: Path,
    *,
    station_name: str,
    now: dt.datetime,
    passphrase: Callable[[], bytes] | None,
    ca_uri: str | None = None,
) -> StationKeys:
    """Load and check the keys of a station that `create_station` made.

    Args:
        folder: The station's folder.
        station_name: Name that the station's certificate must have.
        now: The present, aware.
        passphrase: Asked when a key is encrypted, once for those in the folder, which were made
            with one; a token's PIN is in the environment.
        ca_uri: The factory CA's key, if it is not the one in the folder.

    Raises:
        StationError: A file is missing, or key and certificate do not belong together.
        SigningError: A key or certificate cannot be used.
    """
    ca_der = read_certificate(folder / CA_CERTIFICATE_NAME)
    station_der = read_certificate(folder / STATION_CERTIFICATE_NAME)
    if passphrase is not None and ca_uri is None:
        passphrase = cache(passphrase)
    ca_signer = load_ca_signer(ca_uri or str(folder / CA_KEY_NAME), passphrase)
    station_signer = load_signer(str(folder / STATION_KEY_NAME), passphrase=passphrase)
    certificate = verify_certificate(station_der, ca_der, now=now, kind=CertificateKind.STATION)
    if certificate.common_name != station_name:
        raise StationError(
            "the station's certificate is for another station",
            expected=station_name,
            got=certificate.common_name,
            where=folder / STATION_CERTIFICATE_NAME,
            hint="set name under [station] to the station that this folder was made for",
        )
    _require_own_key(certificate, station_signer, folder)
    require_ca_key(ca_der, ca_signer, where=ca_uri or folder / CA_KEY_NAME)
    return StationKeys(
        ca_signer=ca_signer, ca_der=ca_der, station_signer=station_signer, station_der=station_der
    )


def read_certificate(path: Path) -> bytes:
    """Read a certificate of the station's folder, unverified.

    Raises:
        StationError: It is not there, or too long to be one.
    """
    try:
        content = read_input(path, _CERTIFICATE_MAX_BYTES)
    except OSError as error:
        raise StationError(
            "the station is not set up",
            expected="a certificate made by `ampforge station init`",
            got=error.strerror,
            where=path,
            hint="run `ampforge station init` once for this factory, or name its folder",
        ) from error
    if len(content) > _CERTIFICATE_MAX_BYTES:
        raise StationError(
            "this is not a certificate",
            expected=f"at most {_CERTIFICATE_MAX_BYTES} bytes",
            got="more",
            where=path,
        )
    return content


def find_ca_certificate(folder: Path) -> bytes | None:
    """Return the factory CA's certificate of a station's folder; `None` when it is not there.

    Raises:
        StationError: It cannot be read.
    """
    path = folder / CA_CERTIFICATE_NAME
    return read_certificate(path) if path.exists() else None


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


def _require_own_key(certificate: Certificate, signer: Signer, folder: Path) -> None:
    if certificate.public_key != signer.public_key:
        raise StationError(
            "the station's key and certificate do not belong together",
            expected=certificate.public_key.key_id.hex()[:16],
            got=signer.public_key.key_id.hex()[:16],
            where=folder,
            hint="restore the station's folder from its backup",
        )


def load_ca_signer(uri: str, passphrase: Callable[[], bytes] | None) -> Signer:
    """Open the factory CA's key, in a file or in a token.

    Raises:
        SigningError: It cannot be opened.
    """
    # The passphrase opens the station's files. Tried as a token's PIN it could lock the token.
    return load_signer(uri, passphrase=None if is_pkcs11_uri(uri) else passphrase)


def require_ca_key(ca_der: bytes, signer: Signer, *, where: object) -> None:
    """Refuse a key that is not that of the factory CA's certificate.

    Raises:
        StationError: It is another one.
    """
    expected = ca_public_key(ca_der)
    if expected != signer.public_key:
        raise StationError(
            "the factory CA's key and certificate do not belong together",
            expected=expected.key_id.hex()[:16],
            got=signer.public_key.key_id.hex()[:16],
            where=where,
            hint="set ca under [station] to the key that this factory was set up with",
        )


def _cannot_make(folder: Path, error: OSError) -> StationError:
    return StationError("the station's folder cannot be made", got=error.strerror, where=folder)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some file systems cannot flush a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
