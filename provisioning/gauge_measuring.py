"""Takes one reading of a guided gauge study on the station: a unit, a current, a load, a meter.

The part says itself which one it is, by its serial number, so that nobody can measure the wrong one
into a study. Implements docs/spec/capability.md §2.4.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.board_output import BoardOutput
from provisioning.device_link import DeviceLink
from provisioning.errors import GaugeDataError, ProvisioningError
from provisioning.instrument_certificates import refuse_uncertified
from provisioning.ledger_events import format_time
from provisioning.serial_port import open_port
from provisioning.slot_meter import open_slot_meter

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence

    from provisioning.instruments import InstrumentIdentity, Reading
    from provisioning.station_settings import StationSettings
    from provisioning.station_values import SlotConfig

_NA_PER_UA: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeReading:
    """One reading with everything that it came from.

    Attributes:
        part: Serial number, as the unit told it.
        slot: Where it was.
        current_na: What an ideal unit would have driven, nA.
        code: The code for that.
        reading: What the meter read.
        instrument: The meter.
        certificate: Its certificate on file, or `None`.
    """

    part: str
    slot: str
    current_na: int
    code: int
    reading: Reading
    instrument: InstrumentIdentity
    certificate: str | None

    @property
    def value(self) -> str:
        """The reading in µA, with the digits of a picoampere."""
        return f"{self.reading.mean_na / _NA_PER_UA:.6f}"

    def document(self) -> dict[str, object]:
        """Return the reading as JSON values."""
        return {
            "part": self.part,
            "slot": self.slot,
            "current_na": self.current_na,
            "code": self.code,
            "load_ohm": self.reading.load_ohm,
            "range_ua": self.reading.range_ua,
            "aperture_s": self.reading.aperture_s,
            "samples_na": list(self.reading.samples_na),
            "at": format_time(self.reading.at),
            "instrument": str(self.instrument),
            "certificate": self.certificate,
        }


def slots_of_appraiser(slots: Sequence[SlotConfig], appraiser: str) -> tuple[SlotConfig, ...]:
    """Return where a part may be: the slot of that name, or any when the appraiser is a person."""
    return tuple(slot for slot in slots if slot.name == appraiser) or tuple(slots)


def measure_part(
    slots: Sequence[SlotConfig],
    part: str,
    *,
    current_na: int,
    load_ohm: int,
    settings: StationSettings,
    now: Callable[[], dt.datetime],
) -> GaugeReading:
    """Find a unit in one of the slots, have it drive a nominal current, and read it once.

    Args:
        slots: Where it may be.
        part: Its serial number.
        current_na: What an ideal unit would drive, nA.
        load_ohm: Into which load, Ω.
        settings: Section `[station]`.
        now: The present, aware.

    Raises:
        GaugeDataError: It is in none of the slots, or the current is outside the working span.
        ProvisioningError: Port, unit or instrument failed; the output is off again, as far as it
            could be.
    """
    span_na = settings.metrology.working_span_na
    if abs(current_na) > span_na:
        raise GaugeDataError(
            "the current is outside what units are measured with",
            expected=f"at most {span_na / _NA_PER_UA:g} µA",
            got=f"{current_na / _NA_PER_UA:g} µA",
            hint="choose a level of the product, or raise [station.metrology] working_span_na",
        )
    found = []
    for slot in slots:
        with ExitStack() as stack:
            port = open_port(slot.port)
            stack.callback(port.close)
            link = DeviceLink(port, where=slot.port)
            link.reset_board()
            serial = link.wait_until_ready(timeout_s=settings.boot_timeout_s).serial
            if serial == part:
                return _read(link, slot, part, current_na, load_ohm, settings=settings, now=now)
            found.append(f"{serial or 'a unit without number'} in slot {slot.name}")
    raise GaugeDataError(
        "the part is not in its place",
        expected=part,
        got=", ".join(found) or "no slot to look into",
        hint="put it there and start again: what was read so far is kept",
    )


def _read(
    link: DeviceLink,
    slot: SlotConfig,
    part: str,
    current_na: int,
    load_ohm: int,
    *,
    settings: StationSettings,
    now: Callable[[], dt.datetime],
) -> GaugeReading:
    metrology = settings.metrology
    largest_na = abs(current_na) + metrology.claim_limit_na
    range_ua = metrology.accuracy_for(largest_na).range_ua
    meter = open_slot_meter(slot, settings, clock=now)
    output = BoardOutput(link)
    try:
        certificate = refuse_uncertified(meter.identity, metrology, today=now().date())
        meter.select_load(load_ohm)
        # The code of an ideal unit, not the unit's own calibration: parts must differ as they were
        # made, or there is nothing to tell the gauge's variation from.
        code = metrology.nominal_code(current_na)
        output.set_output_code(code)
        reading = meter.read_current(
            range_ua=range_ua, nplc=metrology.nplc, count=metrology.sample_count
        )
        output.output_off()
    finally:
        with suppress(ProvisioningError):  # the first error is the one to report
            output.output_off()
        meter.close()
    return GaugeReading(
        part=part,
        slot=slot.name,
        current_na=current_na,
        code=code,
        reading=reading,
        instrument=meter.identity,
        certificate=certificate,
    )
