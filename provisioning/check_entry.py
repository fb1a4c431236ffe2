"""What the ledger says of one reading of a check standard: an event of step `check-standard`.

A reading is told once in the chain of its station. One that was taken under a lease is told in the
lease's chain as it was taken, and by the ledger, which knows more, once more in the station's own
chain: that word counts. Implements docs/spec/calibration.md §3.8. This module does no I/O.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from provisioning.bounded_figures import Finite
from provisioning.errors import CheckEntryError
from signing.validation_words import describe_problem

if TYPE_CHECKING:
    from provisioning.ledger_events import Event

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Text = Annotated[str, Field(min_length=1, max_length=200)]
_SAMPLES_MAX = 10_000
_STATIONS_MAX = 1000
_MEAN_TOLERANCE_NA = 1e-3


def _is_absent(value: object) -> bool:
    return value is None


ChartKey: TypeAlias = tuple[str, str, str, str | None]
"""Standard, slot, instrument and certificate: what a chart is of."""


class Moment(StrEnum):
    """When the standard is read."""

    START = "start"
    CLOSE = "close"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class TakenUnder(_Section):
    """Where a reading was told first, when it was taken under a lease.

    Attributes:
        chain: The lease, STATION/n.
        number: Its event there.
        at: When it was read, as the event there says.
    """

    chain: _Text
    number: Annotated[int, Field(ge=0)]
    at: dt.datetime


class SeenChain(_Section):
    """How far the chain of another station had come when a reading was written down.

    Attributes:
        station: Whose chain.
        count: How many events it had: those from there on are behind the reading.
    """

    station: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/]+$")]
    count: Annotated[int, Field(ge=0)]


class ChainPlace(_Section):
    """What a station knew of its own chain when it read a standard without the ledger.

    Attributes:
        count: How many events it had: the reading is behind them.
        head: Hash of the last, in hexadecimal.
    """

    count: Annotated[int, Field(ge=0)]
    head: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Placed(_Section):
    """Where a reading lies among what other stations did (docs/spec/calibration.md §3.8).

    Attributes:
        seen: The chains of the other stations; `None` in an outbox, and in what was written before
            there was such a field.
        after: Of one without the ledger: what it is behind. Where it lies between that and `seen`,
            nobody knows.
    """

    seen: Annotated[tuple[SeenChain, ...], Field(max_length=_STATIONS_MAX)] | None = None
    after: ChainPlace | None = None

    def seen_count(self, station: str) -> int:
        """Return how many events the chain of another station had."""
        return next((one.count for one in self.seen or () if one.station == station), 0)

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        names = [one.station for one in self.seen or ()]
        if len(set(names)) < len(names):
            raise ValueError("a station is seen twice")
        return self


class CheckFacts(_Section):
    """What was read, and against what.

    Attributes:
        standard: Name of the standard.
        slot: Name of the slot.
        instrument: Serial number of the instrument.
        certificate: Its certificate on file.
        moment: When in the work.
        mean_na: Mean of the samples, nA.
        samples_na: The samples, nA.
        range_ua: Range of the instrument, µA.
        reference_na: The standard's current, nA.
        expanded_uncertainty_na: U of that, k = 2, nA.
        limit_na: How far the mean may be from it, nA.
        sd_na: Standard deviation of one reading from check to check, nA.
        standard_certificate: Where reference and U stand, if that is stated.
    """

    standard: _Text
    slot: _Text
    instrument: _Text
    certificate: _Text | None
    moment: Moment
    mean_na: Finite
    samples_na: Annotated[tuple[Finite, ...], Field(min_length=1, max_length=_SAMPLES_MAX)]
    range_ua: Annotated[int, Field(gt=0)]
    reference_na: Finite
    expanded_uncertainty_na: _Positive
    limit_na: _Positive
    sd_na: _Positive
    standard_certificate: Annotated[_Text | None, Field(exclude_if=_is_absent)] = None

    @property
    def chart(self) -> ChartKey:
        """The chart that the reading is a point of (docs/spec/calibration.md §3.8)."""
        return (self.standard, self.slot, self.instrument, self.certificate)


class CheckEntry(CheckFacts, _Placed):
    """What was read, and what followed.

    Attributes:
        center_na: Center of the chart, nA.
        ewma_na: Moving average after this reading, nA.
        lower_na: Its lower limit, nA.
        upper_na: Its upper limit, nA.
        is_good: Whether units may be measured, and those measured before it released.
        reasons: Why not.
        taken_under: Where it was told first, when it was taken under a lease.
    """

    center_na: Finite
    ewma_na: Finite
    lower_na: Finite
    upper_na: Finite
    is_good: bool
    reasons: tuple[str, ...]
    taken_under: TakenUnder | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        mean_na = math.fsum(self.samples_na) / len(self.samples_na)
        if not math.isclose(mean_na, self.mean_na, rel_tol=1e-9, abs_tol=_MEAN_TOLERANCE_NA):
            text = f"a mean of {self.mean_na} nA, of samples whose mean is {mean_na} nA"
            raise ValueError(text)
        if self.is_good is bool(self.reasons):
            text = f"{'good' if self.is_good else 'not good'}, with {len(self.reasons)} reasons"
            raise ValueError(text)
        if self.is_good and abs(self.mean_na - self.reference_na) > self.limit_na:
            text = f"good, further from the reference than {self.limit_na} nA"
            raise ValueError(text)
        return self

    def facts(self) -> CheckFacts:
        """Return what was read, without what followed."""
        return CheckFacts(**{name: getattr(self, name) for name in CheckFacts.model_fields})


class LostCheck(_Placed):
    """That a reading may have been taken which nobody can read any more: as if it were not good.

    Attributes:
        is_lost: Tells it from a reading.
        instrument: Serial number of the instrument.
        reasons: What happened.
        under: The lease, STATION/n or its request, under which it may have been taken.
    """

    is_lost: Literal[True] = True
    instrument: _Text
    reasons: Annotated[tuple[str, ...], Field(min_length=1)]
    under: _Text
    is_good: ClassVar[bool] = False
    taken_under: ClassVar[None] = None
    chart: ClassVar[None] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldCheck:
    """A reading, or that one was lost, and where the ledger tells of it.

    Attributes:
        station: In whose chain.
        number: Its place there.
        at: When it was read, aware.
        entry: What is told.
    """

    station: str
    number: int
    at: dt.datetime
    entry: CheckEntry | LostCheck

    @property
    def reading(self) -> CheckEntry:
        """What was read; to be asked of a reading alone."""
        assert isinstance(self.entry, CheckEntry), "a lost reading has no figures"
        return self.entry


def parse_check(event: Event) -> ToldCheck:
    """Return what an event of step `check-standard` says.

    Raises:
        CheckEntryError: It is none.
    """
    where = f"station {event.station}, event {event.number}"
    told: type[CheckEntry | LostCheck] = LostCheck if "is_lost" in event.data else CheckEntry
    try:
        entry = told.model_validate_json(json.dumps(dict(event.data)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        got = f"{'.'.join(str(part) for part in first['loc'])} {describe_problem(first)}"
        raise _not_a_check(got[:200], where) from error
    if "/" in event.station and (
        isinstance(entry, LostCheck) or entry.taken_under is not None or entry.seen is not None
    ):
        raise _not_a_check("a word of the ledger, in the chain of a lease", where)
    if entry.seen_count(event.station):
        raise _not_a_check("its own chain, seen as another's", where)
    at = event.at if entry.taken_under is None else entry.taken_under.at
    return ToldCheck(station=event.station, number=event.number, at=at, entry=entry)


def _not_a_check(got: str, where: str) -> CheckEntryError:
    return CheckEntryError(
        "this is not a reading of a check standard",
        got=got,
        where=where,
        hint="the ledger was changed outside Ampforge; compare it with a backup",
    )
