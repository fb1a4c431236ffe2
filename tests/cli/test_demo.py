"""`ampforge demo`: the whole line runs, refuses what it must, and leaves a folder to look in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.demo import MARK_NAME, prepare_folder
from cli.failures import UsageRefusal
from tests.untraced import untraced_environment

AMPFORGE = Path(sys.executable).parent / "ampforge"


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Path, dict]:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(
        [AMPFORGE, "demo", "--boards", "2", "--seed", "3", "--json"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return elsewhere / "ampforge-demo", json.loads(done.stdout)


def test_every_board_passes_and_ends_with_the_second_release(ran):
    _, document = ran
    assert document["passed"] == 2
    assert document["updated"] == 2
    slots = document["station_run"]["slots"]
    assert len({slot["serial"] for slot in slots}) == 2
    assert {slot["state"] for slot in slots} == {"pass"}
    for update in document["updates"]:
        assert (update["version_before"], update["version_after"]) == ("1.4.0", "1.5.0")


def test_the_last_board_is_updated_through_a_gateway_that_verified_by_tuf(ran):
    folder, _ = ran
    assert (folder / "gateway-cache").is_dir()
    assert list((folder / "gateway-cache").rglob("timestamp.json"))


def test_the_three_refusals_are_the_errors_that_a_user_gets(ran):
    _, document = ran
    direct_current, flipped_bit, replay = document["refusals"]
    assert direct_current["exit_code"] == 5
    assert direct_current["what"].startswith("BALANCE")
    assert "+6.000 µA of DC" in direct_current["what"]
    assert flipped_bit["what"] == "a part is not the one that was signed"
    assert replay["exit_code"] == 4
    assert "older" in replay["what"]
    for refusal in document["refusals"]:
        assert refusal["next"], refusal


def test_the_folder_holds_what_its_readme_names(ran):
    folder, document = ran
    assert Path(document["report"]).is_file()
    for line in (folder / "README.txt").read_text().splitlines():
        name = line.split(" ")[0]
        if name.endswith(("/", ".html")):
            assert (folder / name).exists(), name
    for slot in document["station_run"]["slots"]:
        assert (folder / "records" / f"{slot['serial']}.html").is_file()


def test_the_commands_of_the_readme_run(ran):
    folder, _ = ran
    commands = [
        line.split()[1:]
        for line in (folder / "README.txt").read_text().splitlines()
        if line.startswith("  ampforge ")
    ]
    assert len(commands) == 9
    for arguments in commands:
        done = subprocess.run(
            [AMPFORGE, *arguments],
            cwd=folder / "product",
            env=untraced_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, (arguments, done.stderr)


def test_the_report_needs_nothing_from_outside(ran):
    _, document = ran
    page = Path(document["report"]).read_text()
    assert "<svg" in page
    for forbidden in ("<script", 'src="http', 'href="http', "url(http"):
        assert forbidden not in page


def test_an_earlier_demo_is_replaced_and_nothing_else_ever(tmp_path):
    earlier = tmp_path / "earlier"
    prepare_folder(earlier)
    (earlier / "left").touch()
    prepare_folder(earlier)
    assert [path.name for path in earlier.iterdir()] == [MARK_NAME]
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter-1").touch()
    with pytest.raises(UsageRefusal, match="something else"):
        prepare_folder(other)
    assert (other / "chapter-1").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UsageRefusal):
        prepare_folder(tmp_path / "file" / "below")
