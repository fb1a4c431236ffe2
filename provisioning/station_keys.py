"""What a station signs with: the keys in its folder, held against their certificates.

Which files they are is `station_files`; how they came there, `station_founding` and
`station_joining`. A key may lie in a token instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from provisioning.errors import StationError
from provisioning.station_files import (
    CA_CERTIFICATE_NAME,
    CA_KEY_NAME,
    STATION_CERTIFICATE_NAME,
    STATION_KEY_NAME,
    read_certificate,
)
from signing.certificate_fields import CertificateKind
from signing.certificates import Certificate, ca_public_key, verify_certificate
from signing.key_uris import load_signer
from signing.pkcs11_uri import is_pkcs11_uri

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    from signing.signers import Signer


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


def load_station_keys(
    folder: Path,
    *,
    station_name: str,
    now: dt.datetime,
    passphrase: Callable[[], bytes] | None,
    ca_uri: str | None = None,
) -> StationKeys:
    """Load and check the keys of a station that was set up.

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
