"""Reports of many devices in one request: a gateway carries them, a server forwards them.

A batch is deterministic CBOR: an array of 1 to 64 byte strings, each of them the body that a device
would post itself. Nothing signs the batch; each report is signed. The answer says what became of
each, in the same order, as JSON: `{"outcomes": [{"status": 201, "text": "stored"}, …]}`.

Implements docs/spec/device-report.md §6.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from manifests.errors import DeviceMessageError, TransportError
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from manifests.received_report import StoredMessage

CARRIED_MAX: Final = 64
"""Reports in one batch."""
CARRIED_MAX_BYTES: Final = 60 << 10
"""Bytes of one batch: with its head it fits the longest request."""
OUTCOMES_MAX_BYTES: Final = 256 << 10
_ITEM_HEAD_MAX_BYTES: Final = 3
_WHERE: Final = "batch of device reports"


def serialize_carried_reports(bodies: Sequence[bytes]) -> bytes:
    """Return a batch of reports as it is posted."""
    return serialize_cbor(list(bodies))


def parse_carried_reports(untrusted_bytes: bytes) -> list[bytes]:
    """Return the reports of a batch; nothing of them is verified.

    Raises:
        DeviceMessageError: It is no batch.
    """
    try:
        items = parse_cbor(untrusted_bytes, max_bytes=CARRIED_MAX_BYTES, max_depth=1)
    except CborError as error:
        raise DeviceMessageError(
            "a batch of device reports is not deterministic CBOR", got=error, where=_WHERE
        ) from error
    if not isinstance(items, list) or not 1 <= len(items) <= CARRIED_MAX:
        raise DeviceMessageError(
            "a batch of device reports has another shape",
            expected=f"an array of 1 to {CARRIED_MAX} byte strings",
            got=f"{len(items)} items" if isinstance(items, list) else type(items).__name__,
            where=_WHERE,
        )
    for number, item in enumerate(items, 1):
        if not isinstance(item, bytes):
            raise DeviceMessageError(
                "a batch of device reports holds something else",
                expected="byte strings",
                got=type(item).__name__,
                where=f"{_WHERE}, report {number}",
            )
    return items


def split_into_batches(reports: Iterable[StoredMessage]) -> Iterator[list[StoredMessage]]:
    """Yield reports, in their order, in lists that each fit a batch."""
    batch: list[StoredMessage] = []
    size_bytes = _ITEM_HEAD_MAX_BYTES
    for report in reports:
        item_bytes = _ITEM_HEAD_MAX_BYTES + len(report.message)
        if batch and (len(batch) == CARRIED_MAX or size_bytes + item_bytes > CARRIED_MAX_BYTES):
            yield batch
            batch, size_bytes = [], _ITEM_HEAD_MAX_BYTES
        batch.append(report)
        size_bytes += item_bytes
    if batch:
        yield batch


def serialize_outcomes(outcomes: Iterable[tuple[int, str]]) -> bytes:
    """Return the answer to a batch.

    Args:
        outcomes: HTTP status and text for each report.
    """
    entries = [{"status": status, "text": text} for status, text in outcomes]
    return json.dumps({"outcomes": entries}).encode() + b"\n"


def parse_outcomes(untrusted_bytes: bytes, *, count: int) -> list[tuple[int, str]]:
    """Return what a server says became of each report.

    Args:
        untrusted_bytes: The body of its answer.
        count: How many reports were sent.

    Raises:
        TransportError: It is no such answer.
    """
    outcomes: list[tuple[int, str]] = []
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        if len(untrusted_bytes) > OUTCOMES_MAX_BYTES:
            raise ValueError(f"longer than {OUTCOMES_MAX_BYTES} bytes")
        for entry in json.loads(untrusted_bytes)["outcomes"]:
            status, text = entry["status"], entry["text"]
            if type(status) is int and isinstance(text, str):
                outcomes.append((status, text))
    if len(outcomes) != count:
        raise TransportError(
            "a server's answer to a batch of device reports cannot be read",
            expected=f"a status and a text for each of {count} reports, at most "
            f"{OUTCOMES_MAX_BYTES} bytes",
            got=ascii(untrusted_bytes[:80]),
            hint="check that the address is that of an Ampforge server of this version",
        )
    return outcomes
