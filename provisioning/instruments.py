"""What an instrument is to calibration and verification, and how its answers are read.

A `Meter` measures direct current and connects the loads of the fixture. The driver for SCPI
multimeters is `scpi_meter`; a simulated instrument needs no other driver. Answers come from outside
and are parsed strictly: overload, not-a-number and cut-off answers are errors, never values.
Implements docs/spec/calibration.md §3. This module does no input or output.
"""

from __future__ import annotations

import math
import re
from string import ascii_letters
from typing import TYPE_CHECKING, Final, Protocol

from provisioning.errors import InstrumentError, InstrumentOverloadError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from datetime import datetime

OVERLOAD_AMPERE: Final = 9.9e37
"""SCPI's infinity; a reading at or above it is an overload (SCPI-99 §7.2.1.4)."""
NOT_A_NUMBER_AMPERE: Final = 9.91e37
"""SCPI's not-a-number, which is larger than its infinity (SCPI-99 §7.2.1.5)."""
NANOAMPS_PER_AMPERE: Final = 1e9
SIMULATED_MANUFACTURER: Final = "Ampforge"
"""What the simulated instrument tells `*IDN?` as its maker."""
SIMULATED_NOTE: Final = (
    "Simulated boards and meters: the figures are the simulation's, the software is the real one."
)
"""What stands on every page about units that a simulated instrument measured."""
_FIELD_MAX_CHARACTERS: Final = 64
_IDENTITY_FIELDS: Final = 4
_UNIT_LETTERS: Final = f"{ascii_letters}µΩ"
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentIdentity:
    """Who an instrument says it is: the four fields of `*IDN?`.

    Attributes:
        manufacturer: First field.
        model: Second field.
        serial_number: Third field; binds readings to a calibration certificate.
        firmware: Fourth field.
    """

    manufacturer: str
    model: str
    serial_number: str
    firmware: str

    @property
    def is_simulated(self) -> bool:
        """Whether it is the simulated line's: what it read says nothing about a real board."""
        return self.manufacturer == SIMULATED_MANUFACTURER

    def __str__(self) -> str:
        return f"{self.manufacturer} {self.model}, serial {self.serial_number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The mean of a few samples on one range into one load.

    Attributes:
        mean_na: Arithmetic mean, nA.
        sd_na: Sample standard deviation, nA; 0 for a single sample.
        count: Number of samples.
        samples_na: The samples, nA.
        range_ua: The range they were taken on, µA.
        aperture_s: Integration time of one sample, s.
        load_ohm: The load that was connected, Ω.
        at: When the answer arrived, UTC.
    """

    mean_na: float
    sd_na: float
    count: int
    samples_na: tuple[float, ...]
    range_ua: int
    aperture_s: float
    load_ohm: int
    at: datetime


class Meter(Protocol):
    """What calibration and verification need from an instrument with a load fixture."""

    @property
    def identity(self) -> InstrumentIdentity:
        """Who the instrument is."""
        ...

    def select_load(self, load_ohm: int) -> None:
        """Connect exactly one load, Ω."""
        ...

    def read_current(
        self, *, range_ua: int, nplc: float, count: int, scatter_na: float = 0.0
    ) -> Reading:
        """Take `count` samples, each integrated over `nplc` mains periods.

        `scatter_na` is what one sample is known to scatter by without being unsettled, nA.
        """
        ...

    def prepare_aperture(self, *, range_ua: int, aperture_s: float, count: int) -> None:
        """Be configured for `read_aperture`, so that nothing comes before its first sample."""
        ...

    def read_aperture(self, *, range_ua: int, aperture_s: float, count: int) -> Reading:
        """Take `count` samples back to back, each integrated over `aperture_s` seconds."""
        ...

    def close(self) -> None:
        """End the session."""
        ...


def parse_identity(untrusted_text: str, *, where: str) -> InstrumentIdentity:
    """Parse the answer to `*IDN?` (IEEE 488.2 §10.14).

    Raises:
        InstrumentError: It has not four fields of printable ASCII, or no serial number.
    """
    fields = [field.strip() for field in untrusted_text.split(",", 3)]
    is_text = all(
        field.isascii() and field.isprintable() and len(field) <= _FIELD_MAX_CHARACTERS
        for field in fields
    )
    if len(fields) != _IDENTITY_FIELDS or not is_text or not fields[1] or fields[2] in {"", "0"}:
        raise InstrumentError(
            "the instrument does not identify itself",
            expected="maker,model,serial number,firmware with a serial number",
            got=repr(untrusted_text[:80]),
            where=where,
            hint="a reading without the instrument's serial number cannot be traced; check *IDN?",
        )
    return InstrumentIdentity(
        manufacturer=fields[0], model=fields[1], serial_number=fields[2], firmware=fields[3]
    )


def parse_samples(
    untrusted_text: str, *, count: int, where: str, unit: str = ""
) -> tuple[float, ...]:
    """Parse the answer to `READ?`: amperes or volts, separated by commas.

    Args:
        untrusted_text: The answer, without its terminator.
        count: How many samples were asked for.
        where: What to call the instrument in an error.
        unit: What stands behind each number; empty: nothing may.

    Returns:
        The samples in A or V.

    Raises:
        InstrumentOverloadError: A sample is SCPI's infinity.
        InstrumentError: Another number of samples, another unit, or one that is not a number.
    """
    fields = untrusted_text.split(",")
    if len(fields) != count:
        raise InstrumentError(
            "the instrument answered with another number of samples",
            expected=count,
            got=f"{len(fields)} in {untrusted_text[:60]!r}",
            where=where,
            hint="check SAMP:COUN and the cable; the answer may be cut off",
        )
    samples = []
    for index, field in enumerate(fields):
        text = _without_unit(field.strip(), unit, where=f"{where}, sample {index + 1}")
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        if math.isnan(value) or abs(value) == NOT_A_NUMBER_AMPERE:
            raise InstrumentError(
                "the instrument answered with something that is not a current or voltage",
                expected="a number such as +7.9977E-05",
                got=repr(text[:40]),
                where=f"{where}, sample {index + 1}",
                hint="check that nothing else talks to the instrument",
            )
        if abs(value) >= OVERLOAD_AMPERE:
            raise InstrumentOverloadError(
                "the instrument is overloaded",
                expected="a current inside the range",
                got=text[:40],
                where=f"{where}, sample {index + 1}",
                hint="use a larger range; if the current is what it should be, check the load",
            )
        samples.append(value)
    return tuple(samples)


def _without_unit(text: str, unit: str, *, where: str) -> str:
    number = text.rstrip(_UNIT_LETTERS)
    found = text[len(number) :]
    number = number.rstrip()
    if found.upper() == unit.upper():
        return number
    if not _NUMBER.fullmatch(number):
        return text
    raise InstrumentError(
        "the instrument answered in another unit",
        expected=f"numbers in {unit}" if unit else "numbers without a unit",
        got=repr(text[:40]),
        where=where,
        hint="check its function at the front panel, and unit in the description",
    )
