"""What judging one rule on one level says."""

from __future__ import annotations

from typing import Final

from signing.value_class import dataclass

CLAIM: Final = "CLAIM"
"""The limit key of a mode's claim, which is in the policy's modes and not among its limits."""

COUNT_UNIT: Final = "differences"
"""The unit of a rule that compares statements; its limit is zero."""

_SEVERITY_DIGITS: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule applied to one level; most findings are not violations.

    Args:
        rule: Its id, such as `BALANCE`.
        limit_key: The figure that decides: a limit's key in the policy, or `CLAIM`; empty where
            statements are compared.
        what: What was compared, a phrase that is the same for every level.
        value: The figure of the waveform, tolerance included where the rule says so.
        limit: What it may be.
        unit: Of both.
        is_strict: Whether the value must stay below the limit instead of at most reach it.
        source: Where the limit comes from.
        detail: What else explains the value.
        mode: The mode, or `None` for a rule about the whole table.
        level: Number of the level from 1, or `None`.
        level_ua: The level's peak, µA, or `None`.
        segment: Number of the segment from 1 where it happens, or `None`.
        time_ms: When in the repeat period, milliseconds, or `None`.
    """

    rule: str
    what: str
    value: float
    limit: float
    unit: str
    is_strict: bool
    source: str
    detail: str = ""
    mode: str | None = None
    level: int | None = None
    level_ua: float | None = None
    segment: int | None = None
    time_ms: float | None = None
    limit_key: str = ""

    @property
    def clause(self) -> str:
        """Where the rule comes from; `source` says it of the figure."""
        from firmware_images.limits_explained import find_rule

        text = find_rule(self.rule)
        assert text is not None, self.rule
        return text.clause

    @property
    def margin(self) -> float:
        """How much is left, in `unit`; negative when the limit is broken."""
        return self.limit - self.value

    @property
    def is_violation(self) -> bool:
        """Whether the limit is broken."""
        return self.value > self.limit or (self.is_strict and self.value == self.limit)

    @property
    def severity(self) -> float:
        """The margin as a share of the limit, for finding the worst; smaller is worse.

        Rounded, so that levels which differ by a factor alone compare as equal.
        """
        return round(self.margin / self.limit if self.limit > 0 else self.margin, _SEVERITY_DIGITS)

    @property
    def place(self) -> str:
        """Where it happens, as errors say it."""
        parts = [] if self.mode is None else [f"mode {self.mode}"]
        if self.level is not None:
            parts.append(f"level {self.level} ({self.level_ua:g} µA)")
        if self.segment is not None:
            parts.append(f"segment {self.segment}")
        if self.time_ms is not None:
            parts.append(f"at {self.time_ms:.10g} ms")
        return ", ".join(parts) or "the whole table"

    def to_json(self) -> dict[str, object]:
        """The finding for scripts."""
        return {
            "rule": self.rule,
            "limit_key": self.limit_key,
            "what": self.what,
            "detail": self.detail,
            "value": self.value,
            "limit": self.limit,
            "margin": self.margin,
            "unit": self.unit,
            "violation": self.is_violation,
            "clause": self.clause,
            "source": self.source,
            "mode": self.mode,
            "level": self.level,
            "level_ua": self.level_ua,
            "segment": self.segment,
            "time_ms": self.time_ms,
        }
