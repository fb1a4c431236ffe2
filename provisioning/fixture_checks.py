"""What a fixture must show before a unit is measured on it: no current when off, and closed leads.

Both say something about the station and nothing about the unit, so they are errors and leave the
job open. Implements docs/spec/calibration.md §3.3. A unit that drives nothing at all looks like an
open lead, and only a person can tell them apart.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from provisioning.calibration_plan import PROBE_NA
from provisioning.errors import InstrumentLeadError, InstrumentOverloadError

if TYPE_CHECKING:
    from provisioning.instruments import Meter
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.meter_settings import MeterSettings
    from provisioning.output_port import OutputPort

_SAMPLES: Final = 2


def check_fixture(
    output: OutputPort, meter: Meter, metrology: MetrologySettings, settings: MeterSettings
) -> None:
    """Check zero and leads; the output is off afterwards, whatever happens.

    Args:
        output: The unit's output, driven by raw codes.
        meter: The instrument with the fixture's loads.
        metrology: Ranges, loads and converter.
        settings: The limits.

    Raises:
        InstrumentLeadError: Current flows with the output off, or none with it on.
        InstrumentError: The measurement failed.
    """
    load_ohm = metrology.loads_ohm[0]
    meter.select_load(load_ohm)
    output.output_off()
    smallest = metrology.accuracy[0]
    range_ua, limit_na = smallest.range_ua, settings.zero_limit_na
    if limit_na is None:
        # What a reading's budget holds; more would be in no budget. Twice, for its noise.
        limit_na = 2 * (range_ua * 1_000 * smallest.range_percent / 100 + metrology.leakage_na)
    try:
        zero = meter.read_current(range_ua=range_ua, nplc=metrology.nplc, count=_SAMPLES)
    except InstrumentOverloadError as error:
        raise _not_zero(f"more than {range_ua} µA", limit_na, load_ohm) from error
    if abs(zero.mean_na) > limit_na:
        raise _not_zero(f"{zero.mean_na:.1f} nA", limit_na, load_ohm)
    largest_na = 0.0
    try:
        for current_na in (PROBE_NA, -PROBE_NA):
            output.set_output_code(metrology.nominal_code(current_na))
            with suppress(InstrumentOverloadError):  # a current, whatever its size
                reading = meter.read_current(
                    range_ua=metrology.accuracy[-1].range_ua, nplc=metrology.nplc, count=_SAMPLES
                )
                largest_na = max(largest_na, abs(reading.mean_na))
                continue
            return
    finally:
        output.output_off()
    if largest_na <= settings.open_lead_limit_na:
        raise InstrumentLeadError(
            "no current arrives: the leads are open",
            expected=f"more than {settings.open_lead_limit_na:g} nA at ±{PROBE_NA / 1e3:g} µA",
            got=f"{largest_na:.1f} nA",
            where=f"{meter.identity}, {load_ohm} Ω",
            hint="check fixture and leads; if a known good unit works here, this one is dead",
        )


def _not_zero(got: str, limit_na: float, load_ohm: int) -> InstrumentLeadError:
    return InstrumentLeadError(
        "current flows although the output is off",
        expected=f"at most {limit_na:g} nA",
        got=got,
        where=f"{load_ohm} Ω",
        hint="check for leakage, a second source on the fixture, and the instrument's zero",
    )
