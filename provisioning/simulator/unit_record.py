"""What the simulated firmware keeps about its unit: trust, identity, calibration, release counter.

All of it but the private key (`key_storage`) lies in the `devrec` partition, and all of it is
verified again whenever it is used. A record that does not verify counts as absent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from firmware_images.bundle_contents import APP, TABLE
from firmware_images.bundle_statement import verify_statement
from firmware_images.calibration_record import CalibrationRecord, verify_calibration_record
from firmware_images.device_record import DeviceRecord, IdentityRecord, UpdateState
from firmware_images.errors import FirmwareImageError, RecordError
from provisioning.link_key_storage import StoredKey
from provisioning.link_messages import BoardErrorCode
from provisioning.simulator.smp_server import BoardRefusalError
from signing.certificate_fields import CertificateKind
from signing.certificate_requests import create_csr
from signing.errors import SigningError
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from signing.trust import TrustRecord, verify_trust_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from firmware_images.flash_medium import FlashMedium
    from firmware_images.partitions import Partition
    from provisioning.simulator.key_storage import KeyStorage

Saved = TypeVar("Saved")


class UnitRecord:
    """The unit's records.

    Args:
        medium: The flash.
        partition: Its `devrec` partition.
        keys: Where the private key lies.
        mac: The chip's MAC.
        now: The firmware's clock.
    """

    def __init__(
        self,
        medium: FlashMedium,
        partition: Partition,
        *,
        keys: KeyStorage,
        mac: bytes,
        now: Callable[[], datetime],
    ) -> None:
        self._record = DeviceRecord(medium, partition)
        self._keys = keys
        self._mac = mac
        self._now = now

    def load_identity(self) -> IdentityRecord | None:
        """Return the identity; one of another chip counts as absent."""
        try:
            identity = self._record.load_identity()
        except FirmwareImageError:
            return None
        return None if identity is None or identity.mac != self._mac else identity

    def load_trust(self) -> TrustRecord | None:
        """Return the trust record in force."""
        record = self._load(self._record.trust.load)
        if record is None:
            return None
        try:
            return verify_trust_record(record, current=None)
        except SigningError:
            return None

    def load_calibration(self) -> tuple[CalibrationRecord, int] | None:
        """Return the valid calibration record and the generation of its slot."""
        try:
            stored = self._record.calibration.load()
        except FirmwareImageError:
            return None
        if stored is None:
            return None
        try:
            return self._verify_calibration(stored.payload, is_new=False), stored.generation
        except BoardRefusalError:
            return None

    def load_calibration_bytes(self) -> tuple[bytes, int]:
        """Return what is stored, valid or not, and its slot's generation; or empty and 0."""
        try:
            stored = self._record.calibration.load()
        except FirmwareImageError:
            return b"", 0
        return (b"", 0) if stored is None else (stored.payload, stored.generation)

    def signer(self, identity: IdentityRecord) -> SoftwareSigner:
        """Return the device's own key.

        Raises:
            BoardRefusalError: What is stored is not a key.
        """
        try:
            return SoftwareSigner.from_pkcs8_der(
                self.load_private_key(identity), where="key storage"
            )
        except SigningError as error:
            raise BoardRefusalError(BoardErrorCode.STORAGE, error) from error

    def load_private_key(self, identity: IdentityRecord) -> bytes:
        """Return the private key, PKCS #8; empty if it is lost."""
        return identity.private_key_der or self._keys.load() or b""

    def describe_keys(self) -> tuple[int | None, StoredKey]:
        """Return the eFuse block that encrypts the key storage, and where the key lies."""
        identity = self.load_identity()
        if identity is not None and identity.private_key_der:
            return self._keys.block, StoredKey.OPEN
        is_there = identity is not None and self._keys.load() is not None
        return self._keys.block, StoredKey.ENCRYPTED if is_there else StoredKey.NONE

    def encrypt_keys(self) -> None:
        """Encrypt the key storage, unless it is, before there is a key.

        Raises:
            BoardRefusalError: A key was made before, or the eFuses cannot be burned.
        """
        self._refuse_open_key()
        self._keys.encrypt()

    def _refuse_open_key(self) -> None:
        if self.describe_keys()[1] is StoredKey.OPEN:
            raise BoardRefusalError(
                BoardErrorCode.BAD_STATE, "the key was made before its storage was encrypted"
            )

    def begin_identity(self, serial: str, job_id: str) -> bytes:
        """Make the key if there is none, store it, and return a certificate request.

        Raises:
            BoardRefusalError: The key storage is not encrypted, or was not when the key was made,
                the board has another serial number, or flash did not keep the key.
        """
        self._refuse_open_key()
        identity = self.load_identity()
        if identity is not None and identity.serial != serial:
            raise BoardRefusalError(
                BoardErrorCode.BAD_STATE, f"this board is already {identity.serial}"
            )
        if identity is None or self._keys.load() is None:
            # The key first: an identity without it would be one that proves nothing.
            self._keys.save(SoftwareSigner.generate(Algorithm.ECDSA_P256).to_pkcs8_der())
            identity = IdentityRecord(
                serial=serial, mac=self._mac, job_id=job_id, private_key_der=b""
            )
            self._save_identity(identity)
        elif identity.job_id != job_id:
            identity = replace(identity, job_id=job_id)
            self._save_identity(identity)
        return create_csr(
            self.signer(identity),
            serial_number=serial,
            mac=self._mac.hex(":"),
            job_id=job_id,
        )

    def store_certificate(self, certificate_der: bytes, trust_bytes: bytes | None) -> None:
        """Store the first trust record and the certificate, each only if it verifies.

        Raises:
            BoardRefusalError: There is no key yet, something does not verify, or flash fails.
        """
        identity = self.load_identity()
        if identity is None:
            raise BoardRefusalError(BoardErrorCode.BAD_STATE, "this board has no key yet")
        trust = self.load_trust() if trust_bytes is None else self._accept_trust(trust_bytes)
        if trust is None:
            raise BoardRefusalError(BoardErrorCode.BAD_STATE, "this board has no trust record")
        try:
            certificate = trust.verify_certificate(
                certificate_der, now=self._now(), kind=CertificateKind.DEVICE
            )
        except SigningError as error:
            raise BoardRefusalError(BoardErrorCode.BAD_SIGNATURE, error) from error
        own_key = self.signer(identity).public_key
        if (certificate.public_key.key_id, certificate.serial_number) != (
            own_key.key_id,
            identity.serial,
        ):
            raise BoardRefusalError(
                BoardErrorCode.BAD_SIGNATURE, "the certificate is for another key or serial"
            )
        if trust_bytes is not None:
            self._store_trust(trust_bytes)
        if identity.certificate_der != certificate_der or not identity.confirmed:
            self._save_identity(replace(identity, certificate_der=certificate_der, confirmed=True))

    def store_calibration(self, record_bytes: bytes) -> int:
        """Store a calibration record that verifies; return the generation of its slot.

        The same bytes again change nothing. A record older than the valid stored one is refused.

        Raises:
            BoardRefusalError: It does not verify, or flash fails.
        """
        record = self._verify_calibration(record_bytes, is_new=True)
        stored = self.load_calibration()
        if stored is not None and record.generation < stored[0].generation:
            raise BoardRefusalError(
                BoardErrorCode.BAD_VALUE,
                f"calibration generation {record.generation} is older than {stored[0].generation}",
            )
        current_bytes, generation = self.load_calibration_bytes()
        if current_bytes == record_bytes:
            return generation
        return self._save(lambda: self._record.calibration.save(record_bytes).generation)

    def store_next_trust(self, trust_bytes: bytes) -> int:
        """Store the next trust record; return its version.

        Raises:
            BoardRefusalError: It does not follow the one in force, or flash fails.
        """
        trust = self._accept_trust(trust_bytes)
        self._store_trust(trust_bytes)
        return trust.version

    def load_update_state(self) -> UpdateState:
        """Return what the board never goes below; a damaged one is an error and never a blank.

        Raises:
            BoardRefusalError: Both copies are damaged.
        """
        try:
            return self._record.load_update_state()
        except FirmwareImageError as error:
            raise BoardRefusalError(BoardErrorCode.STORAGE, error) from error

    def take_release(
        self, statement_bytes: bytes, *, app_sha256: bytes, table_sha256: bytes, hardware_class: str
    ) -> UpdateState:
        """Never go below the release that runs; return what holds now, as the flash has it.

        Args:
            statement_bytes: The signed statement of that release.
            app_sha256: The application that runs.
            table_sha256: The waveform table that it plays.
            hardware_class: The board's.

        Raises:
            BoardRefusalError: The statement does not verify or is of another release, an update
                waits for its first boot, or flash fails.
        """
        trust, state = self.load_trust(), self.load_update_state()
        if trust is None:
            raise BoardRefusalError(BoardErrorCode.BAD_SIGNATURE, "there is no trust record")
        if state.pending is not None:
            raise BoardRefusalError(BoardErrorCode.BAD_STATE, "an update is not settled yet")
        try:
            statement = verify_statement(statement_bytes, trust)
        except (SigningError, FirmwareImageError) as error:
            raise BoardRefusalError(BoardErrorCode.BAD_SIGNATURE, error) from error
        parts = statement.parts
        named = tuple(parts[part].sha256 if part in parts else b"" for part in (APP, TABLE))
        if (statement.hardware_class, *named) != (hardware_class, app_sha256, table_sha256):
            raise BoardRefusalError(
                BoardErrorCode.BAD_VALUE, "the statement is of another release than the one running"
            )
        raised = replace(
            state,
            release_counter=max(state.release_counter, statement.release_counter),
            policy_version_floor=max(state.policy_version_floor, statement.policy_version),
        )
        if raised != state:
            self._save(lambda: self._record.save_update_state(raised))
        return self.load_update_state()

    def _accept_trust(self, trust_bytes: bytes) -> TrustRecord:
        current = self.load_trust()
        if current is not None and self._load(self._record.trust.load) == trust_bytes:
            return current
        try:
            return verify_trust_record(trust_bytes, current=current)
        except SigningError as error:
            raise BoardRefusalError(BoardErrorCode.BAD_SIGNATURE, error) from error

    def _store_trust(self, trust_bytes: bytes) -> None:
        if self._load(self._record.trust.load) != trust_bytes:
            self._save(lambda: self._record.trust.save(trust_bytes).generation)

    def _verify_calibration(self, record_bytes: bytes, *, is_new: bool) -> CalibrationRecord:
        identity, trust = self.load_identity(), self.load_trust()
        if identity is None or trust is None:
            raise BoardRefusalError(
                BoardErrorCode.BAD_STATE, "identity and trust come before calibration"
            )
        try:
            return verify_calibration_record(
                record_bytes,
                trust.factory_ca_der,
                now=self._now(),
                serial=identity.serial,
                mac=self._mac,
                # A record outlives the station that signed it (docs/spec/trust.md §8).
                revoked_key_ids=trust.revoked_key_ids if is_new else frozenset(),
            )
        except (SigningError, FirmwareImageError) as error:
            raise BoardRefusalError(BoardErrorCode.BAD_SIGNATURE, error) from error

    def _save_identity(self, identity: IdentityRecord) -> None:
        self._save(lambda: self._record.save_identity(identity))

    def _save(self, act: Callable[[], Saved]) -> Saved:
        try:
            return act()
        except RecordError as error:
            raise BoardRefusalError(BoardErrorCode.STORAGE, error) from error

    def _load(self, load: Callable[[], object]) -> bytes | None:
        try:
            record = load()
        except FirmwareImageError:
            return None
        payload = getattr(record, "payload", None)
        return payload if isinstance(payload, bytes) else None
