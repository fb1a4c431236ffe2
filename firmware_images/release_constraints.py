"""What a release asks of the boards that may take it, beside their hardware: step and support.

Both are stated by the signed release statement and repeated by the device manifest; a release that
states neither has the older format of both (docs/spec/manifest.md §3.1). This module knows values
only; who refuses what is the updater's and the publisher's.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from firmware_images.errors import BundleError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

SUPPORT_TIME_MAX_S: Final = 253_402_300_799
"""9999-12-31T23:59:59Z in seconds since 1970-01-01T00:00:00Z: the last time that has a date."""
DATE_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseConstraints:
    """Step and support of a release.

    Attributes:
        minimum_current_counter: Lowest release counter that a board must have to take the release
            directly; 0 for any.
        support_ends_at_s: First second without support, since 1970-01-01T00:00:00Z; 0 if the
            release states no end.
    """

    minimum_current_counter: int = 0
    support_ends_at_s: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked."""
        return not self.minimum_current_counter and not self.support_ends_at_s

    @property
    def support_ends_at(self) -> datetime | None:
        """The first moment without support, UTC; `None` if no end is stated."""
        if not self.support_ends_at_s:
            return None
        return datetime.fromtimestamp(self.support_ends_at_s, UTC)

    def is_supported(self, now: datetime) -> bool:
        """Whether the release is still supported at a time."""
        ends_at = self.support_ends_at
        return ends_at is None or now < ends_at

    def is_possible(self, release_counter: int) -> bool:
        """Whether a release of this counter can ask it: the step must come before the release."""
        return (
            0 <= self.minimum_current_counter < max(release_counter, 1)
            and 0 <= self.support_ends_at_s <= SUPPORT_TIME_MAX_S
        )


NO_CONSTRAINTS: Final = ReleaseConstraints()


def support_end_of(last_day: str) -> int:
    """Return the first second after a day, as `ReleaseConstraints` counts it.

    Args:
        last_day: `YYYY-MM-DD`, UTC.

    Raises:
        ValueError: There is no such day, or none after it.
    """
    try:
        day = datetime.strptime(last_day, "%Y-%m-%d").replace(tzinfo=UTC)
        ends_at_s = int((day + timedelta(days=1)).timestamp())
    except (ValueError, OverflowError):
        raise ValueError(f"supported_until is {last_day!r}, which is no day") from None
    if ends_at_s <= 0:
        raise ValueError(f"supported_until is {last_day!r}, a day before 1970")
    return ends_at_s


def last_day_of(ends_at: datetime) -> str:
    """Return the last day of support as people write it."""
    return f"{ends_at - timedelta(seconds=1):%Y-%m-%d}"


def describe_span(lowest: int, highest: int) -> str:
    """Return a range of release counters as people write it."""
    return f"{lowest}" if lowest == highest else f"{lowest} to {highest}"


def describe_constraints(constraints: ReleaseConstraints) -> dict[str, int | str | bool | None]:
    """Return what is asked, for scripts: `minimum_current_counter` and `support_ends_at`."""
    ends_at = constraints.support_ends_at
    return {
        "minimum_current_counter": constraints.minimum_current_counter,
        "support_ends_at": None if ends_at is None else ends_at.isoformat(),
    }


def constraints_from_document(document: Mapping[str, Any], *, where: str) -> ReleaseConstraints:
    """Return what `describe_constraints` said, from a document that says more, too.

    Raises:
        BundleError: It says something else there.
    """
    minimum = document.get("minimum_current_counter", 0)
    ends = document.get("support_ends_at")
    try:
        ends_at = None if ends is None else datetime.fromisoformat(ends)
        if type(minimum) is int and minimum >= 0 and (ends_at is None or ends_at.tzinfo):
            return ReleaseConstraints(
                minimum_current_counter=minimum,
                support_ends_at_s=0 if ends_at is None else max(0, int(ends_at.timestamp())),
            )
    except (TypeError, ValueError, OverflowError):
        pass
    raise BundleError(
        "what is said of a release's step or support cannot be read",
        expected="minimum_current_counter from 0, support_ends_at in ISO 8601 with its zone",
        got=f"{minimum!r}, {ends!r}"[:120],
        where=where,
        hint="publish the release again with this version of ampforge",
    )
