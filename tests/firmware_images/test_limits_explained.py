"""The explanation of each rule: complete, and the same in the terminal and in the manual."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_images.limits import judge_table
from firmware_images.limits_explained import (
    describe_rule,
    find_rule,
    format_rule,
    format_rules_document,
)
from firmware_images.limits_policy import FACT_UNITS, LIMIT_UNITS
from firmware_images.limits_texts import FACT_TEXTS, RULE_TEXTS
from tests.firmware_images.waveform_builders import flare_policy, flare_table

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "limits-in-plain-words.md"


def test_every_rule_that_judges_is_explained_in_the_order_of_judging():
    judged = dict.fromkeys(f.rule for f in judge_table(flare_table(), flare_policy()))
    explained = [text.rule for text in RULE_TEXTS]
    assert set(judged) <= set(explained)
    assert set(explained) - set(judged) == {"SHANNON"}  # no phase of flare is that short
    assert [rule for rule in explained if rule != "SHANNON"] == list(judged)


def test_every_figure_of_a_policy_belongs_to_a_rule():
    assert {key for text in RULE_TEXTS for key in text.limits} == set(LIMIT_UNITS)
    assert {key for text in RULE_TEXTS for key in text.facts} == set(FACT_UNITS)
    assert set(FACT_TEXTS) == set(FACT_UNITS)


def test_the_manual_is_made_from_the_same_texts():
    """After a change: `ampforge waveform check --explain all > docs/how-to/…`."""
    assert PAGE.read_text() == format_rules_document()


@pytest.mark.parametrize("text", RULE_TEXTS, ids=lambda text: text.rule)
def test_an_explanation_says_what_the_policy_says(text):
    shown = format_rule(text, flare_policy())
    document = describe_rule(text, flare_policy())
    keys = [*text.limits, *text.facts]
    keys += [f"claim of {name}" for name in flare_policy().modes] if text.has_claims else []
    assert [figure["key"] for figure in document["figures"]] == keys
    for figure in document["figures"]:
        assert f"{figure['key']} = {figure['value']} " in shown
        assert figure["source"] in shown
        assert figure["checked_by"] in shown
    assert text.title in shown
    assert shown.splitlines()[0].startswith(f"{text.rule}: ")


def test_without_a_policy_it_says_what_to_give():
    text = find_rule("jdc")
    assert "give --limits" in format_rule(text, None)
    assert "figures" not in describe_rule(text, None)
    assert "no figure" in format_rule(find_rule("TICK"), None)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("balance_dc", "BALANCE"), ("VC_LOAD", "VC"), ("PULSE_V", "PULSE_E"), ("session", "SESSION")],
)
def test_a_limits_key_finds_its_rule(name, rule):
    assert find_rule(name).rule == rule


def test_another_name_finds_none():
    assert find_rule("CONTACT_AREA") is None
