"""How large a metadata document may become, told before it is signed and before it is parsed.

The list of releases grows with each release; it gets room back where releases are withdrawn and
what only they named is dropped (`release_pruning`). A document beyond the bounds would be read by
nobody, its publisher included: so what would be too large is never written, and new releases end a
little earlier, so that what is listed can always be withdrawn.
"""

from __future__ import annotations

import math

from manifests.errors import RepositoryError
from signing.bounded_json import count_values

METADATA_MAX_BYTES = 4 << 20
"""Below the 5 000 000 bytes at which python-tuf's and tuf-js's clients stop, too."""
METADATA_VALUES_MAX = 250_000
FILL_MAX = 15 / 16
"""Share of the list that releases may fill; the rest is for withdrawals, some 200."""
SOON_FULL = 0.75
_WAY_OUT = (
    "withdraw releases that no device needs any more, neither as a step nor as its next release "
    "(`ampforge repo withdraw`, the oldest first), then run `ampforge repo prune`; two to four "
    "make room for one. Begin the next hardware class in a repository of its own"
)
_HINT_FULL = (
    "nothing was written, and what is published can still be assigned, extended and withdrawn: "
    f"{_WAY_OUT}"
)


def measure_fill(content: bytes) -> float:
    """Return how much of what a document may hold one does, 0 to 1 and above."""
    return max(len(content) / METADATA_MAX_BYTES, count_values(content) / METADATA_VALUES_MAX)


def describe_fill(content: bytes) -> tuple[int, str]:
    """Return by how many percent the list of releases is full, and from `SOON_FULL` on words.

    Args:
        content: The file of the targets metadata.
    """
    fill = measure_fill(content)
    words = (
        f"the list of releases is {fill:.0%} full; no release is published beyond "
        f"{FILL_MAX:.1%}: {_WAY_OUT}"
    )
    return math.floor(fill * 100), words if fill >= SOON_FULL else ""


def refuse_too_large(name: str, content: bytes, *, where: str, hint: str | None = None) -> float:
    """Return how full a document is; refuse one that readers refuse by its size, whoever signed it.

    Args:
        name: TUF name of its role.
        content: Its file.
        where: Its path.
        hint: What to do next.

    Raises:
        RepositoryError: It is too large.
    """
    fill = measure_fill(content)
    if fill > 1:
        raise RepositoryError(
            f"the repository's {name} metadata is too large",
            expected=f"at most {METADATA_MAX_BYTES} bytes and {METADATA_VALUES_MAX} values",
            got=f"{len(content)} bytes, {count_values(content)} values",
            where=where,
            hint=hint,
        )
    return fill


def refuse_unreadable(name: str, content: bytes, *, fill_max: float = 1) -> None:
    """Refuse to publish a document that nobody could read.

    Args:
        name: TUF name of its role.
        content: Its file.
        fill_max: Share of what readers take that it may fill; `FILL_MAX` for one that lists a new
            release.

    Raises:
        RepositoryError: It is too large.
    """
    fill = refuse_too_large(name, content, where=f"{name}.json", hint=_HINT_FULL)
    if fill > fill_max:
        raise RepositoryError(
            "the list of releases is full",
            expected=f"at most {fill_max:.1%} of what clients read",
            got=f"{fill:.1%}: {len(content)} bytes, {count_values(content)} values",
            where=f"{name}.json",
            hint=_HINT_FULL,
        )
