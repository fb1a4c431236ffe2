"""`ampforge waveform check --explain`: a rule in words, with the figures of the policy at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge

ROOT = Path(__file__).parents[2]
LIMITS = ROOT / "examples" / "flare" / "limits.toml"


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            run_and_exit(ampforge, ["waveform", "check", "--explain", *map(str, arguments)])
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run


def test_a_rule_needs_neither_waveform_nor_configuration(run):
    code, out, err = run("jdc")
    assert (code, err) == (0, "")
    assert out.startswith("JDC: Direct-current density\n")
    assert "give --limits" in out


def test_the_figures_are_the_policys_own(run, monkeypatch):
    _, out, _ = run("JDC", "--limits", LIMITS)
    assert "JDC = 0.5 mA/cm²" in out
    assert "checked by  nobody yet: find a primary source" in out
    monkeypatch.setenv("AMPFORGE_CONFIG", str(LIMITS.parent / "ampforge.toml"))
    _, configured, _ = run("JDC")
    assert configured == out
    _, out, _ = run("JDC", "--json")
    document = json.loads(out)
    assert document["schema"] == "ampforge.rule/1"
    assert document["figures"][0]["value"] == "0.5"


def test_an_unknown_rule_lists_all(run):
    code, out, err = run("AMPS")
    assert (code, out) == (2, "")
    assert "TICK, HEADER, MODE, PEAK, JRMS, JDC, BALANCE, DOSE, PD, SHANNON" in err


def test_all_prints_the_manuals_page(run):
    _, out, _ = run("all")
    page = ROOT / "docs" / "how-to" / "limits-in-plain-words.md"
    assert out == page.read_text()
    _, out, _ = run("ALL", "--json", "--limits", LIMITS)
    assert len(json.loads(out)["rules"]) == 15
