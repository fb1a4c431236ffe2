"""Section `[delta]` of `ampforge.toml`: what the devices in the field can do with a patch."""

from __future__ import annotations

from dataclasses import field

from firmware_images.delta_format import (
    DEFAULT_ENCODING,
    PatchCompression,
    PatchEncoding,
    PatchKind,
)
from firmware_images.errors import DeltaError
from signing.value_class import dataclass
from signing.written_checks import member, several, whole
from signing.written_table import nested, written

ENCODINGS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedEncoding:
    """One `[[delta.accepts]]`: an encoding that the running application can undo.

    Attributes:
        kind: What the patch's instructions are.
        compression: How they are packed.
        window_bits: heatshrink only: 2^window_bits bytes of memory on the device.
        lookahead_bits: heatshrink only: the longest repetition, less than the window.
    """

    kind: PatchKind = field(metadata=written(member(PatchKind)))
    compression: PatchCompression = field(metadata=written(member(PatchCompression)))
    window_bits: int = field(default=0, metadata=written(whole(least=0)))
    lookahead_bits: int = field(default=0, metadata=written(whole(least=0)))

    def __post_init__(self) -> None:
        """Refuse what is not an encoding."""
        try:
            self.as_encoding()
        except DeltaError as error:
            raise ValueError(str(error)) from error

    def as_encoding(self) -> PatchEncoding:
        """Return the value that patches are made with."""
        return PatchEncoding(
            kind=self.kind,
            compression=self.compression,
            window_bits=self.window_bits,
            lookahead_bits=self.lookahead_bits,
        )


DEFAULT_ACCEPTED = AcceptedEncoding(
    kind=DEFAULT_ENCODING.kind,
    compression=DEFAULT_ENCODING.compression,
    window_bits=DEFAULT_ENCODING.window_bits,
    lookahead_bits=DEFAULT_ENCODING.lookahead_bits,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaSettings:
    """Section `[delta]`: the device class's declaration.

    Attributes:
        accepts: What it can apply; each patch is made in all of them, and the smallest is kept.
    """

    accepts: tuple[AcceptedEncoding, ...] = field(
        default=(DEFAULT_ACCEPTED,),
        metadata=written(several(nested(AcceptedEncoding), least=1, most=ENCODINGS_MAX)),
    )

    def __post_init__(self) -> None:
        """Refuse an encoding that is there twice."""
        if len(set(self.encodings)) != len(self.accepts):
            raise ValueError("accepts names an encoding twice")

    @property
    def encodings(self) -> tuple[PatchEncoding, ...]:
        """What patches are made with, in the order of the file."""
        return tuple(accepted.as_encoding() for accepted in self.accepts)
