"""The access log: one JSON object a line, without anything that names a device.

| key | content |
|---|---|
| `time` | UTC, ISO 8601, to the second |
| `client_network` | the client's /24 (IPv4) or /48 (IPv6) |
| `method` | `GET`, `HEAD`, `POST`, or `OTHER` |
| `path` | of a file or service that is here; else `null`: it is the client's text |
| `status` | of the answer |
| `body_bytes` | the answer's Content-Length |

Never logged: queries, headers, bodies, so no nonce, certificate, serial number or token. Lines are
gathered, and written at each sweep of the server, about once a second; a killed server loses those.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from manifests.client_address import logged_network
from manifests.errors import ServerError
from manifests.server_paths import SERVICE_PATHS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINES_MAX = 4096
_METHODS = frozenset({"GET", "HEAD", "POST"})


class AccessLog:
    """Appends to one file.

    Args:
        path: The file; made with mode 0640 when it is not there.
        clock: The present, UTC.

    Raises:
        ServerError: It cannot be opened.

    Attributes:
        lost_lines: Lines that could not be written: the disk is full, say. Serving goes on.
    """

    def __init__(
        self, path: Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._path = path
        self._clock = clock
        self._lines: list[str] = []
        self.lost_lines = 0
        self._is_torn = False
        self._descriptor = self._open()

    def add(self, *, client: str, method: str, path: str, status: int, body_bytes: int) -> None:
        """Note one answer.

        Args:
            client: The client's address; its network is logged.
            method: The request's.
            path: The request's, without the query; logged when it names something.
            status: The answer's.
            body_bytes: The answer's Content-Length.
        """
        is_ours = status < HTTPStatus.BAD_REQUEST or path in SERVICE_PATHS
        record = {
            "time": self._clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "client_network": logged_network(client),
            "method": method if method in _METHODS else "OTHER",
            "path": path if is_ours else None,
            "status": status,
            "body_bytes": body_bytes,
        }
        self._lines.append(json.dumps(record, separators=(",", ":")) + "\n")
        if len(self._lines) >= LINES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        content = "".join(lines).encode()
        if self._is_torn:
            # What was begun when the disk was full is a line of its own, and costs no other.
            content = b"\n" + content
        try:
            written_bytes = os.write(self._descriptor, content)
        except OSError:
            written_bytes = 0
        if written_bytes < len(content):
            self.lost_lines += content[max(written_bytes, self._is_torn) :].count(b"\n")
        if written_bytes:
            self._is_torn = content[written_bytes - 1 : written_bytes] != b"\n"

    def reopen(self) -> None:
        """Go on in a new file of the same name, after a rotation.

        Raises:
            ServerError: It cannot be opened; the old one stays in use.
        """
        self.flush()
        descriptor = self._open()
        os.close(self._descriptor)
        self._descriptor, self._is_torn = descriptor, False

    def close(self) -> None:
        """Write what was gathered, and close the file."""
        self.flush()
        os.close(self._descriptor)

    def _open(self) -> int:
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            return os.open(self._path, flags, 0o640)
        except OSError as error:
            raise ServerError(
                "the access log cannot be opened",
                got=error.strerror,
                where=self._path,
                hint="check the folder and its permissions",
            ) from error
