"""Hands a server's listening socket to the server that takes its place.

A running server listens on a Unix socket. Its successor connects there, is given the listening
socket itself (SCM_RIGHTS), takes connections from it, and says so; from then on the old server
takes none and finishes what it has. Both accept from one queue, so no connection is lost: not one
that waits in it, as would be with two sockets on one port (SO_REUSEPORT).

Only a process of the same user is answered (the file's mode, and SO_PEERCRED).

    successor: connects
    old:       ampforge-serve/1 LF, with one descriptor
    successor: ready LF               it accepts connections
    old:       draining LF            it does not any more, and has left the Unix socket's path
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING

from manifests.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GREETING = b"ampforge-serve/1\n"
READY = b"ready\n"
DRAINING = b"draining\n"
TAKE_OVER_TIMEOUT_S = 20.0
PATH_MAX_BYTES = 107
_PEER = struct.Struct("3i")


class Predecessor:
    """The running server, seen from the one that takes its place.

    Args:
        path: Its Unix socket.

    Raises:
        ServerError: No server answers there.

    Attributes:
        listening: Its listening socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(TAKE_OVER_TIMEOUT_S)
        try:
            self._connection.connect(_checked(path))
            greeting, descriptors, _, _ = socket.recv_fds(self._connection, len(GREETING), 1)
        except OSError as error:
            self._connection.close()
            raise _refused(path, error.strerror or str(error)) from error
        if greeting != GREETING or len(descriptors) != 1:
            self._connection.close()
            raise _refused(path, "an answer of another kind")
        self.listening = socket.socket(fileno=descriptors[0])
        self.listening.setblocking(False)

    def replace(self) -> None:
        """Say that connections are taken here; returns when the old server takes none.

        Raises:
            ServerError: It did not say so in time.
        """
        try:
            self._connection.sendall(READY)
            answer = self._connection.recv(len(DRAINING), socket.MSG_WAITALL)
        except OSError as error:
            raise _refused(self._path, error.strerror or str(error)) from error
        finally:
            self._connection.close()
        if answer != DRAINING:
            raise _refused(self._path, "it ended")


class ControlSocket:
    """The running server's side.

    Args:
        path: Where the Unix socket is made. What a server left there that was killed is replaced.
        listening: The socket that is handed over.
        on_replaced: Called when another process takes connections; after it nothing may be
            accepted here.

    Raises:
        ServerError: The path cannot be used, or a running server has it.
    """

    def __init__(
        self, path: Path, listening: socket.socket, *, on_replaced: Callable[[], None]
    ) -> None:
        self._path = path
        # A copy: the original is closed by whoever accepts from it.
        self._listening = listening.dup()
        self._on_replaced = on_replaced
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._is_left = False
        try:
            _remove_stale(path)
            umask = os.umask(0o177)
            try:
                self._socket.bind(_checked(path))
            finally:
                os.umask(umask)
            self._identity = path.stat().st_ino
            self._socket.listen(1)
            self._socket.setblocking(False)
        except OSError as error:
            self._close()
            raise ServerError(
                "the server's control socket cannot be made",
                got=error.strerror,
                where=path,
                hint="name another path with [serve] control",
            ) from error
        except ServerError:
            self._close()
            raise

    async def serve(self) -> None:
        """Answer successors until one has taken over, or until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while not self._is_left:
                connection, _ = await loop.sock_accept(self._socket)
                with connection:
                    connection.setblocking(False)
                    try:
                        async with asyncio.timeout(TAKE_OVER_TIMEOUT_S):
                            await self._answer(connection)
                    except OSError:
                        # Also TimeoutError: that successor did not start. This one goes on.
                        continue
        finally:
            self._leave()

    async def _answer(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        _, user, _ = _PEER.unpack(peer)
        if user not in {0, os.geteuid()}:
            return
        socket.send_fds(connection, [GREETING], [self._listening.fileno()])
        said = b""
        while len(said) < len(READY) and (piece := await loop.sock_recv(connection, len(READY))):
            said += piece
        if said == READY:
            self._on_replaced()
            # One turn of the loop: what it accepted before is a connection by then.
            await asyncio.sleep(0)
            self._leave()
            await loop.sock_sendall(connection, DRAINING)

    def _leave(self) -> None:
        if not self._is_left:
            self._is_left = True
            # Not a successor's socket of the same name.
            try:
                if self._path.stat().st_ino == self._identity:
                    self._path.unlink()
            except OSError:
                pass
            self._close()

    def _close(self) -> None:
        self._socket.close()
        self._listening.close()


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ServerError(
            "the server's control socket cannot be made",
            expected="a path where nothing is",
            got="a file of another kind",
            where=path,
            hint="name another path with [serve] control",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(TAKE_OVER_TIMEOUT_S)
        if probe.connect_ex(_checked(path)) == 0:
            raise ServerError(
                "a server that uses this control socket is running",
                where=path,
                hint="take its place with `ampforge serve --take-over`, or stop it",
            )
    path.unlink()


def _checked(path: Path) -> str:
    if len(os.fsencode(path)) > PATH_MAX_BYTES:
        raise ServerError(
            "the path of the server's control socket is too long",
            expected=f"at most {PATH_MAX_BYTES} bytes",
            got=f"{len(os.fsencode(path))} bytes",
            where=path,
            hint="name a shorter one with [serve] control",
        )
    return str(path)


def _refused(path: Path, got: str) -> ServerError:
    return ServerError(
        "no server's place can be taken",
        expected="a running `ampforge serve` with this control socket",
        got=got,
        where=path,
        hint="start one without --take-over",
    )
