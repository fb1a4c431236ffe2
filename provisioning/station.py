"""A station that is ready to work: what all its slots share, and where it meets the world.

Everything in it was verified when `station_opening` made it; what is done to a board with it is
`provisioning.slots` and what follows from there.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioning.boards_in_work import BoardsInWork
from provisioning.chain_heads import StationCertificates
from provisioning.errors import InstrumentDescriptionError, LedgerError, StationError
from provisioning.esptool_flasher import EsptoolFlasher
from provisioning.instrument_register import current_entries
from provisioning.ledger_meeting import meet
from provisioning.ledger_witness import save_witness
from provisioning.serial_port import open_port
from provisioning.slot_meter import open_slot_meter, refuse_optimistic_accuracy, station_description
from signing.errors import DurableFileError, SigningError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    from firmware_images.bundle import Bundle
    from firmware_images.efuse_plan import EfusePlan
    from firmware_images.nvs_plan import NvsPlan
    from provisioning.flasher import Flasher
    from provisioning.instrument_register import RegisteredInstrument
    from provisioning.instruments import Meter
    from provisioning.ledger import Ledger
    from provisioning.ledger_values import Writer
    from provisioning.serial_port import BoardPort
    from provisioning.station_keys import StationKeys
    from provisioning.station_ledger import StationLedger
    from provisioning.station_settings import StationSettings
    from provisioning.station_values import SlotConfig
    from signing.trust import TrustRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Where a station meets the world; parameters, so that each can be replaced.

    Attributes:
        now: The present moment, aware.
        clock_s: Monotonic clock, in seconds.
        new_job: A job name that was never used.
        random_bytes: That many bytes nobody can predict.
    """

    now: Callable[[], dt.datetime]
    clock_s: Callable[[], float]
    new_job: Callable[[], str]
    random_bytes: Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """Everything that working on a board needs. Shared by all slots.

    Attributes:
        folder: The station's folder.
        settings: Section `[station]`.
        serial_model: Model code of the serial numbers.
        gtin: Device identifier for the UDI of each unit that passes, if the product has one.
        outside: Clocks and randomness.
        ledger: The open ledger.
        writer: Who writes into it.
        keys: Keys and certificates.
        trust: The verified trust record.
        trust_bytes: The same as it is installed on boards.
        bundle: The verified release.
        nvs_plan: What each board's NVS partition holds, or `None` to leave it alone.
        efuse_plan: What each board's eFuses shall be, or `None` to burn nothing.
        register: Entries of the register of instruments.
        in_work: The chips that the slots work on now.
        opened: How the ledger was opened: with a lease, or offline; keeps a second process away.
    """

    folder: Path
    settings: StationSettings
    serial_model: str
    outside: Outside
    ledger: Ledger
    writer: Writer
    keys: StationKeys
    trust: TrustRecord
    trust_bytes: bytes
    bundle: Bundle
    nvs_plan: NvsPlan | None = None
    efuse_plan: EfusePlan | None = None
    gtin: str | None = None
    register: tuple[RegisteredInstrument, ...] = ()
    in_work: BoardsInWork = field(default_factory=BoardsInWork)
    opened: StationLedger

    def open_port(self, url: str) -> BoardPort:
        """Open the port of one slot."""
        return open_port(url)

    def open_flasher(self, port: BoardPort, url: str) -> Flasher:
        """Return what writes the flash behind an open port."""
        return EsptoolFlasher(
            port, where=url, baud=self.settings.flash_baud, use_stub=self.settings.use_stub
        )

    def open_meter(self, slot: SlotConfig) -> Meter:
        """Open the meter of one slot.

        Raises:
            InstrumentDescriptionError: The settings promise more than its entry in the register.
            InstrumentError: It cannot be opened.
        """
        meter = open_slot_meter(slot, self.settings, clock=self.outside.now)
        entry = current_entries(self.register).get(meter.identity.serial_number)
        if entry is None or not entry.entry.accuracy:
            return meter
        try:
            refuse_optimistic_accuracy(
                entry.entry.accuracy,
                station_description(self.settings),
                self.settings.metrology,
                where=f"{meter.identity}, certificate {entry.entry.certificate}",
            )
        except InstrumentDescriptionError:
            meter.close()
            raise
        return meter

    def close(self) -> None:
        """Sign and remember how far the ledger came, as well as that goes, and close it.

        What could not be signed now is signed when the station is opened again.
        """
        if not self.opened.is_offline:
            with suppress(LedgerError, StationError, SigningError, DurableFileError):
                meet_others(self.ledger, self.writer, self.keys, now=self.outside.now())
                save_witness(self.folder, self.ledger, station=self.settings.name, is_closed=True)
        self.opened.close()


def meet_others(ledger: Ledger, writer: Writer, keys: StationKeys, *, now: dt.datetime) -> None:
    """Sign how far the station's chain has come, and write down how far the others have.

    Args:
        ledger: The open ledger.
        writer: The station.
        keys: Its keys.
        now: The present, aware.

    Raises:
        LedgerDamageError: A chain was changed or cut off since it was signed or seen.
        StationError: Another station has this name.
        LedgerError: The ledger cannot be read or written.
        SigningError: The key cannot be used.
    """
    meet(
        ledger,
        writer,
        signer=keys.station_signer,
        certificate=keys.station_der,
        certificates=StationCertificates(keys.ca_der, now=now),
    )
