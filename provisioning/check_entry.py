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
from typing import TYPE_CHECKING, Annotated, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from provisioning.errors import CheckEntryError

if TYPE_CHECKING:
    from provisioning.ledger_events import Event

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Text = Annotated[str, Field(min_length=1, max_length=200)]
_SAMPLES_MAX = 10_000
_MEAN_TOLERANCE_NA = 1e-3

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
    """

    standard: _Text
    slot: _Text
    instrument: _Text
    certificate: _Text | None
    moment: Moment
    mean_na: _Finite
    samples_na: Annotated[tuple[_Finite, ...], Field(min_length=1, max_length=_SAMPLES_MAX)]
    range_ua: Annotated[int, Field(gt=0)]
    reference_na: _Finite
    expanded_uncertainty_na: _Positive
    limit_na: _Positive
    sd_na: _Positive

    @property
    def chart(self) -> ChartKey:
        """The chart that the reading is a point of (docs/spec/calibration.md §3.8)."""
        return (self.standard, self.slot, self.instrument, self.certificate)


class CheckEntry(CheckFacts):
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

    center_na: _Finite
    ewma_na: _Finite
    lower_na: _Finite
    upper_na: _Finite
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldCheck:
    """A reading, and where the ledger tells of it.

    Attributes:
        station: In whose chain.
        number: Its place there.
        at: When it was read, aware.
        entry: What is told.
    """

    station: str
    number: int
    at: dt.datetime
    entry: CheckEntry


def parse_check(event: Event) -> ToldCheck:
    """Return what an event of step `check-standard` says.

    Raises:
        CheckEntryError: It is none.
    """
    where = f"station {event.station}, event {event.number}"
    try:
        entry = CheckEntry.model_validate_json(json.dumps(dict(event.data)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        got = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        raise _not_a_check(got[:200], where) from error
    if entry.taken_under is not None and "/" in event.station:
        raise _not_a_check("taken over from another lease", where)
    at = event.at if entry.taken_under is None else entry.taken_under.at
    return ToldCheck(station=event.station, number=event.number, at=at, entry=entry)


def _not_a_check(got: str, where: str) -> CheckEntryError:
    return CheckEntryError(
        "this is not a reading of a check standard",
        got=got,
        where=where,
        hint="the ledger was changed outside Ampforge; compare it with a backup",
    )
