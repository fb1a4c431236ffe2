"""The segments of a pulse as a person writes them: held, ramped, curved, or a group repeated.

Implements docs/spec/waveform-table.md §10. What a whole file holds is in `waveform_source`.
"""

from __future__ import annotations

from dataclasses import field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from firmware_images.errors import WaveformSourceError
from firmware_images.waveform import SEGMENT_COUNT_MAX
from firmware_images.waveform_curve import (
    HALF_WAVES_MAX,
    PIECES_DEFAULT,
    PIECES_MAX,
    CurveSegment,
)
from firmware_images.waveform_shape import ShapeSegment
from signing.value_class import dataclass
from signing.written_checks import number, several, whole
from signing.written_table import nested, written, written_values

if TYPE_CHECKING:
    from collections.abc import Sequence

US_PER_MS: Final = 1000
MS_MAX: Final = Decimal(86_400_000)

_RELATIVE_MAX: Final = Decimal(1)
_DECIMALS_MAX: Final = 9
_NUMBER: Final = written(number())


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSegmentDocument:
    """A segment that is not a group; one of its forms, which `build_shape_segments` tells apart."""

    ms: Decimal | None = field(default=None, metadata=_NUMBER)
    at: Decimal | None = field(default=None, metadata=_NUMBER)
    from_: Decimal | None = field(default=None, metadata=written(number(), key="from"))
    to: Decimal | None = field(default=None, metadata=_NUMBER)
    half_sine: Decimal | None = field(default=None, metadata=_NUMBER)
    sine: Decimal | None = field(default=None, metadata=_NUMBER)
    cycles: int | None = field(
        default=None, metadata=written(whole(least=1, most=HALF_WAVES_MAX // 2))
    )
    pieces: int | None = field(
        default=None, metadata=written(whole(least=2, most=PIECES_MAX, multiple_of=2))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentDocument(PlainSegmentDocument):
    """A segment, or a group of plain ones that is played several times."""

    repeat: int | None = field(
        default=None, metadata=written(whole(least=1, most=SEGMENT_COUNT_MAX))
    )
    segments: tuple[PlainSegmentDocument, ...] | None = field(
        default=None,
        metadata=written(several(nested(PlainSegmentDocument), least=1, most=SEGMENT_COUNT_MAX)),
    )


def build_shape_segments(
    documents: Sequence[SegmentDocument], where: str
) -> tuple[ShapeSegment | CurveSegment, ...]:
    """What was written, groups unrolled.

    Args:
        documents: The list of a mode.
        where: File and mode, for errors.

    Raises:
        WaveformSourceError: Naming the segment, when it is none of the forms or too much.
    """
    parts: list[ShapeSegment | CurveSegment] = []
    for order, document in enumerate(documents, start=1):
        name = f"segment {order}"
        if document.repeat is None and document.segments is None:
            parts.append(_build_segment(document, name, where))
            continue
        group = _build_group(document, name, where)
        repeat = document.repeat or 1
        count = repeat * sum(part.piece_count for part in group)
        if len(parts) + count > SEGMENT_COUNT_MAX:
            raise WaveformSourceError(
                "a group is repeated too often",
                expected=f"at most {SEGMENT_COUNT_MAX} segments in a pulse",
                got=f"{len(parts) + count} segments",
                where=f"{where}, {name}",
            )
        parts += group * repeat
    return tuple(parts)


def _build_group(
    document: SegmentDocument, name: str, where: str
) -> list[ShapeSegment | CurveSegment]:
    keys = sorted(written_values(document))
    if document.segments is None or keys != ["repeat", "segments"]:
        raise WaveformSourceError(
            "a group is what it repeats and how often",
            expected="repeat and segments",
            got=", ".join(keys),
            where=f"{where}, {name}",
        )
    return [
        _build_segment(inner, f"{name}.{index}", where)
        for index, inner in enumerate(document.segments, start=1)
    ]


def _build_segment(
    segment: PlainSegmentDocument, name: str, mode_where: str
) -> ShapeSegment | CurveSegment:
    where = f"{mode_where}, {name}"
    if segment.ms is None:
        raise WaveformSourceError(
            "a segment must say how long it lasts", expected="ms", where=where
        )
    refuse_number(segment.ms, MS_MAX, "ms", where)
    duration_us = segment.ms * US_PER_MS
    given = written_values(segment)
    del given["ms"]
    match given:
        case {"at": Decimal() as at, **rest} if not rest:
            start = end = at
        case {"from": Decimal() as start, "to": Decimal() as end, **rest} if not rest:
            pass
        case {"half_sine": Decimal() as crest, **rest} if rest.keys() <= {"pieces"}:
            return _build_curve(segment, duration_us, crest, 1, name=name, where=where)
        case {"sine": Decimal() as crest, "cycles": int() as cycles, **rest} if rest.keys() <= {
            "pieces"
        }:
            return _build_curve(segment, duration_us, crest, 2 * cycles, name=name, where=where)
        case _:
            raise WaveformSourceError(
                "a segment must say what it is, once",
                expected="at, or from and to, or half_sine, or sine and cycles",
                got=", ".join(sorted(written_values(segment))),
                where=where,
            )
    for value in (start, end):
        refuse_number(value, _RELATIVE_MAX, "a current", where, least=-_RELATIVE_MAX)
    return ShapeSegment(duration_us=duration_us, start=start, end=end, where=name)


def _build_curve(
    segment: PlainSegmentDocument,
    duration_us: Decimal,
    crest: Decimal,
    half_waves: int,
    *,
    name: str,
    where: str,
) -> CurveSegment:
    refuse_number(crest, _RELATIVE_MAX, "a crest", where, least=-_RELATIVE_MAX)
    pieces = segment.pieces or PIECES_DEFAULT
    if crest == 0 or half_waves * pieces > SEGMENT_COUNT_MAX:
        raise WaveformSourceError(
            "a sine has no crest, or too many pieces",
            expected=f"a crest other than 0, at most {SEGMENT_COUNT_MAX} pieces in a pulse",
            got=f"a crest of {crest}, {half_waves * pieces} pieces",
            where=where,
            hint="fewer cycles, or fewer pieces for each half wave",
        )
    return CurveSegment(
        duration_us=duration_us,
        amplitude=crest,
        half_waves=half_waves,
        pieces=pieces,
        where=name,
    )


def refuse_number(
    value: Decimal,
    largest: Decimal,
    what: str,
    where: str,
    *,
    least: Decimal = Decimal(0),
    decimals: int = _DECIMALS_MAX,
) -> None:
    """Raises `WaveformSourceError` unless `least` to `largest`, with so many decimals at most."""
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -decimals or not least <= value <= largest:
        raise WaveformSourceError(
            f"{what} is out of range",
            expected=f"{least} to {largest}, at most {decimals} decimals",
            got=value,
            where=where,
        )
