"""Simulated units with known truth: the good pass, faults are named, stated risks hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from provisioning.measurement_settings import MetrologySettings
from provisioning.simulation_counts import summarise_population
from provisioning.simulation_decisions import draw_decision, weigh_decisions, wilson_interval
from provisioning.simulation_report import format_study
from provisioning.simulation_run import StudySize, decision_targets_na, guard_factors, run_study
from provisioning.simulation_study import (
    BROWN_OUT,
    CHECK_STANDARD,
    FAULT_NAMES,
    FOREIGN_RECORD,
    StudyPlan,
    is_within_design,
    run_brown_out,
    run_fault,
    run_fixture_drift,
    run_foreign_record,
    run_unit,
)
from tests.provisioning.metrology_bench import SETTINGS, TABLE, ignore_progress

if TYPE_CHECKING:
    from provisioning.simulator.faults import AnalogFault

PLAN = StudyPlan(settings=SETTINGS, table=TABLE, seed=7)
SMALL = StudySize(unit_count=2, fault_count=1, decision_count=20)


@pytest.mark.no_cover
def test_good_units_pass_and_none_passes_without_its_own_record() -> None:
    units = summarise_population(run_unit(PLAN, index) for index in range(6))

    assert units.good_pass_count == units.good_count
    assert units.wrong_pass_count == 0
    assert units.uncalibrated_count >= units.good_count
    assert units.uncalibrated_pass_count == 0
    # What makes the second limit necessary: the claim does not see that nobody calibrated.
    assert units.uncalibrated_claim_count == units.uncalibrated_count


def test_a_unit_with_too_much_nonlinearity_is_no_good_one_and_is_refused_for_it() -> None:
    index = next(index for index in range(1_000) if not is_good(index))

    trial = run_unit(PLAN, index)

    assert not trial.is_good
    assert "inl" in trial.verdict
    assert trial.stated_risk is None


def is_good(index: int) -> bool:
    return is_within_design(PLAN.draw_truth(PLAN.unit_name("unit", index)))


@pytest.mark.parametrize("fault", FAULT_NAMES)
def test_each_fault_is_found_by_its_own_name(fault: AnalogFault) -> None:
    assert [run_fault(PLAN, fault, index) for index in range(3)] == [FAULT_NAMES[fault]] * 3


def test_a_board_that_works_with_the_record_of_another_is_found() -> None:
    assert [run_foreign_record(PLAN, index) for index in range(3)] == [FOREIGN_RECORD] * 3


def test_a_supply_that_gives_way_in_the_middle_is_found_by_its_own_name() -> None:
    assert [run_brown_out(PLAN, index) for index in range(5)] == [BROWN_OUT] * 5


def test_a_check_standard_finds_a_drifting_fixture_early_and_mostly_no_other() -> None:
    assert [run_fixture_drift(PLAN, index) for index in range(5)] == [CHECK_STANDARD] * 5
    quiet = [run_fixture_drift(PLAN, index, is_drifting=False) for index in range(10)]
    assert quiet.count("none") >= 7


@pytest.mark.no_cover
def test_counted_wrong_decisions_agree_with_the_stated_risk() -> None:
    drawn = [draw_decision(PLAN, 400_000, index) for index in range(1_500)]

    rows = weigh_decisions(PLAN, 400_000, drawn, (-1.0, 0.0, 1.0))

    for row in rows:
        low, high = row.pfa_interval
        assert row.false_accept_count / row.count <= row.stated_pfa * 1.5 or low <= row.stated_pfa
        assert row.pfr_interval[0] <= row.stated_pfr
        if row.guard_factor < 0:
            # Accepting beyond the limit makes enough false accepts for both sides of the interval.
            assert low <= row.stated_pfa <= high * 1.2
    bad = rows[0].bad_count / rows[0].count
    assert math.isclose(bad, math.erfc(2 / math.sqrt(2)), abs_tol=0.02)


@pytest.mark.no_cover
def test_a_meter_worse_than_it_claims_is_seen_in_the_count() -> None:
    """The study is able to fail: an honest budget for a better meter does not cover this one."""
    better = SETTINGS.model_copy(
        update={
            "accuracy": tuple(
                entry.model_copy(update={"reading_percent": 0.005, "range_percent": 0.0005})
                for entry in SETTINGS.accuracy
            )
        }
    )
    plan = StudyPlan(settings=better, table=TABLE, seed=7)
    drawn = [draw_decision(plan, 400_000, index) for index in range(1_500)]

    (row,) = weigh_decisions(plan, 400_000, drawn, (-0.5,))

    assert row.pfa_interval[0] > row.stated_pfa or row.pfr_interval[0] > row.stated_pfr


@pytest.mark.no_cover
def test_the_same_seed_gives_the_same_study_in_any_number_of_processes() -> None:
    alone = run_study(PLAN, SMALL, process_count=1, progress=ignore_progress)
    together = run_study(PLAN, SMALL, process_count=2, progress=ignore_progress)

    assert alone == together
    assert alone.to_document() == together.to_document()
    assert format_study(alone, command="again") == format_study(together, command="again")


@pytest.mark.no_cover
def test_settings_that_miss_something_are_told() -> None:
    blind = MetrologySettings(inl_limit_lsb=60.0, calibration_limit_na=8_000)
    plan = StudyPlan(settings=blind, table=TABLE, seed=7)

    result = run_study(plan, SMALL, process_count=1, progress=ignore_progress)

    assert any("high-nonlinearity" in entry for entry in result.shortcomings)
    assert "high-nonlinearity" in format_study(result, command="blind").split("## Verdict")[1]


def test_targets_and_rules_are_those_of_the_table_and_the_settings() -> None:
    assert decision_targets_na(PLAN) == (50_000, 200_000, 400_000)
    assert guard_factors(PLAN) == (0.0, 0.5, 1.0)


def test_an_interval_of_a_rate_holds_at_its_ends() -> None:
    assert wilson_interval(0, 100)[0] == 0
    assert wilson_interval(100, 100)[1] == pytest.approx(1)
    low, high = wilson_interval(10, 100)
    assert low < 0.1 < high
