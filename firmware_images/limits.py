"""`limits.toml`: a limits policy as people write it.

What a policy means is in `limits_policy`; its canonical bytes are read by `limits_policy_bytes`.
"""

from __future__ import annotations

from dataclasses import field
from types import MappingProxyType
from typing import TYPE_CHECKING

from firmware_images.bounded_file import read_bounded
from firmware_images.errors import PolicyError
from firmware_images.limits_finding import Finding
from firmware_images.limits_judging import judge_table, refuse_violations
from firmware_images.limits_policy import (
    POLICY_BYTES_MAX,
    LimitsPolicy,
    ModeLimits,
    SourcedValue,
    serialize_policy,
)
from firmware_images.limits_policy_bytes import parse_policy
from firmware_images.toml_document import TOML_BYTES_MAX, parse_toml_document
from firmware_images.waveform import Balance, Regulation
from signing.value_class import dataclass
from signing.written_checks import flag, keyed, number, only, text, whole
from signing.written_table import nested, written

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

__all__ = [
    "Finding",
    "LimitsPolicy",
    "ModeLimits",
    "SourcedValue",
    "judge_table",
    "load_limits",
    "parse_limits_toml",
    "parse_policy",
    "refuse_violations",
    "serialize_policy",
]


_TEXT = written(text())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sourced:
    value: Decimal = field(metadata=written(number()))
    unit: str = field(metadata=_TEXT)
    source: str = field(metadata=_TEXT)
    checked_by: str = field(metadata=_TEXT)

    def to_domain(self, where: str) -> SourcedValue:
        try:
            return SourcedValue(
                value=self.value, unit=self.unit, source=self.source, checked_by=self.checked_by
            )
        except PolicyError as error:
            raise _placed(error, where) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mode:
    balance: str = field(metadata=written(only("balanced", "galvanic")))
    regulation: str = field(metadata=written(only("current", "voltage")))
    slope_limited: bool = field(metadata=written(flag()))
    claim: _Sourced = field(metadata=written(nested(_Sourced)))


_FIGURES = written(keyed(nested(_Sourced)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    format: int = field(metadata=written(only(1)))
    name: str = field(metadata=_TEXT)
    version: int = field(metadata=written(whole()))
    facts: dict[str, _Sourced] = field(metadata=_FIGURES)
    limits: dict[str, _Sourced] = field(metadata=_FIGURES)
    modes: dict[str, _Mode] = field(metadata=written(keyed(nested(_Mode))))

    def to_domain(self, where: object) -> LimitsPolicy:
        try:
            return LimitsPolicy(
                name=self.name,
                version=self.version,
                facts=MappingProxyType(
                    {key: part.to_domain(f"fact {key}") for key, part in self.facts.items()}
                ),
                limits=MappingProxyType(
                    {key: part.to_domain(f"limit {key}") for key, part in self.limits.items()}
                ),
                modes=MappingProxyType(
                    {
                        name: ModeLimits(
                            balance=Balance(mode.balance),
                            regulation=Regulation(mode.regulation),
                            is_slope_limited=mode.slope_limited,
                            claim=mode.claim.to_domain(f"mode {name}"),
                        )
                        for name, mode in self.modes.items()
                    }
                ),
            )
        except PolicyError as error:
            raise _placed(error, where) from error


def load_limits(path: Path) -> LimitsPolicy:
    """Reads a limits policy that a person wrote.

    Args:
        path: A TOML file as docs/spec/policy-and-approval.md §2 describes it.

    Raises:
        PolicyError: Naming file and key, when a figure, unit, source or rule is missing or wrong.
    """
    content = read_bounded(path, TOML_BYTES_MAX, PolicyError)
    return parse_limits_toml(content, where=path)


def parse_limits_toml(untrusted_bytes: bytes, *, where: object) -> LimitsPolicy:
    """As `load_limits`, from bytes."""
    document = parse_toml_document(untrusted_bytes, _Policy, where=where, error=PolicyError)
    policy = document.to_domain(where)
    size_bytes = len(serialize_policy(policy))
    if size_bytes > POLICY_BYTES_MAX:
        raise PolicyError(
            "the policy is too long",
            expected=f"at most {POLICY_BYTES_MAX} canonical bytes",
            got=size_bytes,
            where=where,
        )
    return policy


def _placed(error: PolicyError, where: object) -> PolicyError:
    place = where if error.where is None else f"{where}, {error.where}"
    return PolicyError(
        error.what,
        expected=error.expected,
        got=error.got,
        where=place,
        hint=error.hint,
    )
