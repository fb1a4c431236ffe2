"""Opens the meter of a slot as section `[station]` says, and judges whether it can do the work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import InstrumentDescriptionError
from provisioning.instrument_description import Quantity, load_description
from provisioning.instruments import parse_identity
from provisioning.scpi_meter import open_meter
from provisioning.scpi_session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from provisioning.instrument_description import Accuracy, InstrumentDescription
    from provisioning.instruments import InstrumentIdentity, Meter
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.station_settings import StationSettings
    from provisioning.station_values import SlotConfig

_AMPERE_PER_MICROAMP = 1e-6
_TOLERATED = 1 + 1e-9


def open_slot_meter(
    slot: SlotConfig, settings: StationSettings, *, clock: Callable[[], datetime]
) -> Meter:
    """Open the meter of one slot, with what switches its loads.

    Raises:
        InstrumentDescriptionError: Its description is none.
        InstrumentError: It cannot be opened, does not identify itself, or is another model.
    """
    return open_meter(
        slot.meter,
        settings.metrology,
        clock=clock,
        description=station_description(settings),
        settings=settings.meter,
        switch_address=slot.switch,
        timeout_s=settings.meter.timeout_s,
    )


def identify_instrument(address: str, settings: StationSettings) -> InstrumentIdentity:
    """Ask an instrument who it is, and nothing else.

    Raises:
        InstrumentError: It cannot be opened or does not identify itself.
    """
    session = open_session(
        address,
        backend="@py",
        timeout_s=settings.meter.timeout_s,
        serial_baud=station_description(settings).serial_baud,
    )
    try:
        return parse_identity(session.ask("*IDN?"), where=address)
    finally:
        session.close()


def station_description(settings: StationSettings) -> InstrumentDescription:
    """Return the description that the section names; a path in it is relative to this folder.

    Raises:
        InstrumentDescriptionError: There is none, or it is not one.
    """
    return load_description(settings.meter.description, root=Path())


def refuse_optimistic_accuracy(
    accuracy: Sequence[Accuracy],
    description: InstrumentDescription,
    metrology: MetrologySettings,
    *,
    where: str,
) -> None:
    """Refuse settings that state a smaller error than the instrument's own specification.

    A voltage is turned into a current by the load, so that its tolerance counts in full, and the
    range part is that of the voltage range over what the current range drops across the load
    (docs/spec/calibration.md §3.5).

    Args:
        accuracy: The instrument's specification, one line for each range.
        description: What it measures, and its ranges.
        metrology: Section `[station.metrology]`.
        where: What states the specification.

    Raises:
        InstrumentDescriptionError: The settings promise more than the instrument keeps.
    """
    lines = {line.range: line for line in accuracy if line.quantity is description.quantity}
    function = description.function
    loads = metrology.needed_loads_ohm if description.quantity is Quantity.VOLTAGE else {1}
    for stated in metrology.accuracy:
        for load_ohm in sorted(loads):
            full_scale = stated.range_ua * _AMPERE_PER_MICROAMP * load_ohm
            selected = function.range_for(full_scale)
            fitting = [step for step in sorted(lines) if selected <= step * _TOLERATED]
            line = lines[fitting[0]] if fitting else None
            if line is None:
                raise _promised(
                    f"an accuracy for {selected:g} {'V' if load_ohm > 1 else 'A'}", "none", where
                )
            reading = line.reading_percent
            if description.quantity is Quantity.VOLTAGE:
                reading += metrology.load_tolerance_percent
            of_range = line.range_percent * line.range / full_scale
            if (
                stated.reading_percent * _TOLERATED < reading
                or stated.range_percent * _TOLERATED < of_range
            ):
                raise _promised(
                    f"at least {reading:g} % of reading + {of_range:g} % of range",
                    f"{stated.reading_percent:g} % + {stated.range_percent:g} %",
                    f"{where}, range {stated.range_ua} µA"
                    + (f" at {load_ohm} Ω" if load_ohm > 1 else ""),
                )


def _promised(expected: str, got: str, where: str) -> InstrumentDescriptionError:
    return InstrumentDescriptionError(
        "[station.metrology] accuracy promises more than the instrument keeps",
        expected=expected,
        got=got,
        where=where,
        hint="take the figures of the data sheet or certificate over into [station.metrology]",
    )
