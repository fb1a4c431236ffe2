"""What the ledger knows about a whole line: yield, and the capability of each verified current.

Each unit counts with the first verification of its first job, as far as it got: a retest until it
fits would make any process capable. Implements docs/spec/capability.md §5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provisioning.control_charts import BASELINE_MIN
from provisioning.errors import CapabilityDataError
from provisioning.ledger_events import Phase
from provisioning.ledger_queries import list_jobs, list_units
from provisioning.ledger_supervision import SUPERVISE_STEP
from provisioning.ledger_values import JobState, UnitState
from provisioning.process_capability import Capability, Limits, assess_capability
from provisioning.retest_truth import Attempt, RetestTruth, tell_retests
from provisioning.station_values import Step
from provisioning.verification_result import PointResult, parse_verification_result

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Container, Sequence

    from provisioning.ledger import Ledger
    from provisioning.ledger_events import ChainedEvent
    from provisioning.ledger_values import JobRecord


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CurrentKey:
    """Which verified current: the same in every unit of a release.

    Attributes:
        mode: Name of the mode.
        level_index: Level, from 0.
        target_na: What the table asks for, nA; negative for the opposite polarity.
        load_ohm: Load, Ω.
        limit_na: The deciding limit of the error, nA.
    """

    mode: str
    level_index: int
    target_na: int
    load_ohm: int
    limit_na: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentCapability:
    """The errors of one current over all units.

    Attributes:
        key: Which current.
        errors_na: Measured minus target, nA, in the order of measuring.
        capability: What they say; `None` when they say nothing.
        reason: Why they say nothing.
    """

    key: CurrentKey
    errors_na: tuple[float, ...]
    capability: Capability | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineReport:
    """A whole line.

    Attributes:
        yields: What became of the units.
        unit_count: Units whose first verification was read.
        currents: By mode, level, target and load.
    """

    yields: RetestTruth
    unit_count: int
    currents: tuple[CurrentCapability, ...]


def report_line(
    ledger: Ledger,
    *,
    bundle_prefix: str | None = None,
    serials: Container[str] | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> LineReport:
    """Read yield and capability from the ledger.

    Args:
        ledger: The open ledger.
        bundle_prefix: Only units whose first finished job was with this release: first hex digits
            of its digest; `None` for all.
        serials: Only these units; `None` for all.
        on_progress: Told how many of how many units were looked at.

    Raises:
        LedgerError: An event is damaged.
        ProvisioningError: A stored result cannot be read.
        CapabilityDataError: No unit has a finished job.
    """
    prefix = "" if bundle_prefix is None else bundle_prefix.lower()
    histories: list[tuple[Attempt, ...]] = []
    first_results: list[tuple[dt.datetime, tuple[PointResult, ...]]] = []
    units = list_units(ledger.database)
    for count, unit in enumerate(units):
        on_progress(count, len(units))
        if serials is not None and unit.serial not in serials:
            continue
        jobs = list_jobs(ledger.database, unit.serial)
        finished = [job for job in jobs if job.state is JobState.CLOSED]
        if not finished or not finished[0].bundle_digest.hex().startswith(prefix):
            continue
        events = ledger.events(serial=unit.serial)
        histories.append(_attempts(jobs, events, is_held=unit.state is UnitState.HOLD))
        first = _first_verification(events, finished[0].job)
        if first is not None:
            first_results.append(first)
    if not histories:
        raise CapabilityDataError(
            "no unit has a finished job",
            expected="units that were provisioned" + (f" with {prefix}" if prefix else ""),
            got="none",
            where=ledger.database.address,
            hint="provision boards first: `ampforge station run`",
        )
    return LineReport(
        yields=tell_retests(histories),
        unit_count=len(first_results),
        currents=_group(first_results),
    )


def _attempts(
    jobs: Sequence[JobRecord], events: Sequence[ChainedEvent], *, is_held: bool
) -> tuple[Attempt, ...]:
    # An order is written into the job that it sends back; clocks of two stations need not agree.
    ordered = {
        chained.event.job
        for chained in events
        if chained.event.step == SUPERVISE_STEP and chained.event.data.get("sends_back") is True
    }
    attempts = []
    was_sent_back = False
    for job in jobs:
        if job.state is JobState.CLOSED:
            is_passed = job.outcome is UnitState.PASS
            attempts.append(Attempt(is_passed=is_passed, was_sent_back=was_sent_back))
            was_sent_back = False
        was_sent_back |= job.job in ordered
    if is_held and attempts:
        # What it was measured with was found wrong since: nobody knows whether it passed.
        attempts[-1] = replace(attempts[-1], is_passed=False)
    return tuple(attempts)


def _first_verification(
    events: Sequence[ChainedEvent], job: str
) -> tuple[dt.datetime, tuple[PointResult, ...]] | None:
    for chained in events:
        event = chained.event
        if (event.job, event.step, event.phase) == (job, Step.VERIFY.value, Phase.CONFIRM):
            result = parse_verification_result(event.data.get("result"))
            return result.started_at, result.points
    return None


def _group(
    results: Sequence[tuple[dt.datetime, tuple[PointResult, ...]]],
) -> tuple[CurrentCapability, ...]:
    errors: dict[CurrentKey, list[float]] = {}
    for _, points in sorted(results, key=lambda entry: entry[0]):
        for point in points:
            key = CurrentKey(
                mode=point.mode,
                level_index=point.level_index,
                target_na=point.target_na,
                load_ohm=point.load_ohm,
                limit_na=point.deciding_limit_na,
            )
            errors.setdefault(key, []).append(point.error_na)
    return tuple(_assess(key, errors[key]) for key in sorted(errors))


def _assess(key: CurrentKey, errors_na: Sequence[float]) -> CurrentCapability:
    capability, reason = None, None
    if len(errors_na) < BASELINE_MIN:
        reason = f"too few units: {len(errors_na)}, and {BASELINE_MIN} are needed"
    else:
        try:
            capability = assess_capability(
                errors_na, Limits(lower=-key.limit_na, upper=key.limit_na)
            )
        except CapabilityDataError as error:
            reason = str(error)
    return CurrentCapability(
        key=key, errors_na=tuple(errors_na), capability=capability, reason=reason
    )
