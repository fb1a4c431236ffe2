"""Plays a mode through the board's own engine and captures it: in windows, or a whole period.

A board that cannot begin in the middle of a session is captured whole, which sees more and takes
longer. Implements docs/spec/calibration.md §8. This module judges nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from provisioning.errors import InstrumentOverloadError
from provisioning.measurement_choices import WaveformCheck
from provisioning.overload_checks import confirm_overload
from provisioning.reading_samples import STORED_DECIMALS
from provisioning.verification_readings import RawWaveform, RawWindow
from provisioning.waveform_expectation import WaveformExpectation
from provisioning.waveform_train import WaveformShape
from provisioning.waveform_windows import plan_windows

if TYPE_CHECKING:
    from firmware_images.waveform import Mode, WaveformTable
    from provisioning.instruments import Meter, Reading
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.output_port import OutputPort
    from provisioning.waveform_windows import WindowPlan


def read_waveform(
    output: OutputPort,
    meter: Meter,
    settings: MetrologySettings,
    table: WaveformTable,
    mode: Mode,
) -> RawWaveform:
    """Play the highest level of a mode into the reference load, and capture it.

    Args:
        output: The unit's output.
        meter: The instrument with the fixture's loads.
        settings: How a waveform is checked.
        table: The released waveform table.
        mode: One of its modes.

    Raises:
        InstrumentError: The measurement failed, which says nothing about the unit.
        ProvisioningError: The link to the board failed, or the board refuses the level.
    """
    index = len(mode.levels) - 1
    expectation = WaveformExpectation(mode, index, tick_us=table.tick_us)
    peak_na = expectation.peak_na
    raw = RawWaveform(
        mode=mode.name,
        level_index=index,
        peak_na=peak_na,
        load_ohm=settings.reference_load_ohm,
        range_ua=settings.accuracy_for(peak_na + settings.claim_limit_at(peak_na)).range_ua,
        period_us=0,
        expected_period_us=expectation.period_us,
        aperture_s=expectation.period_us * 1e-6,
        expected_mean_na=expectation.mean_na,
        mean_na=0.0,
        sample_aperture_s=expectation.sample_aperture_s,
        samples_na=(),
        delay_s=0.0,
        shape_rms_na=0.0,
        is_inverted=False,
    )
    meter.select_load(settings.reference_load_ohm)
    if settings.waveform_check is WaveformCheck.WINDOWS:
        plan = plan_windows(
            mode, index, settings, tick_us=table.tick_us, hard_stop_ticks=table.hard_stop_ticks
        )
        seen = None if plan is None else _read_windows(output, meter, settings, raw, plan)
        if seen is not None:
            return replace(seen, shape=WaveformShape.of(mode, index, tick_us=table.tick_us))
    return _read_whole(output, meter, settings, raw, expectation)


def _read_windows(
    output: OutputPort,
    meter: Meter,
    settings: MetrologySettings,
    raw: RawWaveform,
    plan: WindowPlan,
) -> RawWaveform | None:
    """Captures each window; `None` from a board that can begin at the start only."""
    aperture_s = plan.sample_aperture_us * 1e-6
    windows: list[RawWindow] = []
    period_us = 0

    count = plan.sample_count

    def play_and_read(start_us: int, range_ua: int) -> Reading:
        meter.prepare_aperture(range_ua=range_ua, aperture_s=aperture_s, count=count)
        output.run_waveform_from(raw.mode, raw.level_index, start_us)
        return meter.read_aperture(range_ua=range_ua, aperture_s=aperture_s, count=count)

    for window in plan.windows:
        # Before the board begins: what the meter needs to be configured is no delay of the board.
        meter.prepare_aperture(range_ua=raw.range_ua, aperture_s=aperture_s, count=count)
        answer_us = output.run_waveform_from(raw.mode, raw.level_index, window.start_us)
        if answer_us is None:
            return None
        # A window that tells of another period than the others decides.
        if not windows or answer_us != raw.expected_period_us:
            period_us = answer_us
        try:
            capture = meter.read_aperture(range_ua=raw.range_ua, aperture_s=aperture_s, count=count)
        except InstrumentOverloadError:
            again = partial(play_and_read, window.start_us)
            confirm_overload(output, meter, settings, range_ua=raw.range_ua, again=again)
            windows.append(RawWindow(window=window, is_overload=True))
            continue
        samples_na = tuple(round(sample) for sample in capture.samples_na)
        windows.append(RawWindow(window=window, samples_na=samples_na))
    return replace(raw, period_us=period_us, sample_aperture_s=aperture_s, windows=tuple(windows))


def _read_whole(
    output: OutputPort,
    meter: Meter,
    settings: MetrologySettings,
    raw: RawWaveform,
    expectation: WaveformExpectation,
) -> RawWaveform:
    delay_max_s = settings.start_delay_max_s
    if expectation.settling_periods:
        delay_max_s += settings.start_delay_max_s

    def prepare(range_ua: int) -> None:
        _prepare(
            meter,
            settings,
            range_ua,
            settling_s=expectation.settling_periods * raw.aperture_s,
            aperture_s=expectation.sample_aperture_s,
            count=expectation.sample_count,
        )

    prepare(raw.range_ua)
    raw = replace(raw, period_us=output.run_waveform(raw.mode, raw.level_index))

    def play_and_read(range_ua: int) -> Reading:
        prepare(range_ua)
        output.run_waveform(raw.mode, raw.level_index)
        capture, mean_na = _capture_whole(
            output, meter, settings, raw, expectation, range_ua=range_ua
        )
        return replace(capture, samples_na=(*capture.samples_na, mean_na))

    try:
        capture, mean_na = _capture_whole(
            output, meter, settings, raw, expectation, range_ua=raw.range_ua
        )
    except InstrumentOverloadError:
        confirm_overload(output, meter, settings, range_ua=raw.range_ua, again=play_and_read)
        return replace(raw, is_overload=True)
    match = expectation.match(
        capture.samples_na,
        aperture_s=expectation.sample_aperture_s,
        delay_max_s=delay_max_s,
    )
    return replace(
        raw,
        mean_na=round(mean_na, STORED_DECIMALS),
        samples_na=tuple(round(sample) for sample in capture.samples_na),
        delay_s=match.delay_s,
        shape_rms_na=round(match.rms_error_na, STORED_DECIMALS),
        is_inverted=match.is_inverted,
    )


def _capture_whole(
    output: OutputPort,
    meter: Meter,
    settings: MetrologySettings,
    raw: RawWaveform,
    expectation: WaveformExpectation,
    *,
    range_ua: int,
) -> tuple[Reading, float]:
    """Return a capture of what plays from its start, and the mean over a whole period, nA."""
    period_s = raw.aperture_s
    # The ramp is let pass in whole periods, so that the train begins again when they end.
    settling_s = expectation.settling_periods * period_s
    _let_pass(meter, settings, range_ua, settling_s)
    capture = meter.read_aperture(
        range_ua=range_ua,
        aperture_s=expectation.sample_aperture_s,
        count=expectation.sample_count,
    )
    if expectation.is_capture_whole:
        return capture, capture.mean_na
    aperture_s, count = _parts(period_s, settings)
    _prepare(meter, settings, range_ua, settling_s=settling_s, aperture_s=aperture_s, count=count)
    output.run_waveform(raw.mode, raw.level_index)
    _let_pass(meter, settings, range_ua, settling_s)
    whole = meter.read_aperture(range_ua=range_ua, aperture_s=aperture_s, count=count)
    return capture, whole.mean_na


def _prepare(
    meter: Meter,
    settings: MetrologySettings,
    range_ua: int,
    *,
    settling_s: float,
    aperture_s: float,
    count: int,
) -> None:
    """Configure the meter for what it reads first, before the board begins to play."""
    if settling_s > 0:
        aperture_s, count = _parts(settling_s, settings)
    meter.prepare_aperture(range_ua=range_ua, aperture_s=aperture_s, count=count)


def _let_pass(meter: Meter, settings: MetrologySettings, range_ua: int, duration_s: float) -> None:
    """Measure for a while and drop the readings: the meter's clock is the one that counts here."""
    if duration_s > 0:
        aperture_s, count = _parts(duration_s, settings)
        meter.read_aperture(range_ua=range_ua, aperture_s=aperture_s, count=count)


def _parts(duration_s: float, settings: MetrologySettings) -> tuple[float, int]:
    """Return equal apertures, none too long for the instrument, and how many of them."""
    count = math.ceil(duration_s / settings.aperture_max_s)
    return duration_s / count, count
