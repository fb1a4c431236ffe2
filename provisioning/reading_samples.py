"""The samples of a reading as a result keeps them, and the mean and scatter that they give.

Implements docs/spec/calibration.md §4.6 and §6.4: from version 3 on every mean in a result follows
from samples that stand beside it. This module does no input or output.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Final, TypedDict

from provisioning.stored_result import THIRD_FORMAT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.errors import ProvisioningError

STORED_DECIMALS: Final = 3
"""Readings are kept to the picoampere, far below the uncertainty."""


class ReadingFigures(TypedDict):
    """What is said of a reading, nA; its fields are named as in `CodeReading` and `RawPoint`."""

    samples_na: tuple[float, ...]
    mean_na: float
    sd_na: float
    count: int


def figures_of(samples_na: Sequence[float]) -> ReadingFigures:
    """Return the figures of a reading; the mean is that of the samples as they are kept.

    Args:
        samples_na: At least one, nA.
    """
    kept = tuple(round(sample, STORED_DECIMALS) for sample in samples_na)
    sd_na = statistics.stdev(kept) if len(kept) > 1 else 0.0
    return ReadingFigures(
        samples_na=kept,
        mean_na=round(math.fsum(kept) / len(kept), STORED_DECIMALS),
        sd_na=round(sd_na, STORED_DECIMALS),
        count=len(kept),
    )


def figures_again(
    samples_na: Sequence[float] | None,
    *,
    is_read: bool,
    version: int,
    error_class: type[ProvisioningError],
    where: str,
) -> ReadingFigures | None:
    """Return the figures of a stored reading as its samples give them.

    Args:
        samples_na: What is stored; `None`: nothing.
        is_read: Whether the meter gave a number.
        version: Format of the result.
        error_class: What is raised.
        where: Which reading it is.

    Returns:
        The figures; `None` where there was no number, or a format before the third kept no samples.

    Raises:
        ProvisioningError: As `error_class`: samples are missing, or there are some of no number.
    """
    has_samples = is_read and version >= THIRD_FORMAT
    if bool(samples_na) is not has_samples:
        raise error_class(
            "the samples of a reading are not what its result must have",
            expected="at least one" if has_samples else "none",
            got="none" if not samples_na else f"{len(samples_na)}",
            where=where,
            hint="restore the ledger from its backup",
        )
    return figures_of(samples_na) if samples_na else None
