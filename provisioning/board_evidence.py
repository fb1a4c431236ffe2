"""What a board proved when it was given its number back: written down so that others can look.

Deterministic CBOR, a map of integer keys (docs/spec/provisioning.md §5.1):

    key  type   meaning
     1   int    format, 1
     2   bytes  certificate of the factory CA, DER
     3   bytes  the board's certificate, DER
     4   bytes  nonce that it was asked to sign, 32
     5   bytes  its answer, COSE_Sign1 ([serial-link.md] §4.4)
     6   bytes  SHA-256 of the application that it ran, 32
     7   bytes  its calibration record as it was read; empty when it had none
     8   text   its loader: `open`, `secure` or `silent`
     9   int    eFuse key block that encrypts its key storage; 0 for an open loader
    10   bytes  SHA-256 of the NVS plan that it was made by, 32; empty for none, or an open loader
    11   bytes  SHA-256 of the eFuse plan that it was made by, 32; likewise

Keys 2 to 7 prove themselves. Keys 8 and 9 are what the station saw, keys 10 and 11 what the
supervisor vouches for: a locked chip does not tell them any more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from firmware_images.calibration_record import verify_calibration_record
from firmware_images.errors import FirmwareImageError
from provisioning.errors import IdentityError, SupervisionError
from provisioning.identity import NONCE_BYTES, read_certified_mac, verify_challenge
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.certificate_fields import CertificateKind
from signing.certificates import verify_certificate
from signing.errors import CborError, SigningError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Container

    from firmware_images.calibration_record import CalibrationRecord
    from signing.certificates import Certificate

FORMAT: Final = 1
EVIDENCE_MAX_BYTES: Final = 16_384
_DIGEST_BYTES: Final = 32
_KEY_BLOCKS: Final = frozenset({0, 3, 4, 5})


class Loader(StrEnum):
    """What is left of a chip's loader."""

    OPEN = "open"
    SECURE = "secure"
    """Secure download mode: it says that it is locked."""
    SILENT = "silent"
    """Download mode is off: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardEvidence:
    """What a board proved, and what nobody can ask it any more.

    Attributes:
        ca_der: Certificate of the factory CA, DER.
        certificate_der: The board's certificate, DER.
        nonce: What it was asked to sign, 32 bytes.
        challenge: Its answer, signed.
        app_sha256: SHA-256 of the application that it ran, 32 bytes.
        record: Its calibration record; empty when it had none.
        loader: What is left of its loader.
        key_block: eFuse key block that encrypts its key storage; 0 for an open loader.
        nvs_plan: SHA-256 of the NVS plan that it was made by; empty for none.
        efuse_plan: SHA-256 of the eFuse plan that it was made by; empty for none.
    """

    ca_der: bytes
    certificate_der: bytes
    nonce: bytes
    challenge: bytes
    app_sha256: bytes
    record: bytes
    loader: Loader
    key_block: int
    nvs_plan: bytes
    efuse_plan: bytes

    @property
    def is_locked(self) -> bool:
        """Whether the loader is of no use."""
        return self.loader is not Loader.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedEvidence:
    """What follows from evidence that holds.

    Attributes:
        evidence: The evidence.
        certificate: The board's certificate.
        serial: Serial number that it proved.
        mac: MAC that it proved, 6 bytes.
        record: Its calibration record; `None` when it had none.
    """

    evidence: BoardEvidence
    certificate: Certificate
    serial: str
    mac: bytes
    record: CalibrationRecord | None


def serialize_evidence(evidence: BoardEvidence) -> bytes:
    """Return the map."""
    return serialize_cbor(
        {
            1: FORMAT,
            2: evidence.ca_der,
            3: evidence.certificate_der,
            4: evidence.nonce,
            5: evidence.challenge,
            6: evidence.app_sha256,
            7: evidence.record,
            8: evidence.loader.value,
            9: evidence.key_block,
            10: evidence.nvs_plan,
            11: evidence.efuse_plan,
        }
    )


def evidence_digest(evidence_bytes: bytes) -> bytes:
    """Return what a supervisor signs of it."""
    return hashlib.sha256(evidence_bytes).digest()


def parse_evidence(untrusted_bytes: bytes) -> BoardEvidence:
    """Return what the map says; nothing of it is verified.

    Raises:
        SupervisionError: It is no such map.
    """
    try:
        document = parse_cbor(untrusted_bytes, max_bytes=EVIDENCE_MAX_BYTES, max_depth=1)
    except CborError as error:
        raise _damaged(error) from error
    match document:
        case {
            1: 1,
            2: bytes(ca_der),
            3: bytes(certificate_der),
            4: bytes(nonce),
            5: bytes(challenge),
            6: bytes(app_sha256),
            7: bytes(record),
            8: ("open" | "secure" | "silent") as loader,
            9: int(key_block),
            10: bytes(nvs_plan),
            11: bytes(efuse_plan),
            **rest,
        } if (
            not rest
            and len(nonce) == NONCE_BYTES
            and len(app_sha256) == _DIGEST_BYTES
            and type(key_block) is int
            and key_block in _KEY_BLOCKS
            and len(nvs_plan) in {0, _DIGEST_BYTES}
            and len(efuse_plan) in {0, _DIGEST_BYTES}
            and (loader != Loader.OPEN.value or not (key_block or nvs_plan or efuse_plan))
        ):
            return BoardEvidence(
                ca_der=ca_der,
                certificate_der=certificate_der,
                nonce=nonce,
                challenge=challenge,
                app_sha256=app_sha256,
                record=record,
                loader=Loader(loader),
                key_block=key_block,
                nvs_plan=nvs_plan,
                efuse_plan=efuse_plan,
            )
    raise _damaged("another shape")


def verify_evidence(
    untrusted_bytes: bytes,
    *,
    now: dt.datetime,
    revoked_key_ids: Container[bytes] = (),
    where: str,
) -> VerifiedEvidence:
    """Return what a board proved, from the evidence alone.

    That the CA in it is the factory's is for whoever knows the factory's to compare.

    Args:
        untrusted_bytes: The map.
        now: When it was shown, aware.
        revoked_key_ids: Of the trust record at that time.
        where: What to name in an error.

    Raises:
        SupervisionError: It is no such map, or a locked board had no calibration record.
        IdentityError: The board proved something else.
        FirmwareImageError: The calibration record is none, or another board's.
        SigningError: A certificate or a signature does not verify.
    """
    evidence = parse_evidence(untrusted_bytes)
    certificate = verify_certificate(
        evidence.certificate_der, evidence.ca_der, now=now, kind=CertificateKind.DEVICE
    )
    verify_challenge(
        evidence.challenge,
        certificate,
        nonce=evidence.nonce,
        app_sha256=evidence.app_sha256,
        where=where,
    )
    serial, mac = certificate.serial_number or "", read_certified_mac(certificate, where=where)
    record = None
    if evidence.record:
        record = verify_calibration_record(
            evidence.record, evidence.ca_der, now=now, serial=serial, mac=mac,
            revoked_key_ids=revoked_key_ids,
        )  # fmt: skip
    elif evidence.is_locked:
        raise SupervisionError(
            "the board is locked and has no calibration record",
            expected="the record that a station wrote before it locked the board",
            got="none",
            where=where,
            hint="no station of this factory finished it: put it aside",
        )
    return VerifiedEvidence(
        evidence=evidence, certificate=certificate, serial=serial, mac=mac, record=record
    )


def find_fault(
    untrusted_bytes: bytes, *, serial: str, mac: bytes | None, now: dt.datetime, where: str
) -> str | None:
    """Return why evidence does not show that a board is a unit, or `None` when it does.

    For a ledger that is looked at later: keys that were revoked since do not matter.
    """
    try:
        proved = verify_evidence(untrusted_bytes, now=now, where=where)
    except (SupervisionError, IdentityError, FirmwareImageError, SigningError) as error:
        return str(error)
    if (proved.serial, proved.mac) != (serial, mac):
        return f"it is of {proved.serial}, {proved.mac.hex(':')}"
    return None


def _damaged(got: object) -> SupervisionError:
    return SupervisionError("this is not what a board proved", expected="its keys", got=got)
