"""Fits gain, offset and output impedance together from readings at two loads.

The model is I(code, R) = (g·(code - mid) + o) / (1 + R·y) with y the output conductance. Weights
hold repeatability and the allowance for nonlinearity; the latter is the same current at both loads,
so it enters as a covariance between the readings of one code and does not blur the impedance.
Systematic terms are added to the covariance afterwards as fully correlated patterns. Implements
docs/spec/calibration.md §4.2 to §4.4. This module judges nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from provisioning.calibration_result import CalibrationFit, CodeDeviation
from provisioning.errors import CalibrationError
from provisioning.line_fit import fit_ols
from provisioning.small_matrices import (
    apply,
    dot,
    invert_root,
    multiply,
    propagate,
    pseudo_inverse,
    transpose,
)
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.calibration_result import CodeReading, Triple
    from provisioning.line_fit import FittedLine
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.small_matrices import Matrix, Vector

IMPEDANCE_CAP_OHM: Final = 100_000_000
"""Above this the output impedance cannot be told from infinity with these loads, Ω."""
_REPEATABILITY_FLOOR_NA: Final = 0.5
_ITERATIONS: Final = 8
_PARAMETERS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Linearity:
    """How straight the converter is.

    Attributes:
        line: Best line of the linearity codes at the first load, nA on code minus mid-code.
        deviations: Every code's distance from it, LSB.
    """

    line: FittedLine
    deviations: tuple[CodeDeviation, ...]

    @property
    def inl_lsb(self) -> float:
        """The largest deviation, LSB."""
        return max(abs(entry.deviation_lsb) for entry in self.deviations)


def pooled_sd_na(readings: Sequence[CodeReading]) -> float:
    """Return the standard deviation of one sample, pooled over readings, nA."""
    dof = sum(reading.count - 1 for reading in readings)
    if dof == 0:
        return _REPEATABILITY_FLOOR_NA
    total = math.fsum((reading.count - 1) * reading.sd_na**2 for reading in readings)
    return max(math.sqrt(total / dof), _REPEATABILITY_FLOOR_NA)


def fit_linearity(
    readings: Sequence[CodeReading], line_codes: Sequence[int], settings: MetrologySettings
) -> Linearity:
    """Return the best line through some codes, and the deviation of all codes from it.

    Args:
        readings: Readings into one load.
        line_codes: The codes that define the line.
        settings: Mid-code.
    """
    chosen = set(line_codes)
    on_line = [reading for reading in readings if reading.code in chosen]
    line = fit_ols(
        [float(reading.code - settings.mid_code) for reading in on_line],
        [reading.mean_na for reading in on_line],
    )
    return Linearity(
        line=line,
        deviations=tuple(
            CodeDeviation(
                code=reading.code,
                deviation_lsb=(reading.mean_na - line.value_at(reading.code - settings.mid_code))
                / abs(line.slope),
            )
            for reading in sorted(readings, key=lambda reading: reading.code)
        ),
    )


def fit_two_loads(
    readings: Sequence[CodeReading],
    linearity: Linearity,
    settings: MetrologySettings,
    *,
    age_days: int | None = None,
) -> CalibrationFit:
    """Fit gain, offset and output impedance.

    Args:
        readings: Readings of the same codes into two loads, none overloaded.
        linearity: Carried into the result.
        settings: Converter, reference load, instrument and fixture.
        age_days: Days since the instrument's calibration; `None` is the longest time.

    Raises:
        CalibrationError: The readings do not determine the three parameters.
    """
    d = [float(reading.code - settings.mid_code) for reading in readings]
    load = [float(reading.load_ohm) for reading in readings]
    current = [reading.mean_na for reading in readings]
    if len(set(load)) < len(settings.loads_ohm) or len(set(d)) < _PARAMETERS:
        raise CalibrationError(
            "the readings do not determine gain, offset and output impedance",
            expected="at least three codes at two loads",
            got=f"{len(set(d))} codes at {len(set(load))} loads",
            hint="measure again; some readings were overloaded",
        )
    repeatability = pooled_sd_na(readings)
    allowance = settings.inl_allowance_lsb * settings.lsb_na
    variance = [
        [
            (allowance * allowance if d[i] == d[j] else 0.0)
            + (repeatability * repeatability / reading.count if i == j else 0.0)
            for j in range(len(readings))
        ]
        for i, reading in enumerate(readings)
    ]
    try:
        whiten = invert_root(variance)
    except ValueError as error:
        raise CalibrationError(
            "the allowance for nonlinearity is too far from the scatter of the readings",
            expected="weights that can be told apart",
            got=f"{allowance:g} nA beside {repeatability:g} nA",
            where="[station.metrology] inl_allowance_lsb",
            hint="set it to what the converter may be bent by, in LSB",
        ) from error

    theta = _start(d, load, current)
    for _ in range(_ITERATIONS):
        step = apply(_gain_matrix(whiten, theta, d, load), _residual(theta, d, load, current))
        theta = [value + change for value, change in zip(theta, step, strict=True)]
    residual = _residual(theta, d, load, current)
    to_reported, reported = _reference(theta, settings)
    sensitivity = multiply(to_reported, _gain_matrix(whiten, theta, d, load))
    statistical = propagate(sensitivity, variance)
    shifts = [
        apply(sensitivity, pattern)
        for pattern in _systematic_patterns(theta, readings, settings, age_days)
    ]
    combined = [
        [
            math.fsum([statistical[i][j], *(shift[i] * shift[j] for shift in shifts)])
            for j in range(_PARAMETERS)
        ]
        for i in range(_PARAMETERS)
    ]

    whitened = apply(whiten, residual)
    gain, offset, conductance_ns = reported
    reference = 1 + settings.reference_load_ohm * theta[2]
    at_reference = [
        value * (1 + ohm * theta[2]) / reference for value, ohm in zip(current, load, strict=True)
    ]
    dof = len(readings) - _PARAMETERS
    return CalibrationFit(
        gain_ppm=round(gain),
        offset_na=round(offset),
        output_impedance_ohm=_impedance(conductance_ns),
        conductance_ns=conductance_ns,
        gain_u_ppm=math.sqrt(combined[0][0]),
        offset_u_na=math.sqrt(combined[1][1]),
        conductance_u_ns=math.sqrt(combined[2][2]),
        covariance=_triples(combined),
        fit_covariance=_triples(statistical),
        chi2=dot(whitened, whitened),
        dof=dof,
        residual_sd_na=math.sqrt(dot(residual, residual) / dof),
        repeatability_na=repeatability,
        span_min_na=math.ceil(min(at_reference)),
        span_max_na=math.floor(max(at_reference)),
        inl_lsb=linearity.inl_lsb,
        deviations=linearity.deviations,
    )


def _residual(
    theta: Vector, d: Sequence[float], load: Sequence[float], current: Sequence[float]
) -> Vector:
    return [
        value - (theta[0] * steps + theta[1]) / (1 + ohm * theta[2])
        for value, steps, ohm in zip(current, d, load, strict=True)
    ]


def _start(d: Sequence[float], load: Sequence[float], current: Sequence[float]) -> Vector:
    # One line for each load; the two slopes give the conductance, and that the rest.
    low, high = sorted(set(load))
    lines = {
        ohm: fit_ols(
            [steps for steps, here in zip(d, load, strict=True) if here == ohm],
            [value for value, here in zip(current, load, strict=True) if here == ohm],
        )
        for ohm in (low, high)
    }
    slope_low, slope_high = lines[low].slope, lines[high].slope
    conductance = (slope_low - slope_high) / (slope_high * high - slope_low * low)
    factor = 1 + low * conductance
    return [slope_low * factor, lines[low].intercept * factor, conductance]


def _gain_matrix(
    whiten: Matrix, theta: Vector, d: Sequence[float], load: Sequence[float]
) -> Matrix:
    jacobian = []
    for steps, ohm in zip(d, load, strict=True):
        factor = 1 / (1 + ohm * theta[2])
        jacobian.append(
            [steps * factor, factor, -ohm * (theta[0] * steps + theta[1]) * factor * factor]
        )
    whitened = multiply(whiten, jacobian)
    # Columns are scaled to unit length: nA per code, nA and siemens differ by twelve decades.
    scale = [math.sqrt(dot(column, column)) for column in transpose(whitened)]
    scaled = [[value / by for value, by in zip(row, scale, strict=True)] for row in whitened]
    gain_matrix = multiply(pseudo_inverse(scaled), whiten)
    return [[value / by for value in row] for row, by in zip(gain_matrix, scale, strict=True)]


def _reference(theta: Vector, settings: MetrologySettings) -> tuple[Matrix, Vector]:
    # From (nA per code, nA, S) at zero load to (ppm, nA, nS) at the reference load.
    g, o, y = theta
    ohm = settings.reference_load_ohm
    factor = 1 / (1 + ohm * y)
    ppm = 1e6 / settings.lsb_na
    reported = [g * ppm * factor, o * factor, y * 1e9]
    jacobian = [
        [ppm * factor, 0.0, -g * ppm * ohm * factor * factor],
        [0.0, factor, -o * ohm * factor * factor],
        [0.0, 0.0, 1e9],
    ]
    return jacobian, reported


def _systematic_patterns(
    theta: Vector,
    readings: Sequence[CodeReading],
    settings: MetrologySettings,
    age_days: int | None,
) -> list[Vector]:
    # Each pattern is one standard deviation of an error that all readings share. Rectangular
    # limits are divided by sqrt 3 (JCGM 100 §4.3.7).
    root3 = math.sqrt(3)
    patterns = []
    for range_ua in sorted({reading.range_ua for reading in readings}):
        reading_percent, range_percent = settings.accuracy_of_range(range_ua).at_age(age_days)
        here = [float(reading.range_ua == range_ua) for reading in readings]
        patterns.append(
            [
                on * reading.mean_na * reading_percent / 100 / root3
                for on, reading in zip(here, readings, strict=True)
            ]
        )
        patterns.append([on * range_ua * 1_000 * range_percent / 100 / root3 for on in here])
    # A load that is off by its tolerance changes the divider with the output impedance.
    tolerance = settings.load_tolerance_percent / 100 / root3
    patterns += [
        [
            -reading.mean_na * theta[2] / (1 + ohm * theta[2]) * ohm * tolerance
            if reading.load_ohm == ohm
            else 0.0
            for reading in readings
        ]
        for ohm in sorted({reading.load_ohm for reading in readings})
    ]
    patterns.append([settings.leakage_na / root3] * len(readings))
    # What is in series with any load, and the temperature: each one error of the whole sweep.
    per_ohm = [
        -reading.mean_na * theta[2] / (1 + reading.load_ohm * theta[2]) for reading in readings
    ]
    step = settings.temperature_span_c / root3
    load_step = settings.load_temperature_ppm_per_c * 1e-6 * step
    gain_step = settings.unit_gain_drift_ppm_per_c * 1e-6 * step
    patterns.append([value * settings.loading_ohm / root3 for value in per_ohm])
    patterns.append(
        [
            value * reading.load_ohm * load_step
            for value, reading in zip(per_ohm, readings, strict=True)
        ]
    )
    patterns.append([reading.mean_na * gain_step for reading in readings])
    patterns.append([settings.unit_offset_drift_na_per_c * step] * len(readings))
    return patterns


def _impedance(conductance_ns: float) -> int:
    if conductance_ns * IMPEDANCE_CAP_OHM <= 1e9:  # noqa: PLR2004 - nS in a siemens
        return IMPEDANCE_CAP_OHM
    return round(1e9 / conductance_ns)


def _triples(matrix: Matrix) -> tuple[Triple, Triple, Triple]:
    rows = [(row[0], row[1], row[2]) for row in matrix]
    return rows[0], rows[1], rows[2]
