"""Section `[delta]` of `ampforge.toml`: what the devices in the field can do with a patch."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from firmware_images.delta_format import (
    DEFAULT_ENCODING,
    PatchCompression,
    PatchEncoding,
    PatchKind,
)
from firmware_images.errors import DeltaError

ENCODINGS_MAX = 8


class AcceptedEncoding(BaseModel):
    """One `[[delta.accepts]]`: an encoding that the running application can undo.

    Attributes:
        kind: What the patch's instructions are.
        compression: How they are packed.
        window_bits: heatshrink only: 2^window_bits bytes of memory on the device.
        lookahead_bits: heatshrink only: the longest repetition, less than the window.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    kind: PatchKind
    compression: PatchCompression
    window_bits: Annotated[int, Field(ge=0)] = 0
    lookahead_bits: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _judge(self) -> Self:
        try:
            self.as_encoding()
        except DeltaError as error:
            raise ValueError(str(error)) from error
        return self

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


class DeltaSettings(BaseModel):
    """Section `[delta]`: the device class's declaration.

    Attributes:
        accepts: What it can apply; each patch is made in all of them, and the smallest is kept.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    accepts: Annotated[
        tuple[AcceptedEncoding, ...], Field(min_length=1, max_length=ENCODINGS_MAX)
    ] = (DEFAULT_ACCEPTED,)

    @model_validator(mode="after")
    def _judge(self) -> Self:
        if len(set(self.encodings)) != len(self.accepts):
            raise ValueError("accepts names an encoding twice")
        return self

    @property
    def encodings(self) -> tuple[PatchEncoding, ...]:
        """What patches are made with, in the order of the file."""
        return tuple(accepted.as_encoding() for accepted in self.accepts)
