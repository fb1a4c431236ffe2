"""Verifies device reports in processes of their own, so that the event loop only carries them.

A report costs up to two ECDSA verifications, which hold the interpreter: in the server's own
process everybody who polls would wait for them, and one processor would be all there is. Each
process is sent reports as they have gathered, and answers with what is to be stored.

A process holds no state but certificates that it remembers. One that dies costs nothing but time:
what it was sent goes to another, once; a report that two died with is answered "try again", and is
never verified in the server's own process. A process ends when its parent does.

What is written to a process and read from it is in `report_frames`; what it does with it, in
`report_verifying`. The first frame is the trust record.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from manifests.errors import DeviceMessageError, FleetStoreError
from manifests.report_frames import FRAME_HEAD, pack_frame, pack_reports, unpack_outcomes

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Sequence
    from datetime import datetime

    from manifests.received_report import ReceivedReport

WAITING_MAX: Final = 4096
"""Reports that wait to be verified; more are refused, and their devices come again."""
SENT_MAX: Final = 16
"""Reports in one message to a process."""
AHEAD_MAX: Final = 2
"""Messages to one process that are not answered: the next lies there when it is ready."""
HELPED_FROM: Final = 2 * SENT_MAX
"""Reports that wait for each further process: below, batches would only become smaller."""
PROCESSES_MAX: Final = 4
DEATHS_MAX: Final = 2
ANSWER_TIMEOUT_S: Final = 10.0
"""A process that does not answer for so long counts as dead."""


def usual_processes() -> int:
    """Return how many processes fit this machine: one for each processor."""
    return min(PROCESSES_MAX, os.cpu_count() or 1)


@dataclass(slots=True, kw_only=True)
class _Asked:
    """One report that is to be verified, and who waits for it."""

    body: bytes
    now_s: int
    verified: asyncio.Future[ReceivedReport]
    deaths: int = 0


class ReportVerifiers:
    """Verifies reports for one event loop; its processes end with it.

    Args:
        trust_record: The product's trust record, verified by whoever gives it.
        processes: How many; all but the first are started, and used, when many reports wait.
    """

    def __init__(self, trust_record: bytes, *, processes: int) -> None:
        self._trust_record = trust_record
        self._processes = processes
        self._waiting: deque[_Asked] = deque()
        self._are_needed: list[asyncio.Event] = []
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
        return await self.begin(body, now=now)

    def begin(self, body: bytes, *, now: datetime) -> asyncio.Future[ReceivedReport]:
        """Begin with what `verify` does; the future has its outcome, whatever it is."""
        verified: asyncio.Future[ReceivedReport] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= WAITING_MAX:
            error = FleetStoreError(
                "too many device reports wait to be verified",
                expected=f"at most {WAITING_MAX}",
                hint="send it again later",
            )
            verified.set_exception(error)
            return verified
        if not self._tasks:
            numbers = range(self._processes)
            self._are_needed = [asyncio.Event() for _ in numbers]
            self._tasks = [asyncio.create_task(self._keep_busy(number)) for number in numbers]
        self._waiting.append(_Asked(body=body, now_s=int(now.timestamp()), verified=verified))
        number = (len(self._waiting) - 1) // HELPED_FROM
        if number < self._processes:
            self._are_needed[number].set()
        return verified

    def _is_needed(self, number: int) -> bool:
        return len(self._waiting) > number * HELPED_FROM

    async def _keep_busy(self, number: int) -> None:
        while True:
            await self._wait(number)
            owed: deque[list[_Asked]] = deque()
            try:
                process, reader, writer = await self._start()
            except OSError:
                if number:
                    return  # the first does it alone
                owed.append(list(self._waiting))
                self._waiting.clear()
                self._take_back(owed)
                continue
            try:
                await self._use_one_process(number, owed, reader, writer)
            except (OSError, EOFError, ValueError, TypeError, struct.error):
                # It died, or does not speak as agreed.
                self._take_back(owed)
            finally:
                writer.close()
                process.kill()
                process.wait()

    async def _wait(self, number: int) -> None:
        while not self._is_needed(number):
            self._are_needed[number].clear()
            await self._are_needed[number].wait()

    async def _use_one_process(
        self, number: int, owed: deque[list[_Asked]], reader: StreamReader, writer: StreamWriter
    ) -> None:
        """Have one process verify for as long as it lives; `owed` is what it has not answered."""
        while True:
            while self._is_needed(number) and len(owed) < AHEAD_MAX:
                count = min(SENT_MAX, len(self._waiting))
                owed.append([self._waiting.popleft() for _ in range(count)])
                bodies = [asked.body for asked in owed[-1]]
                writer.write(pack_reports(bodies, now_s=owed[-1][-1].now_s))
            if not owed:
                await self._wait(number)
                continue
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                (size_bytes,) = FRAME_HEAD.unpack(await reader.readexactly(FRAME_HEAD.size))
                content = await reader.readexactly(size_bytes)
            _resolve(owed[0], content)
            owed.popleft()

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
        # A process that is idle waits for reports that come, and these came before.
        for number, is_needed in enumerate(self._are_needed):
            if self._is_needed(number):
                is_needed.set()

    async def _start(self) -> tuple[subprocess.Popen[bytes], StreamReader, StreamWriter]:
        process, connection = _start_process()
        reader, writer = await asyncio.open_connection(sock=connection)
        writer.write(pack_frame(self._trust_record))
        return process, reader, writer


def _start_process() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, its = socket.socketpair()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "manifests.report_verifying"],
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


def _resolve(batch: Sequence[_Asked], content: bytes) -> None:
    bodies = [asked.body for asked in batch]
    outcomes = list(unpack_outcomes(content, bodies, now_s=batch[-1].now_s))
    for asked, outcome in zip(batch, outcomes, strict=True):
        if asked.verified.done():
            continue
        if isinstance(outcome, DeviceMessageError):
            asked.verified.set_exception(outcome)
        else:
            asked.verified.set_result(outcome)
