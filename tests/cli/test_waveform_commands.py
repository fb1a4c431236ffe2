"""`ampforge waveform`: exit codes, documents, files, and what a refusal leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge
from firmware_images.waveform_slot import serialize_waveform_slot
from firmware_images.waveform_table import parse_waveform_table

ROOT = Path(__file__).parents[2]
FLARE = ROOT / "examples" / "flare"
REJECTED = ROOT / "tests" / "rejected" / "waveforms"
LIMITS = ("--limits", str(FLARE / "limits.toml"))
KEYS = [
    "phase_charge_uc",
    "net_charge_uc",
    "idc_ua",
    "idc_window_ua",
    "iavg_ua",
    "irms_ua",
    "irms_burst_ua",
    "ipeak_ua",
    "jrms_ma_cm2",
    "power_density_w_cm2",
    "shannon_k",
    "shannon_k_applies",
    "period_s",
]
E1 = "t_us,i_ua\n0,400\n500,400\n500,0\n600,0\n600,-400\n1100,-400\n1100,0\n10000,0\n"


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder; returns exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            run_and_exit(ampforge, ["waveform", *map(str, arguments)])
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run


@pytest.fixture
def in_flare(monkeypatch):
    monkeypatch.setenv("AMPFORGE_CONFIG", str(FLARE / "ampforge.toml"))


def test_analyze_prints_the_figures_of_a_csv_under_the_agreed_names(run, tmp_path):
    (tmp_path / "e1.csv").write_text(E1)
    code, out, _ = run("analyze", "e1.csv", "--json")
    document = json.loads(out)
    assert code == 0
    assert [key for key in document if key in KEYS] == KEYS
    (waveform,) = document["waveforms"]
    assert [waveform[key] for key in KEYS] == [document[key] for key in KEYS]
    assert document["irms_ua"] == pytest.approx(126.49110640673517)
    assert document["shannon_k"] == pytest.approx(-1.3979400086720375)
    assert document["shannon_k_applies"] is True


def test_analyze_takes_area_dead_band_and_tick(run, tmp_path):
    (tmp_path / "ramp.csv").write_text("0,0\n149,100\n300,0\n500,0\n")
    _, out, _ = run("analyze", "ramp.csv", "--area-cm2", 0.5, "--dead-band-ua", 50, "--json")
    document = json.loads(out)
    assert document["phase_charge_uc"] == pytest.approx(0.01125)
    assert document["jrms_ma_cm2"] == pytest.approx(document["irms_ua"] / 500)
    assert (document["tick_us"], document["moved_rows"]) == (None, 0)
    _, out, _ = run("analyze", "ramp.csv", "--tick-us", 100, "--json")
    document = json.loads(out)
    assert (document["moved_rows"], document["largest_shift_us"]) == (1, 49)
    assert document["phase_charge_uc"] == pytest.approx(0.015)
    _, out, _ = run("analyze", "ramp.csv", "--tick-us", 100)
    assert "1 row was moved onto ticks of 100 µs, by 49 µs at most" in out


def test_analyze_prints_each_level_of_a_toml_and_of_its_table(run, tmp_path):
    code, out, _ = run("analyze", FLARE / "waveforms.toml", "--json")
    document = json.loads(out)
    assert code == 0
    assert len(document["waveforms"]) == 14
    assert "idc_ua" not in document
    infuse = document["waveforms"][-1]
    assert (infuse["mode"], infuse["level_ua"]) == ("INFUSE", 200)
    assert (infuse["idc_ua"], infuse["idc_window_ua"]) == (0, pytest.approx(200))
    assert infuse["pulse_net_charge_uc"] == pytest.approx(11600)
    run("compile", FLARE / "waveforms.toml", *LIMITS, "--hardware-class", "flare-c3", "-o", "t")
    _, out, _ = run("analyze", "t", "--json")
    assert json.loads(out)["waveforms"] == document["waveforms"]
    code, _, err = run("analyze", "t", "--tick-us", 50)
    assert (code, "has its tick" in err) == (5, True)
    _, out, _ = run("analyze", FLARE / "waveforms.toml")
    assert "information: the phase exceeds 1 ms" in out
    _, out, _ = run("analyze", FLARE / "waveforms.toml", "--tick-us", 50, "--json")
    assert json.loads(out)["tick_us"] == 50


def test_check_prints_each_rule_with_its_worst_value_and_margin(run):
    code, out, err = run("check", FLARE / "waveforms.toml", *LIMITS)
    assert (code, err) == (0, "")
    assert "within every limit" in out
    jdc = next(line for line in out.splitlines() if " JDC " in line)
    assert jdc.split("  ")[0].startswith("✓")
    for part in ("0.444 mA/cm²", "≤ 0.5", "0.056", "mode INFUSE, level 4 (200 µA)"):
        assert part in jdc


def test_check_uses_the_configuration(run, in_flare):
    code, out, _ = run("check", "--json")
    document = json.loads(out)
    assert (code, document["passed"], document["violations"]) == (0, True, 0)
    assert document["policy"]["name"] == "flare-limits"
    assert {
        "rule",
        "value",
        "limit",
        "margin",
        "mode",
        "level",
        "segment",
        "time_ms",
        "source",
    } <= (document["findings"][0].keys())


def test_check_refuses_dc_in_a_balanced_mode_with_exit_code_5(run):
    path = REJECTED / "balanced_mode_carrying_6_ua_of_dc.toml"
    code, out, err = run("check", path, *LIMITS)
    assert code == 5
    assert any(line.startswith("✗  BALANCE") for line in out.splitlines())
    assert "error: BALANCE: charge that each pulse leaves unpaired (+6.000 µA of DC)" in err
    assert "mode LIFT, level 2 (400 µA)" in err
    code, out, err = run("check", path, *LIMITS, "--json")
    assert (code, json.loads(out)["passed"]) == (5, False)
    assert json.loads(err)["error"] == "LimitError"


@pytest.mark.parametrize("path", sorted(REJECTED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_file_of_the_gallery_ends_with_exit_code_5_and_writes_nothing(run, path, tmp_path):
    code, out, err = run(
        "compile", path, *LIMITS, "--hardware-class", "flare-c3", "-o", tmp_path / "t"
    )
    assert (code, out) == (5, "")
    assert err.startswith("error: ")
    assert path.name in err
    assert list(tmp_path.iterdir()) == []


def test_check_judges_a_csv_as_the_mode_it_is_said_to_be(run, tmp_path):
    (tmp_path / "e1.csv").write_text(E1)
    code, out, _ = run("check", "e1.csv", *LIMITS, "--mode", "TIGHTEN", "--tick-us", 100, "--json")
    assert code == 5  # 400 µA is above TIGHTEN's claim
    broken = {f["rule"] for f in json.loads(out)["findings"] if f["violation"]}
    assert broken == {"PEAK"}
    code, _, err = run("check", "e1.csv", *LIMITS)
    assert (code, "add --mode NAME --tick-us T" in err) == (5, True)
    code, _, err = run("check", "e1.csv", *LIMITS, "--mode", "TINGLE", "--tick-us", 100)
    assert (code, "no such mode" in err) == (5, True)
    code, _, err = run("check", "e1.csv", *LIMITS, "--mode", "LIFT", "--tick-us", 300)
    assert (code, "TICK" in err) == (5, True)
    options = ("--mode", "TIGHTEN", "--tick-us", 100, "--session-s", "2000")
    _, out, _ = run("check", "e1.csv", *LIMITS, *options)
    assert "✗  SESSION" in out
    for text in ("soon", "inf"):
        code, _, err = run("check", "e1.csv", *LIMITS, "--session-s", text)
        assert code == 2


def test_compile_and_inspect_show_the_same_table(run, tmp_path, in_flare):
    code, out, _ = run("compile", "-o", "flare.table", "--json")
    compiled = json.loads(out)
    assert code == 0
    assert (
        parse_waveform_table((tmp_path / "flare.table").read_bytes()).hardware_class == "flare-c3"
    )
    _, out, _ = run("inspect", "flare.table", "--json")
    assert (compiled.pop("waivers"), compiled.pop("waiver_remarks")) == ([], [])
    assert json.loads(out) == compiled
    assert compiled["modes"][1]["levels"][0]["segments"][2] == [20, -50_000, -50_000]
    _, out, _ = run("inspect", "flare.table")
    assert "80 160 240 320 400" in out
    assert compiled["digest"] in out
    slot = serialize_waveform_slot((tmp_path / "flare.table").read_bytes(), b"approval")
    (tmp_path / "slot.bin").write_bytes(slot)
    _, out, _ = run("inspect", "slot.bin", "--json")
    assert json.loads(out)["approval_size_bytes"] == 8
    code, out, _ = run("inspect", "slot.bin")
    assert (code, "the approval beside it is none for this table" in out) == (0, True)
    code, out, _ = run("check", "flare.table")
    assert (code, "within every limit" in out) == (0, True)


def test_compile_writes_beside_the_release_by_default(run, tmp_path):
    text = (FLARE / "ampforge.toml").read_text()
    for name in ("waveforms.toml", "limits.toml"):
        (tmp_path / name).write_text((FLARE / name).read_text())
    (tmp_path / "ampforge.toml").write_text(text)
    code, out, _ = run("compile")
    assert (code, "waveforms.table: 1172 bytes for flare-c3" in out) == (0, True)
    assert (tmp_path / "build" / "waveforms.table").is_file()


def test_a_curve_is_compiled_into_pieces_and_its_distance_stated(run, tmp_path):
    text = (FLARE / "waveforms.toml").read_text()
    start = text.index('[[mode]]\nname = "INFUSE"')
    lift = text[: text.index("segments = [")] + (
        "segments = [{ ms = 50, half_sine = 1 }, { ms = 50, half_sine = -1 }, "
        "{ ms = 25, at = 0 }]\n"
    )
    (tmp_path / "sine.toml").write_text(lift + text[start:])
    _, out, _ = run("analyze", "sine.toml", "--json")
    first, second = json.loads(out)["curves"]
    assert (first["mode"], first["segment"], first["pieces"]) == ("LIFT", "segment 1", 16)
    assert first["largest_deviation_ua"] == pytest.approx(second["largest_deviation_ua"])
    options = (*LIMITS, "--hardware-class", "flare-c3", "-o", "t")
    _, out, _ = run("compile", "sine.toml", *options, "--json")
    assert json.loads(out)["curves"] == [first, second]
    for arguments in (("analyze", "sine.toml"), ("compile", "sine.toml", *options)):
        _, out, _ = run(*arguments)
        assert "LIFT, segment 2: a curve in 16 linear pieces, 1.887 µA" in out
    code, out, _ = run("check", "sine.toml", *LIMITS)
    assert (code, "within every limit" in out) == (0, True)


def test_inspect_refuses_what_is_no_table(run, tmp_path):
    (tmp_path / "t").write_bytes(b"AFWT")
    code, _, err = run("inspect", "t")
    assert (code, "not a waveform table" in err) == (5, True)
    (tmp_path / "t").write_bytes(bytes(70_000))
    code, _, err = run("inspect", "t")
    assert (code, "too long" in err) == (5, True)


def test_plot_writes_one_svg_per_mode(run, tmp_path):
    code, out, _ = run("plot", FLARE / "waveforms.toml", *LIMITS, "-o", "plots", "--json")
    assert code == 0
    assert json.loads(out)["plots"]["LIFT"] == "plots/lift.svg"
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "infuse.svg",
        "lift.svg",
        "tighten.svg",
    ]


def test_plot_draws_png_and_a_csv_file_that_is_told_its_mode(run, tmp_path):
    (tmp_path / "e1.csv").write_text(E1)
    told = ("--mode", "TIGHTEN", "--tick-us", 100, "--format", "png", "--json")
    code, out, _ = run("plot", "e1.csv", *LIMITS, *told)
    document = json.loads(out)
    assert (code, document["format"], document["plots"]) == (0, "png", {"TIGHTEN": "tighten.png"})
    assert (tmp_path / "tighten.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = run("plot", "e1.csv", *LIMITS, "-o", "q")
    assert (code, "does not say which mode" in err, (tmp_path / "q").exists()) == (5, True, False)
    code, _, err = run("plot", FLARE / "waveforms.toml", *LIMITS, "--mode", "LIFT", "-o", "q")
    assert (code, "only a CSV file" in err, (tmp_path / "q").exists()) == (2, True, False)


def test_check_names_the_orphan_phase_of_a_csv_cycle_whose_sums_are_zero(run, tmp_path):
    pulse = ((2000, 250), (500, 0), (2000, -250), (28_800, 0))
    burst = (*pulse * 60, (2000, 250), (997_000, 0))
    rows, t_us = ["t_us,i_ua"], 0
    for duration_us, i_ua in (*burst, *((d, -i) for d, i in burst)):
        rows += [f"{t_us},{i_ua}", f"{t_us + duration_us},{i_ua}"]
        t_us += duration_us
    (tmp_path / "cycle.csv").write_text("\n".join(rows) + "\n")
    _, out, _ = run("analyze", "cycle.csv", "--json")
    assert json.loads(out)["net_charge_uc"] == 0
    code, _, err = run("check", "cycle.csv", *LIMITS, "--mode", "TIGHTEN", "--tick-us", 100)
    assert code == 5
    assert "error: BALANCE" in err
    assert "1 phase without a partner before the rest at 2000 ms" in err
    assert "mode TIGHTEN, level 1 (250 µA), segment 241, at 1998 ms" in err


def test_analyze_states_what_a_session_with_ramps_comes_to(run, tmp_path):
    text = (FLARE / "waveforms.toml").read_text()
    ramped = text.replace("flip_each_burst = true", "flip_each_burst = true\nsoft_start_pulses = 3")
    (tmp_path / "soft.toml").write_text(ramped)
    code, out, _ = run("analyze", "soft.toml", "--json")
    lift = json.loads(out)["waveforms"][0]
    assert code == 0
    assert (lift["session_pulses"], lift["session_played_s"]) == (2400, 300)
    assert (lift["session_net_charge_uc"], lift["ramp_net_charge_uc"]) == (0, 0)
    infuse = json.loads(out)["waveforms"][-1]
    # four blocks of 11600 µC, two of each sign; the first play 1/3 and 2/3
    assert infuse["session_net_charge_uc"] == pytest.approx(11600 * (1 / 3 + 2 / 3 - 2), rel=1e-5)
    _, out, _ = run("analyze", "soft.toml")
    assert "unpaired in a ramp pulse" in out


def test_inspect_shows_ramps_and_export_writes_the_whole_session(run, tmp_path):
    text = (FLARE / "waveforms.toml").read_text()
    ramped = text.replace("pulses_per_burst = 20", "soft_start_ms = 3000\npulses_per_burst = 20")
    (tmp_path / "soft.toml").write_text(ramped)
    run("compile", "soft.toml", *LIMITS, "--hardware-class", "flare-c3", "-o", "soft.table")
    code, out, _ = run("inspect", "soft.table")
    assert (code, "24, no pulses" in out, "none" in out) == (0, True, True)
    _, out, _ = run("inspect", "soft.table", "--json")
    lift = json.loads(out)["modes"][0]
    assert (lift["soft_start_pulses"], lift["soft_stop_pulses"]) == (24, 0)
    _, out, _ = run("diff", FLARE / "waveforms.toml", "soft.table")
    assert "soft start pulses           0 → 24" in out
    options = ("--mode", "LIFT", "--what", "session", "-o", "session.csv")
    code, _, _ = run("export", "soft.table", *options)
    assert code == 0
    _, out, _ = run("analyze", "session.csv", "--json")
    document = json.loads(out)
    assert (document["period_s"], document["net_charge_uc"]) == (300, 0)
    assert document["ipeak_ua"] == 400
    _, out, _ = run("spec-sheet", "soft.table", *LIMITS)
    assert "soft start over 24 pulses (3 s)" in out
    assert "300 s, 2,400 whole pulses" in out


def test_analyze_loads_no_plotting_and_no_cryptography(tmp_path):
    (tmp_path / "e1.csv").write_text(E1)
    script = (
        "import sys\nfrom cli.main import ampforge, run_and_exit\n"
        "try:\n    run_and_exit(ampforge, ['waveform', 'analyze', 'e1.csv', '--json'])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    for heavy in ("matplotlib", "numpy", "cryptography", "esptool", "rich"):
        assert f"'{heavy}'" not in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("area", ["nan", "inf", "1e-320", "1e-200", "1e308"])
def test_an_area_that_is_no_electrode_is_refused(run, tmp_path, area):
    (tmp_path / "e1.csv").write_text(E1)
    code, out, err = run("analyze", "e1.csv", "--area-cm2", area, "--json")
    assert (code, out) == (5, "")
    assert json.loads(err)["expected"] == "1e-06 to 1e+06 cm²"


@pytest.mark.parametrize("session_s", ["1e999999", "1e30", "-5", "0"])
def test_a_session_without_end_or_length_is_refused(run, tmp_path, session_s):
    (tmp_path / "e1.csv").write_text(E1)
    csv_mode = ("--mode", "LIFT", "--tick-us", 100, "--session-s", session_s)
    code, out, err = run("check", "e1.csv", *LIMITS, *csv_mode)
    assert (code, out) == (5, "")
    assert "the session is out of range" in err


def test_options_of_a_csv_file_are_not_ignored_for_another(run):
    code, out, err = run("check", FLARE / "waveforms.toml", *LIMITS, "--mode", "LIFT")
    assert (code, out) == (2, "")
    assert "every mode and level of this file is judged" in err


def test_compile_never_replaces_what_it_reads(run, tmp_path):
    for name in ("waveforms.toml", "limits.toml"):
        (tmp_path / name).write_bytes((FLARE / name).read_bytes())
    (tmp_path / "link.toml").symlink_to("waveforms.toml")
    files = ("waveforms.toml", "--limits", "limits.toml", "--hardware-class", "flare-c3")
    for output in ("waveforms.toml", "./limits.toml", "link.toml"):
        code, out, err = run("compile", *files, "-o", output)
        assert (code, out) == (2, "")
        assert "would replace what it is made from" in err
    for name in ("waveforms.toml", "limits.toml"):
        assert (tmp_path / name).read_bytes() == (FLARE / name).read_bytes()


def test_an_output_folder_that_cannot_be_made_is_refused(run, tmp_path):
    (tmp_path / "file").write_text("")
    compiled = ("compile", FLARE / "waveforms.toml", *LIMITS, "--hardware-class", "flare-c3")
    for command in (
        ("plot", FLARE / "waveforms.toml", *LIMITS, "-o", "file/plots"),
        (*compiled, "-o", "file/table"),
    ):
        code, out, err = run(*command)
        assert (code, out) == (2, "")
        assert "the output folder cannot be made" in err
