"""What a station writes down: one event, its exact bytes, and its place in the station's chain.

The content of an event is one deterministic CBOR map (docs/spec/ledger-and-record-export.md §3):

| key | type | meaning |
|---|---|---|
| 1 | int | format, 1 |
| 2 | str | station |
| 3 | int | number in the station's chain, from 0 |
| 4 | str | time, UTC, RFC 3339 with microseconds |
| 5 | int | epoch of the ledger |
| 6 | str or null | job |
| 7 | str or null | serial number |
| 8 | bytes or null | chip MAC, 6 bytes |
| 9 | str | step |
| 10 | str | phase: INTENT, CONFIRM or NOTE |
| 11 | str | data: JSON, keys sorted, no spaces |

The chain links the SHA-256 of that map, not the map itself: so an export can prove the place of one
unit's events and keep the events of other units to itself.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast

from provisioning.errors import LedgerError
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError
from signing.hash_chain import link_hash
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENT_FORMAT: Final = 1
EVENT_MAX_BYTES: Final = 1 << 20
STATION_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
CHAIN_PATTERN: Final = re.compile(rf"{STATION_PATTERN.pattern}(/[1-9][0-9]{{0,5}})?", re.ASCII)
"""A station's chain, or the one of its n-th lease: STATION/n (docs/spec/lease.md §4)."""
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_KEYS: Final = tuple(range(1, 12))


class Phase(StrEnum):
    """Before an act, after its read-back, or beside it."""

    INTENT = "INTENT"
    CONFIRM = "CONFIRM"
    NOTE = "NOTE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event as it is written down.

    Attributes:
        station: Name of the station.
        number: Place in the station's chain, from 0.
        at: When it was written, aware.
        epoch: Epoch of the ledger.
        job: Job it belongs to, if any yet.
        serial: Serial number, if any yet.
        mac: Chip MAC, 6 bytes, if known.
        step: Step of the workflow.
        phase: INTENT, CONFIRM or NOTE.
        data: What there is to say, as JSON values.
    """

    station: str
    number: int
    at: dt.datetime
    epoch: int
    job: str | None
    serial: str | None
    mac: bytes | None
    step: str
    phase: Phase
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainedEvent:
    """An event with the exact bytes that were chained.

    Attributes:
        event: What the bytes say.
        content: The bytes.
        previous: Hash of the event before it in the station's chain.
        hash: Hash of this link.
    """

    event: Event
    content: bytes
    previous: bytes
    hash: bytes


def format_time(moment: dt.datetime) -> str:
    """Return a moment as UTC text of 27 characters that sorts as it follows."""
    return moment.astimezone(dt.UTC).strftime(_TIME_FORMAT)


def parse_time(text: str) -> dt.datetime:
    """Return the moment that `format_time` wrote.

    Raises:
        LedgerError: The text is not such a time.
    """
    try:
        return dt.datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=dt.UTC)
    except ValueError as error:
        raise LedgerError(
            "this is not a time of the ledger", expected=_TIME_FORMAT, got=repr(text[:40])
        ) from error


def event_digest(content: bytes) -> bytes:
    """Return what the chain links for an event: SHA-256 of its content."""
    return hashlib.sha256(content).digest()


def chain_event(event: Event, *, previous: bytes) -> ChainedEvent:
    """Serialize an event and link it to the one before."""
    content = serialize_event(event)
    return ChainedEvent(
        event=event,
        content=content,
        previous=previous,
        hash=link_hash(previous, event_digest(content)),
    )


def serialize_event(event: Event) -> bytes:
    """Return the content of an event.

    Raises:
        LedgerError: The content would be longer than `EVENT_MAX_BYTES`.
    """
    data = json.dumps(
        dict(event.data), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    values = (
        EVENT_FORMAT,
        event.station,
        event.number,
        format_time(event.at),
        event.epoch,
        event.job,
        event.serial,
        event.mac,
        event.step,
        event.phase.value,
        data,
    )
    content = serialize_cbor(dict(zip(_KEYS, values, strict=True)))
    if len(content) > EVENT_MAX_BYTES:
        raise LedgerError(
            "the event is too long to be written down",
            expected=f"at most {EVENT_MAX_BYTES} bytes",
            got=len(content),
            where=f"step {event.step}",
        )
    return content


def parse_event(untrusted_bytes: bytes, *, where: str) -> Event:
    """Return what the content of an event says.

    Args:
        untrusted_bytes: The content, from a database or an export.
        where: What to name in an error.

    Raises:
        LedgerError: The bytes are not the content of an event.
    """
    try:
        document = parse_cbor(untrusted_bytes, max_bytes=EVENT_MAX_BYTES, max_depth=2)
    except CborError as error:
        raise _damaged(str(error), where) from error
    if not isinstance(document, dict) or tuple(document) != _KEYS:
        raise _damaged("another shape", where)
    values = cast("dict[int, object]", document)
    optional_text = (str, type(None))
    expected_types: tuple[type | tuple[type, ...], ...] = (
        int, str, int, str, int, optional_text, optional_text, (bytes, type(None)), str, str, str,
    )  # fmt: skip
    for key, expected in zip(_KEYS, expected_types, strict=True):
        if not isinstance(values[key], expected) or isinstance(values[key], bool):
            raise _damaged(f"key {key} of type {type(values[key]).__name__}", where)
    if values[1] != EVENT_FORMAT:
        raise _damaged(f"format {values[1]}", where)
    try:
        phase = Phase(cast("str", values[10]))
        data = json.loads(cast("str", values[11]))
    except (ValueError, RecursionError) as error:
        raise _damaged(str(error), where) from error
    if not isinstance(data, dict):
        raise _damaged("data that is not a JSON object", where)
    return Event(
        station=cast("str", values[2]),
        number=cast("int", values[3]),
        at=parse_time(cast("str", values[4])),
        epoch=cast("int", values[5]),
        job=cast("str | None", values[6]),
        serial=cast("str | None", values[7]),
        mac=cast("bytes | None", values[8]),
        step=cast("str", values[9]),
        phase=phase,
        data=data,
    )


def verify_next(head: bytes, chained: ChainedEvent, *, where: str) -> None:
    """Refuse an event that does not follow from the head of the chain before it.

    Raises:
        LedgerError: It follows another event, or its content is not what was linked.
    """
    content = event_digest(chained.content)
    if chained.previous != head or chained.hash != link_hash(head, content):
        raise LedgerError(
            "the chain of events is broken",
            expected=f"an event after {head.hex()}",
            got=f"one after {chained.previous.hex()}",
            where=where,
            hint="the ledger was changed outside Ampforge; compare it with a backup or an export",
        )


def _damaged(got: str, where: str) -> LedgerError:
    return LedgerError(
        "an event of the ledger is damaged",
        expected="a CBOR map with keys 1 to 11",
        got=got,
        where=where,
        hint="restore the ledger from a backup",
    )
