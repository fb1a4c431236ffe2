"""Which codes a calibration sets, and why. Implements docs/spec/calibration.md §4.1.

Codes are visited from the middle outward with alternating sign, so that a drift in time shows up as
a function of the size of the current and not as gain; those of the fit then again inward, so that
drift and hysteresis show up as themselves. This module measures nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from provisioning.measurement_settings import MetrologySettings

PROBE_NA: Final = 100_000
"""Nominal current of the first look at a unit, nA: small enough for a gain ten times too large."""
_WORKING_HALF_COUNT: Final = 6
_CARRY_PARTS: Final = (8, 4, 2)
_OUTER_PARTS: Final = (0.8, 0.9, 1.0)


def probe_codes(settings: MetrologySettings) -> tuple[int, int, int]:
    """Return mid-code, a code above and its mirror below, for the first look."""
    above = settings.nominal_code(PROBE_NA)
    return (settings.mid_code, above, 2 * settings.mid_code - above)


def working_codes(settings: MetrologySettings) -> tuple[int, ...]:
    """Return the codes of the fit, measured at both loads: even steps over the working span."""
    half = range(-_WORKING_HALF_COUNT, _WORKING_HALF_COUNT + 1)
    span_na = settings.working_span_na
    return _outward(
        settings, {settings.nominal_code(span_na * part / _WORKING_HALF_COUNT) for part in half}
    )


def linearity_codes(settings: MetrologySettings) -> tuple[int, ...]:
    """Return the codes whose best line is the reference of linearity: working span and beyond."""
    outer = {
        settings.nominal_code(sign * settings.linearity_span_na * part)
        for part in _OUTER_PARTS
        for sign in (-1, 1)
    }
    return _outward(settings, outer | set(working_codes(settings)))


def carry_codes(settings: MetrologySettings) -> tuple[int, ...]:
    """Return pairs of neighbouring codes between which many bits change."""
    upper = {settings.mid_code}
    for part in _CARRY_PARTS:
        step = settings.mid_code // part
        upper |= {settings.mid_code - step, settings.mid_code + step}
    return _outward(settings, upper | {code - 1 for code in upper})


def bit_codes(settings: MetrologySettings) -> tuple[int, ...]:
    """Return, from the lowest bit up, mid-code with one further bit set."""
    return tuple(settings.mid_code | 1 << bit for bit in range(settings.dac_bits - 1))


def return_codes(settings: MetrologySettings) -> tuple[int, ...]:
    """Return the codes of the fit in the opposite order, from the ends inward."""
    return tuple(reversed(working_codes(settings)))


def noise_code(settings: MetrologySettings) -> int:
    """Return the code at which the noise is measured: the highest of the probe."""
    return probe_codes(settings)[1]


def step_codes(settings: MetrologySettings) -> tuple[int, ...]:
    """Return the codes whose neighbours differ by little: mid-code, its two low bits, carries."""
    mid = settings.mid_code
    return _outward(settings, {mid, mid | 1, mid | 2, *carry_codes(settings)})


def sweep_codes(settings: MetrologySettings) -> tuple[int, ...]:
    """Return every code that is measured at the first load, each once."""
    return _outward(
        settings,
        {*linearity_codes(settings), *carry_codes(settings), *bit_codes(settings)},
    )


def _outward(settings: MetrologySettings, codes: set[int]) -> tuple[int, ...]:
    return tuple(sorted(codes, key=lambda code: (abs(code - settings.mid_code), code)))
