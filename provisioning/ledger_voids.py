"""Numbers that must never be given: ranges of a series, with the reason.

A range becomes void by an event of its own (step `void`) and a row in the same transaction, so that
the chain tells it and allocation sees it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import insert, select

from provisioning.errors import LedgerError
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_journal import append_event
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import voided_ranges
from provisioning.number_span import NumberSpan

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection, Row

    from provisioning.ledger_events import Event
    from provisioning.ledger_values import Writer
    from provisioning.serial_formats import SerialFormat
    from provisioning.serial_numbers import SerialNumber

RESTORE_STEP: Final = "restore"
VOID_STEP: Final = "void"
REASON_MAX_LENGTH: Final = 200
_TEXTS: Final = ("prefix", "model", "reason")
_NUMBERS: Final = ("year", "week", "first_sequence", "last_sequence", "epoch")


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidedRange(NumberSpan):
    """Sequences of one series that must never be given.

    Attributes:
        epoch: The epoch whose sequences they are.
        reason: Why, at most 200 characters.
        voided_at: Since when, as `format_time` writes it.
    """

    epoch: int
    reason: str
    voided_at: str

    def to_document(self, serial_format: SerialFormat) -> dict[str, str]:
        """Return the first number, the last one and the reason, for people and scripts."""
        return {
            "first": self.serial_in(serial_format, self.first_sequence),
            "last": self.serial_in(serial_format, self.last_sequence),
            "reason": self.reason,
        }

    def without(self, number: SerialNumber) -> tuple[VoidedRange, ...]:
        """Return what is left of the range when a board got a number back."""
        if not self.has(number):
            return (self,)
        before = replace(self, last_sequence=number.sequence - 1)
        behind = replace(self, first_sequence=number.sequence + 1)
        return tuple(part for part in (before, behind) if part.first_sequence <= part.last_sequence)

    def key(self) -> tuple[object, ...]:
        """Return what tells this range from every other."""
        return (self.prefix, self.model, self.year, self.week, self.first_sequence)

    def row(self) -> dict[str, object]:
        """Return the range as a row of the table."""
        return asdict(self)


def void_range(
    connection: Connection,
    writer: Writer,
    *,
    epoch: int,
    void: VoidedRange,
    at: dt.datetime,
) -> None:
    """Write a voided range down, as an event and as a row; the caller holds the write lock.

    Args:
        connection: Inside a writing transaction.
        writer: Station whose chain tells it.
        epoch: The ledger's present epoch.
        void: The range.
        at: Now, aware.
    """
    data = {name: value for name, value in void.row().items() if name != "voided_at"}
    append_event(
        connection, writer, epoch=epoch, step=VOID_STEP, phase=Phase.CONFIRM, data=data,
        mac=None, reservation=None, at=at,
    )  # fmt: skip
    connection.execute(insert(voided_ranges).values(**void.row()))


def find_range(connection: Connection, number: SerialNumber) -> VoidedRange | None:
    """Return the range in which a number is void, or `None`."""
    columns = voided_ranges.c
    chosen = select(voided_ranges).where(
        columns.prefix == number.prefix, columns.model == number.model,
        columns.year == number.year, columns.week == number.week,
        columns.first_sequence <= number.sequence, columns.last_sequence >= number.sequence,
    ).limit(1)  # fmt: skip
    row = connection.execute(chosen).one_or_none()
    return None if row is None else parse_range(row)


def parse_range(row: Row[Any]) -> VoidedRange:
    """Return a row of the table as a range.

    Raises:
        LedgerError: It is not as this Ampforge writes it.
    """
    return VoidedRange(**check_row(row, voided_ranges, where="table voided_ranges")._asdict())


def parse_void(event: Event) -> VoidedRange:
    """Return the range that an event of step `void` tells.

    Raises:
        LedgerError: It does not tell one.
    """
    data = event.data
    texts = {name: data.get(name) for name in _TEXTS}
    numbers = {name: data.get(name) for name in _NUMBERS}
    if (
        set(data) != {*_TEXTS, *_NUMBERS}
        or not all(isinstance(value, str) for value in texts.values())
        or not all(type(value) is int for value in numbers.values())
    ):
        raise LedgerError(
            "an event of step void names no range of serial numbers",
            expected=", ".join((*_TEXTS, *_NUMBERS)),
            got=", ".join(sorted(data)),
            where=f"station {event.station}, event {event.number}",
            hint="the ledger was changed outside Ampforge; compare it with a backup",
        )
    return VoidedRange(**texts, **numbers, voided_at=format_time(event.at))  # type: ignore[arg-type]
