"""TLS by files: what is shown, what is refused, and what a reload changes."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import shutil
import signal
import socket
import ssl
import subprocess
from contextlib import closing

import pytest

from manifests import tls_acceptor
from manifests.client_address import ClientAddresses
from manifests.errors import ServerError
from manifests.http_host import HttpHost
from manifests.http_transport import HttpTransport
from manifests.listening_socket import bind_listening
from manifests.server import ServerPlan
from manifests.server_app import RepositoryApp
from manifests.server_tls import TlsFiles
from tests.free_port import find_free_port
from tests.manifests.server_process import running, write_certificate
from tests.manifests.test_http_connection import LAST, TIMESTAMP, statuses, until
from tests.manifests.test_server_metrics import ask

LARGE_BYTES = (5 << 20) + 3


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "timestamp.json").write_bytes(b"{}")
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "large.bin").write_bytes(bytes(range(251)) * (LARGE_BYTES // 251 + 1))
    return tmp_path


def trusting(certificate):
    return ssl.create_default_context(cafile=str(certificate))


def shown_name(port):
    """Return the subject of the certificate that a new connection is shown."""
    from cryptography import x509

    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=10)
    return x509.load_pem_x509_certificate(pem.encode()).subject.rfc4514_string()


def test_everything_is_served_encrypted_and_sighup_shows_the_new_certificate(folder, tmp_path):
    certificate, key = write_certificate(tmp_path, "first")
    metrics = ("127.0.0.1", find_free_port())
    plan = ServerPlan(folder=folder, tls_certificate=certificate, tls_key=key, metrics=metrics)
    with running(plan) as server:
        assert server.url.startswith("https://")
        old = trusting(certificate)
        old.set_alpn_protocols(["h2", "http/1.1"])
        with closing(
            http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=old)
        ) as connection:
            connection.request("GET", "/targets/large.bin")
            content = (folder / "targets" / "large.bin").read_bytes()
            assert connection.getresponse().read() == content
            assert connection.sock.selected_alpn_protocol() == "http/1.1"
            assert shown_name(server.port) == "CN=first"
            write_certificate(tmp_path, "second")
            server.process.send_signal(signal.SIGHUP)
            while shown_name(server.port) != "CN=second":
                assert server.process.poll() is None
            # A running connection keeps what it began with.
            connection.request("GET", "/metadata/timestamp.json")
            assert connection.getresponse().read() == b"{}"
        key.write_text("no key")
        server.process.send_signal(signal.SIGHUP)
        assert "cannot be used" in server.process.stderr.readline()
        assert b"\nampforge_reload_failures_total 1.0\n" in ask(metrics[1], "GET", "/metrics")[1]
        assert shown_name(server.port) == "CN=second"
    assert (
        TlsFiles(*write_certificate(tmp_path, "x")).context.minimum_version
        >= ssl.TLSVersion.TLSv1_2
    )


CURL = shutil.which("curl")


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_curl_and_our_client_get_files_and_only_with_the_right_certificate(folder, tmp_path):
    certificate, key = write_certificate(tmp_path, "first")
    plan = ServerPlan(folder=folder, tls_certificate=certificate, tls_key=key)
    with running(plan) as server:
        url = f"{server.url}/metadata/timestamp.json"
        trusted = subprocess.run(
            [CURL, "-sf", "--cacert", certificate, url],
            check=False,
            capture_output=True,
            timeout=20,
        )
        assert (trusted.returncode, trusted.stdout) == (0, b"{}")
        untrusted = subprocess.run([CURL, "-sf", url], check=False, capture_output=True, timeout=20)
        assert (untrusted.returncode, untrusted.stdout) == (60, b"")
        from manifests.errors import TransportError
        from manifests.transfer import Fetch

        with (
            closing(HttpTransport(server.url)) as transport,
            pytest.raises(TransportError, match=r"broke off|cannot connect"),
        ):
            transport.fetch(Fetch(path="metadata/timestamp.json", max_bytes=10))


OPENSSL = shutil.which("openssl")


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_old_versions_and_a_second_negotiation_are_refused(folder, tmp_path):
    certificate, key = write_certificate(tmp_path, "first")
    assert TlsFiles(certificate, key).context.options & ssl.OP_NO_RENEGOTIATION
    plan = ServerPlan(folder=folder, tls_certificate=certificate, tls_key=key)
    with running(plan) as server:

        def said(*options, sent=""):
            connect = [OPENSSL, "s_client", "-connect", f"127.0.0.1:{server.port}", *options]
            with subprocess.Popen(
                connect,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as client:
                if sent:
                    # Its commands are read when it is connected.
                    for line in client.stdout:
                        if "Verify return code" in line:
                            break
                    client.stdin.write(sent)
                    client.stdin.flush()
                    return next((line for line in client.stdout if ":error:" in line), "")
                return client.communicate(timeout=20)[0]

        for version in ("-tls1", "-tls1_1"):
            assert "Cipher is (NONE)" in said(version, "-cipher", "DEFAULT@SECLEVEL=0")
        assert "no renegotiation" in said("-tls1_2", sent="R\n")
        assert shown_name(server.port) == "CN=first"


@pytest.mark.parametrize("wrong", ["missing", "nonsense", "other key", "encrypted"])
def test_files_that_cannot_be_used_start_no_server(folder, tmp_path, wrong):
    certificate, key = write_certificate(tmp_path, "first")
    if wrong == "missing":
        key.unlink()
    elif wrong == "nonsense":
        certificate.write_text("no certificate")
    elif wrong == "other key":
        kept = certificate.read_bytes()
        write_certificate(tmp_path, "second")
        certificate.write_bytes(kept)
    else:
        from cryptography.hazmat.primitives import serialization

        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        key.write_bytes(
            loaded.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
    with pytest.raises(ServerError, match="TLS certificate or key cannot be used"):
        TlsFiles(certificate, key)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["2001:db8::1", "2001:db8::2:1"]])
def test_peers_that_never_finish_a_handshake_hold_no_place_for_long(
    folder, tmp_path, monkeypatch, addresses
):
    """Nor does the owner of a whole /64 hold more than one address: this machine has none."""
    monkeypatch.setattr(tls_acceptor, "HANDSHAKE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(tls_acceptor, "HANDSHAKES_PER_ADDRESS_MAX", 3)
    told = itertools.cycle(addresses)
    monkeypatch.setattr(tls_acceptor, "peer_address", lambda _: next(told))
    certificate, key = write_certificate(tmp_path, "first")
    files = TlsFiles(certificate, key)
    client = trusting(certificate)

    async def scenario():
        host, stop = HttpHost(RepositoryApp(folder)), asyncio.Event()
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        serving = asyncio.create_task(host.serve(listening, stop, tls=files.context))
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        # Two are turned away at once, three when their time is over.
        for reader, writer in silent:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(1), 5)
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        writer.write(TIMESTAMP + LAST)
        received = await reader.read()
        writer.close()
        stop.set()
        await serving
        return statuses(received), host.counts.refused["address"], host.counts.failed_handshakes

    assert asyncio.run(scenario()) == ([200, 200], 2, 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"connections_max": 3}, (3, {"all": 2})),
        ({}, (2, {"address": 3})),
        ({"addresses": ClientAddresses(["127.0.0.0/8"])}, (5, {})),
    ],
    ids=["all", "address", "proxy"],
)
def test_a_handshake_takes_a_place_from_its_start(folder, tmp_path, monkeypatch, options, expected):
    if "connections_max" not in options:
        monkeypatch.setattr(tls_acceptor, "HANDSHAKES_PER_ADDRESS_MAX", 2)
    files = TlsFiles(*write_certificate(tmp_path, "first"))

    async def scenario():
        host, stop = HttpHost(RepositoryApp(folder), **options), asyncio.Event()
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        serving = asyncio.create_task(host.serve(listening, stop, tls=files.context))
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        ended = [asyncio.create_task(reader.read()) for reader, _ in silent]
        await until(
            lambda: host.counts.refused.total() + len(host._acceptor._handshakes) == len(silent)
        )
        left, counted = len(host._acceptor._handshakes), dict(host.counts.refused)
        stop.set()
        await serving
        await host.end_connections(5, at_once=asyncio.Event())
        await asyncio.gather(*ended, return_exceptions=True)
        for _, writer in silent:
            writer.close()
        return left, counted

    assert asyncio.run(scenario()) == expected


def test_a_server_that_ends_waits_for_no_handshake(folder, tmp_path):
    """Silent peers must not hold up a restart for as long as a handshake may take."""
    certificate, key = write_certificate(tmp_path, "first")
    plan = ServerPlan(folder=folder, tls_certificate=certificate, tls_key=key, drain_s=600)
    with running(plan) as server, closing(socket.socket()) as silent:
        silent.connect(("127.0.0.1", server.port))
        # Connections are taken in their order: the silent one has been.
        assert shown_name(server.port) == "CN=first"
        server.process.terminate()
        assert server.process.wait(tls_acceptor.HANDSHAKE_TIMEOUT_S / 2) == 0


def test_a_handshake_that_had_begun_when_another_took_over_is_finished_and_answered(
    folder, tmp_path
):
    files = TlsFiles(*write_certificate(tmp_path, "first"))
    client = trusting(tmp_path / "server.pem")

    async def scenario():
        host, stop = HttpHost(RepositoryApp(folder)), asyncio.Event()
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        serving = asyncio.create_task(host.serve(listening, stop, tls=files.context))
        begun = socket.create_connection(("127.0.0.1", port))
        while not host._has_peers():  # noqa: ASYNC110 - the host tells nobody
            await asyncio.sleep(0)
        stop.set()
        await serving
        ending = asyncio.create_task(
            host.end_connections(60, at_once=asyncio.Event(), is_replaced=True)
        )
        await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection(
            sock=begun, ssl=client, server_hostname="127.0.0.1"
        )
        writer.write(TIMESTAMP)
        received = await reader.read()
        writer.close()
        await ending
        return received

    received = asyncio.run(scenario())
    assert statuses(received) == [200]
    assert b"connection: close" in received


def test_who_reads_slowly_gets_all_of_a_last_answer(folder, tmp_path):
    """TLS ends with a farewell that the peer sends when it has read all: how long is its affair."""
    files = TlsFiles(*write_certificate(tmp_path, "first"))
    client = trusting(tmp_path / "server.pem")
    last = LAST.replace(b"metadata/timestamp.json", b"targets/large.bin")
    ahead_s = [0.0]

    async def scenario():
        loop = asyncio.get_running_loop()
        true_time = loop.time
        loop.time = lambda: true_time() + ahead_s[0]
        host, stop = HttpHost(RepositoryApp(folder)), asyncio.Event()
        listening = bind_listening("127.0.0.1", 0)
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 10)
        narrow.connect(listening.getsockname())
        serving = asyncio.create_task(host.serve(listening, stop, tls=files.context))
        reader, writer = await asyncio.open_connection(
            sock=narrow, ssl=client, server_hostname="127.0.0.1", limit=8 << 10
        )
        writer.write(last)
        received_bytes = len(await reader.readuntil(b"\r\n\r\n"))
        head_bytes = received_bytes
        (connection,) = host._connections
        while piece := await reader.read(64 << 10):
            received_bytes += len(piece)
            if connection._transport.is_closing():
                # From here on it is left to TLS: a minute for each piece.
                ahead_s[0] += 60.0
        writer.close()
        stop.set()
        await serving
        return received_bytes - head_bytes

    whole_bytes = (folder / "targets" / "large.bin").stat().st_size
    assert asyncio.run(scenario()) == whole_bytes
