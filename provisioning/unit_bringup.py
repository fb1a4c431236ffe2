"""The digital half of a unit's workflow: NVS, flash, key storage, identity, power cycle.

Each step ends with a read-back over the factory link; what the board says about itself is judged by
`unit_judgement`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.errors import LinkTimeoutError, LockedChipError, VerificationError
from provisioning.release_regions import list_station_regions
from provisioning.station_values import Step, reject_for
from provisioning.transfer_rates import describe_fall_back
from provisioning.unit_identity import UnitIdentity
from provisioning.unit_judgement import judge_handshake, judge_record, judge_restart
from provisioning.unit_key_storage import UnitKeyStorage
from provisioning.unit_nvs import UnitNvs
from provisioning.unit_start import UnitStart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from firmware_images.nvs_plan import NvsPlan
    from provisioning.device_link import DeviceLink
    from provisioning.flasher import Flasher, RegionReport
    from provisioning.link_messages import InfoReadResponse
    from provisioning.station import Station
    from provisioning.unit_job import UnitJob


class UnitBringUp:
    """NVS, flash, key storage, identity and power cycle of one unit within one job.

    Args:
        station: What all slots share.
        job: The job's memory.
        link: The board's application.
        flasher: Writes the board's flash; it has just found the chip in its ROM loader.
        is_locked: Whether it found one that it cannot write.
        on_progress: Told the step, its fraction and a text.

    Attributes:
        is_locked: Whether the board's flash cannot be written or read any more.
    """

    def __init__(
        self,
        station: Station,
        job: UnitJob,
        link: DeviceLink,
        *,
        flasher: Flasher,
        is_locked: bool = False,
        on_progress: Callable[[Step, float, str], None],
    ) -> None:
        self._station = station
        self._job = job
        self._link = link
        self._flasher = flasher
        self._on_progress = on_progress
        self._identity = UnitIdentity(station, job, link)
        self._start = UnitStart(
            station, link, flasher, mac=job.reservation.mac, is_in_loader=not is_locked
        )
        self.is_locked = is_locked

    @property
    def info(self) -> InfoReadResponse | None:
        """What the application said last; `None` while nothing answered."""
        return self._start.info

    @property
    def is_silent(self) -> bool:
        """Whether the application was found silent, and the chip the right one."""
        return self._start.is_silent

    @property
    def fall_back(self) -> str | None:
        """A sentence about the rates at which the flash could not be written, if there are any."""
        return describe_fall_back(self._flasher.rates)

    def write_nvs(self, plan: NvsPlan) -> None:
        """Write the unit's NVS partition; the chip is still in its loader.

        Raises:
            FlashError: The chip cannot be written, or does not read back as planned; or it is
                locked, and no earlier job wrote it.
            NvsError: The unit's values do not fit.
        """
        nvs = UnitNvs(
            self._station, plan, self._job, flasher=self._flasher, on_progress=self._on_progress
        )
        if self.is_locked:
            nvs.require_written()
        else:
            nvs.write()

    def flash(self) -> None:
        """Write the release, start it, and read its digest back over the link.

        Raises:
            UnitRejection: The application stays silent, or is not the one of the release.
            ProvisioningError: Port or flash loader failed.
        """
        bundle = self._station.bundle
        self._job.perform(
            Step.FLASH,
            intent={"bundle": bundle.digest.hex(), "version": bundle.statement.version},
            act=self._write_flash,
            still_holds=lambda _confirmed: self._runs_the_release(),
        )

    def encrypt_keys(self) -> None:
        """Have the board encrypt its key storage, before `identify` has it make a key.

        Raises:
            UnitRejection: It cannot, made a key before, or its eFuses are not as it says.
            EfuseError: The chip is locked, and no earlier job saw its eFuses.
            ProvisioningError: The board refuses, or port or loader failed.
        """
        UnitKeyStorage(
            self._station,
            self._job,
            self._link,
            open_efuses=self._flasher.open_efuses,
            restart=lambda: self._start.restart(
                Step.KEY_STORAGE, "the board does not start after its key storage was encrypted"
            ),
            is_locked=self.is_locked,
        ).encrypt()

    def identify(self) -> None:
        """Give the board identity, trust record and release counter, and have it prove the key.

        Raises:
            BoardRefusalError: The board has another identity, or refuses certificate, trust record
                or release statement.
            IdentityError: The proof fails.
            UnitRejection: The board had a newer release before.
            SigningError: Request, certificate or signature do not verify.
        """
        self._identity.install()

    def power_cycle(self, *, read_record: Callable[[], bytes], written: bytes) -> None:
        """Reset the board by its line; everything that it was given must still be there.

        Args:
            read_record: Reads the calibration record that the board holds.
            written: The one that it was given.

        Raises:
            UnitRejection: It does not start again, or lost something.
        """

        def find_faults(info: InfoReadResponse) -> tuple[str, ...]:
            reservation = self._job.reservation
            record = judge_record(
                read_record(),
                written=written,
                trust=self._station.trust,
                now=self._station.outside.now(),
                serial=reservation.serial,
                mac=reservation.mac,
            )
            return self._judge_restart(info) + record + self._identity.find_floor_faults()

        def act() -> Mapping[str, object]:
            info = self._start.restart(
                Step.POWER_CYCLE, "the board does not start again after a reset"
            )
            reject_for(Step.POWER_CYCLE, find_faults(info))
            return {"app_sha256": info.appsha.hex(), "slot_generation": info.calgen}

        self._job.perform(
            Step.POWER_CYCLE,
            intent={},
            act=act,
            # Whoever resumes has reset the board already; what counts is that it still knows all.
            still_holds=lambda _confirmed: not find_faults(self._link.read_info()),
        )

    def recheck(
        self,
        *,
        measure: Callable[[], Mapping[str, object]],
        is_right: Callable[[Mapping[str, object]], bool],
    ) -> Mapping[str, object]:
        """After the locks: start once more, prove the key again, and measure one current.

        Args:
            measure: Measures it and says what it was.
            is_right: Told that; whether the current passes.

        Returns:
            What the CONFIRM says; it is written down before anybody judges the current.

        Raises:
            UnitRejection: It does not start, or lost something.
            IdentityError: The proof fails.
            SigningError: Certificate or signature do not verify.
        """
        told: Mapping[str, object] = {}

        def find_faults(info: InfoReadResponse) -> tuple[str, ...]:
            return self._judge_restart(info) + self._identity.find_floor_faults()

        def act() -> Mapping[str, object]:
            nonlocal told
            info = self._start.restart(Step.RECHECK, "the locked board does not start")
            reject_for(Step.RECHECK, find_faults(info))
            told = {"key_id": self._identity.prove()["key_id"], **measure()}
            return told

        def still_holds(confirmed: Mapping[str, object]) -> bool:
            nonlocal told
            told = confirmed
            try:
                if not is_right(confirmed):
                    return True  # nothing that the board does now makes that another
            except VerificationError:
                return False
            info = self._start.restart(Step.RECHECK, "the locked board does not start")
            return not find_faults(info) and (
                self._identity.prove()["key_id"] == confirmed.get("key_id")
            )

        self._job.perform(Step.RECHECK, intent={}, act=act, still_holds=still_holds)
        return told

    def _write_flash(self) -> Mapping[str, object]:
        if self.is_locked:
            return self._find_flashed()
        regions = list_station_regions(self._station.bundle)
        if not self._start.is_in_loader:
            self._flasher.detect()  # the read-back of an earlier CONFIRM started the application

        def tell(done: float) -> None:
            fall_back = self.fall_back
            self._on_progress(
                Step.FLASH, done, f"writing flash ({fall_back})" if fall_back else "writing flash"
            )

        reports = self._flasher.write(regions, on_progress=tell)
        self._on_progress(Step.FLASH, 1.0, "starting the application")
        info = self._start.restart(
            Step.FLASH, "the application does not answer on the factory link"
        )
        reject_for(Step.FLASH, self._judge_handshake(info))
        return {
            "regions": [_region_document(report) for report in reports],
            "app_sha256": info.appsha.hex(),
            "app": f"{info.app} {info.ver}",
            "rates": [
                {"baud": attempt.baud, "failure": attempt.failure}
                for attempt in self._flasher.rates
            ],
        }

    def _find_flashed(self) -> Mapping[str, object]:
        """Accept a locked board that runs the release already; nobody could write it."""
        info = self._start.restart(Step.FLASH, "the locked board does not start")
        if reasons := self._judge_handshake(info):
            raise LockedChipError(
                "the locked board runs something else than the release",
                expected=f"{self._station.bundle.statement.version} in slot 0",
                got=reasons[0],
                where=self._link.where,
                hint="a locked board is updated as in the field: `ampforge device update`; "
                "or use the bundle that it runs",
            )
        return {"regions": [], "app_sha256": info.appsha.hex(), "app": f"{info.app} {info.ver}"}

    def _runs_the_release(self) -> bool:
        try:
            info = self._start.start_once()
        except LinkTimeoutError:
            return False
        return not self._judge_handshake(info)

    def _judge_handshake(self, info: InfoReadResponse) -> tuple[str, ...]:
        return judge_handshake(
            info,
            bundle=self._station.bundle,
            mac=self._job.reservation.mac,
            serial=self._job.reservation.serial,
        )

    def _judge_restart(self, info: InfoReadResponse) -> tuple[str, ...]:
        return judge_restart(
            info,
            bundle=self._station.bundle,
            mac=self._job.reservation.mac,
            serial=self._job.reservation.serial,
        )


def _region_document(report: RegionReport) -> dict[str, object]:
    return {
        "name": report.name,
        "offset_bytes": report.offset_bytes,
        "size_bytes": report.size_bytes,
        "md5": report.md5,
        "was_there": report.was_there,
    }
