"""A waveform as arbitrary-waveform generators save it: `SampleRate=` and normalised samples.

Lines `NAME=VALUE`, then one sample a line, -1 to 1 of a full scale that the file does not state.
The generator holds each sample until the next, and repeats the whole. Bounded and strict: a file
that says something which would change its meaning (a carrier, a second channel) is refused.

Implements docs/spec/waveform-table.md §9.2.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, NamedTuple

from firmware_images.errors import WaveformSourceError
from firmware_images.waveform_csv import iterate_rows
from signing.value_class import dataclass

RATE_PARAMETER: Final = "SampleRate"
RATE_HZ_MAX: Final = Decimal(1_000_000)
RATE_HZ_MIN: Final = Decimal("0.001")
FULL_SCALE_UA_MAX: Final = Decimal(2_000_000)

_PARAMETER: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9]{0,63})\s*=\s*([^=]{1,64}?)\s*")
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]{1,18}\.?[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,2})?"
)
_IGNORED: Final = frozenset({"SetConfig"})
"""Tells the instrument whether to apply the parameters; says nothing of the samples."""

_CHANNEL: Final = "Y1"
_MARKERS: Final = frozenset({"SampleMarker1", "SyncMarker1"})
_COLUMNS: Final = (1, 1 + len(_MARKERS))
_SHOWN_CHARACTERS: Final = 40


class Sample(NamedTuple):
    """One sample as written.

    Args:
        line: Its line in the file, from 1.
        value: -1 to 1.
    """

    line: int
    value: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentWaveform:
    """One period.

    Args:
        where: The file, for errors.
        sample_rate_hz: Samples in a second.
        samples: At least one, each held for 1 / rate.
        has_markers: Whether the file had marker columns, which are left out.
    """

    where: str
    sample_rate_hz: Decimal
    samples: tuple[Sample, ...]
    has_markers: bool


def is_instrument_form(untrusted_bytes: bytes) -> bool:
    """Whether the first line is `NAME=VALUE`, which no row of `t_us,i_ua` is."""
    first = untrusted_bytes[:200].removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0]
    return b"=" in first and not first.startswith(b"#")


def parse_instrument_csv(untrusted_bytes: bytes, *, where: str) -> InstrumentWaveform:
    """Reads the instrument form.

    Raises:
        WaveformSourceError: Naming file, line, what was expected and what was there.
    """
    lines = list(iterate_rows(untrusted_bytes, where=where))
    # Between samples an empty line is a sample that is missing; around them it is nothing.
    while lines and _is_empty(lines[-1]):
        lines.pop()
    rate_hz, first = _parse_parameters(lines, where)
    columns = None
    if first < len(lines) and lines[first].lstrip().startswith(_CHANNEL):
        columns = _count_columns(lines[first], f"{where}, line {first + 1}")
        first += 1
    samples = []
    for number, line in enumerate(lines[first:], start=first + 1):
        fields = line.split(",", max(_COLUMNS))
        columns = columns or len(fields)
        if len(fields) != columns or columns not in _COLUMNS:
            raise WaveformSourceError(
                "a line must hold one sample",
                expected="one number, or one number and two markers, the same in every line",
                got=repr(line[:_SHOWN_CHARACTERS]),
                where=f"{where}, line {number}",
                hint="export one channel alone",
            )
        samples.append(Sample(number, _parse_sample(fields[0], f"{where}, line {number}")))
    if not samples:
        raise WaveformSourceError(
            "the file holds no samples", expected="one number a line", where=where
        )
    return InstrumentWaveform(
        where=where,
        sample_rate_hz=rate_hz,
        samples=tuple(samples),
        has_markers=columns != 1,
    )


def _is_empty(line: str) -> bool:
    return not line.strip(" \t")


def _parse_parameters(lines: list[str], where: str) -> tuple[Decimal, int]:
    """The sample rate, and how many lines the parameters take."""
    rate_hz = None
    count = 0
    while count < len(lines) and ("=" in lines[count] or _is_empty(lines[count])):
        count += 1
        if _is_empty(lines[count - 1]):
            continue
        place = f"{where}, line {count}"
        name, value = _parse_parameter(lines[count - 1], place)
        if name == RATE_PARAMETER and rate_hz is not None:
            raise WaveformSourceError("the sample rate is given twice", where=place)
        if name == RATE_PARAMETER:
            rate_hz = _parse_rate(value, place)
    if rate_hz is None:
        raise WaveformSourceError(
            "the file states no sample rate",
            expected=f"a first line {RATE_PARAMETER}=10000",
            where=where,
        )
    return rate_hz, count


def _parse_parameter(line: str, where: str) -> tuple[str, str]:
    found = _PARAMETER.fullmatch(line)
    if found is None or found[1] not in {RATE_PARAMETER, *_IGNORED}:
        raise WaveformSourceError(
            "a parameter is not understood, and could change what the samples mean",
            expected=", ".join(f"{name}=…" for name in (RATE_PARAMETER, *_IGNORED)),
            got=repr(line[:_SHOWN_CHARACTERS]),
            where=where,
        )
    return found[1], found[2]


def _parse_rate(text: str, where: str) -> Decimal:
    rate_hz = Decimal(text) if _NUMBER.fullmatch(text) else None
    if rate_hz is None or not RATE_HZ_MIN <= rate_hz <= RATE_HZ_MAX:
        raise WaveformSourceError(
            "the sample rate is out of range",
            expected=f"{RATE_HZ_MIN} to {RATE_HZ_MAX} samples a second",
            got=repr(text[:_SHOWN_CHARACTERS]),
            where=where,
            hint="a sample lasts a tick at least, and a tick is a whole number of microseconds",
        )
    return rate_hz


def _count_columns(line: str, where: str) -> int:
    names = [name.strip() for name in line.split(",")]
    if names[0] != _CHANNEL or not set(names[1:]) <= _MARKERS or len(names) not in _COLUMNS:
        raise WaveformSourceError(
            "the columns are not those of one channel",
            expected=f"{_CHANNEL}, or {_CHANNEL} and {' and '.join(sorted(_MARKERS))}",
            got=repr(line[:_SHOWN_CHARACTERS]),
            where=where,
            hint="export one channel alone",
        )
    return len(names)


def _parse_sample(field: str, where: str) -> Decimal:
    text = field.strip(" \t")
    value = Decimal(text) if _NUMBER.fullmatch(text) else None
    if value is None or abs(value) > 1:
        raise WaveformSourceError(
            "not a normalised sample",
            expected="a decimal number from -1 to 1",
            got=repr(field[:_SHOWN_CHARACTERS]),
            where=where,
        )
    return value
