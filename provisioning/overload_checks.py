"""Whether an overload is the unit's current, or the instrument's fault.

An overload alone says neither. The unit's current is seen on a larger range; what no range holds
goes away with the output and comes back with it. Anything else says something about the station
and nothing about the unit, so it is an error and leaves the job open. Implements
docs/spec/calibration.md §3.7.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.errors import InstrumentError, InstrumentOverloadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioning.instruments import Meter, Reading
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.output_port import OutputPort

_OFF_SHARE_MAX: Final = 0.01
"""Of the largest range: what may flow with the output off."""
_OFF_SAMPLES: Final = 2


def confirm_overload(
    output: OutputPort,
    meter: Meter,
    settings: MetrologySettings,
    *,
    range_ua: int,
    again: Callable[[int], Reading],
) -> Reading | None:
    """Return what a larger range shows of a current that overloaded a range.

    Args:
        output: The unit's output, still driven.
        meter: The instrument with its load.
        settings: Its ranges and specification.
        range_ua: The range that was overloaded, µA.
        again: Drives the same once more and reads it on the range that it is given, µA.

    Returns:
        The reading, above the range that was overloaded; `None` when the unit overloads every
        range: then it did so twice, and with the output off nothing flowed in between.

    Raises:
        InstrumentError: The instrument contradicts itself, or is overloaded by nothing.
    """
    for entry in settings.accuracy:
        if entry.range_ua <= range_ua:
            continue
        try:
            reading = again(entry.range_ua)
        except InstrumentOverloadError:
            continue
        largest_na = max(abs(sample) for sample in reading.samples_na)
        doubt_na = (
            largest_na * entry.reading_percent + entry.range_ua * 1_000 * entry.range_percent
        ) / 100
        if largest_na + doubt_na < range_ua * 1_000:
            raise _contradicts(meter, range_ua, f"{largest_na / 1_000:.3f} µA", entry.range_ua)
        return reading
    largest_ua = settings.accuracy[-1].range_ua
    _require_nothing_when_off(output, meter, settings, largest_ua)
    try:
        reading = again(largest_ua)
    except InstrumentOverloadError:
        return None
    raise _contradicts(meter, largest_ua, f"{reading.mean_na / 1_000:.3f} µA", largest_ua)


def _require_nothing_when_off(
    output: OutputPort, meter: Meter, settings: MetrologySettings, range_ua: int
) -> None:
    output.output_off()
    limit_na = range_ua * 1_000 * _OFF_SHARE_MAX
    try:
        off = meter.read_current(range_ua=range_ua, nplc=settings.nplc, count=_OFF_SAMPLES)
    except InstrumentOverloadError as error:
        raise _flows_when_off(meter, limit_na, "overload", range_ua) from error
    if abs(off.mean_na) > limit_na:
        raise _flows_when_off(meter, limit_na, f"{off.mean_na / 1_000:.3f} µA", range_ua)


def _contradicts(meter: Meter, range_ua: int, got: str, on_range_ua: int) -> InstrumentError:
    return InstrumentError(
        "the instrument says overload where the current is inside the range",
        expected=f"more than {range_ua} µA when it is read again",
        got=got,
        where=f"{meter.identity}, ranges {range_ua} µA and {on_range_ua} µA",
        hint="check leads, relays and the instrument; started again, the job is gone on with",
    )


def _flows_when_off(meter: Meter, limit_na: float, got: str, range_ua: int) -> InstrumentError:
    return InstrumentError(
        "the instrument is overloaded although the output is off",
        expected=f"at most {limit_na / 1_000:g} µA",
        got=got,
        where=f"{meter.identity}, range {range_ua} µA",
        hint="check for a second source on the fixture, the instrument's input and its fuse; "
        "started again, the job is gone on with",
    )
