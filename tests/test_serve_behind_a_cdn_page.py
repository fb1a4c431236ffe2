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

import pytest
from tuf.ngclient import Updater, UpdaterConfig

from manifests.denied_devices import DeniedDevices
from manifests.device_report import verify_device_report
from manifests.release_life import withdraw_release
from tests.manifests.server_process import running, whole_plan
from tests.manifests.test_device_messages import signed_report
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    make_publisher,
    new_bundle,
    old_bundle,
    trust,
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


def page_block() -> str:
    (block,) = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return block


@contextmanager
def nginx_before(server_port: int, folder: Path):
    """Run nginx with the page's block before a server; gives its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    block = page_block()
    for written, used in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("127.0.0.1:8470", f"127.0.0.1:{server_port}"),
        ("/var/cache/nginx/ampforge", str(folder / "cache")),
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
    with nginx_before(server.port, folder) as port:

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
