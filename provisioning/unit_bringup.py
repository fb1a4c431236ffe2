"""The digital half of a unit's workflow: NVS, flash, key storage, identity, power cycle.

Each step ends with a read-back over the factory link; what the board says about itself is judged by
`unit_judgement`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.waveform_table import table_digest
from provisioning.errors import (
    BoardRefusalError,
    IdentityError,
    LinkTimeoutError,
    LockedChipError,
    StationError,
    VerificationError,
)
from provisioning.identity import NONCE_BYTES, ExpectedIdentity, install_identity, verify_identity
from provisioning.ledger_values import SerialState
from provisioning.link_release import (
    ReleaseReadRequest,
    ReleaseReadResponse,
    ReleaseWriteRequest,
    ReleaseWriteResponse,
)
from provisioning.station_values import Step, UnitRejection
from provisioning.transfer_rates import describe_fall_back
from provisioning.unit_judgement import (
    judge_handshake,
    judge_record,
    judge_release_floor,
    judge_restart,
)
from provisioning.unit_key_storage import UnitKeyStorage
from provisioning.unit_nvs import UnitNvs
from signing.errors import SigningError

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
        info: What the application said last; `None` while nothing answered.
        is_silent: Whether the application was found silent, and the chip the right one.
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
        self._is_in_loader = not is_locked
        self.is_locked = is_locked
        self.info: InfoReadResponse | None = None
        self.is_silent = False

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
            restart=lambda: self._restart(
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
        self._job.perform(
            Step.IDENTITY,
            intent={
                "trust_version": self._station.trust.version,
                "release_counter": self._station.bundle.statement.release_counter,
            },
            act=self._install_identity,
            still_holds=self._proves_again,
            serial_state=SerialState.ASSIGNED,
        )

    def power_cycle(self, *, read_record: Callable[[], bytes], written: bytes) -> None:
        """Reset the board by its line; everything that it was given must still be there.

        Args:
            read_record: Reads the calibration record that the board holds.
            written: The one that it was given.

        Raises:
            UnitRejection: It does not start again, or lost something.
        """

        def find_faults(info: InfoReadResponse) -> tuple[str, ...]:
            reservation, bundle = self._job.reservation, self._station.bundle
            restarted = judge_restart(
                info, bundle=bundle, mac=reservation.mac, serial=reservation.serial
            )
            record = judge_record(
                read_record(),
                written=written,
                trust=self._station.trust,
                now=self._station.outside.now(),
                serial=reservation.serial,
                mac=reservation.mac,
            )
            return restarted + record + judge_release_floor(self._read_floor(), bundle=bundle)

        def act() -> Mapping[str, object]:
            info = self._restart(Step.POWER_CYCLE, "the board does not start again after a reset")
            _reject_unless_empty(Step.POWER_CYCLE, find_faults(info))
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
            reservation, bundle = self._job.reservation, self._station.bundle
            restarted = judge_restart(
                info, bundle=bundle, mac=reservation.mac, serial=reservation.serial
            )
            return restarted + judge_release_floor(self._read_floor(), bundle=bundle)

        def act() -> Mapping[str, object]:
            nonlocal told
            info = self._restart(Step.RECHECK, "the locked board does not start")
            _reject_unless_empty(Step.RECHECK, find_faults(info))
            told = {"key_id": self._prove_identity()["key_id"], **measure()}
            return told

        def still_holds(confirmed: Mapping[str, object]) -> bool:
            nonlocal told
            told = confirmed
            try:
                if not is_right(confirmed):
                    return True  # nothing that the board does now makes that another
            except VerificationError:
                return False
            info = self._restart(Step.RECHECK, "the locked board does not start")
            return not find_faults(info) and (
                self._prove_identity()["key_id"] == confirmed.get("key_id")
            )

        self._job.perform(Step.RECHECK, intent={}, act=act, still_holds=still_holds)
        return told

    def _write_flash(self) -> Mapping[str, object]:
        if self.is_locked:
            return self._find_flashed()
        regions = self._station.bundle.flash_regions()
        if not self._is_in_loader:
            self._flasher.detect()  # the read-back of an earlier CONFIRM started the application

        def tell(done: float) -> None:
            fall_back = self.fall_back
            self._on_progress(
                Step.FLASH, done, f"writing flash ({fall_back})" if fall_back else "writing flash"
            )

        reports = self._flasher.write(regions, on_progress=tell)
        self._on_progress(Step.FLASH, 1.0, "starting the application")
        info = self._restart(Step.FLASH, "the application does not answer on the factory link")
        _reject_unless_empty(Step.FLASH, self._judge_handshake(info))
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
        info = self._restart(Step.FLASH, "the locked board does not start")
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
        self._reset_board()
        try:
            self.info = self._wait_until_ready()
        except LinkTimeoutError:
            return False
        return not self._judge_handshake(self.info)

    def _restart(self, step: Step, silence: str) -> InfoReadResponse:
        self._reset_board()
        try:
            self.info = self._wait_until_ready()
        except LinkTimeoutError:
            self._require_link()
            self._reset_board()
            try:
                self.info = self._wait_until_ready()
            except LinkTimeoutError as error:
                self.is_silent = True
                raise UnitRejection(step, (f"{silence}: {error.hint}",)) from error
        return self.info

    def _require_link(self) -> None:
        """Tell a silent application from a dead cable: only the first is the unit's fault.

        Raises:
            FlashError: The chip's ROM does not answer either.
            PortError: The port died.
        """
        mac = self._flasher.detect().mac
        if mac != self._job.reservation.mac:
            raise StationError(
                "there is another board in the slot now",
                expected=self._job.reservation.mac.hex(":"),
                got=mac.hex(":"),
                where=self._link.where,
                hint="leave boards in their slots until the station is done with them",
            )

    def _reset_board(self) -> None:
        self._is_in_loader = False
        self._link.reset_board()

    def _wait_until_ready(self) -> InfoReadResponse:
        return self._link.wait_until_ready(timeout_s=self._station.settings.boot_timeout_s)

    def _judge_handshake(self, info: InfoReadResponse) -> tuple[str, ...]:
        return judge_handshake(
            info,
            bundle=self._station.bundle,
            mac=self._job.reservation.mac,
            serial=self._job.reservation.serial,
        )

    def _install_identity(self) -> Mapping[str, object]:
        install_identity(
            self._link,
            keys=self._station.keys,
            trust_bytes=self._station.trust_bytes,
            trust_version=self._station.trust.version,
            reservation=self._job.reservation,
        )
        proof = self._prove_identity()
        # Last, because the board compares the statement with the table, which needs its trust.
        self._link.request(
            ReleaseWriteRequest,
            ReleaseWriteResponse,
            stmt=self._station.bundle.signed_statement,
        )
        floor = self._read_floor()
        _reject_unless_empty(Step.IDENTITY, judge_release_floor(floor, bundle=self._station.bundle))
        return {**proof, **_floor_document(floor)}

    def _read_floor(self) -> ReleaseReadResponse:
        return self._link.request(ReleaseReadRequest, ReleaseReadResponse)

    def _proves_again(self, confirmed: Mapping[str, object]) -> bool:
        try:
            return {**self._prove_identity(), **_floor_document(self._read_floor())} == confirmed
        except (BoardRefusalError, IdentityError, SigningError):
            return False

    def _prove_identity(self) -> Mapping[str, object]:
        station, reservation = self._station, self._job.reservation
        certificate = verify_identity(
            self._link,
            expected=ExpectedIdentity(
                serial=reservation.serial,
                mac=reservation.mac,
                app_sha256=station.bundle.image.image_sha256,
                trust=station.trust,
                now=station.outside.now(),
            ),
            nonce=station.outside.random_bytes(NONCE_BYTES),
        )
        wanted, used = table_digest(station.bundle.table_bytes), self._link.read_info().tabsha
        if used != wanted:
            raise IdentityError(
                "the board does not accept the waveform table of the release",
                expected=wanted.hex(),
                got=used.hex() or "no approved table",
                where=self._link.where,
                hint="check that the trust record names the policy keys that approved the table",
            )
        return {
            "certificate": certificate.der.hex(),
            "key_id": certificate.public_key.key_id.hex(),
            "trust_version": station.trust.version,
        }


def _reject_unless_empty(step: Step, reasons: tuple[str, ...]) -> None:
    if reasons:
        raise UnitRejection(step, reasons)


def _floor_document(floor: ReleaseReadResponse) -> dict[str, object]:
    return {"release_counter": floor.counter, "policy_version_floor": floor.policy}


def _region_document(report: RegionReport) -> dict[str, object]:
    return {
        "name": report.name,
        "offset_bytes": report.offset_bytes,
        "size_bytes": report.size_bytes,
        "md5": report.md5,
        "was_there": report.was_there,
    }
