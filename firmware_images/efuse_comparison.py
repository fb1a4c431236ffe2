"""Compares what a chip's eFuses are with what they shall be. A burned bit never goes back.

Implements docs/spec/efuses.md §3. Values in, judgement out; nothing is read or burned here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from firmware_images.efuse_fields import show_value
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from firmware_images.efuse_fields import EfuseField


class Status(StrEnum):
    """What follows for a field."""

    THERE = "there"
    BURN = "burn"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class EfuseFact:
    """One field as a chip tells it.

    Attributes:
        value: Its value.
        is_readable: Whether the value can be believed.
        is_writeable: Whether it can still be burned.
    """

    value: int | bytes
    is_readable: bool = True
    is_writeable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EfuseComparison:
    """One field, now and wanted.

    Attributes:
        field: What is wanted.
        fact: What is there.
        status: What follows.
        reason: Why it contradicts; empty if it does not.
    """

    field: EfuseField
    fact: EfuseFact
    status: Status
    reason: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the comparison as JSON values."""
        return {
            "field": self.field.name,
            "now": self.now,
            "wanted": self.field.shown,
            "status": self.status.value,
            "reason": self.reason,
        }

    @property
    def now(self) -> str:
        """What is there, for a person."""
        if self.field.wanted is None:
            return "open" if self.fact.is_writeable else "protected"
        return show_value(self.fact.value) if self.fact.is_readable else "not readable"


def compare_efuses(
    fields: Iterable[EfuseField], facts: Mapping[str, EfuseFact]
) -> tuple[EfuseComparison, ...]:
    """Return one comparison for each field, in their order."""
    compared = []
    for field in fields:
        status, reason = _judge(field, facts[field.name])
        compared.append(
            EfuseComparison(field=field, fact=facts[field.name], status=status, reason=reason)
        )
    return tuple(compared)


def _judge(field: EfuseField, fact: EfuseFact) -> tuple[Status, str]:
    match field.wanted:
        case None:
            return (Status.BURN if fact.is_writeable else Status.THERE), ""
        case _ if not fact.is_readable:
            return Status.CONFLICT, "it is protected against reading, so nobody knows what it holds"
        case _ if fact.value == field.wanted:
            return Status.THERE, ""
        case bytes():
            # A check code covers the block, so that it can be burned once.
            assert isinstance(fact.value, bytes)
            is_impossible = any(fact.value)
        case int():
            assert isinstance(fact.value, int)
            # The bits of a number are one value: another number is not half of the wanted one.
            is_impossible = (
                bool(fact.value) if field.is_number else bool(fact.value & ~field.wanted)
            )
        case _:
            assert_never(field.wanted)
    if is_impossible:
        return Status.CONFLICT, "it is burned already, with another value"
    if not fact.is_writeable:
        return Status.CONFLICT, "it is protected against writing"
    return Status.BURN, ""
