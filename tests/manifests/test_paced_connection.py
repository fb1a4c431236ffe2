"""How slow a peer may be: what it has taken is counted by the kernel, to the byte."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from contextlib import asynccontextmanager

import pytest

from manifests.http_connection import IDLE_TIMEOUT_S, STALLED_TIMEOUT_S
from manifests.http_host import HttpHost
from manifests.listening_socket import bind_listening
from manifests.paced_connection import FAREWELL_TIMEOUT_S, TAKEN_MIN_BYTES
from manifests.server_app import RepositoryApp
from manifests.server_tls import TlsFiles
from tests.manifests.server_process import write_certificate
from tests.manifests.test_http_connection import LAST, TIMESTAMP
from tests.manifests.test_server_tls import trusting

LARGE = b"targets/large.bin"
LARGE_BYTES = 8 << 20


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "timestamp.json").write_bytes(b"{}")
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "large.bin").write_bytes(bytes(LARGE_BYTES))
    return tmp_path


class Peer:
    """A client that takes bytes from its socket as a test says, encrypted or not."""

    def __init__(self, host, now_s, carrier):
        self.host, self.now_s = host, now_s
        self._carrier = carrier

    async def take(self, count):
        loop, left = asyncio.get_running_loop(), count
        while left:
            left -= len(await loop.sock_recv(self._carrier, min(left, 4096)))

    def is_kept_after(self, wait_s):
        """Whether the host still has the connection when so much time has passed."""
        self.now_s[0] += wait_s
        self.host.sweep()
        return all(not one._transport.is_closing() for one in self.host._connections)


@asynccontextmanager
async def asking(folder, sent, *, is_encrypted):
    now_s = [100.0]
    files = TlsFiles(*write_certificate(folder, "server"))
    host, stop = HttpHost(RepositoryApp(folder), clock_s=lambda: now_s[0]), asyncio.Event()
    listening = bind_listening("127.0.0.1", 0)
    carrier = socket.socket()
    carrier.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    carrier.connect(listening.getsockname())
    tls = files.context if is_encrypted else None
    serving = asyncio.create_task(host.serve(listening, stop, tls=tls))
    client = carrier
    if is_encrypted:
        context = trusting(folder / "server.pem")
        wrapped = asyncio.to_thread(context.wrap_socket, carrier, server_hostname="127.0.0.1")
        client = await wrapped
    client.sendall(sent)
    with contextlib.closing(socket.socket(fileno=os.dup(client.fileno()))) as taken_from:
        taken_from.setblocking(False)
        yield Peer(host, now_s, taken_from)
    client.close()
    stop.set()
    await serving
    for connection in list(host._connections):
        connection.abort()


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_slow_peer_is_kept_and_one_that_takes_next_to_nothing_is_not(folder, is_encrypted):
    request = TIMESTAMP.replace(b"metadata/timestamp.json", LARGE)

    async def scenario():
        async with asking(folder, request, is_encrypted=is_encrypted) as peer:
            await peer.take(TAKEN_MIN_BYTES)
            kept = []
            for wait_s in (IDLE_TIMEOUT_S, STALLED_TIMEOUT_S, STALLED_TIMEOUT_S):
                await peer.take(2 * TAKEN_MIN_BYTES)
                kept.append(peer.is_kept_after(wait_s + 1))
            await peer.take(100)
            kept.append(peer.is_kept_after(STALLED_TIMEOUT_S + 1))
            return kept

    assert asyncio.run(scenario()) == [True, True, True, False]


@pytest.mark.parametrize(("sent", "is_encrypted"), [(LAST, True), (b"nonsense\r\n\r\n", False)])
def test_a_peer_that_has_its_last_answer_and_stays_is_not_waited_for(folder, sent, is_encrypted):
    async def scenario():
        async with asking(folder, sent, is_encrypted=is_encrypted) as peer:
            await peer.take(100)
            (connection,) = peer.host._connections
            ends_at_s = peer.now_s[0] + FAREWELL_TIMEOUT_S
            peer.host.sweep()
            async with asyncio.timeout(30):
                # Until the kernel has heard that all of it arrived.
                while connection._deadline_s > ends_at_s:
                    peer.host.sweep()
                    await asyncio.sleep(0)
            left = []
            for _ in range(2):
                peer.now_s[0] += FAREWELL_TIMEOUT_S / 2 + 0.1
                peer.host.sweep()
                # What TLS hears in one turn it tells in the next.
                for _ in range(5):
                    await asyncio.sleep(0)
                left.append(len(peer.host._connections))
            return left

    assert asyncio.run(scenario()) == [1, 0]
