"""What an update needs of a board: its flash, its records, and a few things only the board knows.

`UpdateDevice` gives names to the places in flash that an update touches: app slot n, the waveform
slot n that belongs to it, otadata, and the device record. It decides nothing; `updater` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from firmware_images.device_record import DeviceRecord
from firmware_images.otadata import OtaState, read_otadata, select_boot
from firmware_images.waveform_slot import parse_waveform_slot
from manifests.errors import UpdateRefusedError
from manifests.poll_memory import PollMemory
from signing.trust import verify_trust_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_images.device_record import IdentityRecord
    from firmware_images.flash_medium import FlashMedium
    from firmware_images.partitions import Partition, PartitionTable
    from signing.trust_record import TrustRecord

SLOT_COUNT = 2


class BoardControl(Protocol):
    """What only the running board can say or do."""

    @property
    def hardware_class(self) -> str:
        """The class of hardware, as manifests name it."""
        ...

    @property
    def hardware_revision(self) -> int:
        """The revision within the class."""
        ...

    @property
    def mac(self) -> bytes:
        """The chip's six-byte base MAC."""
        ...

    @property
    def running_slot(self) -> int:
        """The app slot that runs, 0 or 1."""
        ...

    @property
    def running_app_sha256(self) -> bytes:
        """SHA-256 of the image file that runs, exactly the bytes that were flashed."""
        ...

    @property
    def secure_version(self) -> int:
        """The lowest secure version that the chip still boots."""
        ...

    def raise_secure_version(self) -> None:
        """Make the running application's secure version the chip's, if that is lower.

        Nothing lower boots from then on. Doing it again changes nothing.
        """
        ...

    def in_session(self) -> bool:
        """Whether a waveform runs, or the device is on a face."""
        ...

    def battery_percent(self) -> int:
        """Battery charge, 0 to 100."""
        ...

    def electrodes_off(self) -> None:
        """Switch the output stage off and keep it off until it is allowed, or the next boot.

        By itself a board keeps it off from its boot while what runs `is_unproven`
        (firmware_images/unproven.py).
        """
        ...

    def electrodes_allowed(self) -> None:
        """Let a session switch the output on: the running release has proved itself."""
        ...

    def self_test(self) -> str | None:
        """Test the running application; what failed, or `None`."""
        ...

    def draw_nonce(self, size_bytes: int) -> bytes:
        """Return unpredictable bytes from the chip's random number generator."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateDevice:
    """A board as the updater sees it.

    Attributes:
        medium: The whole flash.
        partitions: What lies where in it.
        board: What only the board knows.
        read_private_key: Reads the device's key where the record does not hold it, PKCS #8.
        memory: What the last poll came to; lost at a reboot, which costs two requests.
    """

    medium: FlashMedium
    partitions: PartitionTable
    board: BoardControl
    read_private_key: Callable[[], bytes] | None = None
    memory: PollMemory = field(default_factory=PollMemory)

    @property
    def record(self) -> DeviceRecord:
        """The device record in flash."""
        return DeviceRecord(self.medium, self.partitions.find("devrec"))

    @property
    def otadata(self) -> Partition:
        """Where otadata lies."""
        return self.partitions.find("otadata")

    @property
    def inactive_slot(self) -> int:
        """The slot that an update is written to."""
        return SLOT_COUNT - 1 - self.board.running_slot

    def app_partition(self, slot: int) -> Partition:
        """Return where the application of a slot lies."""
        return self.partitions.find(f"ota_{slot}")

    def waveform_partition(self, slot: int) -> Partition:
        """Return where the waveform image that belongs to app slot n lies."""
        return self.partitions.find(f"wave_{slot}")

    def load_identity(self) -> IdentityRecord:
        """Return who the device is.

        Raises:
            UpdateRefusedError: The factory has not finished the device.
        """
        identity = self.record.load_identity()
        if identity is None or not identity.certificate_der:
            raise UpdateRefusedError(
                "the device has no identity yet",
                expected="a serial number, key and certificate",
                hint="finish the unit at a provisioning station first",
            )
        if not identity.private_key_der and self.read_private_key is not None:
            return replace(identity, private_key_der=self.read_private_key())
        return identity

    def load_trust(self) -> TrustRecord:
        """Return the trust record that the device holds, verified once more.

        Raises:
            UpdateRefusedError: There is none.
            TrustError: It is damaged.
        """
        stored = self.record.trust.load()
        if stored is None:
            raise UpdateRefusedError(
                "the device holds no trust record: it could not tell a release from a forgery",
                hint="finish the unit at a provisioning station first",
            )
        return verify_trust_record(stored.payload, current=None)

    def read_waveform_slot(self, slot: int) -> tuple[bytes, bytes]:
        """Return table and approval, unverified, of a waveform slot.

        Raises:
            FirmwareImageError: The slot does not hold a waveform image.
        """
        partition = self.waveform_partition(slot)
        return parse_waveform_slot(self.medium.read(partition.offset_bytes, partition.size_bytes))

    def boots_next(self) -> int:
        """Return the slot that the bootloader would choose now."""
        return select_boot(read_otadata(self.medium, self.otadata), SLOT_COUNT).slot

    def running_state(self) -> OtaState:
        """Return what otadata says of the slot that the bootloader would choose now."""
        return select_boot(read_otadata(self.medium, self.otadata), SLOT_COUNT).state

    def has_state(self, slot: int, state: OtaState) -> bool:
        """Whether an intact entry of otadata gives a slot this state."""
        return any(
            entry.is_intact and entry.state == state and (entry.sequence - 1) % SLOT_COUNT == slot
            for entry in read_otadata(self.medium, self.otadata).entries
        )
