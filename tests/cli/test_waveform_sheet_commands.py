"""`ampforge waveform spec-sheet`: forms, options, and what a refusal leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge

ROOT = Path(__file__).parents[2]
FLARE = ROOT / "examples" / "flare"
REJECTED = ROOT / "tests" / "rejected" / "waveforms"
SOURCE = (FLARE / "waveforms.toml", "--limits", FLARE / "limits.toml", "--hardware-class", "flare")


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            run_and_exit(ampforge, ["waveform", "spec-sheet", *map(str, arguments)])
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run


def test_the_configuration_is_enough(run, monkeypatch):
    monkeypatch.setenv("AMPFORGE_CONFIG", str(FLARE / "ampforge.toml"))
    code, out, err = run()
    assert (code, err) == (0, "")
    assert "# Output specification: flare-c3" in out
    assert "Rout of 250,000 Ω" in out
    _, out, _ = run("--output-impedance-ohm", 1000, "--impedance-monitoring", "stops at 50 kΩ")
    assert "Rout of 1,000 Ω" in out
    assert "| Impedance monitoring | stops at 50 kΩ |" in out


def test_it_writes_each_form_and_prints_json(run, tmp_path):
    outputs = [tmp_path / "new" / f"sheet{suffix}" for suffix in (".md", ".html", ".json")]
    code, out, _ = run(*SOURCE, *(part for path in outputs for part in ("-o", path)))
    assert (code, out.splitlines()) == (0, [str(path) for path in outputs])
    markdown, html, document = (path.read_text() for path in outputs)
    assert markdown.startswith("# Output specification: flare\n")
    assert "no output impedance was stated" in html
    _, out, _ = run(*SOURCE, "--json")
    assert json.loads(out) == json.loads(document)
    assert json.loads(out)["schema"] == "ampforge.spec-sheet/1"
    assert json.loads(out)["modes"][0]["outputs"][2]["voltage_v"] == pytest.approx(4)


def test_a_compiled_table_gives_the_sheet_of_its_source(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_and_exit(ampforge, ["waveform", "compile", *map(str, SOURCE), "-o", "flare.table"])
    capsys.readouterr()
    _, from_table, _ = run(tmp_path / "flare.table", *SOURCE[1:3])
    _, from_source, _ = run(*SOURCE)
    assert from_table == from_source


def test_another_form_and_a_broken_limit_write_nothing(run, tmp_path):
    code, _, err = run(*SOURCE, "-o", "sheet.md", "-o", "sheet.pdf")
    assert (code, "no such form" in err) == (2, True)
    broken = REJECTED / "balanced_mode_carrying_6_ua_of_dc.toml"
    code, _, err = run(broken, *SOURCE[1:], "-o", "sheet.md")
    assert (code, "BALANCE" in err) == (5, True)
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_never_replaces_what_it_is_made_from(run, tmp_path, capsys):
    table = tmp_path / "flare.json"
    with pytest.raises(SystemExit):
        run_and_exit(ampforge, ["waveform", "compile", *map(str, SOURCE), "-o", str(table)])
    capsys.readouterr()
    before = table.read_bytes()
    code, _, _ = run(table, *SOURCE[1:], "-o", "sheet.md", "-o", table)
    assert (code, table.read_bytes()) == (2, before)
    assert not (tmp_path / "sheet.md").exists()


def test_a_configuration_without_the_section_states_an_ideal_source(run, tmp_path):
    text = (FLARE / "ampforge.toml").read_text()
    start, end = text.index("[spec_sheet]"), text.index("# Each role")
    (tmp_path / "ampforge.toml").write_text(text[:start] + text[end:])
    code, out, _ = run(*SOURCE)
    assert (code, "no output impedance was stated" in out) == (0, True)
    (tmp_path / "ampforge.toml").write_text(text.replace("250000", "-1"))
    code, _, err = run(*SOURCE)
    assert (code, "spec_sheet.output_impedance_ohm" in err) == (2, True)
