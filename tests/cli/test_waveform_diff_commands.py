"""`ampforge waveform diff`: what a reviewer reads, and what a script gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge

FLARE = Path(__file__).parents[2] / "examples" / "flare" / "waveforms.toml"
LEVELS = {"LIFT": 4, "TIGHTEN": 5, "INFUSE": 4}


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = FLARE.read_text()
    Path("a.toml").write_text(text)
    text = text.replace("[80, 160, 240, 320, 400]", "[88, 160, 240, 320]")
    Path("b.toml").write_text(text.replace("flip_each_burst = true", "flip_each_burst = false", 1))

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            run_and_exit(ampforge, ["waveform", "diff", *map(str, arguments)])
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run


def test_nothing_changed_is_said(run):
    code, out, _ = run("a.toml", "a.toml")
    assert (code, out) == (0, "a.toml and a.toml: nothing changed\n")
    _, out, _ = run("a.toml", "a.toml", "--json")
    assert json.loads(out) == {
        "schema": "ampforge.waveform-diff/1",
        "before": "a.toml",
        "after": "a.toml",
        "same": True,
        "changes": [],
    }


def test_changes_are_grouped_by_mode_and_level(run):
    code, out, _ = run("a.toml", "b.toml")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0].startswith("from a.toml to b.toml: ")
    assert "polarity flips each burst yes → no" in lines
    assert "peak 80 → 88 µA (+8, +10 %)" in lines
    assert "largest difference 8 µA" in lines
    assert "level 400 → none µA" in lines
    assert "TIGHTEN" not in out


def test_json_has_each_change_with_its_difference(run):
    _, out, _ = run("a.toml", "b.toml", "--mode", "LIFT", "--level", 1, "--json")
    document = json.loads(out)
    assert document["same"] is False
    peak = next(change for change in document["changes"] if change["what"] == "peak_ua")
    assert peak == {
        "mode": "LIFT",
        "level": 1,
        "what": "peak_ua",
        "before": 80,
        "after": 88,
        "difference": 8,
    }


def test_what_is_no_waveform_is_refused(run, tmp_path):
    (tmp_path / "t").write_bytes(bytes(200))
    code, _, err = run("a.toml", "t")
    assert (code, "not a waveform table" in err) == (5, True)
    code, _, err = run("a.toml", "b.toml", "--mode", "TINGLE")
    assert (code, "LIFT, TIGHTEN, INFUSE" in err) == (5, True)


def test_digests_of_tables_are_shortened_for_people(run, tmp_path, capsys):
    limits = (FLARE.parent / "limits.toml").read_text()
    for version in ("1", "2"):
        Path("limits.toml").write_text(limits.replace("version = 1", f"version = {version}"))
        arguments = ["a.toml", "--limits", "limits.toml", "--hardware-class", "x", "-o", version]
        with pytest.raises(SystemExit):
            run_and_exit(ampforge, ["waveform", "compile", *arguments])
    capsys.readouterr()
    _, out, _ = run("1", "2")
    assert "policy version              1 → 2" in out
    digest = next(line for line in out.splitlines() if "policy digest" in line)
    assert digest.count("…") == 2


def test_the_picture_has_a_row_for_each_mode_of_both_and_is_the_same_each_time(run):
    code, out, _ = run("a.toml", "b.toml", "--plot", "d.svg")
    assert (code, out.endswith("\nwrote d.svg\n")) == (0, True)
    drawn = Path("d.svg").read_text()
    # Both have four levels of LIFT, of which the last is the same; the polarity is in the numbers.
    assert all(f"{mode}, level {level}: one pulse" in drawn for mode, level in LEVELS.items())
    assert drawn.count("after less before: no difference") == len(LEVELS)
    run("a.toml", "b.toml", "--plot", "d.svg")
    assert Path("d.svg").read_text() == drawn
    run("a.toml", "b.toml", "--mode", "LIFT", "--level", 1, "--plot", "d.svg")
    drawn = Path("d.svg").read_text()
    assert "before: 80 µA" in drawn
    assert "after: 88 µA" in drawn
    assert "after less before: largest +8 µA, at 10 ms" in drawn
    assert "TIGHTEN" not in drawn
    run("a.toml", "b.toml", "--plot", "d.png")
    assert Path("d.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_replaces_neither_side_and_needs_a_mode_of_both(run):
    text = Path("a.toml").read_text()
    Path("after.svg").symlink_to("b.toml")
    code, out, err = run("a.toml", "b.toml", "--plot", "after.svg")
    assert (code, out) == (2, "")
    assert "would replace what it is made from" in err
    one, other = (text.partition("\n[[mode]]")[0] + "\n[[mode]]" for _ in range(2))
    modes = text.split("\n[[mode]]")[1:]
    Path("one.toml").write_text(one + modes[0])
    Path("other.toml").write_text(other + modes[1])
    code, out, err = run("one.toml", "other.toml", "--plot", "d.svg")
    assert (code, out) == (5, "")
    assert "LIFT; and TIGHTEN" in err
    assert not Path("d.svg").exists()
    assert run("one.toml", "other.toml")[0] == 0
