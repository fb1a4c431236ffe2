"""From the factory into the field by commands alone: the gateway updates what the station made."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import ExitStack

import click.testing
import pytest
from rich.console import Console

from cli.demo_release import make_product
from cli.main import ampforge
from signing.refusal import Refusal
from tests.free_port import find_free_port


def start(stack: ExitStack, *arguments: str) -> dict:
    """Run a command that serves until Ctrl-C, and return what it printed first."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments, "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )

    def interrupt():
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in {0, 130}
        process.stdout.close()

    stack.callback(interrupt)
    printed = ""
    for text in process.stdout:
        printed += text
        if text == "}\n":
            return json.loads(printed)
    raise AssertionError(printed)


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return make_product(tmp_path_factory.mktemp("product"), Console(quiet=True))


@pytest.fixture(scope="module")
def run(product):
    """Run a command on the product; its JSON, or the refusal that a user would be shown."""
    config = ["--config", str(product.configuration.path)]

    def run(*arguments):
        outcome = click.testing.CliRunner().invoke(ampforge, [*arguments, *config, "--json"])
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        assert outcome.exit_code == 0, outcome.output
        return json.loads(outcome.stdout)

    return run


@pytest.fixture(scope="module")
def slots(product, run, tmp_path_factory):
    """Two finished boards that are still powered: one with release 1.4.0, one with 1.5.0."""
    folder = tmp_path_factory.mktemp("line")
    with ExitStack() as stack:
        line = start(stack, "station", "simulate", "--boards", "2", "--folder", str(folder))
        for version, slot in zip(("1.4.0", "1.5.0"), line["slots"], strict=True):
            bundle = str(product.bundle_path(version))
            place = f"port={slot['port']},meter={slot['meter']}"
            document = run("station", "run", bundle, "--slots", place)
            assert document["passed"] == 1
        yield line["slots"]


@pytest.fixture(scope="module")
def url(product, run):
    run("repo", "init", "--insecure-test-keys")
    run("repo", "publish", str(product.bundle_path("1.4.0")))
    with ExitStack() as stack:
        config = ["--config", str(product.configuration.path)]
        # It says so once it listens: whoever reads the line may connect.
        yield start(stack, "serve", "--port", str(find_free_port()), *config)["url"]


@pytest.fixture
def update(run, url, tmp_path):
    def update(slot):
        return run(
            "device", "update", "--gateway", "--port", slot["port"], "--url", url,
            "--cache", str(tmp_path / "cache"),
        )  # fmt: skip

    return update


def test_an_older_signed_release_is_refused_by_a_board_that_never_checked_in(slots, update):
    """Release 1.4.0 is signed and assigned by the true keys; the factory left 1.5.0's counter."""
    with pytest.raises(Refusal, match="refused the update") as refused:
        update(slots[1])
    assert "its release counter would go back" in refused.value.got


def test_a_finished_board_updates_through_a_gateway(slots, update, run, product, tmp_path):
    """By the delta: the gateway fetches the patch, and never the full image."""
    assert update(slots[0])["result"] == "up to date"
    published = run(
        "repo", "publish", str(product.bundle_path("1.5.0")),
        "--delta-from", str(product.bundle_path("1.4.0")),
    )  # fmt: skip
    (delta,) = published["deltas"]
    assert (delta["base_version"], delta["is_worthwhile"]) == ("1.4.0", True)
    updated = update(slots[0])
    assert (updated["result"], updated["version_before"]) == ("installed", "1.4.0")
    assert updated["version_after"] == "1.5.0"
    fetched = {path.name for path in (tmp_path / "cache" / "targets").iterdir()}
    assert f"artifacts%2F{delta['patch_sha256']}" in fetched
    assert f"artifacts%2F{published['app_sha256']}" not in fetched
    assert update(slots[0])["result"] == "up to date"


def test_a_board_of_station_run_simulate_leaves_with_its_release_counter(run, product):
    bundle = str(product.bundle_path("1.5.0"))
    assert run("station", "run", bundle, "--simulate", "1", "--seed", "3")["passed"] == 1
    folder = product.station_folder / "simulated-line" / "board-1"
    arguments = ["device", "info", "--board", str(folder), "--json"]
    info = json.loads(click.testing.CliRunner().invoke(ampforge, arguments).stdout)
    assert (info["version"], info["release_counter"], info["last_update"]) == ("1.5.0", 2, "")
