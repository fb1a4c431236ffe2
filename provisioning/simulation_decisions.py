"""How often a station's decision is wrong: counted against hidden truth, beside what is stated.

For each target, units are drawn whose true errors are normal with half the limit as standard
deviation, so that about one in twenty is bad: with well calibrated units there would be nothing to
count. Each is read once by an instrument of its own, drawn from all that are inside their maker's
specification, and judged by the station's rule. What is stated is the joint risk of
docs/spec/calibration.md §7.2 and the risk given the reading of §7.1. The currents are those of one
code each, so the budget's term for the converter's step has no counterpart here and is left out of
the joint risk.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from provisioning.decision_risk import compute_risk
from provisioning.simulator.analog import NOISE_RMS_NA, AnalogTruth
from provisioning.simulator.output_bench import SimulatedBench
from provisioning.uncertainty import nonconformity_probability
from provisioning.verification_judgement import judge_readings
from provisioning.verification_readings import RawPoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.simulation_study import StudyPlan

PROCESS_SHARE: Final = 0.5
"""Standard deviation of the true errors, in limits."""
_WHEN: Final = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
_Z: Final = 2.5758293035489004
"""99 % two-sided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnDecision:
    """One unit, read once.

    Attributes:
        true_error_na: What only the simulator knows, nA.
        point: The reading.
    """

    true_error_na: float
    point: RawPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """Stated and counted risk of one target under one rule.

    Attributes:
        target_na: Nominal target, nA.
        limit_na: Limit of the error, nA.
        guard_factor: r in w = r·U.
        count: Units.
        bad_count: Units whose true error is beyond the limit.
        false_accept_count: Bad units that were accepted.
        false_reject_count: Good units that were not.
        stated_pfa: Joint probability of a false accept as stated.
        stated_pfr: Joint probability of a false reject as stated.
        given_readings: The mean over all units of the stated risk given the reading, where the
            unit was accepted: the false accepts that the reports would own up to.
    """

    target_na: int
    limit_na: float
    guard_factor: float
    count: int
    bad_count: int
    false_accept_count: int
    false_reject_count: int
    stated_pfa: float
    stated_pfr: float
    given_readings: float

    @property
    def pfa_interval(self) -> tuple[float, float]:
        """99 % interval of the counted rate of false accepts (Wilson)."""
        return wilson_interval(self.false_accept_count, self.count)

    @property
    def pfr_interval(self) -> tuple[float, float]:
        """99 % interval of the counted rate of false rejects (Wilson)."""
        return wilson_interval(self.false_reject_count, self.count)


def draw_decision(plan: StudyPlan, target_na: int, index: int) -> DrawnDecision:
    """Make one unit with a drawn error, and read it once at the reference load.

    Args:
        plan: What is studied.
        target_na: What it should give, nA.
        index: Which unit, from 0.
    """
    settings = plan.settings
    name = plan.unit_name(f"decision-{target_na}", index)
    draw = random.Random(name)
    limit_na = settings.calibration_limit_at(target_na)
    # A target anywhere within a code: the converter's step is part of the true error.
    wanted_na = target_na + draw.randrange(round(settings.lsb_na))
    truth = AnalogTruth(
        offset_na=draw.gauss(0, PROCESS_SHARE * limit_na), noise_rms_na=NOISE_RMS_NA
    )
    room_na = wanted_na + settings.claim_limit_at(wanted_na)
    planned = RawPoint(
        mode="decision",
        level_index=0,
        target_na=wanted_na,
        load_ohm=settings.reference_load_ohm,
        range_ua=settings.accuracy_for(room_na).range_ua,
    )
    with SimulatedBench(
        truth, seed=name, settings=settings, table=plan.table, clock=lambda: _WHEN
    ) as bench:
        bench.meter.select_load(planned.load_ohm)
        code = bench.set_output_current_na(wanted_na)
        reading = bench.meter.read_current(
            range_ua=planned.range_ua, nplc=settings.nplc, count=settings.sample_count
        )
        true_na = bench.stage.current_na(code, planned.load_ohm)
    return DrawnDecision(
        true_error_na=true_na - wanted_na,
        point=planned.measured(
            code=code,
            range_ua=planned.range_ua,
            mean_na=reading.mean_na,
            sd_na=reading.sd_na,
            count=reading.count,
        ),
    )


def weigh_decisions(
    plan: StudyPlan, target_na: int, drawn: Sequence[DrawnDecision], guard_factors: Sequence[float]
) -> tuple[DecisionRow, ...]:
    """Count the wrong decisions of each rule, and state what was to be expected.

    Args:
        plan: What is studied.
        target_na: The target of all draws, nA.
        drawn: At least one.
        guard_factors: r of each rule; 0 trusts the reading.
    """
    settings = plan.settings
    judged = judge_readings([entry.point for entry in drawn], [], settings, None).points
    limit_na = settings.calibration_limit_at(target_na)
    limits = [settings.calibration_limit_at(point.target_na) for point in judged]
    expanded = math.fsum(point.expanded_uncertainty_na for point in judged) / len(judged)
    step_variance = settings.lsb_na**2 / 12
    standard = math.fsum(point.standard_uncertainty_na for point in judged) / len(judged)
    measurement_sd_na = math.sqrt(max(standard**2 - step_variance, 0.0))
    process_sd_na = math.hypot(PROCESS_SHARE * limit_na, math.sqrt(step_variance))
    rows = []
    for factor in guard_factors:
        accepted = [
            abs(point.error_na) <= limit - factor * point.expanded_uncertainty_na
            for point, limit in zip(judged, limits, strict=True)
        ]
        good = [
            abs(entry.true_error_na) <= limit for entry, limit in zip(drawn, limits, strict=True)
        ]
        stated = compute_risk(
            tolerance=limit_na,
            process_sd=process_sd_na,
            measurement_sd=measurement_sd_na,
            guard_band=factor * expanded,
        )
        given = math.fsum(
            nonconformity_probability(
                point.error_na, limit=limit, standard_uncertainty=point.standard_uncertainty_na
            )
            for point, limit, is_accepted in zip(judged, limits, accepted, strict=True)
            if is_accepted
        )
        pairs = list(zip(accepted, good, strict=True))
        rows.append(
            DecisionRow(
                target_na=target_na,
                limit_na=limit_na,
                guard_factor=factor,
                count=len(drawn),
                bad_count=good.count(False),
                false_accept_count=pairs.count((True, False)),
                false_reject_count=pairs.count((False, True)),
                stated_pfa=stated.pfa,
                stated_pfr=stated.pfr,
                given_readings=given / len(drawn),
            )
        )
    return tuple(rows)


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """Return the 99 % interval of a rate (Wilson 1927)."""
    rate, weight = hits / count, _Z**2 / count
    middle = (rate + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * math.sqrt(rate * (1 - rate) / count + weight / (4 * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)
