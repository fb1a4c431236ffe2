"""A new board's number, unit, job and event in one statement, for a server that others wait for.

The write lock need not be held while a message travels and a station computes. The station says in
advance what it expects to find: the end of its own chain, and the next numbers of the series,
written out. The event is made here, byte for byte, but for the characters of the number.
Under the lock the server looks whether all of that holds, takes the number that is really next,
puts it into its place and links the event. If anything is otherwise, it writes nothing, and
`provisioning.ledger` goes the way on which a station looks first and then writes.

What a station expects is never trusted: it decides only which way is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    Integer,
    LargeBinary,
    String,
    bindparam,
    cast,
    exists,
    func,
    insert,
    literal_column,
    select,
    true,
)

from provisioning.ledger_allocation import last_sequence
from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.ledger_events import Event, Phase, format_time, serialize_event
from provisioning.ledger_guards import why_excluded
from provisioning.ledger_journal import ChainEnd, last_event_of
from provisioning.ledger_schema import events, jobs, ledger_identity, serial_numbers, units
from provisioning.ledger_values import JobState, SerialState, UnitState
from provisioning.serial_numbers import SerialNumber
from signing.hash_chain import link_prefix

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from enum import StrEnum

    from sqlalchemy import ColumnElement, Select

    from provisioning.ledger_events import ChainedEvent
    from provisioning.ledger_values import LedgerIdentity, Writer
    from provisioning.serial_formats import SerialFormat

NUMBERS_AHEAD: Final = 24
"""So many numbers are written out: others may have taken all but one of them meanwhile."""

Series = tuple[str, str, int, int]
"""Prefix, model, and year and week as the format has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a station expects to find, and what it wants written then.

    Attributes:
        values: Parameters of `RESERVE_AT_ONCE`.
        series: The series that the number will be of.
        number: Place of the event in the station's chain.
        job: Name of the job.
        at: Now, aware.
    """

    values: Mapping[str, object]
    series: Series
    number: int
    job: str
    at: dt.datetime

    def end_with(self, event_hash: bytes) -> ChainEnd:
        """Return where the station's chain ends once this was written."""
        return ChainEnd(count=self.number + 1, head=event_hash, at=format_time(self.at))


@dataclass(slots=True)
class Expectations:
    """What a ledger looked like when this process saw it last; safe to use from several threads."""

    _ends: dict[str, ChainEnd] = field(default_factory=dict)
    _given: dict[Series, int] = field(default_factory=dict)
    _written: dict[Series, tuple[int, list[str]]] = field(default_factory=dict)

    def note_end(self, station: str, end: ChainEnd) -> None:
        """Take note of the end of a station's chain."""
        self._ends[station] = end

    def note_event(self, chained: ChainedEvent) -> None:
        """Take note of an event that was written just now."""
        event = chained.event
        end = ChainEnd(count=event.number + 1, head=chained.hash, at=format_time(event.at))
        self.note_end(event.station, end)

    def note_given(self, series: Series, sequence: int) -> None:
        """Take note of the last number of a series."""
        self._given[series] = sequence

    def expect(
        self,
        identity: LedgerIdentity,
        writer: Writer,
        *,
        mac: bytes,
        prefix: str,
        model: str,
        bundle_digest: bytes,
        step: str,
    ) -> Expected | None:
        """Return what to expect when a new board gets a number now; `None` when nothing is known.

        Nothing is known of a ledger that this process has not written to yet, in this week; and
        a clock that stands before the last event is a case for the other way.
        """
        now = writer.now()
        at, (year, week) = format_time(now), identity.serial_format.period_of(now)
        series = (prefix, model, year, week)
        end, given = self._ends.get(writer.station), self._given.get(series)
        if end is None or end.at is None or given is None or at < end.at:
            return None
        allowed = sequences_of_epoch(identity.epoch, identity.serial_format)
        ahead = range(given + 1, min(given + NUMBERS_AHEAD, allowed[-1]) + 1)
        if ahead.start not in allowed or not ahead:
            return None
        numbers = self._write_ahead(series, ahead, identity.serial_format)
        job, blank = writer.new_job(), numbers[0]
        content = serialize_event(
            Event(
                station=writer.station, number=end.count, at=now, epoch=identity.epoch, job=job,
                serial=blank, mac=mac, step=step, phase=Phase.CONFIRM,
                data=reservation_data(
                    is_new=True, is_resumed=False, job_number=1, bundle_digest=bundle_digest,
                    run=writer.run,
                ),
            )
        )  # fmt: skip
        before, *after = content.split(blank.encode())
        if len(after) != 1:
            return None
        values = {
            "of_mac": mac, "of_station": writer.station, "of_prefix": prefix, "of_model": model,
            "of_year": year, "of_week": week, "low": allowed[0], "high": allowed[-1],
            "of_uuid": identity.uuid, "of_epoch": identity.epoch, "of_opening": identity.opening,
            "first": ahead.start, "last": ahead[-1], "numbers": "".join(numbers),
            "length": len(blank),
            "head": end.head, "link": link_prefix(end.head), "number": end.count,
            "before": before, "after": after[0], "step": step, "at": at, "of_job": job,
            "bundle": bundle_digest, "of_run": writer.run,
        }  # fmt: skip
        return Expected(values=values, series=series, number=end.count, job=job, at=now)

    def _write_ahead(self, series: Series, ahead: range, serial_format: SerialFormat) -> list[str]:
        """Return the next numbers as they are written, all equally long; each is made once."""
        first, numbers = self._written.get(series, (ahead.start, []))
        numbers = numbers[ahead.start - first :] if first <= ahead.start else []
        prefix, model, year, week = series
        for sequence in ahead[len(numbers) :]:
            number = SerialNumber(
                prefix=prefix, model=model, year=year, week=week, sequence=sequence,
                format=serial_format,
            )  # fmt: skip
            numbers.append(str(number))
        self._written[series] = (ahead.start, numbers)
        return numbers


def reservation_data(
    *, is_new: bool, is_resumed: bool, job_number: int, bundle_digest: bytes, run: str | None
) -> dict[str, object]:
    """Return what the event of a reservation says."""
    return {
        "new": is_new, "resumed": is_resumed, "job_number": job_number,
        "bundle": bundle_digest.hex(), "run": run,
    }  # fmt: skip


_ONE: Final = literal_column("1", Integer())


def _text(name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=String())


def _integer(name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=Integer())


def _bytes(name: str) -> ColumnElement[Any]:
    # What stands alone in a list of columns is taken for text, unless it says what it is.
    return cast(bindparam(name, type_=LargeBinary()), LargeBinary())


def _constant(state: StrEnum) -> ColumnElement[Any]:
    return literal_column(f"'{state.value}'", String())


def _joined(first: ColumnElement[Any], *more: ColumnElement[Any]) -> ColumnElement[Any]:
    for part in more:
        first = first.op("||", return_type=LargeBinary())(part)
    return first


def _statement() -> Any:
    last = last_event_of("of_station").cte("last")
    # Named twice and more below: without the word, the server looks as often.
    following = (
        select((func.coalesce(last_sequence(), _integer("low") - _ONE) + _ONE).label("sequence"))
        .cte("following")
        .prefix_with("MATERIALIZED")
    )
    same_ledger = exists().where(
        ledger_identity.c.uuid == _text("of_uuid"),
        ledger_identity.c.epoch == _integer("of_epoch"),
        ledger_identity.c.opening.is_not_distinct_from(_text("of_opening")),
    )
    place = (following.c.sequence - _integer("first")) * _integer("length") + _ONE
    chosen = (
        select(
            following.c.sequence,
            func.substr(_text("numbers"), place, _integer("length")).label("serial"),
        )
        .select_from(following.join(last, true()))
        .where(
            last.c.hash == _bytes("head"),
            following.c.sequence.between(_integer("first"), _integer("last")),
            same_ledger,
            ~exists().where(units.c.mac == _bytes("of_mac")),
            why_excluded().is_(None),
        )
        .cte("chosen")
    )
    written = func.convert_to(chosen.c.serial, literal_column("'UTF8'"), type_=LargeBinary())
    told = select(
        chosen.c.serial,
        chosen.c.sequence,
        _joined(_bytes("before"), written, _bytes("after")).label("content"),
    ).cte("told")
    digest = func.sha256(told.c.content, type_=LargeBinary())
    linked = select(
        told.c.serial,
        told.c.sequence,
        told.c.content,
        func.sha256(_joined(_bytes("link"), digest), type_=LargeBinary()).label("hash"),
    ).cte("linked")
    rows: tuple[tuple[Any, dict[str, Any]], ...] = (
        (
            serial_numbers,
            {
                "serial": linked.c.serial, "prefix": _text("of_prefix"),
                "model": _text("of_model"), "year": _integer("of_year"),
                "week": _integer("of_week"), "sequence": linked.c.sequence,
                "epoch": _integer("of_epoch"), "state": _constant(SerialState.RESERVED),
                "mac": _bytes("of_mac"), "reserved_at": _text("at"),
            },
        ),
        (
            units,
            {
                "serial": linked.c.serial, "mac": _bytes("of_mac"),
                "state": _constant(UnitState.IN_WORK), "bundle_digest": _bytes("bundle"),
                "last_job": _text("of_job"), "first_seen_at": _text("at"),
                "changed_at": _text("at"),
            },
        ),
        (
            jobs,
            {
                "job": _text("of_job"), "serial": linked.c.serial, "number": _ONE,
                "station": _text("of_station"), "bundle_digest": _bytes("bundle"),
                "state": _constant(JobState.OPEN), "opened_at": _text("at"), "run": _text("of_run"),
            },
        ),
        (
            events,
            {
                "station": _text("of_station"), "number": _integer("number"), "at": _text("at"),
                "job": _text("of_job"), "serial": linked.c.serial, "step": _text("step"),
                "phase": _constant(Phase.CONFIRM), "content": linked.c.content,
                "previous": _bytes("head"), "hash": linked.c.hash,
            },
        ),
    )  # fmt: skip
    statement = select(linked.c.serial, linked.c.sequence, linked.c.hash)
    for table, columns in rows:
        source = select(*columns.values()).select_from(linked)
        adding = insert(table).from_select(list(columns), source).cte(f"add_{table.name}")
        statement = statement.add_cte(adding)
    return statement


RESERVE_AT_ONCE: Final[Select[Any]] = _statement()
"""Returns serial number, sequence and hash of the event; no row when nothing was written."""
