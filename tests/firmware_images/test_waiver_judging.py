"""What a waiver covers: this finding of this table under this policy, no worse, for its time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from firmware_images.errors import LimitError, WaiverError
from firmware_images.waiver_judging import (
    WaiverRequest,
    build_waiver,
    judge_with_waivers,
    order_waivers,
    refuse_out_of_force,
)
from firmware_images.waveform import Balance
from firmware_images.waveform_table import serialize_waveform_table

from .waveform_builders import E5, build_mode, build_table, change_policy, flare_policy, name_mode

NOW = datetime(2026, 7, 1, tzinfo=UTC)
END = datetime(2027, 2, 1, tzinfo=UTC)


def policy(**values):
    """The example's policy with a mode TRIAL, and some limits drawn closer."""
    modes = name_mode("TRIAL", Balance.GALVANIC)
    return change_policy(flare_policy(), modes=modes, **values)


def galvanic_table(judged_by):
    mode = build_mode(E5, tick_us=1000, balance=Balance.GALVANIC)
    return serialize_waveform_table(build_table(judged_by, mode, tick_us=1000))


STRICT = policy(JDC="0.15", DOSE="5")
TABLE = galvanic_table(STRICT)


def request(name="JDC", *, mode="TRIAL", level: int | None = 1):
    return WaiverRequest(
        name=name,
        mode=mode,
        level=level,
        reason="study 12",
        requested_by="R. Engineer",
        issued_at=NOW,
        expires_at=END,
    )


@pytest.fixture
def waiver():
    return build_waiver(TABLE, STRICT, request())


def judge(*waivers, table=TABLE, judged_by=STRICT):
    return judge_with_waivers(table, judged_by, waivers, where="trial.toml")


def test_a_waived_limit_is_let_pass_and_named(waiver):
    with pytest.raises(LimitError, match="JDC"):
        judge()
    (waived,) = judge(waiver)
    assert (waived.finding.rule, waived.finding.level, waived.waiver) == ("JDC", 1, waiver)
    assert waiver.limit == Decimal("0.15")
    assert waiver.value == pytest.approx(Decimal(repr(waived.finding.value)), abs=Decimal("5e-7"))


def test_a_waiver_covers_no_worse_value_and_no_other_limit(waiver):
    step = Decimal("0.000001")
    with pytest.raises(LimitError, match="JDC"):
        judge(replace(waiver, value=waiver.value - step))
    judge(replace(waiver, value=waiver.value + step))
    with pytest.raises(LimitError, match="JDC"):
        judge(replace(waiver, limit=waiver.limit + step))


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "OTHER"},
        {"level": 2},
        {"rule": "DOSE", "limit_key": "DOSE"},
    ],
)
def test_a_waiver_covers_nothing_but_its_rule_mode_and_level(waiver, changes):
    with pytest.raises(LimitError, match="JDC"):
        judge(replace(waiver, **changes))


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"table_digest": bytes(32)}, "another table"),
        ({"policy_digest": bytes(32)}, "another policy"),
        ({"policy_version": 2}, "another policy version"),
        ({"hardware_class": "flare-s3"}, "another hardware class"),
    ],
)
def test_a_waiver_of_something_else_is_refused(waiver, changes, telling):
    with pytest.raises(WaiverError, match=telling):
        judge(replace(waiver, **changes))


def test_a_waiver_of_all_levels_covers_each_up_to_the_worst():
    every = build_waiver(TABLE, STRICT, request(level=None))
    assert every.level is None
    judge(every)


def test_a_waiver_that_is_not_needed_is_refused_in_whatever_order(waiver):
    every = replace(waiver, level=None)
    for pair in ((waiver, every), (every, waiver)):
        with pytest.raises(WaiverError, match="all levels covers nothing"):
            judge(*pair)


@pytest.mark.parametrize(
    ("values", "name", "why"),
    [
        ({"PEAK": "199"}, "PEAK", "the firmware clamps"),
        ({"PD": "0.00001"}, "PD", "error of units"),
        ({"IEC_RMS_DC": "0.1"}, "IEC_RMS", "error of units"),
        ({"PULSE_V": "5"}, "PULSE_E", "error of units"),
        ({"SESSION": "200"}, "SESSION", "the firmware stops"),
        ({"VC_LOAD": "1000000"}, "VC", "does not raise the supply"),
    ],
)
def test_some_rules_can_never_be_waived(values, name, why):
    judged_by = policy(DOSE="5", **values)
    with pytest.raises(WaiverError, match="can never be waived") as caught:
        build_waiver(galvanic_table(judged_by), judged_by, request(name))
    assert why in caught.value.hint


def test_a_mode_that_the_policy_does_not_know_can_never_be_waived():
    judged_by = change_policy(flare_policy(), DOSE="5")
    with pytest.raises(WaiverError, match="can never be waived"):
        build_waiver(galvanic_table(judged_by), judged_by, request("MODE", level=None))


def test_the_ceiling_is_not_covered_by_a_waiver_of_a_claim_of_the_same_figure():
    claimed = name_mode("TRIAL", Balance.GALVANIC, "190")
    judged_by = change_policy(
        flare_policy(), modes=claimed, DOSE="5", PEAK="190", GAIN_TOLERANCE="0"
    )
    table = galvanic_table(judged_by)
    waiver = build_waiver(table, judged_by, request("CLAIM"))
    assert (waiver.rule, waiver.limit_key, waiver.limit) == ("PEAK", "CLAIM", Decimal(190))
    with pytest.raises(LimitError, match="peak against the ceiling"):
        judge(waiver, table=table, judged_by=judged_by)


@pytest.mark.parametrize(
    ("wanted", "telling"),
    [
        (request("SLOPE"), "nothing to waive"),
        (request("JDC", mode="LIFT"), "nothing to waive"),
        (request("JDC", level=2), "nothing to waive"),
        (request("NONSENSE"), "nothing to waive"),
    ],
)
def test_only_what_is_broken_can_be_waived(wanted, telling):
    with pytest.raises(WaiverError, match=telling):
        build_waiver(TABLE, STRICT, wanted)


def test_a_rule_with_several_limits_needs_the_limit_named():
    judged_by = change_policy(flare_policy(), modes=name_mode("TRIAL", Balance.BALANCED), DOSE="5")
    table = galvanic_table(judged_by)
    with pytest.raises(WaiverError, match="more than one limit") as caught:
        build_waiver(table, judged_by, request("BALANCE"))
    keys = [part.split()[0] for part in caught.value.got.split(", ")]
    assert keys == ["BALANCE_CHARGE_SHARE", "BALANCE_DC"]
    for key in keys:
        assert build_waiver(table, judged_by, request(key)).rule == "BALANCE"


def test_a_waiver_counts_from_its_issue_to_its_end_and_not_at_it(waiver):
    refuse_out_of_force([waiver], now=NOW)
    refuse_out_of_force([waiver], now=END - timedelta(seconds=1))
    with pytest.raises(WaiverError, match="has expired"):
        refuse_out_of_force([waiver], now=END)
    with pytest.raises(WaiverError, match="not in force yet"):
        refuse_out_of_force([waiver], now=NOW - timedelta(seconds=1))


def test_a_release_has_few_waivers_and_each_once(waiver):
    with pytest.raises(WaiverError, match="given twice"):
        order_waivers([waiver, waiver])
    many = [replace(waiver, reason=f"reason {number}") for number in range(9)]
    with pytest.raises(WaiverError, match="so many"):
        order_waivers(many)
    digests = [entry.digest for entry in order_waivers(many[:8])]
    assert digests == sorted(digests)
