"""What a SCPI multimeter is told, and what it is able to do: a TOML file that people write.

A description names commands, ranges, integration times, the form of a reading, the input resistance
and the maker's accuracy by range and age. Those that come with Ampforge are in
`instrument_descriptions/`. Implements docs/spec/calibration.md §3.4. This module talks to nothing.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from importlib.resources import files
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from provisioning.errors import InstrumentDescriptionError
from provisioning.meter_settings import DEFAULT_DESCRIPTION
from signing.bounded_toml import parse_toml
from signing.input_file import read_input
from signing.validation_words import describe_problem, first_problem

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTION_MAX_BYTES: Final = 65_536
_FOLDER: Final = "instrument_descriptions"
_SUFFIX: Final = ".toml"
_NAMES_OF: Final = {
    "configure": {"range"},
    "nplc": {"nplc"},
    "aperture": {"aperture_s"},
    "count": {"count"},
    "close_load": {"channel"},
}

_Command = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[ -~]+$")]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, lt=100, allow_inf_nan=False)]


class Quantity(StrEnum):
    """What the instrument measures."""

    CURRENT = "current"
    VOLTAGE = "voltage"
    """The voltage across the load, which is known."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Commands(_Section):
    """What is sent whatever is measured.

    Attributes:
        begin: Sent once, before anything else.
        error: Asks for the oldest entry of the error queue.
        count: Sets the samples of a reading; `{count}`.
        read: Takes the samples and answers with them.
        open_loads: Disconnects all loads; empty when something else switches them.
        close_load: Connects one; `{channel}`.
    """

    begin: Annotated[tuple[_Command, ...], Field(strict=False)] = ("*RST", "*CLS")
    error: _Command = "SYST:ERR?"
    count: _Command
    read: _Command = "READ?"
    open_loads: Annotated[tuple[_Command, ...], Field(strict=False)] = ()
    close_load: _Command | None = None


class Function(_Section):
    """How one quantity is measured.

    Attributes:
        configure: Selects quantity and range; `{range}` in A or V.
        after_configure: Sent after it.
        nplc: Sets the integration time in mains periods; `{nplc}`.
        aperture: Sets it in seconds; `{aperture_s}`. Without it waveforms cannot be verified.
        after_aperture: Sent after it: what makes one sample follow the other without a gap.
        confirm: Asks what is measured, once for each configuration.
        confirmed: What the answer must begin with, quotation marks aside.
        ranges: Ranges, A or V, ascending; empty: any is asked for as it is.
        nplc_values: Integration times, mains periods; empty: any.
        aperture_min_s: Shortest integration time, s.
        aperture_max_s: Longest integration time, s.
        unit: Unit that stands behind each sample, such as `ADC`; empty: none.
        input_resistance_ohm: What the input loads the fixture with, Ω; of a voltage only.
    """

    configure: _Command
    after_configure: Annotated[tuple[_Command, ...], Field(strict=False)] = ()
    nplc: _Command
    aperture: _Command | None = None
    after_aperture: Annotated[tuple[_Command, ...], Field(strict=False)] = ()
    confirm: _Command | None = None
    confirmed: Annotated[str, Field(max_length=20)] = ""
    ranges: Annotated[tuple[_Positive, ...], Field(strict=False)] = ()
    nplc_values: Annotated[tuple[_Positive, ...], Field(strict=False)] = ()
    aperture_min_s: _Positive = 1e-6
    aperture_max_s: _Positive = 1e3
    unit: Annotated[str, Field(max_length=8, pattern=r"^[A-Za-z]*$")] = ""
    input_resistance_ohm: _Positive | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if list(self.ranges) != sorted(set(self.ranges)):
            raise ValueError("ranges must be distinct and ascending")
        if bool(self.confirm) != bool(self.confirmed):
            raise ValueError("confirm and confirmed: give both or neither")
        for name in ("configure", "nplc", "aperture"):
            _check_placeholders(name, getattr(self, name))
        return self

    def range_for(self, largest: float) -> float:
        """Return the smallest range that holds a value, A or V; the value where any is possible.

        Raises:
            InstrumentDescriptionError: No range is large enough.
        """
        for step in self.ranges:
            if largest <= step * (1 + 1e-9):
                return step
        if self.ranges:
            raise InstrumentDescriptionError(
                "the instrument has no range that is large enough",
                expected=f"at most {self.ranges[-1]:g}",
                got=f"{largest:g}",
                hint="choose a smaller range, or another instrument",
            )
        return largest


class Accuracy(_Section):
    """One line of the maker's specification.

    Attributes:
        quantity: Of what.
        range: Full scale, A or V.
        age_days: How long after the calibration it holds, days.
        reading_percent: Part of the reading, percent.
        range_percent: Part of the full scale, percent.
    """

    quantity: Annotated[Quantity, Field(strict=False)] = Quantity.CURRENT
    range: _Positive
    age_days: Annotated[int, Field(ge=1, le=3650)]
    reading_percent: _Share
    range_percent: _Share


class InstrumentDescription(_Section):
    """One kind of instrument.

    Attributes:
        name: What it is called here.
        source: Where commands and figures were read.
        models: Second field of `*IDN?`, one of these; empty: any.
        quantity: What is measured.
        serial_baud: Rate of a serial port, baud.
        commands: What is sent whatever is measured.
        current: How current is measured.
        voltage: How voltage is measured.
        accuracy: The maker's specification.
        accuracy_source: Where it was read.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    source: Annotated[str, Field(min_length=1, max_length=400)]
    models: Annotated[tuple[str, ...], Field(strict=False)] = ()
    quantity: Annotated[Quantity, Field(strict=False)] = Quantity.CURRENT
    serial_baud: Annotated[int, Field(ge=300, le=3_000_000)] = 9_600
    commands: Commands
    current: Function | None = None
    voltage: Function | None = None
    accuracy: Annotated[tuple[Accuracy, ...], Field(strict=False)] = ()
    accuracy_source: Annotated[str, Field(max_length=400)] = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.function_or_none is None:
            raise ValueError(
                f"quantity is {self.quantity}, and there is no section [{self.quantity}]"
            )
        if self.quantity is Quantity.VOLTAGE and not self.function.input_resistance_ohm:
            raise ValueError("[voltage] input_resistance_ohm: needed to correct the loading")
        if self.accuracy and not self.accuracy_source:
            raise ValueError("accuracy_source: say where the accuracy was read")
        if bool(self.commands.open_loads) != bool(self.commands.close_load):
            raise ValueError("open_loads and close_load: give both or neither")
        for name in ("count", "close_load"):
            _check_placeholders(name, getattr(self.commands, name))
        return self

    @property
    def function_or_none(self) -> Function | None:
        """The section of the quantity, if it is there."""
        return self.current if self.quantity is Quantity.CURRENT else self.voltage

    @property
    def function(self) -> Function:
        """How the quantity is measured."""
        found = self.function_or_none
        assert found is not None, "checked when it was read"
        return found

    def accuracy_at_age(self, days: int) -> tuple[Accuracy, ...]:
        """Return the lines that hold so many days after a calibration, one for each range.

        Of several the one for the shortest time counts; none where the maker states nothing for so
        long.
        """
        best: dict[tuple[Quantity, float], Accuracy] = {}
        for line in sorted(self.accuracy, key=lambda line: -line.age_days):
            if line.age_days >= days:
                best[line.quantity, line.range] = line
        return tuple(sorted(best.values(), key=lambda line: (line.quantity, line.range)))


def _check_placeholders(name: str, command: str | None) -> None:
    if command is None:
        return
    try:
        names = {field for _, field, _, _ in Formatter().parse(command) if field is not None}
        if names == _NAMES_OF[name]:
            command.format(**dict.fromkeys(names, 1))
            return
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{name}: {error}") from error
    raise ValueError(f"{name}: needs exactly {{{', '.join(_NAMES_OF[name])}}}, got {command!r}")


def list_descriptions() -> tuple[str, ...]:
    """Return the names of the descriptions that come with Ampforge."""
    folder = files("provisioning") / _FOLDER
    found = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)))


def read_built_in(name: str) -> str:
    """Return the text of a description that comes with Ampforge.

    Raises:
        InstrumentDescriptionError: There is none of this name.
    """
    built_in_description(name)
    return (files("provisioning") / _FOLDER / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


@cache
def built_in_description(name: str = DEFAULT_DESCRIPTION) -> InstrumentDescription:
    """Return a description that comes with Ampforge.

    Raises:
        InstrumentDescriptionError: There is none of this name.
    """
    if name not in list_descriptions():
        raise InstrumentDescriptionError(
            "there is no such description of an instrument",
            expected=f"{', '.join(list_descriptions())}, or a file that ends in {_SUFFIX}",
            got=repr(name),
            hint="docs/how-to/add-an-instrument.md shows how to write one",
        )
    path = files("provisioning") / _FOLDER / f"{name}{_SUFFIX}"
    return parse_description(path.read_bytes(), where=name)


def load_description(name: str, *, root: Path) -> InstrumentDescription:
    """Return a description by its name, or from a file.

    Args:
        name: A name of `list_descriptions`, or a path that ends in `.toml`.
        root: What a relative path is relative to.

    Raises:
        InstrumentDescriptionError: There is none, or it is not one.
    """
    if not name.endswith(_SUFFIX):
        return built_in_description(name)
    path = root / name
    try:
        untrusted_bytes = read_input(path, DESCRIPTION_MAX_BYTES)
    except OSError as error:
        raise InstrumentDescriptionError(
            "the description of the instrument cannot be read",
            got=error.strerror or type(error).__name__,
            where=path,
            hint="check the path in [station.meter] description",
        ) from error
    return parse_description(untrusted_bytes, where=str(path))


def parse_description(untrusted_bytes: bytes, *, where: str) -> InstrumentDescription:
    """Parse a description.

    Args:
        untrusted_bytes: TOML.
        where: What to call it in an error.

    Raises:
        InstrumentDescriptionError: It is not one.
    """
    try:
        if len(untrusted_bytes) > DESCRIPTION_MAX_BYTES:
            raise ValueError(f"longer than {DESCRIPTION_MAX_BYTES} bytes")  # noqa: TRY301 - one way out
        document = parse_toml(untrusted_bytes.decode("utf-8"))
        return InstrumentDescription.model_validate(document)
    except ValidationError as error:
        first = first_problem(error)
        words = describe_problem(first, InstrumentDescription)
        got = f"{'.'.join(map(str, first['loc'])) or 'the whole'} {words}"
        raise _not_one(got, where) from error
    except (ValueError, RecursionError) as error:
        raise _not_one(str(error) or type(error).__name__, where) from error


def _not_one(got: str, where: str) -> InstrumentDescriptionError:
    return InstrumentDescriptionError(
        "this is not a description of an instrument",
        expected="TOML as in docs/how-to/add-an-instrument.md",
        got=got[:300],
        where=where,
        hint="start from a description that comes with Ampforge: `ampforge instrument describe`",
    )
