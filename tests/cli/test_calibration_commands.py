"""`ampforge calibration fit` and `risk`: the JSON that scripts rely on, and refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.calibration_commands import group
from cli.failures import run_and_exit
from tests.provisioning.test_line_fit import (
    NORRIS_X,
    NORRIS_Y,
    PEARSON_X,
    PEARSON_Y,
    YORK_WEIGHT_X,
    YORK_WEIGHT_Y,
)

FIT_KEYS = {
    "intercept",
    "slope",
    "intercept_se",
    "slope_se",
    "covariance",
    "correlation",
    "residual_sd",
    "chi2",
    "dof",
}
FLARE = Path(__file__).parents[2] / "examples" / "flare" / "ampforge.toml"
RISK = ("--tolerance-ua", "1.5", "--process-sd-ua", "0.6", "--measurement-sd-ua", "0.15")


@pytest.fixture
def call(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exited:
            run_and_exit(group, arguments)
        captured = capsys.readouterr()
        return int(exited.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("x,y,u_x,u_y\n1,2,.1,.1\n2,4.1,.1,.2\n3,5.9,.1,.1\n4,8.05,.1,.2\n")
    return str(path)


@pytest.mark.parametrize("method", ["ols", "wls", "york"])
def test_fit_prints_exactly_the_promised_keys(call, data, method):
    code, out, _ = call("fit", data, "--method", method, "--json")
    assert code == 0
    assert set(json.loads(out)) == FIT_KEYS
    code, out, _ = call("fit", data, "--method", method, "--predict", "10", "--json")
    value = json.loads(out)
    assert set(value) == FIT_KEYS | {"prediction", "prediction_se"}
    assert value["prediction"] == pytest.approx(value["intercept"] + 10 * value["slope"])
    variance = value["intercept_se"] ** 2 + 100 * value["slope_se"] ** 2 + 20 * value["covariance"]
    assert value["prediction_se"] == pytest.approx(variance**0.5)
    assert value["dof"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffx,y\r\n0,1\r\n1,3.1\r\n2,4.9\r\n",
        "# a sweep, of code\n# and current\nX, Y\n0, 1\n1,\t3.1\n2, 4.9",
        '"y","x"\n"1","0"\n\n"3.1","1"\n4.9,2\n\n',
    ],
)
def test_the_same_points_however_a_program_writes_them(call, tmp_path, text):
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode())
    code, out, err = call("fit", str(path), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["slope"] == pytest.approx(1.95)
    assert json.loads(out)["intercept"] == pytest.approx(1.05)


def test_a_comment_behind_the_header_is_no_point(call, tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("x,y\n0,1\n# drift\n1,3\n2,5\n")
    code, out, err = call("fit", str(path), "--json")
    assert (code, out, "another number of fields" in err) == (6, "", True)


def test_fit_gives_published_results_from_files(call, tmp_path):
    """NIST StRD Norris by OLS, Pearson's points with York's weights by York, as a script asks."""
    path = tmp_path / "norris.csv"
    rows = zip(NORRIS_X.split(), NORRIS_Y.split(), strict=True)
    path.write_text("y,x\n" + "".join(f"{y},{x}\n" for x, y in rows))
    value = json.loads(call("fit", str(path), "--json")[1])
    assert value["intercept"] == pytest.approx(-0.262323073774029, rel=1e-11)
    assert value["intercept_se"] == pytest.approx(0.232818234301152, rel=1e-12)
    assert value["slope"] == pytest.approx(1.00211681802045, rel=1e-13)
    assert value["slope_se"] == pytest.approx(0.429796848199937e-3, rel=1e-12)
    path = tmp_path / "pearson.csv"
    points = zip(PEARSON_X, PEARSON_Y, YORK_WEIGHT_X, YORK_WEIGHT_Y, strict=True)
    rows = [f"{x},{y},{wx**-0.5!r},{wy**-0.5!r}\n" for x, y, wx, wy in points]
    path.write_text("x,y,u_x,u_y\n" + "".join(rows))
    value = json.loads(call("fit", str(path), "--method", "york", "--json")[1])
    assert value["slope"] == pytest.approx(-0.480533407, abs=5e-10)
    assert value["intercept"] == pytest.approx(5.479910224, abs=5e-10)


def test_fit_tells_a_person_the_same(call, data):
    code, out, _ = call("fit", data, "--predict", "2.5")
    assert code == 0
    assert "intercept" in out
    assert "at x = 2.5" in out


@pytest.mark.parametrize(("method", "columns"), [("wls", "x,y,u_y"), ("york", "x,y,u_x,u_y")])
def test_a_method_that_needs_uncertainties_says_which_columns(call, tmp_path, method, columns):
    path = tmp_path / "plain.csv"
    path.write_text("x,y\n1,2\n2,4\n3,6\n")
    code, _, err = call("fit", str(path), "--method", method)
    assert code == 2
    assert columns in err


def test_data_that_cannot_be_fitted_are_refused_with_the_line(call, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("x,y\n1,2\n2,four\n")
    code, out, err = call("fit", str(path), "--json")
    assert code == 6
    assert out == ""
    assert "line 3, column y" in json.loads(err)["where"]


@pytest.mark.parametrize("x", ["nan", "inf", "1e308"])
def test_a_prediction_that_is_no_number_is_refused(call, tmp_path, x):
    path = tmp_path / "steep.csv"
    path.write_text("x,y\n1,10\n2,20\n3,31\n")
    code, out, _ = call("fit", str(path), "--predict", x, "--json")
    assert (code, out) == (2, "")


def test_risk_prints_both_probabilities(call):
    code, out, _ = call("risk", *RISK, "--json")
    assert code == 0
    value = json.loads(out)
    assert set(value) == {"pfa", "pfr"}
    assert value["pfa"] == pytest.approx(0.00244535, rel=1e-5)
    assert value["pfr"] == pytest.approx(0.00531939, rel=1e-5)
    _, guarded, _ = call("risk", *RISK, "--guard-band-ua", "0.3", "--json")
    assert json.loads(guarded)["pfa"] == pytest.approx(6.094e-5, rel=1e-3)


def test_risk_tells_a_person_the_same(call):
    code, out, _ = call("risk", *RISK, "--guard-band-ua", "0.3")
    assert code == 0
    assert "accepted within ±1.2 µA" in out
    assert "(60.9 in a million)" in out
    assert "(2445 in a million)" in call("risk", *RISK)[1]


def test_a_guard_band_that_leaves_nothing_is_a_usage_error(call):
    code, out, err = call("risk", *RISK, "--guard-band-ua", "2")
    assert (code, out) == (2, "")
    assert "nothing to accept" in err


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e308", "1e-320"])
def test_any_standard_deviation_gives_figures_or_a_usage_error(call, value):
    for name in ("--process-sd-ua", "--measurement-sd-ua"):
        code, out, _ = call("risk", *RISK, name, value, "--json")
        assert (code, out) == (2, "") or set(json.loads(out)) == {"pfa", "pfr"}


def test_two_points_have_no_scatter_and_say_so(call, tmp_path):
    path = tmp_path / "two.csv"
    path.write_text("x,y,u_y\n1,2,.1\n3,6,.1\n")
    code, out, _ = call("fit", str(path), "--method", "wls", "--json")
    assert code == 0
    assert (json.loads(out)["residual_sd"], json.loads(out)["dof"]) == (None, 0)
    _, out, _ = call("fit", str(path), "--method", "wls")
    assert "residual sd  none" in out
    code, _, err = call("fit", str(path))
    assert (code, "at least 3" in err) == (6, True)


def test_simulate_tries_the_settings_of_the_product_and_writes_the_report(call, tmp_path):
    report = tmp_path / "study.md"

    code, out, _ = call(
        "simulate",
        *("--units", "2", "--faults", "1", "--decisions", "100", "--jobs", "1", "--json"),
        *("--config", str(FLARE), "--output", str(report)),
    )

    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "ampforge.simulation-study/1"
    assert document["shortcomings"] == []
    assert document["population"]["uncalibrated_pass_count"] == 0
    assert "| stuck-bit | stuck-bit | 1 | 1 | none |" in report.read_text()


def test_simulate_fails_settings_that_let_something_wrong_pass(call, tmp_path):
    blind = FLARE.read_text().replace(
        "[station.metrology]", "[station.metrology]\ninl_limit_lsb = 60.0"
    )
    for name in ("waveforms.toml", "limits.toml"):
        (tmp_path / name).write_bytes(FLARE.with_name(name).read_bytes())
    (tmp_path / "ampforge.toml").write_text(blind)
    size = ("--units", "2", "--faults", "1", "--decisions", "100", "--jobs", "1")

    code, out, _ = call("simulate", *size, "--config", str(tmp_path / "ampforge.toml"))

    assert code == 10
    assert "high-nonlinearity: 1 of 1 not found by its name" in out


def test_simulate_does_not_replace_the_waveform_file(call):
    waveforms = FLARE.with_name("waveforms.toml")
    before = waveforms.read_bytes()

    code, _, err = call(
        "simulate", str(waveforms), "--config", str(FLARE), "--output", str(waveforms)
    )

    assert code == 2
    assert "--output" in err
    assert waveforms.read_bytes() == before


def test_an_interrupted_simulation_ends_and_its_processes_print_nothing(tmp_path):
    """A terminal sends Ctrl-C to the whole group: to the command and to its processes."""
    command = subprocess.Popen(
        [
            *(sys.executable, "-c", "from cli.main import main; main()", "calibration", "simulate"),
            *("--config", str(FLARE), "--jobs", "2", "--output", str(tmp_path / "study.md")),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        while count_workers(command.pid) < 2:
            assert command.poll() is None, command.stderr.read()
        os.killpg(command.pid, signal.SIGINT)  # while the processes are still importing
        assert command.stderr.read() == b"\ninterrupted; nothing half-done was confirmed\n"
        assert command.wait(timeout=60) == 130
    finally:
        command.kill()
        command.wait()
        command.stderr.close()
    assert not (tmp_path / "study.md").exists()


def count_workers(parent: int) -> int:
    """Return how many worker processes a process has started."""
    listed = subprocess.run(
        ["/bin/ps", "-Aww", "-o", "ppid=", "-o", "command="],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    parents = [line.split()[0] for line in listed.splitlines() if "spawn_main" in line]
    return parents.count(str(parent))
