"""Runs a whole simulation study, on as many processors as are given, and keeps its figures."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING, Final, Self, TypeVar

from firmware_images.waveform_table import serialize_waveform_table, table_digest
from provisioning.simulation_counts import (
    FaultTrial,
    Population,
    summarise_fault,
    summarise_population,
)
from provisioning.simulation_decisions import DecisionRow, draw_decision, weigh_decisions
from provisioning.simulation_study import (
    BROWN_OUT,
    CHECK_STANDARD,
    FAULT_NAMES,
    FOREIGN_RECORD,
    StudyPlan,
    run_brown_out,
    run_fault,
    run_fixture_drift,
    run_foreign_record,
    run_unit,
)
from provisioning.simulator.faults import AnalogFault
from provisioning.uncertainty import COVERAGE_FACTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.process import BaseProcess

T = TypeVar("T")

SCHEMA: Final = "ampforge.simulation-study/1"
GOOD_PASS_PERCENT: Final = 97.0
"""So many of the good units must pass."""
CLONED_RECORD: Final = "cloned-record"
_CHUNK: Final = 4
_OTHER_FAULTS: Final = {
    CLONED_RECORD: (FOREIGN_RECORD, run_foreign_record),
    BROWN_OUT: (BROWN_OUT, run_brown_out),
    AnalogFault.FIXTURE_DRIFT.value: (CHECK_STANDARD, run_fixture_drift),
}
"""Faults that are not the output stage's: the name they must be found by, and how one is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySize:
    """How much is tried.

    Attributes:
        unit_count: Units of the simulated production.
        fault_count: Units with each fault.
        decision_count: Units for each target of the decisions.
    """

    unit_count: int = 1_000
    fault_count: int = 50
    decision_count: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """All figures of a study.

    Attributes:
        seed: What everything was drawn from.
        size: How much was tried.
        table_digest: SHA-256 of the waveform table, hexadecimal.
        population: What became of the units.
        faults: How each fault was found.
        decisions: Stated and counted risks.
    """

    seed: int
    size: StudySize
    table_digest: str
    population: Population
    faults: tuple[FaultTrial, ...]
    decisions: tuple[DecisionRow, ...]

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """What a station with these settings must not do; empty when it does nothing of it."""
        units = self.population
        found = []
        if units.good_pass_count * 100 < GOOD_PASS_PERCENT * units.good_count:
            found.append(
                f"{units.good_pass_count} of {units.good_count} good units pass, "
                f"fewer than {GOOD_PASS_PERCENT:g} %"
            )
        if units.bad_pass_count:
            found.append(f"{units.bad_pass_count} units pass that should be refused")
        if units.uncalibrated_pass_count:
            found.append(f"{units.uncalibrated_pass_count} units pass without their own record")
        found += [
            f"{trial.fault}: {trial.count - trial.named} of {trial.count} not found by its name"
            for trial in self.faults
            if trial.named < trial.count
        ]
        found += [
            f"{row.target_na / 1_000:g} µA, r = {row.guard_factor:g}: more false accepts than "
            f"stated ({row.false_accept_count} of {row.count}, stated {row.stated_pfa:.2e})"
            for row in self.decisions
            if row.pfa_interval[0] > row.stated_pfa
        ]
        return tuple(found)

    def to_document(self) -> dict[str, object]:
        """Return the figures as a JSON document."""
        return {
            "schema": SCHEMA,
            "seed": self.seed,
            "size": asdict(self.size),
            "table_digest": self.table_digest,
            "population": asdict(self.population),
            "faults": [asdict(trial) for trial in self.faults],
            "decisions": [
                {
                    **asdict(row),
                    "pfa_interval": list(row.pfa_interval),
                    "pfr_interval": list(row.pfr_interval),
                }
                for row in self.decisions
            ],
            "shortcomings": list(self.shortcomings),
        }


def run_study(
    plan: StudyPlan,
    size: StudySize,
    *,
    process_count: int,
    progress: Callable[[str, float], None],
) -> StudyResult:
    """Run a study. The result does not depend on the number of processes.

    Args:
        plan: Settings, table and seed.
        size: How much is tried.
        process_count: Processes; 1 runs it in this one.
        progress: Told what is tried, and how far the study is, from 0 to 1.
    """
    targets_na = decision_targets_na(plan)
    total = (
        size.unit_count
        + size.fault_count * (len(FAULT_NAMES) + len(_OTHER_FAULTS))
        + size.decision_count * len(targets_na)
    )
    done = 0

    def told(step: str, results: Iterable[T]) -> list[T]:
        nonlocal done
        collected = []
        for result in results:
            collected.append(result)
            done += 1
            progress(step, done / total)
        return collected

    with _Workers(process_count) as workers:
        units = told("units", workers.map(partial(run_unit, plan), size.unit_count))
        faults = [
            summarise_fault(
                fault.value,
                name.value,
                told(fault.value, workers.map(partial(run_fault, plan, fault), size.fault_count)),
            )
            for fault, name in FAULT_NAMES.items()
        ]
        faults += [
            summarise_fault(
                fault, name, told(fault, workers.map(partial(run, plan), size.fault_count))
            )
            for fault, (name, run) in _OTHER_FAULTS.items()
        ]
        decisions: list[DecisionRow] = []
        for target_na in targets_na:
            drawn = told(
                f"decisions at {target_na / 1_000:g} µA",
                workers.map(partial(draw_decision, plan, target_na), size.decision_count),
            )
            decisions += weigh_decisions(plan, target_na, drawn, guard_factors(plan))
    return StudyResult(
        seed=plan.seed,
        size=size,
        table_digest=table_digest(serialize_waveform_table(plan.table)).hex(),
        population=summarise_population(units),
        faults=tuple(faults),
        decisions=tuple(decisions),
    )


def decision_targets_na(plan: StudyPlan) -> tuple[int, ...]:
    """Return the lowest, a middle and the highest level of the table, nA."""
    peaks = sorted({level.peak_na for mode in plan.table.modes for level in mode.levels})
    return tuple(dict.fromkeys((peaks[0], peaks[len(peaks) // 2], peaks[-1])))


def guard_factors(plan: StudyPlan) -> tuple[float, ...]:
    """Return the rules that are compared: none, half of it, and the station's own."""
    own = plan.settings.guard_share(COVERAGE_FACTOR)
    return tuple(dict.fromkeys((0.0, own / 2, own)))


class _Workers:
    # `map` in order, here or in other processes, which are started afresh: this one may be old.

    def __init__(self, process_count: int) -> None:
        self._pool = (
            ProcessPoolExecutor(process_count, mp_context=get_context("spawn"))
            if process_count > 1
            else None
        )
        self._processes: set[BaseProcess] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        if self._pool is None:
            return
        if error is not None:  # what is begun would go on for many seconds
            for process in self._processes:
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[int], T], count: int) -> Iterator[T]:
        if self._pool is None:
            return map(work, range(count))
        before = {*active_children()}
        with _blocked_interrupt():
            results = self._pool.map(work, range(count), chunksize=_CHUNK)
            self._processes |= {*active_children()} - before
        return results


@contextmanager
def _blocked_interrupt() -> Iterator[None]:
    """Start processes that Ctrl-C leaves alone: they end with this one, without a word.

    A terminal interrupts them, too, and one that is still importing would print where. The mask is
    inherited; for this process an interrupt only waits until the block ends.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
