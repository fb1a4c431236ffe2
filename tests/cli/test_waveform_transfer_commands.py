"""`ampforge waveform import` and `export`: files, figures, and what a refusal leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge

FLARE = Path(__file__).parents[2] / "examples" / "flare"


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            run_and_exit(ampforge, ["waveform", *map(str, arguments)])
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run


def test_an_instruments_file_becomes_a_mode(run, tmp_path):
    samples = ["1"] * 20 + ["0"] * 5 + ["-1"] * 20 + ["0"] * 288
    Path("awg.csv").write_text("SampleRate=10000\n" + "\n".join(samples) + "\n")
    code, out, _ = run("import", "awg.csv", "--full-scale-ua", 250, "-o", "new/tighten.csv")
    assert code == 0
    assert "4 segments from 333 rows, 33.3 ms, peak 250 µA" in out
    assert "nothing was moved or rounded" in out
    code, out, _ = run("diff", "new/tighten.csv", FLARE / "waveforms.toml", "--mode", "TIGHTEN")
    assert (code, "nothing changed" in out) == (0, True)


def test_the_products_waveforms_are_exported_where_none_are_named(run):
    config = ("--config", FLARE / "ampforge.toml")
    code, _, _ = run("export", "--mode", "TIGHTEN", "-o", "default.csv", *config)
    assert code == 0
    run("export", FLARE / "waveforms.toml", "--mode", "TIGHTEN", "-o", "named.csv")
    assert Path("default.csv").read_bytes() == Path("named.csv").read_bytes()


def test_what_was_moved_is_said(run):
    Path("awg.csv").write_text("SampleRate=3000\n1\n0.33333\n0\n")
    arguments = ("import", "awg.csv", "--full-scale-ua", "1", "-o", "o.csv")
    code, out, err = run(*arguments)
    assert (code, out) == (5, "")
    assert "add --tick-us T" in err
    assert not Path("o.csv").exists()
    _, out, _ = run(*arguments, "--tick-us", 100)
    assert "2 moments were moved onto ticks of 100 µs, by 33.3333 µs at most" in out
    assert "currents were rounded by 0.33 nA at most" in out
    _, out, _ = run(*arguments, "--tick-us", 100, "--json")
    document = json.loads(out)
    assert document["schema"] == "ampforge.waveform-import/1"
    assert (document["moved_rows"], document["period_us"]) == (2, 1000)


def test_export_writes_a_pulse_that_a_mode_can_name(run, tmp_path):
    for name in ("LIFT", "TIGHTEN", "INFUSE"):
        code, out, _ = run(
            "export", FLARE / "waveforms.toml", "--mode", name, "-o", f"{name.lower()}.csv"
        )
        assert code == 0
    assert out == "infuse.csv: one pulse of INFUSE level 4, 200 µA, 3 segments\n"
    text = (FLARE / "waveforms.toml").read_text()
    head, *modes = text.split("[[mode]]")
    parts = [head]
    for mode in modes:
        name = mode.split('"')[1].lower()
        parts.append(mode[: mode.index("segments = [")] + f'csv = "{name}.csv"\n\n')
    Path("from_csv.toml").write_text("[[mode]]".join(parts))
    _, out, _ = run("diff", FLARE / "waveforms.toml", "from_csv.toml")
    assert "nothing changed" in out


def test_export_of_a_period_has_the_figures_of_its_level(run):
    code, out, _ = run(
        "export",
        FLARE / "waveforms.toml",
        "--mode",
        "TIGHTEN",
        "--level",
        1,
        "--what",
        "period",
        "-o",
        "t.csv",
        "--json",
    )
    document = json.loads(out)
    assert (code, document["segments"], document["level_ua"]) == (0, 482, 50)
    _, out, _ = run("analyze", "t.csv", "--json")
    csv = json.loads(out)
    _, out, _ = run("analyze", FLARE / "waveforms.toml", "--json")
    level = json.loads(out)["waveforms"][5]
    assert level["mode"] == "TIGHTEN"
    for key in ("phase_charge_uc", "idc_window_ua", "irms_ua", "period_s"):
        assert csv[key] == pytest.approx(level[key])


def test_what_cannot_be_exported_is_refused(run):
    Path("w.csv").write_text("0,0\n10,0\n")
    code, _, err = run("export", "w.csv", "-o", "o.csv")
    assert (code, "no modes and levels" in err) == (5, True)
    code, _, err = run("export", FLARE / "waveforms.toml", "-o", "o.csv")
    assert (code, "add --mode NAME" in err) == (5, True)
    code, _, _ = run("import", "w.csv", "--full-scale-ua", "much", "-o", "o.csv")
    assert code == 2
    assert not Path("o.csv").exists()


def test_an_import_never_replaces_what_it_reads(run):
    Path("w.csv").write_text("0,0.0004\n10,1\n20,0\n")
    code, _, err = run("import", "w.csv", "-o", "w.csv")
    assert (code, "w.csv" in err) == (2, True)
    assert Path("w.csv").read_text() == "0,0.0004\n10,1\n20,0\n"
    text = (FLARE / "waveforms.toml").read_text()
    Path("w.toml").write_text(text)
    code, _, _ = run("export", "w.toml", "--mode", "LIFT", "-o", "./w.toml")
    assert (code, Path("w.toml").read_text()) == (2, text)
