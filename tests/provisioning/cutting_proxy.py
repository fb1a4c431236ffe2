"""A proxy before a PostgreSQL server that cuts the connection just when it matters."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


def _asks_to_commit(content: bytes) -> bool:
    """Whether a message ends with a COMMIT, or with one and what makes it durable."""
    return b"COMMIT\0" in content or b"; COMMIT; SELECT" in content


class CuttingProxy:
    """Stands between a station and its server, and cuts the connection at a COMMIT, once."""

    def __init__(self, port, *, passes_commit):
        self.target = ("127.0.0.1", port)
        self._passes_commit = passes_commit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.is_armed = False
        self.is_closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.is_closed = True
        self._listener.close()

    def _accept(self):
        while not self.is_closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            cut, answered = threading.Event(), threading.Event()
            for source, sink, is_question in ((client, server, True), (server, client, False)):
                threading.Thread(
                    target=self._carry,
                    args=(source, sink, is_question, cut, answered),
                    daemon=True,
                ).start()

    def _carry(self, source, sink, is_question, cut, answered):
        with suppress(OSError):
            while content := source.recv(65536):
                if not is_question and cut.is_set():
                    break  # the server's answer, which the station never gets
                if is_question and self.is_armed and _asks_to_commit(content):
                    self.is_armed = False
                    if self._passes_commit:
                        cut.set()
                        sink.sendall(content)
                        answered.wait(timeout=10)
                    break
                sink.sendall(content)
        answered.set()
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
