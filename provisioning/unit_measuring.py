"""The measuring half of a unit's workflow: calibrate, write the record, verify.

The signed record is part of the INTENT, so that a station that was killed between writing and
reading back writes the same bytes again instead of a second record.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, TypeVar

from firmware_images.calibration_record import (
    parse_signed_record,
    reach_of_table_na,
    refuse_uncovered_table,
    sign_calibration_record,
)
from firmware_images.errors import CalibrationRecordError
from provisioning.calibration import calibrate_unit
from provisioning.calibration_result import (
    CalibrationResult,
    calibration_digest,
    parse_calibration_result,
    serialize_calibration_result,
)
from provisioning.errors import CalibrationError, VerificationError
from provisioning.fixture_checks import check_fixture
from provisioning.instrument_certificates import age_of_certificate
from provisioning.ledger_events import Phase
from provisioning.link_output import (
    CalibrationReadRequest,
    CalibrationReadResponse,
    CalibrationWriteRequest,
    CalibrationWriteResponse,
)
from provisioning.recipe import RECIPE_KEY, build_recipe
from provisioning.station_values import Step, UnitRejection
from provisioning.unit_admission import require_same_board
from provisioning.unit_calibration_record import (
    REACH_KEY,
    build_calibration_record,
    verified_span,
)
from provisioning.verification import measure_one_current, refuse_unmeasurable, verify_unit
from provisioning.verification_result import (
    VerificationResult,
    parse_verification_result,
    serialize_verification_result,
)
from signing.installed_version import find_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from firmware_images.calibration_record import CalibrationRecord
    from provisioning.device_link import DeviceLink
    from provisioning.instruments import Meter
    from provisioning.ledger_values import Reservation
    from provisioning.output_port import OutputPort
    from provisioning.station import Station
    from provisioning.unit_job import UnitJob

_RESULT = "result"
_RECORD = "record"
_Result = TypeVar("_Result", CalibrationResult, VerificationResult)


class UnitMeasuring:
    """Calibration, record and verification of one unit within one job.

    Args:
        station: What all slots share.
        job: The job's memory.
        link: The board's application.
        slot: Name of the fixture's place.
        output: The board's output.
        open_meter: Opens the slot's meter; called when the first reading is needed.
        on_progress: Told the step, its fraction and a text.

    Attributes:
        calibration: The result, once there is one.
        verification: The result, once there is one.
    """

    def __init__(
        self,
        station: Station,
        job: UnitJob,
        link: DeviceLink,
        *,
        slot: str,
        output: OutputPort,
        open_meter: Callable[[], Meter],
        on_progress: Callable[[Step, float, str], None],
    ) -> None:
        self._station = station
        self._job = job
        self._link = link
        self._slot = slot
        self._output = output
        self._open_meter = open_meter
        self._on_progress = on_progress
        self.calibration: CalibrationResult | None = None
        self.verification: VerificationResult | None = None

    def calibrate(self) -> CalibrationResult:
        """Measure and fit, unless this job did so already; look at its findings."""
        settings = self._station.settings.metrology

        def act() -> Mapping[str, object]:
            meter = self._open_meter()
            today = self._station.outside.now().astimezone(UTC).date()
            refuse_unmeasurable(
                self._station.bundle.waveform_table,
                settings,
                age_of_certificate(meter.identity, settings, today=today),
            )
            check_fixture(self._output, meter, settings, self._station.settings.meter)
            result = calibrate_unit(
                self._output,
                meter,
                settings,
                progress=lambda text, done: self._on_progress(Step.CALIBRATE, done, text),
                clock=self._station.outside.now,
            )
            require_same_board(self._link, self._job.reservation.mac)
            self.calibration = result.model_copy(update=self._circumstances(result))
            return self._confirmed(self.calibration, serialize_calibration_result)

        def still_holds(confirmed: Mapping[str, object]) -> bool:
            try:
                self.calibration = parse_calibration_result(confirmed.get(_RESULT))
            except CalibrationError:
                return False
            return self.calibration.settings == settings

        self._job.perform(
            Step.CALIBRATE,
            intent={"loads_ohm": list(settings.loads_ohm)},
            act=act,
            still_holds=still_holds,
        )
        assert self.calibration is not None, "done now or confirmed before"
        return self.calibration

    def write_record(self, calibration: CalibrationResult) -> bytes:
        """Sign the calibration record, write it, read it back, and return it."""
        table, fit = self._station.bundle.waveform_table, calibration.fit
        assert fit is not None, "only an accepted calibration is written to a board"
        record, record_bytes = self._choose_record(calibration)
        fitted = replace(record, verified_min_na=fit.span_min_na, verified_max_na=fit.span_max_na)
        try:
            refuse_uncovered_table(fitted, table)
        except CalibrationRecordError as error:
            raise UnitRejection(Step.RECORD, (str(error),)) from error

        def act() -> Mapping[str, object]:
            answer = self._link.request(
                CalibrationWriteRequest, CalibrationWriteResponse, rec=record_bytes
            )
            return {
                "slot_generation": answer.gen,
                "stored": self.read_record().hex(),
                REACH_KEY: reach_of_table_na(table),
            }

        self._job.perform(
            Step.RECORD,
            intent={
                _RECORD: record_bytes.hex(),
                "generation": record.generation,
                "fit_digest": record.fit_digest.hex(),
            },
            act=act,
            still_holds=lambda _confirmed: self.read_record() == record_bytes,
        )
        return record_bytes

    def read_record(self) -> bytes:
        """Return the calibration record that the board holds."""
        return self._link.request(CalibrationReadRequest, CalibrationReadResponse).rec

    def verify(self, calibration: CalibrationResult) -> VerificationResult:
        """Measure every mode's levels on fresh points, unless this job did so already."""
        settings = self._station.settings.metrology

        def act() -> Mapping[str, object]:
            result = verify_unit(
                self._output,
                self._open_meter(),
                self._station.bundle.waveform_table,
                settings,
                progress=lambda text, done: self._on_progress(Step.VERIFY, done, text),
                clock=self._station.outside.now,
                calibration=calibration,
            )
            require_same_board(self._link, self._job.reservation.mac)
            self.verification = result.model_copy(update=self._circumstances(result))
            return self._confirmed(self.verification, serialize_verification_result)

        def still_holds(confirmed: Mapping[str, object]) -> bool:
            try:
                self.verification = parse_verification_result(confirmed.get(_RESULT))
            except VerificationError:
                return False
            return True

        table = self._station.bundle.statement.parts["waveform-table.bin"].sha256.hex()
        self._job.perform(
            Step.VERIFY, intent={"waveform_table": table}, act=act, still_holds=still_holds
        )
        assert self.verification is not None, "done now or confirmed before"
        return self.verification

    def measure_one_current(self, calibration: CalibrationResult) -> Mapping[str, object]:
        """Measure one current, after the locks; return it for the CONFIRM, right or not."""
        result = measure_one_current(
            self._output,
            self._open_meter(),
            self._station.bundle.waveform_table,
            self._station.settings.metrology,
            clock=self._station.writer.now,
            calibration=calibration,
        )
        result = result.model_copy(update=self._circumstances(result))
        (point,) = result.points
        current = {
            "mode": point.mode,
            "target_na": point.target_na,
            "measured_na": point.measured_na,
            "load_ohm": point.load_ohm,
        }
        return {"current": current, **self._confirmed(result, serialize_verification_result)}

    def _circumstances(self, result: _Result) -> dict[str, object]:
        """Return what only the station knows about a result: recipe and temperature."""
        recipe = build_recipe(
            result,
            self._station.bundle,
            station=self._station.settings.name,
            slot=self._slot,
            software=f"ampforge {find_version('ampforge')}",
        )
        return {"recipe": recipe, "temperature_centi_c": self._station.settings.temperature_centi_c}

    @staticmethod
    def _confirmed(
        result: _Result, serialize: Callable[[_Result], dict[str, object]]
    ) -> dict[str, object]:
        assert result.recipe is not None, "the station always says by what it measured"
        return {_RESULT: serialize(result), RECIPE_KEY: result.recipe.sha256}

    def _choose_record(self, calibration: CalibrationResult) -> tuple[CalibrationRecord, bytes]:
        """Return the record that this job intended for this very fit, or a new one.

        One that an earlier version intended may state another span; what is verified now must not
        be told as more, so it gets a record, and a generation, of its own.
        """
        reservation = self._job.reservation
        fit_digest = calibration_digest(calibration)
        intent = self._job.last_intent(Step.RECORD)
        assert reservation.job is not None
        measured_at = calibration.temperature_centi_c
        record = build_calibration_record(
            calibration,
            serial=reservation.serial,
            mac=reservation.mac,
            job_id=reservation.job,
            generation=self._next_generation(reservation, fit_digest),
            temperature_centi_c=(
                self._station.settings.temperature_centi_c if measured_at is None else measured_at
            ),
            reach_na=reach_of_table_na(self._station.bundle.waveform_table),
        )
        if intent is not None and intent.get("fit_digest") == fit_digest.hex():
            intended_bytes = bytes.fromhex(str(intent[_RECORD]))
            if verified_span(parse_signed_record(intended_bytes)) == verified_span(record):
                return record, intended_bytes
            record = replace(record, generation=record.generation + 1)
        keys = self._station.keys
        return record, sign_calibration_record(record, keys.station_signer, keys.station_der)

    def _next_generation(self, reservation: Reservation, fit_digest: bytes) -> int:
        """Count the unit's records: the one for this fit keeps its number, a new one is next."""
        intents = [
            chained.event.data
            for chained in self._station.ledger.events(serial=reservation.serial)
            if chained.event.step == Step.RECORD.value and chained.event.phase is Phase.INTENT
        ]
        generations = {str(data["fit_digest"]): int(str(data["generation"])) for data in intents}
        known = generations.get(fit_digest.hex())
        return known if known is not None else max(generations.values(), default=0) + 1
