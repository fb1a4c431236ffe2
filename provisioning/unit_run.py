"""Takes one board through the whole workflow, from a blank chip to a verdict.

detect → reserve → NVS → flash → key storage → identity → calibrate → record → power cycle →
verify → eFuses → lock → recheck → final; NVS, and from eFuses to recheck, only where there is a
plan. A board that is not good enough is a verdict and closes its job; a dead port or instrument is
an error, leaves the job open, and the next start goes on where this one stopped.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from provisioning.board_output import BoardOutput
from provisioning.device_link import DeviceLink
from provisioning.errors import (
    BoardRefusalError,
    IdentityError,
    LedgerError,
    LinkAnswerError,
    LinkTimeoutError,
    ProvisioningError,
    StationError,
)
from provisioning.ledger_events import Phase
from provisioning.ledger_values import UnitState
from provisioning.station_values import (
    Progress,
    SlotConfig,
    Step,
    UnitRejection,
    UnitReport,
    Verdict,
    reject_for,
)
from provisioning.unit_admission import (
    NOT_ADMITTED,
    admit_board,
    refuse_quarantined,
    require_same_board,
)
from provisioning.unit_bringup import UnitBringUp
from provisioning.unit_detection import detect_board
from provisioning.unit_efuses import UnitEfuses
from provisioning.unit_job import UnitJob
from provisioning.unit_judgement import judge_calibration, judge_recheck, judge_verification
from provisioning.unit_measuring import UnitMeasuring
from provisioning.unit_records import load_results
from provisioning.unit_udi import choose_udi, describe_udi, load_udi
from signing.errors import SigningError
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_images.bundle import Bundle
    from provisioning.classification import Classification
    from provisioning.instruments import Meter
    from provisioning.ledger_values import Reservation
    from provisioning.station import Station


class UnitRun:
    """One board in one slot, once.

    Args:
        station: What all slots share.
        slot: Where the board is.
        again: Work on a unit that passed already.
        on_progress: Told every piece of news; called from this thread.
        is_stopping: Asked between steps whether the operator wants to stop.
    """

    def __init__(
        self,
        station: Station,
        slot: SlotConfig,
        *,
        again: bool,
        on_progress: Callable[[Progress], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._station = station
        self._slot = slot
        self._again = again
        self._on_progress = on_progress
        self._is_stopping = is_stopping
        self._resources = ExitStack()
        self._meter: Meter | None = None
        self._step = Step.DETECT
        self._mac = b""
        self._started_s = station.outside.clock_s()

    def run(self) -> UnitReport:
        """Do everything that is left to do for the board in this slot.

        Returns:
            The report, passed or not.

        Raises:
            Refusal: Port, board, instrument or ledger stopped the work; the job stays open.
        """
        with self._resources:
            port = self._station.open_port(self._slot.port)
            self._resources.callback(port.close)
            flasher = self._station.open_flasher(port, self._slot.port)
            link = DeviceLink(port, where=self._slot.port)
            self._begin(Step.DETECT, "connecting")
            chip = detect_board(self._station, self._slot, flasher, link, on_progress=self._tell)
            holding = self._station.in_work.holding(chip.mac, self._slot.name)
            other_slot = self._resources.enter_context(holding)
            self._mac = chip.mac
            try:
                classification = admit_board(
                    self._station, flasher, chip, other_slot=other_slot, again=self._again
                )
            except NOT_ADMITTED:
                with suppress(ProvisioningError):  # it leaves as it came: not in its loader
                    link.reset_board()
                raise
            reservation = self._reserve(chip.mac, classification)
            if reservation.job is None:
                link.reset_board()
                return self._report_passed_before(reservation)
            job = UnitJob(self._station.ledger, self._station.writer, reservation)
            bring_up = UnitBringUp(
                self._station,
                job,
                link,
                flasher=flasher,
                is_locked=chip.is_locked,
                on_progress=self._tell,
            )
            efuses = None
            if (plan := self._station.efuse_plan) is not None:
                efuses = UnitEfuses(
                    self._station, plan, job, flasher=flasher, is_locked=chip.is_locked
                )
            measuring = UnitMeasuring(
                self._station,
                job,
                link,
                slot=self._slot.name,
                output=BoardOutput(link),
                open_meter=self._open_meter,
                on_progress=self._tell,
            )
            try:
                verdict = self._judge(bring_up, measuring, efuses, link)
            except Refusal as error:
                with suppress(LedgerError):  # the first error is the one to report
                    said = {"error": type(error).__name__, "what": error.what}
                    job.note(self._step, {**said, "message": str(error)})
                raise
            with suppress(ProvisioningError):  # the verdict stands; this only switches off
                link.reset_board()
            return self._finish(job, bring_up, measuring, verdict)

    def _judge(
        self,
        bring_up: UnitBringUp,
        measuring: UnitMeasuring,
        efuses: UnitEfuses | None,
        link: DeviceLink,
    ) -> Verdict:
        try:
            verdict = self._work(bring_up, measuring, efuses)
        except UnitRejection as rejection:
            verdict = rejection.verdict
        if bring_up.is_silent:  # and its chip was asked
            return verdict
        # Silence and nonsense are for the verdict to explain.
        with suppress(LinkTimeoutError, LinkAnswerError, BoardRefusalError):
            require_same_board(link, self._mac)
        return verdict

    def _work(
        self, bring_up: UnitBringUp, measuring: UnitMeasuring, efuses: UnitEfuses | None
    ) -> Verdict:
        try:
            if efuses is not None:
                efuses.refuse_conflicts()
            if (plan := self._station.nvs_plan) is not None:
                self._begin(Step.NVS, "comparing NVS")
                bring_up.write_nvs(plan)
            self._begin(Step.FLASH, "comparing flash")
            bring_up.flash()
            self._begin(Step.KEY_STORAGE, "encrypting the storage of its key")
            bring_up.encrypt_keys()
            self._begin(Step.IDENTITY, "key, certificate and proof")
            bring_up.identify()
            self._begin(Step.CALIBRATE, "measuring at two loads")
            calibration = measuring.calibrate()
            reject_for(Step.CALIBRATE, judge_calibration(calibration))
            self._begin(Step.RECORD, "writing the calibration record")
            record_bytes = measuring.write_record(calibration)
            self._begin(Step.POWER_CYCLE, "reset and read back")
            bring_up.power_cycle(read_record=measuring.read_record, written=record_bytes)
            self._begin(Step.VERIFY, "measuring each mode on fresh points")
            state, reasons = judge_verification(measuring.verify(calibration))
            if state is UnitState.PASS and efuses is not None:
                self._begin(Step.EFUSES, "comparing eFuses")
                efuses.burn()
                self._begin(Step.LOCK, "burning the locks")
                efuses.lock()
                self._begin(Step.RECHECK, "start, proof and one current")
                recheck = bring_up.recheck(
                    measure=lambda: measuring.measure_one_current(calibration),
                    is_right=lambda told: judge_recheck(told)[0] is UnitState.PASS,
                )
                state, reasons = judge_recheck(recheck)
        except (BoardRefusalError, IdentityError, SigningError) as error:
            raise UnitRejection(self._step, (str(error),)) from error
        failed_step = None if state is UnitState.PASS else self._step
        return Verdict(state=state, failed_step=failed_step, reasons=reasons)

    def _reserve(self, mac: bytes, classification: Classification) -> Reservation:
        board_class = classification.board_class.value
        self._begin(Step.RESERVE, f"MAC {mac.hex(':')}, {board_class}")
        station = self._station
        station.ledger.append(
            station.writer,
            step=Step.RESERVE.value,
            phase=Phase.INTENT,
            data={"board_class": board_class, "reason": classification.reason},
            mac=mac,
        )
        reservation = station.ledger.reserve(
            station.writer,
            mac=mac,
            prefix=station.settings.serials.prefix,
            model=station.serial_model,
            bundle_digest=station.bundle.digest,
            again=self._again,
        )
        self._tell(Step.RESERVE, 1.0, reservation.serial)
        return reservation

    def _finish(
        self, job: UnitJob, bring_up: UnitBringUp, measuring: UnitMeasuring, verdict: Verdict
    ) -> UnitReport:
        self._step = Step.FINAL
        udi = choose_udi(self._station, job.reservation, verdict.state)
        failed_step = None if verdict.failed_step is None else verdict.failed_step.value
        self._station.ledger.finish(
            self._station.writer,
            reservation=job.reservation,
            unit_state=verdict.state,
            awaits_check=self._station.settings.check_standard is not None,
            data={
                "outcome": verdict.state.value,
                "failed_step": failed_step,
                "reasons": list(verdict.reasons),
                "bundle": self._station.bundle.digest.hex(),
                "firmware_version": self._station.bundle.statement.version,
                **describe_udi(self._station.settings.lot, udi),
                **_describe_waivers(self._station.bundle),
            },
        )
        self._tell(Step.FINAL, 1.0, verdict.state.value)
        return UnitReport(
            slot=self._slot.name,
            serial=job.reservation.serial,
            mac=job.reservation.mac,
            job=job.reservation.job,
            state=verdict.state,
            failed_step=verdict.failed_step,
            reasons=verdict.reasons,
            udi=udi,
            firmware_version=None if bring_up.info is None else bring_up.info.ver,
            calibration=measuring.calibration,
            verification=measuring.verification,
            duration_s=self._station.outside.clock_s() - self._started_s,
            notes=() if bring_up.fall_back is None else (f"slow link: {bring_up.fall_back}",),
        )

    def _report_passed_before(self, reservation: Reservation) -> UnitReport:
        self._tell(Step.FINAL, 1.0, "passed before; left alone")
        calibration, verification = load_results(self._station.ledger, reservation.serial)
        return UnitReport(
            slot=self._slot.name,
            serial=reservation.serial,
            mac=reservation.mac,
            job=None,
            state=reservation.unit_state,
            failed_step=None,
            reasons=(),
            udi=load_udi(self._station.ledger, reservation.serial),
            firmware_version=None,
            calibration=calibration,
            verification=verification,
            duration_s=self._station.outside.clock_s() - self._started_s,
        )

    def _open_meter(self) -> Meter:
        if self._meter is None:
            self._meter = self._station.open_meter(self._slot)
            self._resources.callback(self._meter.close)
        return self._meter

    def _begin(self, step: Step, text: str) -> None:
        if self._is_stopping():
            raise StationError(
                "the operator stopped the station",
                got=f"before step {step.value}",
                where=f"slot {self._slot.name}",
                hint="start the station again: it goes on where it stopped",
            )
        if self._mac:
            # Another slot, or another station, may have met a second board with this MAC.
            refuse_quarantined(self._station, self._mac)
        self._step = step
        self._tell(step, 0.0, text)

    def _tell(self, step: Step, fraction: float, text: str) -> None:
        self._on_progress(Progress(slot=self._slot.name, step=step, fraction=fraction, text=text))


def _describe_waivers(bundle: Bundle) -> dict[str, object]:
    # Only where there are any: the record of a unit says what is particular about it.
    waivers = [waiver.to_json() for waiver in bundle.waivers]
    return {"waivers": waivers} if waivers else {}
