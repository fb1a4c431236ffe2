"""`ampforge capability`: study, chart and report, as text and as JSON, and what is refused."""

from __future__ import annotations

import json

import pytest

from cli.capability_commands import group
from cli.failures import run_and_exit
from tests.provisioning.test_process_capability import EWMA, EWMA_DATA, FLOW


@pytest.fixture
def call(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exited:
            run_and_exit(group, arguments)
        captured = capsys.readouterr()
        return int(exited.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def flow(tmp_path):
    path = tmp_path / "flow.csv"
    path.write_text("value\n" + "".join(f"{value}\n" for value in FLOW))
    return path


def test_study_states_all_four_indices_with_their_intervals(call, flow):
    code, out, err = call("study", str(flow), "--lower", "45", "--upper", "55", "--json")
    assert (code, err) == (0, "")
    value = json.loads(out)
    assert value["schema"] == "ampforge.capability-study/1"
    assert (value["count"], value["outside_count"], value["confidence"]) == (10, 0, 0.95)
    for name in ("cp", "cpk", "pp", "ppk"):
        assert value[name]["low"] < value[name]["estimate"] < value[name]["high"]
    assert value["cpk"]["estimate"] == pytest.approx((55 - 50.81) / 3 / value["sd_within"])
    code, out, _ = call("study", str(flow), "--upper", "55")
    assert code == 0
    assert "limits open to 55" in out
    assert ("\nCpk " in out, "\nCp " in out) == (True, False)
    assert "note: 10 values say little" in out


def test_study_takes_subgroups_from_the_file(call, tmp_path):
    path = tmp_path / "batches.csv"
    path.write_text("subgroup,value\na,0\nb,9\na,2\nb,13\n")
    _, out, _ = call("study", str(path), "--lower", "-9", "--upper", "21", "--json")
    assert json.loads(out)["dof_within"] == 2


TESTER = (
    'Serial,"I, µA",Lot,note\nA1,0,a,\nA2,9,b,late\nA3,2,a,\nA4,13,b,"x, y"\n'  # as testers write
)


def test_named_columns_are_read_from_a_file_with_others(call, tmp_path):
    wide, narrow = tmp_path / "wide.csv", tmp_path / "narrow.csv"
    wide.write_text(TESTER)
    narrow.write_text("value,subgroup\n0,a\n9,b\n2,a\n13,b\n")
    limits = ("--lower", "-9", "--upper", "21", "--json")
    named = call("study", str(wide), "--column", "i, µA", "--subgroup", "Lot", *limits)
    assert named == call("study", str(narrow), *limits)
    assert json.loads(named[1])["dof_within"] == 2
    assert json.loads(call("study", str(wide), "--column", "I, µA", *limits)[1])["count"] == 4
    (chart, *_) = json.loads(call("chart", str(wide), "--column", "I, µA", "--json")[1])["charts"]
    assert chart["center"] == 6


@pytest.mark.parametrize(
    ("content", "arguments", "telling"),
    [
        (TESTER, (), "name the column that holds the values with --column"),
        (TESTER, ("--column", "current"), "as it stands in the first row"),
        (TESTER, ("--column", "Lot"), "line 2, column lot"),
        ("a,a,b\n1,2,3\n", ("--column", "a"), "does not name the columns"),
        ("serial;value\nA1;1,5\n", (), "separate the columns with commas"),
        ('a,value\nx,"1,5"\n', ("--column", "value"), "decimal point, not a comma"),
        ("a,value\nx,1\ny,\nz,3\n", ("--column", "value"), "a gap is never filled"),
        ("value\n1\n\n3\n", (), "line 3"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else None,
)
def test_what_a_factory_exports_otherwise_is_refused_with_what_to_do(
    call, tmp_path, content, arguments, telling
):
    path = tmp_path / "export.csv"
    path.write_text(content)
    code, out, err = call("study", str(path), *arguments, "--upper", "9")
    assert (code, out, telling in err) == (6, "", True), err


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        ((), "enclose nothing"),
        (("--lower", "5", "--upper", "4"), "enclose nothing"),
        (("--lower", "1e-30", "--upper", "1e300"), "not of one unit"),
    ],
)
def test_limits_that_mean_nothing_are_refused_and_nothing_is_drawn(
    call, flow, tmp_path, arguments, telling
):
    picture = tmp_path / "c.svg"
    code, out, err = call("study", str(flow), *arguments, "--plot", str(picture))
    assert (code, out, telling in err) == (6, "", True)
    assert not picture.exists()


@pytest.mark.parametrize("value", ["nan", "inf", "five"])
def test_a_limit_that_is_no_number_is_a_usage_error(call, flow, value):
    code, out, _ = call("study", str(flow), "--lower", value)
    assert (code, out) == (2, "")


def test_chart_gives_points_limits_and_signals(call, tmp_path):
    path = tmp_path / "checks.csv"
    path.write_text("value\n" + "".join(f"{value}\n" for value in (*EWMA_DATA, 59)))
    arguments = ("--kind", "ewma", "--center", "50", "--sd", "2.0539", "--lambda", "0.3")
    code, out, _ = call("chart", str(path), *arguments, "--json")
    assert code == 0
    value = json.loads(out)
    (chart,) = value["charts"]
    assert chart["points"][:20] == pytest.approx(EWMA, abs=6e-3)
    assert (value["in_control"], chart["signals"]) == (False, [21])
    _, out, _ = call("chart", str(path), *arguments)
    assert "outside at value 21: something changed before" in out
    _, out, _ = call("chart", str(path), "--kind", "ewma", "--json")
    assert len(json.loads(out)["charts"][0]["points"]) == 21


def test_chart_draws_individuals_and_moving_ranges(call, flow, tmp_path):
    picture = tmp_path / "chart.svg"
    code, out, _ = call("chart", str(flow), "--baseline", "8", "--plot", str(picture))
    assert code == 0
    assert "all 10 points are inside" in out
    assert f"wrote {picture}" in out
    assert "moving range: center" in picture.read_text()


def test_a_chart_of_a_value_that_never_changes_is_refused(call, tmp_path):
    path = tmp_path / "flat.csv"
    path.write_text("value\n5\n5\n5\n6\n")
    code, out, err = call("chart", str(path), "--baseline", "3", "--json")
    assert (code, out) == (6, "")
    assert (json.loads(err)["what"], json.loads(err)["where"]) == (
        "the values have no spread",
        str(path),
    )


def test_report_without_a_ledger_is_refused_and_makes_none(call, tmp_path):
    code, out, _ = call("report", "--station", str(tmp_path / "nowhere"))
    assert (code, out) == (6, "")
    assert list(tmp_path.iterdir()) == []
