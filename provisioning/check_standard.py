"""The check standard of a fixture: a known current, read before and after the units.

Calibration and verification share the meter, so that its error cancels in them; a source that is
not the unit does not. Implements docs/spec/calibration.md §3.8. What a reading means for units is
decided in `ledger_checks`, in the transaction that writes it down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from provisioning.check_entry import CheckFacts
from provisioning.control_charts import chart_ewma
from provisioning.errors import InstrumentError
from provisioning.instrument_certificates import refuse_uncertified
from provisioning.measurement_settings import LoadChannel
from provisioning.slot_meter import open_slot_meter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime

    from provisioning.check_entry import Moment
    from provisioning.check_standard_settings import CheckStandardSettings
    from provisioning.instruments import InstrumentIdentity
    from provisioning.station_settings import StationSettings
    from provisioning.station_values import SlotConfig

BASELINE_COUNT: Final = 3
"""So many good readings make the center of the chart; they are judged by the limit alone."""


class KnownCurrent(Protocol):
    """What a reading is judged by: a section, or an event that carries its figures along."""

    @property
    def reference_na(self) -> float:
        """Its current as calibrated, nA."""
        ...

    @property
    def limit_na(self) -> float:
        """How far one reading may be from it, nA."""
        ...

    @property
    def sd_na(self) -> float:
        """Standard deviation of one reading from check to check, nA."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckJudgement:
    """What a reading says about the instrument and its fixture.

    Attributes:
        reasons: Why it is not good; empty when it is.
        center_na: Center of the chart, nA.
        ewma_na: The moving average after this reading, nA.
        lower_na: Its lower limit, nA.
        upper_na: Its upper limit, nA.
    """

    reasons: tuple[str, ...]
    center_na: float
    ewma_na: float
    lower_na: float
    upper_na: float

    @property
    def is_good(self) -> bool:
        """Whether units may be measured, and those measured before it released."""
        return not self.reasons


def read_check_standard(
    slot: SlotConfig,
    settings: StationSettings,
    standard: CheckStandardSettings,
    *,
    moment: Moment,
    clock: Callable[[], datetime],
    is_due: Callable[[InstrumentIdentity, str | None], bool] = lambda _identity, _certificate: True,
) -> CheckFacts | None:
    """Connect the standard in place of a load and read it.

    Args:
        slot: Where.
        settings: Section `[station]`, with the certificates of the register.
        standard: The section.
        moment: When in the work.
        clock: Returns the time now, UTC.
        is_due: Asked with the instrument and its certificate whether it is read at all.

    Returns:
        The reading; `None` when none is due.

    Raises:
        InstrumentError: Instrument or standard are overdue, or the measurement failed.
    """
    metrology = settings.metrology
    relay = LoadChannel(load_ohm=standard.resistance_ohm, channel=standard.channel)
    only_it = settings.model_copy(
        update={"metrology": metrology.model_copy(update={"load_channels": (relay,)})}
    )
    meter = open_slot_meter(slot, only_it, clock=clock)
    try:
        certificate = refuse_uncertified(meter.identity, metrology, today=clock().date())
        if not is_due(meter.identity, certificate):
            return None
        _refuse_overdue(standard, today=clock().date())
        meter.select_load(standard.resistance_ohm)
        largest_na = abs(standard.reference_na) + standard.limit_na
        reading = meter.read_current(
            range_ua=metrology.accuracy_for(largest_na).range_ua,
            nplc=metrology.nplc,
            count=metrology.sample_count,
        )
    finally:
        meter.close()
    return CheckFacts(
        standard=standard.name,
        slot=slot.name,
        instrument=meter.identity.serial_number,
        certificate=certificate,
        moment=moment,
        mean_na=reading.mean_na,
        samples_na=reading.samples_na,
        range_ua=reading.range_ua,
        reference_na=standard.reference_na,
        expanded_uncertainty_na=standard.expanded_uncertainty_na,
        limit_na=standard.limit_na,
        sd_na=standard.sd_na,
        standard_certificate=standard.certificate,
    )


def _refuse_overdue(standard: CheckStandardSettings, *, today: date) -> None:
    if standard.due is not None and today > standard.due:
        raise InstrumentError(
            "the check standard's calibration is overdue",
            expected=f"due {today} or later",
            got=f"due {standard.due}",
            where=f"{standard.name}, certificate {standard.certificate}",
            hint="have it calibrated, and enter its reference, U, certificate and due date in "
            "[station.check_standard]",
        )


def judge_check(
    mean_na: float,
    good_before_na: Sequence[float],
    standard: KnownCurrent,
    *,
    center_na: float | None = None,
) -> CheckJudgement:
    """Judge a reading by its distance from the reference, and by the chart of those before.

    Args:
        mean_na: The reading, nA.
        good_before_na: Good readings of the same standard, slot, instrument and certificate, in
            order, nA.
        standard: What it is judged by.
        center_na: Center of the chart, once it is known, nA; the mean of the first values if not.
    """
    values = (*good_before_na, mean_na)
    if center_na is None:
        baseline = values[:BASELINE_COUNT]
        center_na = sum(baseline) / len(baseline)
    chart = chart_ewma(values, center=center_na, sd=standard.sd_na)
    ewma_na, lower_na, upper_na = chart.points[-1], chart.lower[-1], chart.upper[-1]
    reasons = []
    deviation_na = mean_na - standard.reference_na
    if abs(deviation_na) > standard.limit_na:
        reasons.append(
            f"{deviation_na:+.1f} nA from the reference of {standard.reference_na:g} nA, at most "
            f"{standard.limit_na:g} nA"
        )
    if len(values) > BASELINE_COUNT and not lower_na <= ewma_na <= upper_na:
        reasons.append(
            f"EWMA {ewma_na:.1f} nA is outside {lower_na:.1f} to {upper_na:.1f} nA after "
            f"{len(values)} readings"
        )
    return CheckJudgement(
        reasons=tuple(reasons),
        center_na=center_na,
        ewma_na=ewma_na,
        lower_na=lower_na,
        upper_na=upper_na,
    )
