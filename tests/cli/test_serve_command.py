"""`ampforge serve` with its options: what is served, and what is refused before anything is."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click.testing
import pytest

from cli.demo_release import make_product
from cli.failures import exit_code
from cli.main import ampforge
from signing.refusal import Refusal
from tests.free_port import find_free_port
from tests.manifests.server_process import write_certificate

MAIN = "from cli.main import main; main()"
SERVE = ["-c", MAIN, "serve", "--json"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A product with one published release."""
    from rich.console import Console

    product = make_product(tmp_path_factory.mktemp("product"), Console(quiet=True))
    config = ["--config", str(product.configuration.path)]
    for arguments in (
        ("init", "--insecure-test-keys"),
        ("publish", str(product.bundle_path("1.4.0"))),
    ):
        done = click.testing.CliRunner().invoke(ampforge, ["repo", *arguments, *config])
        assert done.exit_code == 0, done.output
    return product


@pytest.fixture
def configure(shared, tmp_path):
    """Write the product's configuration with another section [serve]; gives its options."""

    def configure(*lines):
        text = shared.configuration.path.read_text(encoding="utf-8")
        others, count = re.subn(r"(?m)^\[serve\]\n(?:(?!\[).*\n)*", "", text)
        assert count == 1
        path = shared.root / f"{tmp_path.name}.toml"
        reports = f'reports = "{tmp_path / "reports.sqlite"}"'
        path.write_text("\n".join([others, "[serve]", reports, *lines]), encoding="utf-8")
        return ["--config", str(path)]

    yield configure
    (shared.root / f"{tmp_path.name}.toml").unlink(missing_ok=True)


class Serving:
    """A running command and the document that it printed."""

    def __init__(self, arguments, before) -> None:
        command = [sys.executable, "-c", before + MAIN, "serve", "--json", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        printed = ""
        while "\n}" not in printed and (line := self.process.stdout.readline()):
            printed += line
        self.document = json.loads(printed)

    def end(self, number=signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@contextmanager
def serving(*arguments, before=""):
    server = Serving(arguments, before)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end()


def get(url, **options):
    with urllib.request.urlopen(url, timeout=10, **options) as answer:  # noqa: S310 - this machine's
        return answer.status, answer.read()


def test_tls_metrics_and_log_are_as_the_options_say(configure, tmp_path):
    certificate, key = write_certificate(tmp_path, "server")
    port, metrics_port, log = find_free_port(), find_free_port(), tmp_path / "access.jsonl"
    with serving(
        *configure('tls_certificate = "nowhere.pem"', 'tls_key = "nowhere.key"'),
        *("--port", str(port), "--metrics-port", str(metrics_port), "--access-log", str(log)),
        *("--tls-certificate", str(certificate), "--tls-key", str(key)),
    ) as server:
        document = server.document
        assert document["schema"] == "ampforge.serve/1"
        assert document["url"] == f"https://127.0.0.1:{port}"
        assert document["metrics"] == f"http://127.0.0.1:{metrics_port}/metrics"
        trusting = ssl.create_default_context(cafile=str(certificate))
        status, body = get(f"{document['url']}/metadata/timestamp.json", context=trusting)
        assert (status, json.loads(body)["signed"]["_type"]) == (200, "timestamp")
        _, metrics = get(document["metrics"])
        assert b'ampforge_http_answers_total{status="200"} 1.0' in metrics
        assert server.end() == 0
    (line,) = log.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["path"] == "/metadata/timestamp.json"


def test_the_limit_of_the_configuration_holds_for_each_client(configure):
    limits = configure(f"port = {find_free_port()}", "api_requests_per_minute = 2")
    with serving(*limits) as server:
        parts = urlsplit(server.document["url"])
        with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)) as asking:
            statuses = []
            for _ in range(3):
                asking.request("POST", "/api/reports", b"nonsense")
                answer = asking.getresponse()
                answer.read()
                statuses.append(answer.status)
        assert statuses == [400, 400, 429]
        assert answer.headers["Retry-After"]


def test_a_server_takes_the_place_of_another_and_the_other_ends(configure, tmp_path):
    control = configure(
        f"port = {find_free_port()}",
        f"metrics_port = {find_free_port()}",
        f'control = "{tmp_path / "serve.sock"}"',
    )
    with serving(*control) as old, serving(*control, "--take-over") as new:
        for name in ("url", "metrics"):
            assert new.document[name] == old.document[name]
        assert old.wait() == 0
        assert get(new.document["metrics"])[0] == 200
        assert get(f"{new.document['url']}/api/health")[0] == 200
        assert new.end(signal.SIGINT) == 0


class TestRefusals:
    """Each is told before a port is taken, and leaves the folder as it was."""

    @pytest.fixture
    def refuse(self, configure, tmp_path):
        def refuse(*arguments, serve=()):
            before = sorted(tmp_path.rglob("*"))
            config = configure(*(serve or [f"port = {find_free_port()}"]))
            outcome = click.testing.CliRunner().invoke(ampforge, ["serve", *arguments, *config])
            assert sorted(tmp_path.rglob("*")) == before
            if isinstance(outcome.exception, Refusal):
                return exit_code(outcome.exception), outcome.exception
            assert isinstance(outcome.exception, SystemExit), outcome.exception
            return outcome.exit_code, outcome.output

        return refuse

    @pytest.mark.parametrize("option", ["--tls-certificate", "--tls-key"])
    def test_a_certificate_without_its_key_or_a_key_alone(self, refuse, tmp_path, option):
        certificate, _ = write_certificate(tmp_path, "server")
        code, error = refuse(option, str(certificate))
        assert code == 2
        assert "both or neither" in str(error)

    def test_a_key_of_another_certificate(self, refuse, tmp_path):
        certificate, key = write_certificate(tmp_path, "server")
        other = tmp_path / "other"
        other.mkdir()
        _, foreign = write_certificate(other, "other")
        code, error = refuse("--tls-certificate", str(certificate), "--tls-key", str(foreign))
        assert code == 4
        assert str(foreign) in str(error)
        assert "the key is the certificate's" in error.hint
        assert key.is_file()

    def test_a_certificate_that_is_not_there(self, refuse, tmp_path):
        paths = ("--tls-certificate", str(tmp_path / "a"), "--tls-key", str(tmp_path / "b"))
        code, error = refuse(*paths)
        assert code == 4
        assert "cannot be used" in str(error)

    def test_a_folder_without_a_repository(self, configure, shared):
        options = configure(f"port = {find_free_port()}")
        path = Path(options[1])
        path.write_text(path.read_text().replace('folder = "repository"', 'folder = "elsewhere"'))
        outcome = click.testing.CliRunner().invoke(ampforge, ["serve", *options])
        assert isinstance(outcome.exception, Refusal)
        assert exit_code(outcome.exception) == 4
        assert "there is no repository here" in str(outcome.exception)
        assert "`ampforge repo init`" in outcome.exception.hint
        assert not (shared.root / "elsewhere").exists()

    def test_a_place_to_take_over_that_was_not_named(self, refuse):
        code, error = refuse("--take-over")
        assert code == 2
        assert "[serve] control" in str(error)
        assert "restart the server once" in error.hint

    def test_an_access_log_in_a_folder_that_is_not_there(self, refuse, tmp_path):
        code, error = refuse("--access-log", str(tmp_path / "nowhere" / "access.jsonl"))
        assert code == 4
        assert "access log cannot be opened" in str(error)

    @pytest.mark.parametrize("option", ["--port", "--metrics-port"])
    @pytest.mark.parametrize("port", ["0", "65536", "http"])
    def test_a_port_that_is_none(self, refuse, option, port):
        code, output = refuse(option, port)
        assert code == 2
        assert option in output

    @pytest.mark.parametrize(
        ("line", "telling"),
        [
            ('trusted_proxies = ["proxy.example"]', "proxy"),
            ('forwarded_header = "x-real-ip"', "forwarded_header"),
            ("api_requests_per_minute = 0", "api_requests_per_minute"),
            ("connections_per_address = 8193", "connections_per_address"),
            ("drain_s = -1", "drain_s"),
            ('drain_s = "long"', "drain_s"),
            ("metrics_port = 0", "metrics_port"),
            ("tls = true", "tls"),
        ],
    )
    def test_a_setting_that_cannot_be_used(self, refuse, line, telling):
        code, error = refuse(serve=[line])
        assert code in {2, 4}
        assert telling in f"{error}"


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_a_port_that_another_uses_is_refused_with_another_way(configure, option):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        config = configure(f"port = {find_free_port()}")
        done = subprocess.run(
            [sys.executable, *SERVE, option, str(port), *config],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 4
    assert done.stdout == "" or "error" in done.stdout
    assert f"127.0.0.1:{port}" in done.stdout + done.stderr
    assert option in done.stdout + done.stderr


def test_a_successor_serves_without_metrics_where_another_has_their_port(configure, tmp_path):
    control = configure(f"port = {find_free_port()}", f'control = "{tmp_path / "serve.sock"}"')
    impatient = "import manifests.running_server as r; r.METRICS_WAIT_S = 0.1; "
    with closing(socket.create_server(("127.0.0.1", 0))) as taken, serving(*control) as old:
        options = ("--take-over", "--metrics-port", str(taken.getsockname()[1]))
        with serving(*control, *options, before=impatient) as new:
            assert old.wait() == 0
            assert get(f"{new.document['url']}/api/health")[0] == 200


def test_nobody_to_take_over_from_is_said(configure, tmp_path):
    config = configure(f"port = {find_free_port()}", f'control = "{tmp_path / "serve.sock"}"')
    outcome = click.testing.CliRunner().invoke(ampforge, ["serve", "--take-over", *config])
    assert isinstance(outcome.exception, Refusal)
    assert exit_code(outcome.exception) == 4
    assert "serve.sock" in str(outcome.exception)
    assert not (tmp_path / "serve.sock").exists()
