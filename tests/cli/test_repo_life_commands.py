"""`ampforge repo promote | withdraw | refresh | verify`, as a user types them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from rich.console import Console

from cli.demo_release import make_product
from cli.main import ampforge
from manifests.errors import RepositoryError
from tests.manifests.s3_server import serve_bucket

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return make_product(tmp_path_factory.mktemp("product"), Console(quiet=True))


@pytest.fixture
def run(product, tmp_path, monkeypatch):
    """Commands on a repository of the test's own."""
    config = product.root / "ampforge.toml"
    text = config.read_text().replace('folder = "repository"', f'folder = "{tmp_path / "repo"}"')
    mine = product.root / f"{tmp_path.name}.toml"
    mine.write_text(text)
    monkeypatch.setenv("AMPFORGE_CONFIG", str(mine))

    def run(*arguments, code=0):
        done = CliRunner().invoke(ampforge, [*arguments, "--json"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    run.config = mine
    run("repo", "init", "--insecure-test-keys")
    run("repo", "publish", str(product.bundle_path("1.4.0")), "--percent", "5")
    return run


@pytest.mark.parametrize(
    "share", ["nan", "inf", "-1", "101", "100.0001", "0.00001", "1e1", "5,5", ""]
)
def test_a_share_that_devices_cannot_count_is_a_usage_error(run, product, tmp_path, share):
    """A hundred thousandth of a percent was nobody, without a word."""
    folder = tmp_path / "repo"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for command in (
        ("repo", "publish", str(product.bundle_path("1.5.0"))),
        ("repo", "promote", "1.4.0"),
        ("campaign", "create", "--release", "1.4.0", "--name", "x"),
    ):
        done = CliRunner().invoke(ampforge, [*command, "--percent", share])
        assert done.exit_code == 2
        assert "is not 0 to 100 with at most four decimals" in done.output
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_smallest_share_is_one_device_in_a_million(run):
    plan = ("campaign", "create", "--release", "1.4.0", "--name", "few", "--percent", "0.0001")
    assert run(*plan)["drawn_ppm"] == 1


def test_a_release_is_promoted_verified_and_withdrawn(run, tmp_path):
    promoted = run("repo", "promote", "1.4.0", "--percent", "50")
    assert (promoted["drawn_ppm"], promoted["assignment_sequence"]) == (500_000, 2)
    with pytest.raises(RepositoryError, match="a larger share"):
        run("repo", "promote", "1.4.0", "--percent", "10")
    root = str(tmp_path / "repo/metadata/1.root.json")
    audit = run("repo", "verify", "--root", root)
    assert (audit["schema"], audit["is_sound"], audit["findings"]) == (
        "ampforge.repo-audit/1",
        True,
        [],
    )
    withdrawn = run("repo", "withdraw", "1.4.0", "--reason", "stops early")
    assert withdrawn["is_campaign_halted"]
    assert run("repo", "status")["withdrawn"][0]["reason"] == "stops early"
    with pytest.raises(RepositoryError, match="was withdrawn"):
        run("campaign", "create", "--release", "1.4.0", "--name", "again")


def test_one_of_two_releases_of_a_version_is_withdrawn_by_its_counter(run, product, tmp_path):
    again = tmp_path / "again.bundle.zip"
    app = str(product.root / "firmware/images/flare-1.4.0.bin")
    run(
        *("bundle", "build", "--app", app, "--release-counter", "2"),
        *("--output", str(again), "--sign"),
    )
    assert run("repo", "publish", str(again), "--percent", "5")["campaign"] == "release 1.4.0"
    with pytest.raises(RepositoryError, match="several counters"):
        run("repo", "withdraw", "1.4.0", "--reason", "a lost key")
    counter = ("--release-counter", "1")
    withdrawn = run("repo", "withdraw", "1.4.0", "--reason", "a lost key", *counter)
    assert (withdrawn["release_counter"], withdrawn["is_campaign_halted"]) == (1, False)
    assert [one["release_counter"] for one in run("repo", "status")["releases"]] == [2]


def test_a_manifest_is_extended_once_it_would_hold_for_longer(run, monkeypatch):
    before = run("repo", "status")["releases"][0]
    monkeypatch.setattr("cli.repo_life_commands.utc_second", lambda: datetime.now(UTC) - DAY)
    with pytest.raises(RepositoryError, match="would not hold for longer"):
        run("repo", "extend", "1.4.0")
    later = datetime.now(UTC).replace(microsecond=0) + DAY
    monkeypatch.setattr("cli.repo_life_commands.utc_second", lambda: later)
    done = run("repo", "extend", "1.4.0", "--hardware-class", "flare-c3", "--release-counter", "1")
    assert (done["schema"], done["version"], done["release_counter"]) == (
        "ampforge.extension/1",
        "1.4.0",
        1,
    )
    assert (done["expired_at"], done["assignment_sequence"]) == (before["expires_at"], 2)
    after = run("repo", "status")["releases"][0]
    assert after["expires_at"] == done["expires_at"] == (later + 730 * DAY).isoformat()
    assert after["manifest_sha256"] == done["manifest_sha256"] != before["manifest_sha256"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "campaign 'release 1.4.0' goes on with it, until"),
        (("--halt",), "campaign 'stop' stays HALTED, until"),
    ],
)
def test_an_extension_says_what_becomes_of_the_campaign(run, monkeypatch, options, words):
    if options:
        run("campaign", "create", "--release", "1.4.0", "--name", "stop", *options)
    later = datetime.now(UTC).replace(microsecond=0) + DAY
    monkeypatch.setattr("cli.repo_life_commands.utc_second", lambda: later)
    shown = CliRunner().invoke(ampforge, ["repo", "extend", "1.4.0"])
    assert f"release 1.4.0 (counter 1, flare-c3) holds until {later + 730 * DAY:%Y}" in shown.stdout
    assert words in shown.stdout
    monkeypatch.setattr("cli.repo_life_commands.utc_second", lambda: later + 400 * DAY)
    shown = CliRunner().invoke(ampforge, ["repo", "extend", "1.4.0"])
    assert "nobody installs it until `ampforge campaign create`" in shown.stdout


def test_refresh_answers_to_its_old_name_too(run):
    assert run("repo", "refresh")["timestamp_version"] == 3
    assert run("repo", "renew")["schema"] == "ampforge.repo-refresh/1"
    said = CliRunner().invoke(ampforge, ["repo", "--help"]).output
    assert "refresh" in said
    assert "renew" not in said


def test_an_unsound_repository_ends_with_code_4_and_says_where(run, tmp_path):
    (artifact, *_) = (tmp_path / "repo/targets/artifacts").iterdir()
    artifact.unlink()
    audit = run("repo", "verify", code=4)
    assert not audit["is_sound"]
    assert artifact.name in audit["findings"][0]["where"]
    said = CliRunner().invoke(ampforge, ["repo", "verify"]).output
    assert "✗ a target is missing" in said
    assert "NOT sound" in said


def test_every_command_works_on_a_bucket(run, product, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    (tmp_path / "buckets/flare").mkdir(parents=True)
    with serve_bucket(tmp_path / "buckets") as (endpoint, _):
        added = f'[repository]\nbucket = "s3://flare/prod"\nendpoint = "{endpoint}"'
        run.config.write_text(run.config.read_text().replace("[repository]", added, 1))
        run("repo", "init", "--insecure-test-keys")
        run("repo", "publish", str(product.bundle_path("1.4.0")), "--percent", "5")
        run("repo", "publish", str(product.bundle_path("1.5.0")), "--percent", "5")
        run("repo", "promote", "1.5.0")
        run("repo", "withdraw", "1.4.0", "--reason", "old")
        run("repo", "refresh")
        run("repo", "rotate")
        assert [one["version"] for one in run("repo", "status")["releases"]] == ["1.5.0"]
        assert run("repo", "verify")["is_sound"]
        refused = CliRunner().invoke(ampforge, ["serve"])
        assert "bucket" in str(refused.exception)
    assert (tmp_path / "buckets/flare/prod/metadata/timestamp.json").is_file()


def test_what_a_withdrawn_release_left_is_dropped_once(run, product):
    run("repo", "publish", str(product.bundle_path("1.5.0")), "--percent", "5")
    assert run("repo", "prune")["targets"] == []
    run("repo", "withdraw", "1.4.0", "--reason", "superseded")
    pruned = run("repo", "prune")
    assert pruned["schema"] == "ampforge.repo-pruning/1"
    assert len(pruned["targets"]) >= 1
    assert pruned["list_filled_after"] < pruned["list_filled_before"]
    assert run("repo", "verify")["is_sound"]
    shown = CliRunner().invoke(ampforge, ["repo", "prune"])
    assert (shown.exit_code, "nothing to drop" in shown.stdout) == (0, True)
