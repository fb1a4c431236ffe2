"""Two-way analysis of variance of a gauge study: parts, appraisers, their interaction, equipment.

Both factors are random, the design is balanced. Implements docs/spec/capability.md §2.2. All sums
are exact; only F ratios and probabilities are floats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from provisioning.distributions import f_upper_tail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioning.gauge_data import GaugeData


@dataclass(frozen=True, slots=True, kw_only=True)
class AnovaRow:
    """One source of variation.

    Attributes:
        dof: Degrees of freedom.
        sum_of_squares: In the unit of the values, squared.
    """

    dof: int
    sum_of_squares: Fraction

    @property
    def mean_square(self) -> Fraction:
        """Sum of squares over degrees of freedom."""
        return self.sum_of_squares / self.dof


@dataclass(frozen=True, slots=True, kw_only=True)
class AnovaTable:
    """The whole table.

    Attributes:
        parts: Between parts.
        appraisers: Between appraisers.
        interaction: Of part and appraiser.
        equipment: Between trials.
        interaction_f: Mean square of the interaction over that of the equipment.
        interaction_p: Probability of such an F or a larger one where there is no interaction.
        pooling_alpha: Above this p the interaction is pooled.
    """

    parts: AnovaRow
    appraisers: AnovaRow
    interaction: AnovaRow
    equipment: AnovaRow
    interaction_f: float
    interaction_p: float
    pooling_alpha: float

    def rows(self) -> tuple[tuple[str, AnovaRow], ...]:
        """Return the sources of variation with their names, in the order of a table."""
        return (
            ("parts", self.parts),
            ("appraisers", self.appraisers),
            ("part by appraiser", self.interaction),
            ("equipment", self.equipment),
        )

    @property
    def is_pooled(self) -> bool:
        """Whether the interaction counts as repeatability."""
        return self.interaction_p > self.pooling_alpha

    @property
    def pooled_mean_square(self) -> Fraction:
        """Mean square of interaction and equipment together."""
        dof = self.interaction.dof + self.equipment.dof
        return (self.interaction.sum_of_squares + self.equipment.sum_of_squares) / dof


def build_anova(data: GaugeData, *, pooling_alpha: float) -> AnovaTable:
    """Return the analysis of variance of a study.

    Args:
        data: The readings.
        pooling_alpha: Above this p of its F test the interaction is pooled.
    """
    parts, appraisers, trials = len(data.parts), len(data.appraisers), len(data.trials)
    cells = [[sum(cell, Fraction(0)) for cell in row] for row in data.values]
    part_totals = [sum(row, Fraction(0)) for row in cells]
    appraiser_totals = [sum(column, Fraction(0)) for column in zip(*cells, strict=True)]
    correction = sum(part_totals, Fraction(0)) ** 2 / (parts * appraisers * trials)
    values = (value for row in data.values for cell in row for value in cell)
    total = _squares(values) - correction
    of_parts = _squares(part_totals) / (appraisers * trials) - correction
    of_appraisers = _squares(appraiser_totals) / (parts * trials) - correction
    of_cells = _squares(cell for row in cells for cell in row) / trials - correction
    interaction = AnovaRow(
        dof=(parts - 1) * (appraisers - 1), sum_of_squares=of_cells - of_parts - of_appraisers
    )
    equipment = AnovaRow(dof=parts * appraisers * (trials - 1), sum_of_squares=total - of_cells)
    ratio = _ratio(interaction.mean_square, equipment.mean_square)
    return AnovaTable(
        parts=AnovaRow(dof=parts - 1, sum_of_squares=of_parts),
        appraisers=AnovaRow(dof=appraisers - 1, sum_of_squares=of_appraisers),
        interaction=interaction,
        equipment=equipment,
        interaction_f=ratio,
        interaction_p=f_upper_tail(ratio, interaction.dof, equipment.dof),
        pooling_alpha=pooling_alpha,
    )


def _squares(values: Iterable[Fraction]) -> Fraction:
    return sum((value * value for value in values), Fraction(0))


def _ratio(above: Fraction, below: Fraction) -> float:
    # Trials that agree to the last digit leave nothing to compare with: any interaction is real.
    if not below:
        return math.inf if above else 0.0
    try:
        return float(above / below)
    except OverflowError:
        return math.inf
