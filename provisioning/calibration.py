"""Calibrates one unit: measures its codes at two loads, fits, and names what is wrong.

`calibrate_unit` moves the instrument and the board; `recompute_calibration` gets the same fit and
findings from a stored result. Implements docs/spec/calibration.md §4. It writes nothing to the
board: the station does, and only when `is_accepted`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from firmware_images.calibration_record import round_half_away
from provisioning.calibration_findings import PPM
from provisioning.calibration_judgement import judge_calibration
from provisioning.calibration_plan import (
    noise_code,
    probe_codes,
    return_codes,
    step_codes,
    sweep_codes,
    working_codes,
)
from provisioning.calibration_result import CalibrationResult, CodeReading, ReadingStep
from provisioning.calibration_sampling import NOISE_SAMPLES
from provisioning.errors import BoardRestartError, CalibrationError, InstrumentOverloadError
from provisioning.instrument_certificates import age_of_certificate, refuse_uncertified
from provisioning.measurement_choices import SweepPlan
from provisioning.overload_checks import confirm_overload
from provisioning.reading_samples import figures_again, figures_of
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from provisioning.calibration_judgement import Stage
    from provisioning.calibration_result import CalibrationFit
    from provisioning.instruments import Meter, Reading
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.output_port import OutputPort

_PROBE_SAMPLES: Final = 2


def calibrate_unit(
    output: OutputPort,
    meter: Meter,
    settings: MetrologySettings,
    *,
    progress: Callable[[str, float], None],
    clock: Callable[[], datetime],
) -> CalibrationResult:
    """Measure and fit one unit.

    The steps stop at the first one that finds a fault, so that a unit that runs to its rail is not
    swept. The output is off afterwards, whatever happens.

    Args:
        output: The unit's output, driven by raw codes.
        meter: The instrument with the fixture's loads.
        settings: Plan, instrument specification and limits.
        progress: Told what is measured, and how far this is, from 0 to 1.
        clock: Returns the time now, UTC.

    Returns:
        The result; look at `is_accepted` before anything is written.

    Raises:
        InstrumentError: The measurement failed, which says nothing about the unit.
        ProvisioningError: The link to the board failed.
    """
    started_at = clock()
    certificate = refuse_uncertified(meter.identity, settings, today=started_at.date())
    age_days = age_of_certificate(meter.identity, settings, today=started_at.date())
    readings: list[CodeReading] = []
    sweeper = _Sweeper(
        output=output, meter=meter, settings=settings, readings=readings, age_days=age_days
    )
    total = len(sweep_codes(settings)) + 2 * len(working_codes(settings)) + 7
    try:
        for reading in sweeper.measure():
            readings.append(reading)
            if reading.is_restart:
                break
            step = f"calibrate {reading.load_ohm / 1_000:g} kΩ"
            progress(step, min(len(readings) / total, 1.0))
    finally:
        output.output_off()
    stage = judge_calibration(readings, settings, age_days, is_complete=True)
    return CalibrationResult(
        settings=settings,
        instrument=meter.identity,
        certificate=certificate,
        started_at=started_at,
        finished_at=clock(),
        readings=tuple(readings),
        fit=stage.fit,
        findings=stage.findings,
        sampling=stage.sampling,
        way_back=stage.way_back,
        certificate_age_days=age_days,
    )


def recompute_calibration(result: CalibrationResult) -> CalibrationResult:
    """Fit and judge the readings of a stored result again, with its own settings.

    Raises:
        CalibrationError: Readings are missing, or the samples of one.
    """
    readings = tuple(_read_again(reading, result.format) for reading in result.readings)
    stage = judge_calibration(
        readings,
        result.settings,
        result.certificate_age_days,
        is_complete=True,
        version=result.format,
    )
    return result.model_copy(
        update={
            "readings": readings,
            "fit": stage.fit,
            "findings": stage.findings,
            "sampling": stage.sampling,
            "way_back": stage.way_back,
        }
    )


def _read_again(reading: CodeReading, version: int) -> CodeReading:
    figures = figures_again(
        reading.samples_na,
        is_read=not (reading.is_overload or reading.is_restart),
        version=version,
        error_class=CalibrationError,
        where=f"step {reading.step}, code {reading.code} at {reading.load_ohm} Ω",
    )
    return reading if figures is None else reading.model_copy(update=dict(figures))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sweeper:
    # Reads codes into loads, until what was read so far has a finding. `readings` is shared with
    # the caller, who appends what comes.
    output: OutputPort
    meter: Meter
    settings: MetrologySettings
    readings: Sequence[CodeReading]
    age_days: int | None

    def measure(self) -> Iterator[CodeReading]:
        settings = self.settings
        first, second = settings.loads_ohm
        largest_ua = settings.accuracy[-1].range_ua
        yield from self._read(
            ReadingStep.PROBE, first, probe_codes(settings), largest_ua, _PROBE_SAMPLES
        )
        if self._stage.findings:
            return
        largest_na = settings.linearity_span_na * (1 + settings.gain_limit_percent / 100)
        range_ua = settings.accuracy_for(largest_na + settings.offset_limit_na).range_ua
        yield from self._measure_noise(first, range_ua)
        fit_count, step_count = self._counts
        finely = set(step_codes(settings))
        for code in sweep_codes(settings):
            count = step_count if code in finely else fit_count
            yield from self._read(ReadingStep.SWEEP, first, (code,), range_ua, count)
        if (linearity := self._stage.linearity) is None:
            return
        if settings.sweep is SweepPlan.BOTH_WAYS:
            codes = return_codes(settings)
            yield from self._read(ReadingStep.RETURN, first, codes, range_ua, fit_count)
        line, last = linearity.line, settings.max_code
        codes = tuple(
            # Where the output stops early the line is flat, and asks for more than there is.
            min(max(settings.mid_code + round((wanted_na - line.intercept) / line.slope), 0), last)
            for wanted_na in (settings.compliance_current_na, -settings.compliance_current_na)
        )
        compliance_ohm = settings.compliance_load_ohm
        yield from self._read(ReadingStep.COMPLIANCE, compliance_ohm, codes, range_ua, fit_count)
        if self._stage.findings:
            return
        codes = working_codes(settings)
        yield from self._read(ReadingStep.SWEEP, second, codes, range_ua, fit_count)
        yield from self._measure_idle()

    @property
    def _stage(self) -> Stage:
        return judge_calibration(self.readings, self.settings, self.age_days)

    @property
    def _counts(self) -> tuple[int, int]:
        # Samples for the codes of the fit, and for those that differ by little.
        sampling = self._stage.sampling
        if sampling is None:
            return self.settings.sample_count, self.settings.sample_count
        # Where the noise needs more than is allowed, the sweep tells first what is wrong.
        allowed = self.settings.sample_count_max
        return min(sampling.count_for_fit, allowed), min(sampling.count_for_step, allowed)

    def _measure_noise(self, load_ohm: int, range_ua: int) -> Iterator[CodeReading]:
        if self.settings.sweep is SweepPlan.BOTH_WAYS:
            codes = (noise_code(self.settings),)
            yield from self._read(ReadingStep.NOISE, load_ohm, codes, range_ua, NOISE_SAMPLES)

    def _measure_idle(self) -> Iterator[CodeReading]:
        settings, stage = self.settings, self._stage
        if settings.sweep is SweepPlan.BOTH_WAYS and stage.fit is not None and not stage.findings:
            yield from self._read(
                ReadingStep.IDLE,
                settings.reference_load_ohm,
                (_idle_code(stage.fit, settings),),
                settings.accuracy_for(settings.claim_limit_at(0)).range_ua,
                settings.sample_count,
            )

    def _read(
        self, step: ReadingStep, load_ohm: int, codes: Sequence[int], range_ua: int, count: int
    ) -> Iterator[CodeReading]:
        self.meter.select_load(load_ohm)
        for code in codes:
            planned = CodeReading(
                step=step,
                code=code,
                load_ohm=load_ohm,
                range_ua=range_ua,
                mean_na=0.0,
                sd_na=0.0,
                count=count,
            )
            try:
                yield from self._read_code(planned)
            except BoardRestartError:
                yield planned.model_copy(update={"is_restart": True})

    def _read_code(self, planned: CodeReading) -> Iterator[CodeReading]:
        try:
            yield _filled(planned, self._drive_and_read(planned, planned.range_ua))
        except InstrumentOverloadError:
            seen = confirm_overload(
                self.output,
                self.meter,
                self.settings,
                range_ua=planned.range_ua,
                again=partial(self._drive_and_read, planned),
            )
            yield planned.model_copy(update={"is_overload": True})
            if seen is not None:
                planned = planned.model_copy(update={"step": ReadingStep.OVERLOAD})
                yield _filled(planned, seen)

    def _drive_and_read(self, planned: CodeReading, range_ua: int) -> Reading:
        self.output.set_output_code(planned.code)
        return self.meter.read_current(
            range_ua=range_ua,
            nplc=self.settings.nplc,
            count=planned.count,
            scatter_na=self._scatter_na,
        )

    @property
    def _scatter_na(self) -> float:
        # A unit that the noise step found noisy is refused for that, not for unsettled readings.
        return max((one.sd_na for one in self.readings if one.step is ReadingStep.NOISE), default=0)


def _idle_code(fit: CalibrationFit, settings: MetrologySettings) -> int:
    # What the board chooses for 0 nA once it has this calibration.
    return settings.mid_code + round_half_away(
        -fit.offset_na * (1 << settings.dac_bits) * PPM, fit.gain_ppm * 2 * settings.full_scale_na
    )


def _filled(planned: CodeReading, reading: Reading) -> CodeReading:
    return planned.model_copy(
        update={
            "range_ua": reading.range_ua,
            "at": reading.at,
            **figures_of(reading.samples_na),
        }
    )
