"""A gauge study on the boards of a simulated line, without hardware and without hands."""

from __future__ import annotations

import json

from tests.cli.test_labels_and_numbers import invoke, made, product

__all__ = ["made", "product"]  # fixtures


PLAN = ("gauge", "plan", "-o", "s.csv", "--appraiser", "anna", "--trials", "2")
MEASURE = ("gauge", "measure", "s.csv", "--current-ua", "100", "--simulate")


def test_the_parts_of_a_simulated_line_are_measured_without_a_prompt(product):
    run = json.loads(invoke("station", "run", "--simulate", "2", "--json"))
    parts = [slot["serial"] for slot in run["slots"]]
    invoke(*PLAN, "--part", parts[0], "--part", parts[1], "--appraiser", "ben")
    assert json.loads(invoke(*MEASURE, "2", "--json"))["measured"] == 8
    journal = (product / "s.csv.readings.jsonl").read_text(encoding="utf-8")
    readings = [json.loads(line) for line in journal.splitlines()]
    assert sorted(one["part"] for one in readings) == sorted(parts * 4)
    for one in readings:
        assert 90_000 < sum(one["samples_na"]) / len(one["samples_na"]) < 110_000
    # What is there is never measured again.
    assert json.loads(invoke(*MEASURE, "2", "--json"))["measured"] == 0


def test_a_part_that_is_none_of_the_simulated_boards_is_refused(product):
    invoke(*PLAN, "--part", "nobody", "--part", "noone", "--appraiser", "ben")
    before = (product / "s.csv").read_bytes()
    assert "the part is not in its place" in str(invoke(*MEASURE, "1", code=None))
    assert (product / "s.csv").read_bytes() == before
    slots = ("--slots", "port=/dev/null,meter=x")
    assert "exclude each other" in str(invoke(*MEASURE, "1", *slots, code=None))


def test_boards_that_no_station_made_are_not_made_for_a_study(product):
    invoke(*PLAN, "--part", "a", "--part", "b", "--appraiser", "ben")
    (product / "station" / "simulated-line").rename(product / "elsewhere")
    assert "no simulated boards to measure" in str(invoke(*MEASURE, "1", code=None))
    assert not (product / "station" / "simulated-line").exists()
