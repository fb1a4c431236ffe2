"""A server that is not there is told in words that help."""

from __future__ import annotations

import itertools
import socket
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import urllib3
from tuf.api.exceptions import DownloadHTTPError, SlowRetrievalError

from manifests.connection_failures import describe_cause, refuse_unreachable
from manifests.errors import TransportError
from manifests.gateway import Gateway
from manifests.http_transport import HttpTransport
from manifests.transfer import Fetch
from tests.manifests.world import make_publisher

FETCH = Fetch(path="device/flare-c3/assignment.cose", max_bytes=100)


@pytest.fixture
def nowhere():
    """A URL where nothing listens: the port is held, and never listened on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def chain(*errors):
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


def refuse(act, url):
    with pytest.raises(TransportError) as refused:
        act()
    error = refused.value
    assert error.what == f"cannot connect to {url}"
    assert error.got == "Connection refused"
    assert "ampforge serve" in error.hint


def test_a_board_without_a_server_is_told_to_start_it(nowhere):
    with closing(HttpTransport(nowhere)) as transport:
        refuse(lambda: transport.fetch(FETCH), nowhere)


def test_a_server_without_tls_is_told_apart_from_one_that_breaks_off():
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://127.0.0.1:{server.server_address[1]}"
        with closing(HttpTransport(url)) as transport, pytest.raises(TransportError) as refused:
            transport.fetch(FETCH)
        server.shutdown()
    assert refused.value.what == "the server does not speak TLS"
    assert "http://" in refused.value.hint


def test_a_gateway_without_a_server_is_told_to_start_it(nowhere, publisher_root, tmp_path):
    with closing(Gateway(nowhere, trusted_root=publisher_root, cache=tmp_path)) as gateway:
        refuse(gateway.refresh, nowhere)


@pytest.fixture
def publisher_root(tmp_path_factory):
    publisher = make_publisher(tmp_path_factory.mktemp("repository"))
    return (publisher.store.root / "metadata" / "1.root.json").read_bytes()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (chain(SlowRetrievalError(), urllib3.exceptions.ReadTimeoutError(None, "", "")),
         "no answer in time"),
        (chain(SlowRetrievalError(), TimeoutError()), "no answer in time"),
        (SlowRetrievalError(), "SlowRetrievalError"),
        (DownloadHTTPError("HTTP error occurred with status 404", 404),
         "HTTP error occurred with status 404"),
        (chain(OSError("outer"), ConnectionResetError(104, "Connection reset by peer")),
         "Connection reset by peer"),
    ],
)  # fmt: skip
def test_the_last_cause_that_says_anything_is_told(error, cause):
    assert describe_cause(error) == cause
    refuse_unreachable(error, "http://server")


def test_a_name_that_is_not_known_is_no_connection():
    error = socket.gaierror(-2, "Name or service not known")
    with pytest.raises(TransportError) as refused:
        refuse_unreachable(chain(RuntimeError("wrapped"), error), "http://nowhere")
    assert refused.value.got == "Name or service not known"


def test_a_circle_of_causes_ends():
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert describe_cause(first) == "second"
