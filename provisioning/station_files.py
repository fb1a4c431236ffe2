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

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioning.errors import StationError
from signing.durable_file import flush_folder
from signing.input_file import read_input

if TYPE_CHECKING:
    from collections.abc import Callable


CA_KEY_NAME: Final = "factory-ca.pem"
CA_CERTIFICATE_NAME: Final = "factory-ca.cert.der"
STATION_KEY_NAME: Final = "station.pem"
STATION_CERTIFICATE_NAME: Final = "station.cert.der"
_CERTIFICATE_MAX_BYTES: Final = 4096


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
        with suppress(OSError):  # some file systems cannot flush a folder
            flush_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


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


def _cannot_make(folder: Path, error: OSError) -> StationError:
    return StationError(
        "the station's folder cannot be made",
        got=error.strerror,
        where=folder,
        hint="name another folder, or check the permissions of the one above",
    )
