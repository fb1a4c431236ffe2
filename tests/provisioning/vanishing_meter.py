"""A proxy before a meter that fails at one of its readings, and mostly is whole afterwards."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from enum import StrEnum


class Failure(StrEnum):
    """What becomes of the answer."""

    CLOSED = "the connection is closed"
    RESET = "the connection is reset"
    SILENT = "no answer comes"
    HALF_AND_CLOSED = "half an answer, then the connection is closed"
    HALF_AND_SILENT = "half an answer, then none of the rest"
    OVERLOAD = "the answer is SCPI's infinity"
    OVERLOAD_FOR_EVER = "the answer is SCPI's infinity, now and later"
    NOT_A_NUMBER = "the answer is SCPI's not-a-number"
    OTHER_UNIT = "the answer is in volts"
    ONE_TOO_FEW = "a sample is missing"


class VanishingMeter:
    """Stands between a station and its meter, and fails at the n-th `READ?`.

    Args:
        address: VISA address of the meter.
        failure: What happens.
        at_reading: Which reading, from 1.
    """

    def __init__(self, address: str, failure: Failure, *, at_reading: int) -> None:
        self._target = ("127.0.0.1", int(address.split("::")[2]))
        self._failure = failure
        self._left = at_reading
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.has_failed = False
        self.is_closed = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """VISA address of the proxy."""
        return f"TCPIP0::127.0.0.1::{self._listener.getsockname()[1]}::SOCKET"

    def close(self) -> None:
        self.is_closed = True
        self._listener.close()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while not self.is_closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Carry one question and its answer after the other."""
        self._sockets.append(client)
        # Either end may be gone at any moment, the meter before it was connected to.
        with (
            suppress(OSError),
            client,
            socket.create_connection(self._target) as server,
            server.makefile("rb") as answers,
        ):
            self._sockets.append(server)
            while question := client.recv(65536):
                server.sendall(question)
                if not question.rstrip().endswith(b"?"):
                    continue
                answer = answers.readline()
                if question.rstrip().endswith(b"READ?"):
                    self._left -= 1
                    is_later = self._failure is Failure.OVERLOAD_FOR_EVER and self._left < 0
                    if self._left == 0 or is_later:
                        self.has_failed = True
                        answer = self._spoil(client, answer)
                client.sendall(answer)

    def _spoil(self, client: socket.socket, answer: bytes) -> bytes:
        samples = answer.strip().split(b",")
        match self._failure:
            case Failure.OVERLOAD | Failure.OVERLOAD_FOR_EVER:
                return b",".join([b"+9.90000000E+37"] * len(samples)) + b"\n"
            case Failure.NOT_A_NUMBER:
                return b",".join([*samples[:-1], b"+9.91000000E+37"]) + b"\n"
            case Failure.OTHER_UNIT:
                return b",".join(sample + b" VDC" for sample in samples) + b"\n"
            case Failure.ONE_TOO_FEW:
                return b",".join(samples[:-1]) + b"\n"
            case Failure.SILENT:
                return b""
            case Failure.HALF_AND_SILENT:
                return answer[: len(answer) // 2]
            case Failure.HALF_AND_CLOSED:
                client.sendall(answer[: len(answer) // 2])
            case Failure.RESET:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case Failure.CLOSED:
                pass
        client.close()
        raise OSError("closed on purpose")
