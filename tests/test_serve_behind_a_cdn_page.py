"""The page on CDNs, tried: its nginx configuration as a cache in front of a real server."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tuf.ngclient import Updater, UpdaterConfig

from manifests.carried_reports import parse_outcomes, serialize_carried_reports
from manifests.denied_devices import DeniedDevices
from manifests.device_report import verify_device_report
from manifests.errors import UpdateRefusedError
from manifests.http_transport import HttpTransport
from manifests.release_life import withdraw_release
from manifests.repository import init_repository
from manifests.s3_address import S3Address
from manifests.s3_store import S3Store
from manifests.server_plan import ServerPlan
from manifests.transfer import run_session
from manifests.update_outcome import UpdateResult, UpdateRules
from manifests.updater import update_device
from manifests.url_store import UrlStore
from tests.firmware_images.release_parts import signer
from tests.manifests.s3_server import serve_bucket
from tests.manifests.server_process import running, whole_plan
from tests.manifests.test_device_messages import signed_report
from tests.manifests.test_s3_store import publisher_on
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
    trust,
    trust_bytes,
)

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "serve-behind-a-cdn.md"
AROUND = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; user root;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {block}
}}
"""
TIMESTAMP = "/metadata/timestamp.json"
ASSIGNMENT = f"/device/{HARDWARE_CLASS}/assignment.cose"
NGINX = shutil.which("nginx")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


CACHE, BUCKET = range(2)


def page_block(number: int) -> str:
    blocks = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    return blocks[number]


@contextmanager
def nginx_before(server_port: int, folder: Path, *, number: int = CACHE, others=()):
    """Run nginx with one of the page's blocks before a server; gives its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    block = page_block(number)
    for written, used in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("127.0.0.1:8470", f"127.0.0.1:{server_port}"),
        *others,
    ):
        assert block.count(written) == 1
        block = block.replace(written, used)
    path = folder / "nginx.conf"
    path.write_text(AROUND.format(folder=folder, block=block), encoding="utf-8")
    nginx = subprocess.Popen([NGINX, "-c", str(path), "-p", str(folder)])
    try:
        while True:
            assert nginx.poll() is None, (folder / "error.log").read_text()
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield port
    finally:
        nginx.terminate()
        nginx.wait(10)


@pytest.fixture
def publisher(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    return publisher


@pytest.fixture
def server(publisher, tmp_path):
    plan = whole_plan(
        publisher, tmp_path, trusted_proxies=("127.0.0.1",), access_log=tmp_path / "access.jsonl"
    )
    with running(plan) as server:
        yield server


@pytest.fixture
def get(server, tmp_path):
    """Ask nginx, which asks the server."""
    folder = tmp_path / "nginx"
    folder.mkdir()
    cache = ("/var/cache/nginx/ampforge", str(folder / "cache"))
    with nginx_before(server.port, folder, others=(cache,)) as port:

        def get(path, method="GET", body=None, **headers):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
                connection.request(method, path, body, named)
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read()

        get.url = f"http://127.0.0.1:{port}"
        yield get


def listed_artifact(publisher) -> str:
    names = (publisher.store.root / "device" / "artifacts").iterdir()
    largest = max(names, key=lambda path: path.stat().st_size)
    return f"/device/artifacts/{largest.name}"


@needs_nginx
def test_an_artifact_comes_from_the_cache_whole_and_in_part(get, publisher):
    path = listed_artifact(publisher)
    content = (publisher.store.root / path[1:]).read_bytes()
    status, headers, body = get(path, Range="bytes=4096-8191")
    assert (status, headers["X-Cache-Status"], body) == (206, "MISS", content[4096:8192])
    for span, wanted in (("bytes=0-", content), ("bytes=100-199", content[100:200])):
        status, headers, body = get(path, Range=span)
        assert (status, headers["X-Cache-Status"], body) == (206, "HIT", wanted)
        assert headers["Content-Length"] == str(len(wanted))
    status, headers, body = get(path)
    assert (status, headers["X-Cache-Status"], body) == (200, "HIT", content)
    assert headers["ETag"].startswith('"')
    assert "immutable" in headers["Cache-Control"]
    status, headers, _ = get(path, If_None_Match=headers["ETag"])
    assert (status, headers["X-Cache-Status"]) == (304, "HIT")


@needs_nginx
@pytest.mark.parametrize("path", [TIMESTAMP, ASSIGNMENT])
def test_what_a_publication_replaces_is_seen_at_once_and_304_before(get, publisher, path):
    status, headers, before = get(path)
    assert (status, headers["Cache-Control"]) == (200, "no-cache")
    status, unchanged, body = get(path, If_None_Match=headers["ETag"])
    assert (status, body) == (304, b"")
    assert unchanged["ETag"] == headers["ETag"]
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    status, _, after = get(path, If_None_Match=headers["ETag"])
    assert status == 200
    assert after != before
    assert after == (publisher.store.root / path[1:]).read_bytes()


@needs_nginx
def test_a_404_hides_no_release_that_is_published_later(get, publisher):
    assert get("/metadata/3.targets.json")[0] == 404
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    status, headers, body = get("/metadata/3.targets.json")
    assert (status, headers["X-Cache-Status"]) == (200, "MISS")
    assert body == (publisher.store.root / "metadata" / "3.targets.json").read_bytes()
    assert get("/metadata/3.targets.json")[1]["X-Cache-Status"] == "HIT"


@needs_nginx
def test_a_withdrawn_release_is_named_no_longer(get, publisher, tmp_path):
    root = (publisher.store.root / "metadata" / "1.root.json").read_bytes()

    def list_manifests(client):
        folder = tmp_path / client
        (folder / "metadata").mkdir(parents=True, exist_ok=True)
        updater = Updater(
            str(folder / "metadata"),
            f"{get.url}/metadata/",
            str(folder),
            f"{get.url}/targets/",
            config=UpdaterConfig(),
            bootstrap=root,
        )
        updater.refresh()
        targets = updater._trusted_set.targets.targets
        return {path for path in targets if path.startswith("manifests/")}

    (old,) = list_manifests("gateway")
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    assert len(list_manifests("gateway")) == 2
    assignment = get(ASSIGNMENT)[2]
    withdraw_release(publisher, "1.4.0", reason="it hums", now=NOW)
    for client in ("gateway", "another"):
        assert old not in list_manifests(client)
        assert len(list_manifests(client)) == 1
    assert get(ASSIGNMENT)[2] == (publisher.store.root / ASSIGNMENT[1:]).read_bytes()
    assert assignment


@needs_nginx
def test_reports_pass_and_are_never_kept_and_a_long_one_is_refused(get, tmp_path):
    body = signed_report()
    verify_device_report(body, trust(), now=NOW)
    for status in (201, 200):
        answer = get("/api/reports", "POST", body)
        assert (answer[0], answer[1]["Cache-Control"]) == (status, "no-store")
    assert get("/api/reports", "POST", bytes(5000))[0] == 413
    status, _, answer = get("/api/report-batches", "POST", serialize_carried_reports([body] * 64))
    assert (status, parse_outcomes(answer, count=64)) == (200, [(200, "known")] * 64)
    assert get("/api/report-batches", "POST", bytes(65_537))[0] == 413


@needs_nginx
def test_health_is_as_the_page_shows_it(get):
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    status, headers, body = get("/api/health")
    told = json.loads(body)
    # The test's release was published in the past of the present.
    assert status in {200, 503}
    assert headers["Cache-Control"] == "no-store"
    assert (set(told), set(told["timestamp"])) == (
        set(json.loads(shown)),
        set(json.loads(shown)["timestamp"]),
    )


def test_the_page_s_list_of_denied_devices_is_one(tmp_path):
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "list").write_text(shown, encoding="utf-8")
    assert len(DeniedDevices(tmp_path / "list")) == 3


@needs_nginx
def test_without_a_server_nothing_old_is_shown_as_new(get, server, publisher):
    path = listed_artifact(publisher)
    assert get(path)[0] == get(path)[0] == get(TIMESTAMP)[0] == 200
    server.process.terminate()
    server.process.wait(20)
    assert get(TIMESTAMP)[0] == get(ASSIGNMENT)[0] == 502
    status, headers, body = get(path)
    assert (status, headers["X-Cache-Status"]) == (200, "HIT")
    assert body == (publisher.store.root / path[1:]).read_bytes()


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A repository in a bucket of a real S3 server; gives publisher and address."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    (tmp_path / "buckets" / "flare").mkdir(parents=True)
    with serve_bucket(tmp_path / "buckets") as (endpoint, _):
        address = S3Address(bucket="flare", prefix="prod", endpoint=endpoint)
        publisher = publisher_on(S3Store(address, clock=lambda: NOW))
        init_repository(publisher.store, trust(), publisher.signers, publisher.settings, now=NOW)
        yield publisher, address


def copy_from(store, folder):
    """What the page has copied to the server's folder once a minute."""
    for path in (TIMESTAMP[1:], ASSIGNMENT[1:]):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(store.read(path, max_bytes=1 << 20))


@contextmanager
def bucket_served(copied, address, folder):
    """The page's nginx before the bucket and a server with a folder; gives its URL."""
    plan = ServerPlan(
        folder=copied,
        trust_record=trust_bytes(),
        freshness_key_der=signer("freshness-1").to_pkcs8_der(),
        reports_path=folder / "reports.sqlite",
    )
    (folder / "nginx").mkdir()
    others = (
        ("https://s3.example.com/flare-updates/prod/", f"{address.endpoint}/flare/prod/"),
        ("Host s3.example.com", f"Host {urlsplit(address.endpoint).netloc}"),
    )
    with (
        running(plan) as server,
        nginx_before(server.port, folder / "nginx", number=BUCKET, others=others) as port,
    ):
        yield f"http://127.0.0.1:{port}"


def update(device, url):
    with closing(HttpTransport(url)) as transport:
        return run_session(update_device(device, UpdateRules(chunk_bytes=16_384)), transport)


def status_of(url, method, path, body):
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
        connection.request(method, path, body)
        return connection.getresponse().status


@needs_nginx
def test_a_device_updates_from_a_bucket_with_a_server_beside_it(bucket, tmp_path):
    publisher, address = bucket
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    copy_from(publisher.store, tmp_path / "copied")
    with bucket_served(tmp_path / "copied", address, tmp_path) as url:
        shown, stored = UrlStore(url), publisher.store
        for path in ("metadata/1.root.json", "metadata/2.root.json", "metadata/timestamp.json"):
            assert shown.read(path, max_bytes=1 << 20) == stored.read(path, max_bytes=1 << 20)
        assert update(make_device(), url).result is UpdateResult.REBOOT_NEEDED
        assert status_of(url, "POST", "/api/reports", signed_report()) == 201
        before = stored.read("metadata/timestamp.json", max_bytes=1 << 20)
        assert status_of(url, "PUT", TIMESTAMP, b"mine") == 403
        assert stored.read("metadata/timestamp.json", max_bytes=1 << 20) == before


@needs_nginx
def test_until_the_assignment_is_copied_a_device_installs_nothing_and_then_it_does(
    bucket, tmp_path
):
    publisher, address = bucket
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    copy_from(publisher.store, tmp_path / "copied")
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    with bucket_served(tmp_path / "copied", address, tmp_path) as url:
        device = make_device()
        with pytest.raises(UpdateRefusedError, match="sequence"):
            update(device, url)
        copy_from(publisher.store, tmp_path / "copied")
        assert update(device, url).result is UpdateResult.REBOOT_NEEDED
