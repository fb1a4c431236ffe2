"""Gauge repeatability and reproducibility: how much of what is measured is the gauge itself.

Two methods of the AIAG manual on measurement systems analysis, 4th edition: analysis of variance,
and average and range. Implements docs/spec/capability.md §2. All sums are exact, in rational
arithmetic on the values as written: a large offset costs no digits, and the order of rows changes
nothing. This module reads no files and draws nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum, unique
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from provisioning.errors import GaugeDataError
from provisioning.gauge_anova import AnovaTable, build_anova
from provisioning.spread_constants import (
    SAMPLE_MAX,
    many_ranges_factor,
    one_range_factor,
    range_limit_factor,
)

if TYPE_CHECKING:
    from provisioning.gauge_data import GaugeData

POOLING_ALPHA: Final = 0.25
NDC_FACTOR: Final = Fraction(141, 100)
"""The manual's 1.41, which is √2 to three digits."""
MANY_RANGES: Final = 15
_ROOT_BITS: Final = 128


@unique
class GaugeMethod(StrEnum):
    """How the variation is split."""

    ANOVA = "anova"
    RANGE = "range"


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeStudy:
    """What a study says. Spreads are standard deviations, in the unit of the values.

    Attributes:
        method: How it was computed.
        ev: Repeatability, equipment variation: the same hand, the same part, again.
        av: Reproducibility, appraiser variation: another hand.
        interaction: Appraisers who differ from part to part; 0 when pooled, and with the range
            method, which cannot see it.
        grr: The gauge: √(ev² + av² + interaction²).
        pv: The parts.
        tv: All of it: √(grr² + pv²).
        percent_grr: 100·grr/tv.
        ndc: How many classes of parts the gauge can tell apart: 1.41·pv/grr, cut to an integer.
        anova: The analysis of variance; `None` with the range method.
        remarks: What a reader must know before believing it, one sentence each.
    """

    method: GaugeMethod
    ev: float
    av: float
    interaction: float
    grr: float
    pv: float
    tv: float
    percent_grr: float
    ndc: int
    anova: AnovaTable | None
    remarks: tuple[str, ...]


def analyse_gauge(
    data: GaugeData, method: GaugeMethod, *, pooling_alpha: float = POOLING_ALPHA
) -> GaugeStudy:
    """Split the variation of a study into parts, appraisers and equipment.

    Args:
        data: The readings.
        method: How.
        pooling_alpha: ANOVA only: the interaction is pooled into repeatability when its F test
            has a larger p than this.

    Raises:
        GaugeDataError: The readings are all alike, repeat without any variation, are too large
            for their spread to be a float, or are too many for the range method.
    """
    remarks: list[str] = []
    anova = None
    if method is GaugeMethod.ANOVA:
        anova = build_anova(data, pooling_alpha=pooling_alpha)
        ev, av, interaction, pv = _anova_components(anova, data, remarks)
    else:
        ev, av, pv = _range_components(data, remarks)
        interaction = Fraction(0)
    remarks += _range_chart_remarks(data)
    return _finish(method, anova, (ev, av, interaction, pv), remarks)


def ranges_of(data: GaugeData) -> list[list[Fraction]]:
    """Return largest minus smallest reading, as `[part][appraiser]`."""
    return [[max(cell) - min(cell) for cell in row] for row in data.values]


def range_limit(data: GaugeData) -> Fraction | None:
    """Return the upper limit D4·mean of the ranges; `None` where no constant is known."""
    if len(data.trials) > SAMPLE_MAX:
        return None
    return _mean_range(data) * Fraction(range_limit_factor(len(data.trials)))


def _anova_components(
    anova: AnovaTable, data: GaugeData, remarks: list[str]
) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    parts, appraisers, trials = len(data.parts), len(data.appraisers), len(data.trials)
    if anova.is_pooled:
        ev, interaction = anova.pooled_mean_square, Fraction(0)
        inside = ev
        remarks.append(
            f"the interaction of part and appraiser is pooled into repeatability: its p is "
            f"{anova.interaction_p:.3f}, above {anova.pooling_alpha:g}"
        )
    else:
        ev = anova.equipment.mean_square
        inside = anova.interaction.mean_square
        interaction = _not_negative((inside - ev) / trials, "interaction", remarks)
        remarks.append(
            f"appraisers differ from part to part: the interaction has p = "
            f"{anova.interaction_p:.3f}, not above {anova.pooling_alpha:g}"
        )
    av = (anova.appraisers.mean_square - inside) / (parts * trials)
    pv = (anova.parts.mean_square - inside) / (appraisers * trials)
    return (
        ev,
        _not_negative(av, "appraisers", remarks),
        interaction,
        _not_negative(pv, "parts", remarks),
    )


def _range_components(data: GaugeData, remarks: list[str]) -> tuple[Fraction, Fraction, Fraction]:
    parts, appraisers, trials = len(data.parts), len(data.appraisers), len(data.trials)
    for name, count in (("parts", parts), ("appraisers", appraisers), ("trials", trials)):
        if count > SAMPLE_MAX:
            raise GaugeDataError(
                f"the range method knows no constant for so many {name}",
                expected=f"at most {SAMPLE_MAX}",
                got=count,
                hint="use --method anova",
            )
    if parts * appraisers <= MANY_RANGES:
        remarks.append(
            f"the constant of repeatability supposes more than {MANY_RANGES} ranges, and there "
            f"are {parts * appraisers}: prefer anova"
        )
    ev = _mean_range(data) * many_ranges_factor(trials)
    by_appraiser = [
        sum((sum(row[index], Fraction(0)) for row in data.values), Fraction(0)) / (parts * trials)
        for index in range(appraisers)
    ]
    by_part = [
        sum((sum(cell, Fraction(0)) for cell in row), Fraction(0)) / (appraisers * trials)
        for row in data.values
    ]
    difference = (max(by_appraiser) - min(by_appraiser)) * one_range_factor(appraisers)
    # The averages of the appraisers contain the equipment's own variation, which is taken out.
    av = difference**2 - ev**2 / (parts * trials)
    pv = (max(by_part) - min(by_part)) * one_range_factor(parts)
    return ev**2, _not_negative(av, "appraisers", remarks), pv**2


def _mean_range(data: GaugeData) -> Fraction:
    ranges = [value for row in ranges_of(data) for value in row]
    return sum(ranges, Fraction(0)) / (len(data.parts) * len(data.appraisers))


def _range_chart_remarks(data: GaugeData) -> list[str]:
    limit = range_limit(data)
    if limit is None:
        return []
    wide = [
        f"part {part}, appraiser {who}"
        for part, row in zip(data.parts, ranges_of(data), strict=True)
        for who, value in zip(data.appraisers, row, strict=True)
        if value > limit
    ]
    if not wide:
        return []
    more = f" and {len(wide) - 3} more" if len(wide) > 3 else ""  # noqa: PLR2004 - as many as are read
    named = "; ".join(wide[:3]) + more
    why = "find out why before using the figures"
    return [f"the trials lie beyond D4 times the mean range for {named}: {why}"]


def _not_negative(variance: Fraction, name: str, remarks: list[str]) -> Fraction:
    if variance >= 0:
        return variance
    remarks.append(
        f"the variance of the {name} came out negative and is set to zero: what there is of it "
        f"drowns in repeatability"
    )
    return Fraction(0)


def _finish(
    method: GaugeMethod,
    anova: AnovaTable | None,
    variances: tuple[Fraction, Fraction, Fraction, Fraction],
    remarks: list[str],
) -> GaugeStudy:
    ev, av, interaction, pv = variances
    grr = ev + av + interaction
    tv = grr + pv
    if not grr:
        raise GaugeDataError(
            "the readings show no variation of the gauge at all",
            expected="trials that differ",
            got="every part gave one value, whoever measured it",
            hint="the gauge's resolution is too coarse for a study, or the readings were copied",
        )
    try:
        for _, row in anova.rows() if anova else ():
            float(row.sum_of_squares)  # what is shown must be numbers, too
        return GaugeStudy(
            method=method,
            ev=_root(ev),
            av=_root(av),
            interaction=_root(interaction),
            grr=_root(grr),
            pv=_root(pv),
            tv=_root(tv),
            percent_grr=100 * _root(grr / tv),
            ndc=math.isqrt(math.floor(NDC_FACTOR**2 * pv / grr)),
            anova=anova,
            remarks=tuple(remarks),
        )
    except OverflowError as error:
        raise GaugeDataError(
            "the readings are too far apart to be of one quantity",
            expected="a spread that is a number",
            got="more than any float holds",
            hint="look for an overload (9.9E37) among the values",
        ) from error


def _root(value: Fraction) -> float:
    """Return the square root, right to the last digit whatever the size."""
    bits = value.numerator.bit_length() - value.denominator.bit_length()
    shift = max(0, (_ROOT_BITS - bits + 1) // 2)
    scaled = (value.numerator << 2 * shift) // value.denominator
    return float(Fraction(math.isqrt(scaled), 1 << shift))
