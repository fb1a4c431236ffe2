"""Verifies device reports in processes of their own, so that the event loop only carries them.

A report costs up to two ECDSA verifications, which hold the interpreter: in the server's own
process everybody who polls would wait for them, and one processor would be all there is. Each
process is sent reports as they have gathered, and answers with what is to be stored.

A process holds no state but certificates that it remembers. One that dies costs nothing but time:
what it was sent goes to another, once; a report that two died with is answered "try again", and is
never verified in the server's own process. A process ends when its parent does.

    to it:   u32 bytes that follow | i64 present, seconds | (u16 bytes | report) ...
    from it: u32 bytes that follow | JSON: for each report its values, or the parts of a refusal
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from manifests.device_report import DeviceReport, ReportedResult, verify_whole_report
from manifests.errors import DeviceMessageError, FleetStoreError
from manifests.fleet import ReceivedReport
from signing.certificate_memory import CertificateMemory
from signing.refusal import REFUSAL_PARTS, Refusal
from signing.trust import verify_trust_record

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Sequence

WAITING_MAX: Final = 4096
"""Reports that wait to be verified; more are refused, and their devices come again."""
SENT_MAX: Final = 16
"""Reports in one message to a process."""
AHEAD_MAX: Final = 2
"""Messages to one process that are not answered: the next lies there when it is ready."""
PROCESSES_MAX: Final = 4
DEATHS_MAX: Final = 2
ANSWER_TIMEOUT_S: Final = 10.0
"""A process that does not answer for so long counts as dead."""
_LENGTH: Final = struct.Struct("!I")
_PRESENT: Final = struct.Struct("!q")
_REPORT_LENGTH: Final = struct.Struct("!H")


def usual_processes() -> int:
    """Return how many processes fit this machine: one stays for the event loop and the commits."""
    return max(1, min(PROCESSES_MAX, (os.cpu_count() or 1) - 1))


@dataclass(slots=True, kw_only=True)
class _Asked:
    """One report that is to be verified, and who waits for it."""

    body: bytes
    now: datetime
    verified: asyncio.Future[ReceivedReport]
    deaths: int = 0


class ReportVerifiers:
    """Verifies reports for one event loop; its processes end with it.

    Args:
        trust_record: The product's trust record, verified by whoever gives it.
        processes: How many.
    """

    def __init__(self, trust_record: bytes, *, processes: int) -> None:
        self._trust_record = trust_record
        self._processes = processes
        self._waiting: deque[_Asked] = deque()
        self._has_waiting: asyncio.Event | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def verify(self, body: bytes, *, now: datetime) -> ReceivedReport:
        """Return a report that a device of the factory CA signed, as it is to be stored.

        Args:
            body: At most `REPORT_MAX_BYTES`.
            now: The present, UTC.

        Raises:
            DeviceMessageError: What `verify_whole_report` refuses, in its words.
            FleetStoreError: It could not be verified now: too many wait, or two processes died.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise FleetStoreError(
                "too many device reports wait to be verified",
                expected=f"at most {WAITING_MAX}",
                hint="send it again later",
            )
        if self._has_waiting is None:
            self._has_waiting = asyncio.Event()
            self._tasks = [asyncio.create_task(self._keep_busy()) for _ in range(self._processes)]
        asked = _Asked(body=body, now=now, verified=asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._has_waiting.set()
        return await asked.verified

    async def _keep_busy(self) -> None:
        while True:
            await self._wait()
            owed: deque[list[_Asked]] = deque()
            try:
                await self._use_one_process(owed)
            except (OSError, EOFError, ValueError, KeyError, TypeError):
                # It died, could not be started, or does not speak as agreed.
                self._take_back(owed)

    async def _wait(self) -> None:
        assert self._has_waiting is not None
        while not self._waiting:
            self._has_waiting.clear()
            await self._has_waiting.wait()

    async def _use_one_process(self, owed: deque[list[_Asked]]) -> None:
        """Have one process verify for as long as it lives; `owed` is what it has not answered."""
        try:
            process, reader, writer = await self._start()
        except OSError:
            owed.append(list(self._waiting))
            self._waiting.clear()
            raise
        try:
            while True:
                while self._waiting and len(owed) < AHEAD_MAX:
                    count = min(SENT_MAX, len(self._waiting))
                    owed.append([self._waiting.popleft() for _ in range(count)])
                    _send(writer, owed[-1])
                if not owed:
                    await self._wait()
                    continue
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    answers = await _receive(reader)
                for asked, answer in zip(owed[0], answers, strict=True):
                    _resolve(asked, answer)
                owed.popleft()
        finally:
            writer.close()
            process.kill()
            process.wait()

    def _take_back(self, owed: deque[list[_Asked]]) -> None:
        for asked in [one for batch in reversed(owed) for one in reversed(batch)]:
            asked.deaths += 1
            if asked.verified.done():
                continue
            if asked.deaths < DEATHS_MAX:
                self._waiting.appendleft(asked)
                continue
            # Not in this process: it may be the report that the others died of.
            error = FleetStoreError(
                "a device report could not be verified now", hint="send it again later"
            )
            asked.verified.set_exception(error)

    async def _start(self) -> tuple[subprocess.Popen[bytes], StreamReader, StreamWriter]:
        process, connection = _start_process()
        reader, writer = await asyncio.open_connection(sock=connection)
        writer.write(_LENGTH.pack(len(self._trust_record)) + self._trust_record)
        return process, reader, writer


def _start_process() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, its = socket.socketpair()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "manifests.report_verifiers"],
            stdin=its.fileno(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        ours.close()
        raise
    finally:
        its.close()
    return process, ours


def _send(writer: StreamWriter, batch: Sequence[_Asked]) -> None:
    parts = [_PRESENT.pack(int(batch[-1].now.timestamp()))]
    for asked in batch:
        parts += (_REPORT_LENGTH.pack(len(asked.body)), asked.body)
    content = b"".join(parts)
    writer.write(_LENGTH.pack(len(content)) + content)


async def _receive(reader: StreamReader) -> list[list[Any]]:
    (size_bytes,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    answers: list[list[Any]] = json.loads(await reader.readexactly(size_bytes))
    return answers


def _resolve(asked: _Asked, answer: list[Any]) -> None:
    if asked.verified.done():
        return
    if len(answer) == len(REFUSAL_PARTS):
        parts = dict(zip(REFUSAL_PARTS, answer, strict=True))
        asked.verified.set_exception(DeviceMessageError(**parts))
        return
    serial, hardware_class, result, counter, app, table, manifest, assignment, freshness, *rest = (
        answer
    )
    reason, digest, mac, key_id = rest
    report = DeviceReport(
        serial_number=serial,
        hardware_class=hardware_class,
        result=ReportedResult(result),
        release_counter=counter,
        app_sha256=bytes.fromhex(app),
        table_sha256=bytes.fromhex(table),
        manifest_sha256=bytes.fromhex(manifest),
        assignment_sequence=assignment,
        freshness_sequence=freshness,
        reason=reason,
    )
    received = ReceivedReport(
        report=report,
        message=asked.body,
        received_at=asked.now,
        digest=bytes.fromhex(digest),
        mac=mac,
        key_id=bytes.fromhex(key_id),
    )
    asked.verified.set_result(received)


def _judge(body: bytes, certificates: CertificateMemory, *, now: datetime) -> list[Any]:
    """Return a report's values, or the parts of its refusal."""
    try:
        verified = verify_whole_report(body, certificates, now=now)
    except Refusal as error:
        return [getattr(error, name) for name in REFUSAL_PARTS]
    report = verified.report
    return [
        report.serial_number,
        report.hardware_class,
        int(report.result),
        report.release_counter,
        report.app_sha256.hex(),
        report.table_sha256.hex(),
        report.manifest_sha256.hex(),
        report.assignment_sequence,
        report.freshness_sequence,
        report.reason,
        hashlib.sha256(verified.payload).hexdigest(),
        verified.certificate.common_name,
        verified.certificate.public_key.key_id.hex(),
    ]


def _verify_for_parent(connection: socket.socket) -> None:
    stream = connection.makefile("rwb")

    def read() -> bytes:
        head = stream.read(_LENGTH.size)
        return stream.read(*_LENGTH.unpack(head)) if len(head) == _LENGTH.size else b""

    certificates = CertificateMemory(verify_trust_record(read(), current=None))
    while content := read():
        (now_s,) = _PRESENT.unpack_from(content)
        now = datetime.fromtimestamp(now_s, UTC)
        answers, offset_bytes = [], _PRESENT.size
        while offset_bytes < len(content):
            (size_bytes,) = _REPORT_LENGTH.unpack_from(content, offset_bytes)
            offset_bytes += _REPORT_LENGTH.size
            body = content[offset_bytes : offset_bytes + size_bytes]
            offset_bytes += size_bytes
            answers.append(_judge(body, certificates, now=now))
        answer = json.dumps(answers).encode()
        stream.write(_LENGTH.pack(len(answer)) + answer)
        stream.flush()


if __name__ == "__main__":
    # A terminal's Ctrl-C is the server's to answer: it gives the answers that it owes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        _verify_for_parent(socket.socket(fileno=0))
