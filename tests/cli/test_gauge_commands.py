"""`ampforge gauge rr`: the JSON that scripts rely on, the table, the picture, and refusals."""

from __future__ import annotations

import json

import pytest

from cli.failures import run_and_exit
from cli.gauge_commands import group
from tests.provisioning.aiag_study import TEXT

KEYS = {"ev", "av", "grr", "pv", "tv", "percent_grr", "ndc"}


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
    path = tmp_path / "study.csv"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(("method", "percent", "ndc"), [("anova", 27.9, 4), ("range", 26.68, 5)])
def test_rr_prints_exactly_the_promised_keys(call, data, method, percent, ndc):
    code, out, err = call("rr", str(data), "--method", method, "--json")
    assert (code, err) == (0, "")
    value = json.loads(out)
    assert set(value) == KEYS
    assert value["percent_grr"] == pytest.approx(percent, abs=0.05)
    assert (value["ndc"], type(value["ndc"])) == (ndc, int)
    full = json.loads(call("rr", str(data), "--method", method, "--json", "--full")[1])
    assert value.items() <= full.items()
    assert (full["schema"], full["method"]) == ("ampforge.gauge-study/1", method)
    assert full["remarks"]


def test_a_name_may_begin_with_a_hash_and_a_comment_stands_before_the_header(call, tmp_path):
    plain, hashed = tmp_path / "plain.csv", tmp_path / "hashed.csv"
    plain.write_text(TEXT)
    header, *rows = TEXT.splitlines()
    hashed.write_text("\r\n".join(["# study 7", header.upper(), *(f"#{row}" for row in rows)]))
    expected, found = (call("rr", str(path), "--json") for path in (plain, hashed))
    assert (found[0], found[1]) == (0, expected[1])


def test_rr_tells_a_person_table_judgement_and_what_to_know(call, data):
    code, out, _ = call("rr", str(data))
    assert code == 0
    assert "GRR is 27.86 % of the total variation: perhaps acceptable" in out
    assert "ndc is 4: the gauge tells 4 classes of parts apart, and 5 are wanted" in out
    assert "note: the interaction of part and appraiser is pooled" in out
    code, out, _ = call("rr", str(data), "--pooling-alpha", "1")
    assert "note: the variance of the interaction came out negative and is set to zero" in out


def test_rr_draws_the_kind_of_picture_that_the_name_says(call, data, tmp_path):
    picture = tmp_path / "study.PNG"
    code, out, _ = call("rr", str(data), "--plot", str(picture))
    assert (code, f"wrote {picture}" in out) == (0, True)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_rr_states_the_gauge_as_a_share_of_the_tolerance(call, data):
    code, out, _ = call("rr", str(data), "--tolerance", "8")
    assert (code, "6 sd of the gauge are 22.68 % of the tolerance: perhaps" in out) == (0, True)
    _, out, _ = call("rr", str(data), "--tolerance", "8", "--json")
    assert set(json.loads(out)) == KEYS
    _, out, _ = call("rr", str(data), "--tolerance", "8", "--json", "--full")
    assert json.loads(out)["percent_tolerance"] == pytest.approx(600 * 0.3023715 / 8)
    for width in ("0", "-1", "nan", "1e-310"):
        code, out, _ = call("rr", str(data), "--tolerance", width, "--json")
        assert (code, out) == (2, "")


@pytest.mark.parametrize(
    ("name", "telling"), [("study.pdf", ".svg or .png"), ("study", ".svg or .png")]
)
def test_a_picture_of_no_known_kind_is_refused(call, data, tmp_path, name, telling):
    code, out, err = call("rr", str(data), "--plot", str(tmp_path / name))
    assert (code, out, telling in err) == (2, "", True)
    assert [path.name for path in tmp_path.iterdir()] == ["study.csv"]


def test_a_picture_never_replaces_the_readings(call, tmp_path):
    data = tmp_path / "study.svg"
    data.write_text(TEXT)
    code, out, err = call("rr", str(data), "--plot", str(data))
    assert (code, out, "--plot" in err) == (2, "", True)
    assert data.read_text() == TEXT


def test_a_study_that_is_not_whole_is_refused_and_nothing_is_drawn(call, data, tmp_path):
    data.write_text(TEXT.replace("10,C,3,-2.16\n", ""))
    code, out, err = call("rr", str(data), "--json", "--plot", str(tmp_path / "study.svg"))
    assert (code, out) == (6, "")
    assert "without part 10, appraiser C, trial 3" in json.loads(err)["got"]
    assert [path.name for path in tmp_path.iterdir()] == ["study.csv"]


def test_readings_without_any_variation_are_refused_with_their_file(call, data):
    alike = [f"{p},{a},{t},{p}\n" for p in "12" for a in "AB" for t in "12"]
    data.write_text("part,appraiser,trial,value\n" + "".join(alike))
    code, out, err = call("rr", str(data), "--json")
    assert (code, out, json.loads(err)["where"]) == (6, "", str(data))


@pytest.mark.parametrize("alpha", ["-0.1", "1.1", "nan", "half"])
def test_a_pooling_alpha_that_is_no_probability_is_a_usage_error(call, data, alpha):
    code, out, _ = call("rr", str(data), "--pooling-alpha", alpha)
    assert (code, out) == (2, "")
