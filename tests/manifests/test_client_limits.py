"""Who a client is, how much it may ask, and what is kept of that."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import rate_limit
from manifests.client_address import (
    ClientAddresses,
    limit_key,
    logged_network,
    parse_network,
    parse_node,
)
from manifests.errors import ServerError
from manifests.freshness import serialize_freshness_request
from manifests.http_host import HttpHost
from manifests.paced_connection import PacedConnection
from manifests.rate_limit import RateLimit
from manifests.server_app import RepositoryApp
from manifests.server_metrics import ServerCounts
from manifests.service_parts import ServiceParts
from tests.firmware_images.release_parts import signer
from tests.manifests.test_device_messages import REQUEST
from tests.manifests.test_http_connection import TIMESTAMP, hosting, statuses, talk
from tests.manifests.world import NOW, Request, ask, trust

PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "value", "client"),
    [
        (PROXY, "192.0.2.1", "192.0.2.1"),
        (PROXY, "6.6.6.6, 192.0.2.1", "192.0.2.1"),
        (PROXY, "6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (PROXY, "192.0.2.1:4711", "192.0.2.1"),
        (PROXY, "[2001:db8::1]:4711", "2001:db8::1"),
        (PROXY, "2001:db8::1", "2001:db8::1"),
        (PROXY, "192.0.2.1, nonsense", PROXY),
        (PROXY, "192.0.2.1, nonsense, 10.0.0.2", "10.0.0.2"),
        (PROXY, "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (PROXY, "", PROXY),
        (PROXY, "192.0.2.1," * 300, PROXY),
        (PROXY, "6.6.6.6, " * 300 + "192.0.2.1", "192.0.2.1"),
        (PROXY, "6" * 3000 + ", 192.0.2.1", "192.0.2.1"),
        (PROXY, "10.0.0.2, " * 300 + "10.0.0.2", "10.0.0.2"),
        (PROXY, "6" * 3000, PROXY),
        ("192.0.2.9", "6.6.6.6", "192.0.2.9"),
        ("192.0.2.9:50123", "6.6.6.6", "192.0.2.9"),
        ("::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("", "192.0.2.1", ""),
    ],
)
def test_only_a_trusted_proxy_says_who_the_client_is(peer, value, client):
    addresses = ClientAddresses(["10.0.0.0/8"])
    assert addresses.find(peer, {"x-forwarded-for": value, "forwarded": "for=6.6.6.6"}) == client
    assert ClientAddresses().find("192.0.2.9", {"x-forwarded-for": value}) == "192.0.2.9"


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ('for=6.6.6.6, For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("proto=https; for=192.0.2.43", "192.0.2.43"),
        ("for=192.0.2.1, for=unknown", PROXY),
        ("for=192.0.2.1, for=_hidden", PROXY),
        ("for=192.0.2.1, proto=http", PROXY),
    ],
)
def test_the_forwarded_header_is_read_when_it_is_the_one_that_is_set(value, client):
    addresses = ClientAddresses(["10.0.0.0/8"], header="forwarded")
    assert addresses.find(PROXY, {"forwarded": value, "x-forwarded-for": "6.6.6.6"}) == client


def test_what_is_no_network_is_refused():
    for text in ("10.0.0.1/8", "proxy.example", ""):
        with pytest.raises(ServerError, match="no network"):
            parse_network(text)


ADDRESS_LIKE = st.text(alphabet='0123456789afr.:[]%,=;" ', max_size=60)


@given(ADDRESS_LIKE, ADDRESS_LIKE)
def test_arbitrary_addresses_and_headers_give_an_address_or_the_peer(peer, value):
    for header in ("x-forwarded-for", "forwarded"):
        addresses = ClientAddresses(["0.0.0.0/0", "::/0"], header=header)
        found = addresses.find(peer, {header: value})
        assert found == peer or parse_node(found) is not None
    assert isinstance(limit_key(value), str)


def test_an_ipv6_client_is_its_line_and_the_log_knows_a_network():
    assert limit_key("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64"
    assert limit_key("192.0.2.7") == "192.0.2.7/32"
    assert logged_network("192.0.2.7") == "192.0.2.0/24"
    assert logged_network("2001:db8:1:2:3::") == "2001:db8:1::/48"
    assert logged_network("") == "unknown"


def test_a_minutes_requests_may_come_at_once_and_then_one_by_one():
    now_s = [1000.0]
    limit = RateLimit(60, clock_s=lambda: now_s[0])
    assert [limit.take("a") for _ in range(61)] == [0] * 60 + [1]
    assert limit.take("b") == 0
    now_s[0] += 1
    assert [limit.take("a") for _ in range(2)] == [0, 1]
    now_s[0] += 3600
    assert [limit.take("a") for _ in range(61)] == [0] * 60 + [1]


def test_a_refused_request_costs_nothing_and_says_when_to_come_again():
    now_s = [0.0]
    limit = RateLimit(1, clock_s=lambda: now_s[0])
    assert [limit.take("a") for _ in range(3)] == [0, 60, 60]
    now_s[0] = 59.5
    assert limit.take("a") == 1
    now_s[0] += 1
    assert limit.take("a") == 0


def test_the_memory_of_clients_is_bounded(monkeypatch):
    monkeypatch.setattr(rate_limit, "CLIENTS_MAX", 10)
    limit = RateLimit(1, clock_s=lambda: 0.0)
    for number in range(50):
        assert limit.take(str(number)) == 0
        assert len(limit._whole_at_s) <= 10
    assert limit.take("49") == 60


def test_who_may_ask_as_much_as_ever_is_forgotten_and_nobody_else():
    """A fleet that reports once a day must not fill the memory with who reported yesterday."""
    now_s = [0.0]
    limit = RateLimit(60, clock_s=lambda: now_s[0])
    assert [limit.take("often") for _ in range(60)] == [0] * 60
    limit.charge("carrier", 64)
    for number in range(30):
        now_s[0] += 1.0
        assert limit.take(str(number)) == 0
    # Half of the minute is over.
    assert [limit.take("often") for _ in range(31)] == [0] * 30 + [1]
    assert [limit.take("carrier") for _ in range(27)] == [0] * 26 + [1]
    for number in range(2000):
        now_s[0] += 0.1
        assert limit.take(str(number)) == 0
    # Who asked in the last second.
    assert len(limit._whole_at_s) <= 11


def test_a_client_over_its_limit_is_told_429_and_others_are_served(tmp_path):
    counts = ServerCounts()
    app = RepositoryApp(
        tmp_path,
        ServiceParts(
            trust=trust(),
            freshness_signer=signer("freshness-1"),
            limit=RateLimit(2, clock_s=lambda: 0.0),
            addresses=ClientAddresses(["192.0.2.7"]),
            counts=counts,
            clock=lambda: NOW,
        ),
    )

    def nonce(client):
        body = serialize_freshness_request(REQUEST)
        headers = {"x-forwarded-for": client}
        return ask(app, Request("POST", "/api/freshness", headers, body))

    assert [nonce("198.51.100.1").status for _ in range(3)] == [200, 200, 429]
    refused = nonce("198.51.100.1")
    assert (refused.fields["retry-after"], refused.fields["cache-control"]) == ("30", "no-store")
    assert nonce("198.51.100.2").status == 200
    assert ask(app, Request("GET", "/api/health")).status == 503
    assert counts.limited == 2


def test_the_addresses_of_one_ipv6_line_share_one_allowance_and_its_connections(tmp_path):
    """Who has a /64 has all of it; this machine has none, so that the addresses are told."""
    app = RepositoryApp(
        tmp_path,
        ServiceParts(
            trust=trust(),
            freshness_signer=signer("freshness-1"),
            limit=RateLimit(2, clock_s=lambda: 0.0),
            clock=lambda: NOW,
        ),
    )

    def nonce(client):
        request = Request("POST", "/api/freshness", body=serialize_freshness_request(REQUEST))
        request.client = client
        return ask(app, request).status

    line = [f"2001:db8:1:2::{number}" for number in range(1, 4)]
    assert [nonce(client) for client in line] == [200, 200, 429]
    assert nonce("2001:db8:1:3::1") == 200

    async def admitted():
        host = HttpHost(app, connections_per_address_max=2)
        told = []
        for peer in (*line, "2001:db8:1:3::1"):
            connection = PacedConnection(host)
            connection.peer = peer
            told.append((connection, host.add(connection)))
        host.discard(told[0][0])
        return [is_admitted for _, is_admitted in told], host.is_admitted(line[2])

    assert asyncio.run(admitted()) == ([True, True, False, True], True)


def test_one_address_may_not_hold_all_connections(tmp_path):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "timestamp.json").write_bytes(b"{}")

    async def scenario(**options):
        async with hosting(tmp_path, connections_per_address_max=2, **options) as (host, port):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for reader, writer in held:
                writer.write(TIMESTAMP)
                await reader.readuntil(b"{}")
            answer = statuses(
                await talk(port, TIMESTAMP.replace(b"a\r\n", b"a\r\nConnection: close\r\n"))
            )
            for _, writer in held:
                writer.transport.abort()
            while host._connections:  # noqa: ASYNC110 - the host tells nobody
                await asyncio.sleep(0)
            assert not host._by_address
            return answer, host.counts.refused["address"]

    assert asyncio.run(scenario()) == ([503], 1)
    proxies = ClientAddresses(["127.0.0.0/8"])
    assert asyncio.run(scenario(addresses=proxies)) == ([200], 0)


def test_if_match_is_412_unless_the_file_is_that_one(tmp_path):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "timestamp.json").write_bytes(b"{}")
    app = RepositoryApp(tmp_path)
    etag = ask(app, Request("GET", "/metadata/timestamp.json")).fields["etag"]

    def status(if_match, **more):
        headers = {"if-match": if_match, **more}
        return ask(app, Request("GET", "/metadata/timestamp.json", headers)).status

    assert [status(etag), status("*"), status(f'"x", {etag}')] == [200, 200, 200]
    assert [status('"x"'), status(f"W/{etag}")] == [412, 412]
    assert status('"x"', **{"if-none-match": etag}) == 412
    assert status(etag, **{"if-none-match": etag}) == 304
