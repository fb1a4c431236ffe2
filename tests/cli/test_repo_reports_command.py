"""`ampforge repo forward-reports`: every report once, whatever the other server does."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from click.testing import CliRunner

from cli.main import ampforge
from manifests.errors import FleetStoreError, ServerError
from manifests.fleet import FleetStore
from manifests.received_report import receive_report
from manifests.server import serve_in_background
from manifests.server_plan import ServerPlan
from tests.manifests.test_device_messages import REPORT, signed_report
from tests.manifests.world import NOW, trust_bytes

COUNT = 150
DAY = f"{NOW:%Y-%m-%d}"


@pytest.fixture
def here(tmp_path):
    """A server's database of reports: all but the last are signed."""
    path = tmp_path / "here.sqlite"
    with closing(FleetStore(path)) as fleet:
        for number in range(COUNT):
            report = replace(REPORT, freshness_sequence=number)
            body = signed_report(report) if number < COUNT - 1 else b"not signed"
            now = NOW - timedelta(days=1 - number // 100)
            fleet.add_reports([receive_report(report, body, now=now)])
    return path


@pytest.fixture
def there(tmp_path):
    (tmp_path / "repository").mkdir()
    return ServerPlan(
        folder=tmp_path / "repository",
        trust_record=trust_bytes(),
        reports_path=tmp_path / "there.sqlite",
    )


def forward(url, path, *options):
    command = ["repo", "forward-reports", "--url", url, "--reports", str(path), *options]
    return CliRunner().invoke(ampforge, command)


def test_all_are_forwarded_once_and_what_is_refused_is_named(here, there):
    with serve_in_background(there) as url:
        done = forward(url, here, "--json")
        assert done.exit_code == 4, done.output
        document = json.loads(done.output)
        assert [document[word] for word in ("stored", "known", "refused", "waiting")] == [
            COUNT - 1,
            0,
            1,
            0,
        ]
        (refusal,) = document["refusals"]
        assert refusal["serial_number"] == REPORT.serial_number
        assert refusal["text"].startswith("400 ")
        assert document["next_since"] == DAY
        again = forward(url, here, "--since", DAY)
    assert again.exit_code == 4
    assert "0 new there, 49 known, 1 refused, 0 to be sent again" in again.output
    assert f"the next time: --since {DAY}" in again.output
    with closing(FleetStore(there.reports_path)) as fleet:
        assert fleet.count_messages(since_s=0) == COUNT - 1


def test_a_server_that_takes_no_batches_is_named_and_nothing_is_lost(here, there, tmp_path):
    with serve_in_background(replace(there, reports_path=None)) as url:
        done = forward(url, here)
    assert done.exit_code != 0
    assert "404" in str(done.exception)
    with closing(FleetStore(here)) as fleet:
        assert fleet.count_messages(since_s=0) == COUNT


def test_nothing_to_forward_is_no_failure(tmp_path, there):
    empty = tmp_path / "empty.sqlite"
    FleetStore(empty).close()
    with serve_in_background(there) as url:
        done = forward(url, empty)
    assert (done.exit_code, done.output.splitlines()[0]) == (0, f"0 reports forwarded to {url}")


def test_a_file_of_another_kind_is_told_as_the_wrong_file_and_left_as_it_is(tmp_path, there):
    """Nothing is wrong with its permissions, which SQLite's words made people look at."""
    wrong = tmp_path / "access.jsonl"
    wrong.write_bytes(b'{"time":"2026-11-27T07:00:00Z"}\n')
    done = forward("http://127.0.0.1:9", wrong)
    assert isinstance(done.exception, FleetStoreError)
    assert "no report database" in str(done.exception)
    assert done.exception.hint == "correct [serve] reports, or --reports"
    with (
        pytest.raises(ServerError, match="no report database"),
        serve_in_background(replace(there, reports_path=wrong)),
    ):
        pass
    assert wrong.read_bytes() == b'{"time":"2026-11-27T07:00:00Z"}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["access.jsonl", "repository"]


def test_who_is_asked_to_wait_is_told_for_how_long(tmp_path, there):
    """The other server takes 64 reports, and each further one after a second."""
    path = tmp_path / "here.sqlite"
    with closing(FleetStore(path)) as fleet:
        for number in range(66):
            report = replace(REPORT, freshness_sequence=number)
            fleet.add_reports([receive_report(report, b"not signed", now=NOW)])
    limited = replace(there, api_requests_per_minute=64)
    with serve_in_background(limited) as url:
        done = forward(url, path)
        assert "66 refused" in done.stdout
        assert "going on in 1 second\n" in done.stderr
    with serve_in_background(limited) as url:
        assert forward(url, path, "--json").stderr == ""


def test_where_no_reports_lie_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ampforge.toml").write_text("[serve]\n", encoding="ascii")
    command = ["repo", "forward-reports", "--url", "http://127.0.0.1:9"]
    done = CliRunner().invoke(ampforge, command)
    assert "no device reports lie here" in str(done.exception) + done.output
    assert [path.name for path in tmp_path.iterdir()] == ["ampforge.toml"]
