"""`ampforge repo promote | withdraw | refresh | verify`, as a user types them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from rich.console import Console

from cli.demo_release import make_product
from cli.main import ampforge
from manifests.errors import RepositoryError
from tests.manifests.s3_server import serve_bucket


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
