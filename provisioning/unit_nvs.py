"""Writes the NVS partition of one unit, with its own serial number, MAC and job.

Before the release is flashed, while the chip is in its loader: the application must not see the
partition before it is whole. Afterwards the application may write to it, too, so that what counts
on a new start is that every planned entry still reads as planned, not that the bytes are the same.
Values and keys go to no log: the events name the entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_images.errors import NvsError
from firmware_images.nvs import parse_nvs
from firmware_images.nvs_building import (
    KEYS_PARTITION_BYTES,
    build_nvs,
    build_nvs_keys,
    parse_nvs_keys,
)
from firmware_images.nvs_values import find_differences
from firmware_images.unit_values import UnitValues
from provisioning.errors import FlashError, LockedChipError
from provisioning.ledger_events import Phase
from provisioning.station_values import Step
from signing.errors import KeyFileError
from signing.xts import XTS_KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from firmware_images.nvs_plan import NvsPlan
    from firmware_images.partitions import Partition
    from provisioning.flasher import Flasher
    from provisioning.station import Station
    from provisioning.unit_job import UnitJob

_PLAN: Final = "plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    name: str
    offset_bytes: int
    content: bytes


class UnitNvs:
    """The NVS partition of one unit within one job.

    Args:
        station: What all slots share.
        plan: What the partition holds.
        job: The job's memory.
        flasher: It has just found the chip in its ROM loader.
        on_progress: Told the step, its fraction and a text.
    """

    def __init__(
        self,
        station: Station,
        plan: NvsPlan,
        job: UnitJob,
        *,
        flasher: Flasher,
        on_progress: Callable[[Step, float, str], None],
    ) -> None:
        reservation, table = job.reservation, station.bundle.partition_table
        assert reservation.job is not None, "only a job writes to a board"
        self._station = station
        self._plan = plan
        self._job = job
        self._flasher = flasher
        self._on_progress = on_progress
        self._partition = plan.find_partition(table)
        self._keys_partition = plan.find_keys_partition(table)
        self._entries = plan.entries(
            UnitValues(serial=reservation.serial, mac=reservation.mac, job=reservation.job)
        )

    def write(self) -> None:
        """Write the partition, unless this job did and all of it still reads as planned.

        Raises:
            FlashError: The chip cannot be written, or does not read back as planned.
            NvsError: The unit's values do not fit.
        """
        self._job.perform(
            Step.NVS,
            intent={
                _PLAN: self._plan.digest.hex(),
                "partition": self._plan.partition,
                "is_encrypted": self._keys_partition is not None,
                "entries": [entry.name for entry in self._entries],
            },
            act=self._act,
            still_holds=lambda _confirmed: not self._find_faults(),
        )

    def require_written(self) -> None:
        """Accept a locked board, whose flash nobody reads or writes, by what an earlier job wrote.

        Raises:
            LockedChipError: No job wrote this plan into it.
        """
        reservation = self._job.reservation
        planned = written = None
        for chained in self._station.ledger.events(serial=reservation.serial):
            event = chained.event
            if event.step != Step.NVS.value or event.mac != reservation.mac:
                continue
            if event.phase is Phase.INTENT:
                planned, written = event.data.get(_PLAN), None
            elif event.phase is Phase.CONFIRM:
                written = planned
        if written == self._plan.digest.hex():
            return
        raise LockedChipError(
            "the chip was locked before its NVS was written by this plan",
            expected="a unit whose NVS an earlier job wrote by the same plan",
            got="a locked chip without such a job",
            where=f"{reservation.serial}, {reservation.mac.hex(':')}",
            hint="use the plan that it was written by, or leave nvs out of section [station]",
        )

    def _act(self) -> Mapping[str, object]:
        key, regions = None, []
        if self._keys_partition is not None:
            # The key that is there stays: a kill between two writes must not leave two halves.
            key = self._read_key(self._keys_partition)
            key = key or self._station.outside.random_bytes(XTS_KEY_BYTES)
            content = build_nvs_keys(key)
            regions.append(self._region(self._keys_partition, content))
        size_bytes = self._partition.size_bytes
        image = build_nvs(self._entries, size_bytes=size_bytes, key=key, where=self._plan.where)
        regions.append(self._region(self._partition, image))
        reports = self._flasher.write(
            regions, on_progress=lambda done: self._on_progress(Step.NVS, done, "writing NVS")
        )
        if faults := self._find_faults():
            raise FlashError(
                "NVS does not read back as it was written",
                expected=f"{len(self._entries)} entries",
                got=", ".join(faults),
                where=self._partition.name,
                hint="the flash may be worn out; start the slot again, and take another board",
            )
        return {"regions": [report.name for report in reports], "entry_count": len(self._entries)}

    def _find_faults(self) -> tuple[str, ...]:
        content = self._flasher.read(self._partition.offset_bytes, self._partition.size_bytes)
        if content is None:  # a locked chip hides its flash, and nobody else could change it either
            return ()
        key = None
        if self._keys_partition is not None:
            key = self._read_key(self._keys_partition)
            if key is None:
                return ("the key is not there",)
        try:
            found = parse_nvs(content, key=key, where=self._partition.name)
        except (NvsError, KeyFileError) as error:
            return (str(error),)
        return find_differences(self._entries, found)

    def _read_key(self, partition: Partition) -> bytes | None:
        content = self._flasher.read(partition.offset_bytes, KEYS_PARTITION_BYTES)
        return None if content is None else parse_nvs_keys(content)

    def _region(self, partition: Partition, content: bytes) -> _Region:
        return _Region(name=partition.name, offset_bytes=partition.offset_bytes, content=content)
