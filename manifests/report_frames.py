"""What the server and a verifying process of its own write to each other: reports, and outcomes.

Both ends are one version of this software, on one machine; nothing here is kept. A frame is
`u32 bytes that follow | content`, numbers big-endian.

    to the process:   i64 present, seconds | (u16 bytes | report) ...
    from the process: (u8 kind | u16 bytes | outcome) ...

An outcome of kind 1 is a verified report, as it is to be stored:

| offset | bytes | meaning |
|---|---|---|
| 0 | 32 | SHA-256 of what was signed |
| 32 | 32 | id of the key that signed |
| 64 | 32 | SHA-256 of the application |
| 96 | 32 | SHA-256 of the waveform table |
| 128 | 32 | SHA-256 of the manifest |
| 160 | 4, 4, 4 | release counter, assignment sequence, freshness sequence |
| 172 | 1 | result |
| 173 | 1, 1, 1, 2 | bytes of serial number, hardware class, reason, MAC address |
| 178 | | these four, UTF-8; the first three are ASCII |

An outcome of kind 0 is a refusal: its parts, as JSON. Bytes that are none of this raise
`ValueError` or `struct.error`: the other end is not what it should be.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any, Final

from manifests.device_report import ReportedResult
from manifests.errors import DeviceMessageError
from manifests.received_report import ReceivedReport
from signing.refusal import REFUSAL_PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from manifests.device_report import VerifiedReport
    from signing.refusal import Refusal

FRAME_HEAD: Final = struct.Struct("!I")
_PRESENT: Final = struct.Struct("!q")
_REPORT_HEAD: Final = struct.Struct("!H")
_OUTCOME_HEAD: Final = struct.Struct("!BH")
_VERIFIED: Final = struct.Struct("!32s32s32s32s32sIIIBBBBH")
_TEXTS: Final = 178
assert _VERIFIED.size == _TEXTS
_REFUSED_KIND, _VERIFIED_KIND = 0, 1
_RESULTS: Final = frozenset(ReportedResult)


def pack_reports(bodies: Sequence[bytes], *, now_s: int) -> bytes:
    """Return the frame that has reports verified.

    Args:
        bodies: At most `REPORT_MAX_BYTES` each.
        now_s: The present, seconds since 1970.
    """
    parts = [_PRESENT.pack(now_s)]
    for body in bodies:
        parts += (_REPORT_HEAD.pack(len(body)), body)
    return pack_frame(b"".join(parts))


def unpack_reports(content: bytes) -> tuple[int, list[bytes]]:
    """Return the present, and the reports."""
    (now_s,) = _PRESENT.unpack_from(content)
    bodies, offset_bytes = [], _PRESENT.size
    while offset_bytes < len(content):
        (size_bytes,) = _REPORT_HEAD.unpack_from(content, offset_bytes)
        offset_bytes += _REPORT_HEAD.size
        bodies.append(content[offset_bytes : offset_bytes + size_bytes])
        offset_bytes += size_bytes
    return now_s, bodies


def pack_verified(verified: VerifiedReport) -> bytes:
    """Return the outcome of a report that was verified."""
    report, certificate = verified.report, verified.certificate
    texts = (
        report.serial_number.encode(),
        report.hardware_class.encode(),
        report.reason.encode(),
        certificate.common_name.encode(),
    )
    fixed = _VERIFIED.pack(
        hashlib.sha256(verified.payload).digest(),
        certificate.public_key.key_id,
        report.app_sha256,
        report.table_sha256,
        report.manifest_sha256,
        report.release_counter,
        report.assignment_sequence,
        report.freshness_sequence,
        report.result,
        *map(len, texts),
    )
    content = fixed + b"".join(texts)
    return _OUTCOME_HEAD.pack(_VERIFIED_KIND, len(content)) + content


def pack_refusal(refusal: Refusal) -> bytes:
    """Return the outcome of a report that was refused."""
    parts = [getattr(refusal, name) for name in REFUSAL_PARTS]
    content = json.dumps(parts).encode()
    return _OUTCOME_HEAD.pack(_REFUSED_KIND, len(content)) + content


def unpack_outcomes(
    content: bytes, bodies: Sequence[bytes], *, now_s: int
) -> Iterator[ReceivedReport | DeviceMessageError]:
    """Yield what became of each report.

    Args:
        content: The frame's.
        bodies: The reports that were sent.
        now_s: When they came, seconds since 1970.

    Raises:
        ValueError, struct.error: It is no answer to these reports.
    """
    offset_bytes = 0
    for body in bodies:
        kind, size_bytes = _OUTCOME_HEAD.unpack_from(content, offset_bytes)
        begin_bytes = offset_bytes + _OUTCOME_HEAD.size
        offset_bytes = begin_bytes + size_bytes
        if kind == _VERIFIED_KIND:
            yield _unpack_verified(content, begin_bytes, size_bytes, body, now_s)
        elif kind == _REFUSED_KIND:
            yield _unpack_refusal(content[begin_bytes:offset_bytes])
        else:
            raise ValueError("another kind of outcome")
    if offset_bytes != len(content):
        raise ValueError("another number of outcomes than of reports")


def _unpack_verified(
    content: bytes, begin_bytes: int, size_bytes: int, body: bytes, now_s: int
) -> ReceivedReport:
    (digest, key_id, app, table, manifest, counter, assignment, freshness, result, *lengths) = (
        _VERIFIED.unpack_from(content, begin_bytes)
    )
    serial_end, class_length, reason_length, mac_length = lengths
    class_end = serial_end + class_length
    reason_end = class_end + reason_length
    if size_bytes != _TEXTS + reason_end + mac_length or result not in _RESULTS:
        raise ValueError("an outcome of another length, or of no result")
    begin_bytes += _TEXTS
    texts = content[begin_bytes : begin_bytes + reason_end + mac_length].decode()
    return ReceivedReport(
        digest,
        now_s,
        texts[:serial_end],
        texts[serial_end:class_end],
        result,
        counter,
        app,
        table,
        manifest,
        assignment,
        freshness,
        texts[class_end:reason_end],
        body,
        texts[reason_end:],
        key_id,
    )


def _unpack_refusal(content: bytes) -> DeviceMessageError:
    try:
        parts: Any = json.loads(content)
    except RecursionError as error:
        raise ValueError("a refusal that is nested") from error
    if not isinstance(parts, list) or not all(one is None or type(one) is str for one in parts):
        raise ValueError("a refusal whose parts are no text")
    return DeviceMessageError(**dict(zip(REFUSAL_PARTS, parts, strict=True)))


def pack_frame(content: bytes) -> bytes:
    """Return the content with its length before it."""
    return FRAME_HEAD.pack(len(content)) + content
