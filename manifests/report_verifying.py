"""The process that verifies reports for a server; `report_verifiers` starts it and talks to it.

It reads frames from its standard input, which is a socket, and answers there. It ends with its
parent, and with the first bytes that are none of its parent's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from datetime import UTC, datetime

from manifests.device_report import verify_whole_report
from manifests.report_frames import (
    FRAME_HEAD,
    pack_frame,
    pack_refusal,
    pack_verified,
    unpack_reports,
)
from signing.certificate_memory import CertificateMemory
from signing.refusal import Refusal
from signing.trust import verify_trust_record

NICENESS = 5
"""Who polls is answered before who reports: of two that want a processor, the loop has it."""


def verify_for_parent(connection: socket.socket) -> None:
    """Verify reports until the connection ends; the first frame is the trust record."""
    stream = connection.makefile("rwb")

    def read() -> bytes:
        head = stream.read(FRAME_HEAD.size)
        return stream.read(*FRAME_HEAD.unpack(head)) if len(head) == FRAME_HEAD.size else b""

    certificates = CertificateMemory(verify_trust_record(read(), current=None))
    while content := read():
        now_s, bodies = unpack_reports(content)
        now = datetime.fromtimestamp(now_s, UTC)
        answers = [_judge(body, certificates, now=now) for body in bodies]
        stream.write(pack_frame(b"".join(answers)))
        stream.flush()


def _judge(body: bytes, certificates: CertificateMemory, *, now: datetime) -> bytes:
    try:
        return pack_verified(verify_whole_report(body, certificates, now=now))
    except Refusal as error:
        return pack_refusal(error)


if __name__ == "__main__":
    # A terminal's Ctrl-C is the server's to answer: it gives the answers that it owes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    with contextlib.suppress(OSError):
        verify_for_parent(socket.socket(fileno=0))
