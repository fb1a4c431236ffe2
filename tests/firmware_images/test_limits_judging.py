"""Judging: each rule bites where it should, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firmware_images.errors import LimitError, PolicyError
from firmware_images.limits import judge_table, refuse_violations
from firmware_images.limits_judging import find_worst
from firmware_images.waveform import Balance, Regulation
from firmware_images.waveform_compile import compile_table
from firmware_images.waveform_source import load_waveforms

from .waveform_builders import (
    E1,
    E3,
    E5,
    REJECTED,
    build_mode,
    build_table,
    change_policy,
    flare_policy,
    flare_table,
    name_mode,
)

# compiled without complaint, and then over these limits
VIOLATING = {
    "balanced_mode_carrying_6_ua_of_dc.toml": {"BALANCE"},
    "balanced_mode_declared_galvanic.toml": {"MODE"},
    "galvanic_mode_declared_balanced.toml": {"BALANCE", "MODE"},
    "level_above_the_claim.toml": {"PEAK"},
    "milliamps_taken_for_microamps.toml": {
        "IEC_RMS", "JDC", "JRMS", "PD", "PEAK", "PULSE_E", "SLOPE", "VC",
    },
    "mode_unknown_to_the_policy.toml": {"MODE"},
    "orphan_phase_hidden_by_its_mirrored_burst.toml": {"BALANCE"},
    "reversal_in_a_hold_written_as_segments.toml": {"SLOPE"},
    "session_of_an_hour.toml": {"SESSION"},
    "step_in_a_slow_mode.toml": {"SLOPE"},
}  # fmt: skip


def judge(*modes, policy=None, tick_us=100, **changes):
    """Findings on modes named TRIAL that the policy knows as balanced, unless told otherwise."""
    known = name_mode("TRIAL", modes[0].balance) if policy is None else {}
    policy = change_policy(policy or flare_policy(), modes=known, **changes)
    return judge_table(build_table(policy, *modes, tick_us=tick_us), policy)


def broken(findings):
    return {finding.rule for finding in findings if finding.is_violation}


def by_rule(findings, rule):
    return [finding for finding in findings if finding.rule == rule]


def test_the_example_product_keeps_to_every_limit():
    findings = judge_table(flare_table(), flare_policy())
    assert broken(findings) == set()
    refuse_violations(findings, where="waveforms.toml")
    assert {finding.rule for finding in findings} == {
        "TICK", "HEADER", "MODE", "PEAK", "JRMS", "JDC", "BALANCE", "DOSE", "PD", "IEC_RMS",
        "PULSE_E", "SLOPE", "SESSION", "VC",
    }  # fmt: skip
    assert len(findings) == len(set(findings))


@pytest.mark.parametrize("name", VIOLATING)
def test_a_dangerous_file_is_refused_by_its_rule(name):
    policy = flare_policy()
    findings = judge_table(
        compile_table(load_waveforms(REJECTED / name), policy, "flare-c3"), policy
    )
    assert broken(findings) == VIOLATING[name]
    with pytest.raises(LimitError) as caught:
        refuse_violations(findings, where=name)
    assert caught.value.where is not None
    assert caught.value.where.startswith(f"{name}, mode ")


def test_the_gallery_is_complete():
    from .test_waveform_source import REFUSED

    assert {path.name for path in REJECTED.glob("*.toml")} == {*VIOLATING, *REFUSED}


def test_six_microamps_of_dc_name_mode_level_value_and_limit():
    policy = flare_policy()
    source = load_waveforms(REJECTED / "balanced_mode_carrying_6_ua_of_dc.toml")
    findings = judge_table(compile_table(source, policy, "flare-c3"), policy)
    with pytest.raises(
        LimitError, match=r"BALANCE: .*\+6\.000 µA of DC.* over the limit"
    ) as caught:
        refuse_violations(findings, where="dc.toml")
    assert (caught.value.expected, caught.value.got) == ("at most 0.16 µC", "0.75 µC")
    assert caught.value.where == "dc.toml, mode LIFT, level 2 (400 µA), segment 1, at 0 ms"
    (dc,) = (f for f in findings if f.is_violation and f.unit == "µA")
    assert dc.value == pytest.approx(6 + 2 + 0.9)


def test_a_flipping_polarity_does_not_hide_dc_from_balance():
    parts = ((500, 400, 400), (100, 0, 0), (500, -398, -398), (900, 0, 0))
    findings = judge(build_mode(parts, flips_each_burst=True, pulses_per_burst=50))
    assert broken(findings) == set()  # 0.5 µA, and 0.5 % of the phase charge
    parts = ((500, 400, 400), (100, 0, 0), (500, -390, -390), (900, 0, 0))
    assert broken(judge(build_mode(parts, flips_each_burst=True, pulses_per_burst=50))) == {
        "BALANCE"
    }


TIGHTEN_PULSE = ((2000, 250, 250), (500, 0, 0), (2000, -250, -250), (28_800, 0, 0))


def reverse(parts):
    return tuple((d, -a, -b) for d, a, b in parts)


@pytest.mark.parametrize("cut_us", [500, 1000, 2000, 2500, 3500])
def test_the_orphan_phase_of_a_burst_cut_short_is_named_although_every_sum_is_zero(cut_us):
    left, orphan = cut_us, []
    for duration, start, end in TIGHTEN_PULSE:
        if left > 0:
            orphan.append((min(duration, left), start, end))
        left -= duration
    burst = (*TIGHTEN_PULSE * 60, *orphan, (999_000, 0, 0))
    cycle = build_mode((*burst, *reverse(burst)), session_ticks=3_000_000)
    findings = judge(cycle)
    assert broken(findings) == {"BALANCE"}
    (finding,) = (f for f in findings if f.is_violation)
    unpaired_us = min(cut_us, 2000) - max(cut_us - 2500, 0)
    assert finding.value == pytest.approx(250 * unpaired_us / 1e6)
    assert finding.place == "mode TRIAL, level 1 (250 µA), segment 241, at 1998 ms"
    assert "without a partner before the rest" in finding.detail
    whole = (*TIGHTEN_PULSE * 60, (999_000, 0, 0))
    assert broken(judge(build_mode((*whole, *reverse(whole))))) == set()


def test_pulses_that_alternate_by_design_are_judged_by_their_sum():
    parts = ((200, 250, 250), (9800, 0, 0), (200, -250, -250), (9800, 0, 0))
    assert broken(judge(build_mode(parts))) == set()
    parts = ((200, 250, 250), (9800, 0, 0), (200, -150, -150), (9800, 0, 0))
    assert broken(judge(build_mode(parts))) == {"BALANCE"}


def test_a_part_may_reach_across_the_end_of_the_pulse():
    parts = ((2000, -250, -250), (28_800, 0, 0), *TIGHTEN_PULSE, (2000, 250, 250), (500, 0, 0))
    assert broken(judge(build_mode(parts))) == set()


def test_a_reversal_inside_a_hold_is_named_as_a_step_by_slope_and_by_its_charge():
    policy = change_policy(flare_policy(), modes=name_mode("TRIAL", Balance.BALANCED, slope=True))
    turned = ((10_000, 0, 400), (15_000, 400, 400), (15_000, -400, -400), (10_000, -400, 0))
    findings = judge(build_mode((*E3, *turned, (25_000, 0, 0))), policy=policy)
    assert broken(findings) == {"SLOPE"}
    (finding,) = (f for f in findings if f.is_violation)
    assert finding.place == "mode TRIAL, level 1 (400 µA), segment 10, at 150 ms"
    assert finding.detail == "a step from 400 to -400 µA: the polarity reverses inside a hold"
    cut = ((1000, 250, 250), (2000, -250, -250), (500, 0, 0), (2000, 250, 250), (28_800, 0, 0))
    findings = judge(build_mode((*TIGHTEN_PULSE * 3, *cut)))
    assert broken(findings) == {"BALANCE"}


def test_the_offset_counts_in_the_dc_and_not_in_the_charge():
    findings = by_rule(judge(build_mode(E1)), "BALANCE")
    assert [finding.value for finding in findings] == [0, pytest.approx(2.9)]
    # below the limit strictly: an offset and drift of 5 µA leave nothing
    assert broken(judge(build_mode(E1), RESIDUAL_OFFSET="4.1")) == {"BALANCE"}
    assert broken(judge(build_mode(E1), RESIDUAL_OFFSET="4.099999")) == set()


def test_a_small_pulse_may_leave_the_floor_unpaired():
    parts = ((500, 20, 20), (500, 0, 0), (100, -20, -20), (400, -19, -19), (8500, 0, 0))
    findings = by_rule(judge(build_mode(parts)), "BALANCE")
    assert (findings[0].value, findings[0].limit) == (pytest.approx(0.0004), 0.01)
    assert "always accepted" in findings[0].source


def test_e5_passes_as_galvanic_fails_as_balanced_and_fails_on_a_small_contact():
    galvanic = build_mode(E5, name="INFUSE", balance=Balance.GALVANIC, session_ticks=2_400_000)
    policy = change_policy(flare_policy(), CONTACT_AREA="1.0")
    assert broken(judge(galvanic, policy=policy)) == set()
    balanced = replace(galvanic, balance=Balance.BALANCED)
    assert broken(judge(balanced, policy=policy)) == {"BALANCE", "MODE"}
    assert broken(judge(galvanic, policy=policy, CONTACT_AREA="0.35")) == {"JDC"}


def test_jdc_counts_tolerance_and_offset():
    galvanic = build_mode(E5, balance=Balance.GALVANIC, session_ticks=600_000)
    (finding,) = by_rule(judge(galvanic, CONTACT_AREA="1.0"), "JDC")
    assert finding.value == pytest.approx((200 * 1.1 + 2) / 1000)
    assert finding.margin == pytest.approx(0.5 - 0.222)


def test_dose_adds_the_blocks_of_one_polarity_up():
    infuse = flare_table().mode("INFUSE")
    findings = by_rule(judge_table(flare_table(), flare_policy()), "DOSE")
    worst = max(findings, key=lambda finding: finding.value)
    assert worst.mode == "INFUSE"
    assert worst.value == pytest.approx((23.2 * 1.1 + 0.002 * 120) / 60)
    # three blocks of one polarity before the reversal
    three = replace(infuse, pulses_per_burst=6, session_ticks=12_000_000)
    policy = flare_policy()
    table = replace(flare_table(), modes=(three,))
    assert broken(judge_table(table, policy)) == {"DOSE"}


def test_jrms_and_pd_judge_the_larger_rms():
    mode = build_mode(E1, burst_off_ticks=100_000)
    findings = judge(mode)
    (density,) = by_rule(findings, "JRMS")
    assert density.value == pytest.approx(126.49110640673517 / 1000 / 0.5)
    assert broken(judge(mode, JRMS="0.2")) == {"JRMS"}
    assert broken(judge(mode, PD="0.000001")) == {"PD"}


def test_shannon_is_judged_for_short_phases_only():
    (finding,) = by_rule(judge(build_mode(E1), CONTACT_AREA="1"), "SHANNON")
    assert finding.value == pytest.approx(-1.3979400086720375)
    assert by_rule(judge(build_mode(E3)), "SHANNON") == []
    assert broken(judge(build_mode(E1), SHANNON="0", CONTACT_AREA="0.05", JRMS="99")) == set()
    assert broken(judge(build_mode(E1), SHANNON="0", CONTACT_AREA="0.04", JRMS="99")) == {"SHANNON"}


@pytest.mark.parametrize(
    ("pulse_us", "limit"), [(3000, 50.0), (2500, 50.0), (1000, 80.0), (600, 100.0)]
)
def test_iec_rms_goes_by_the_frequency_of_pulses(pulse_us, limit):
    parts = ((200, 10, 10), (200, -10, -10), (pulse_us - 400, 0, 0))
    findings = by_rule(judge(build_mode(parts)), "IEC_RMS")
    assert [finding.limit for finding in findings] == [80.0, limit]


def test_pulse_energy_looks_at_pulses_under_a_tenth_of_a_second():
    (energy, voltage) = by_rule(judge(build_mode(E3)), "PULSE_E")
    ramp = 10e-3 * 0.4**2 / 3
    assert energy.value == pytest.approx((2 * ramp + 30e-3 * 0.4**2) * 500 / 1000)
    assert (voltage.value, voltage.limit) == (11.4, 500)
    slow = build_mode(((100_000, 10, 10), (100_000, -10, -10), (1000, 0, 0)))
    assert [f.unit for f in by_rule(judge(slow), "PULSE_E")] == ["V"]
    assert broken(judge(build_mode(E3), PULSE_V="11")) == {"PULSE_E"}


def test_slope_counts_a_step_as_one_tick_and_applies_where_the_policy_says():
    policy = change_policy(flare_policy(), modes=name_mode("TRIAL", Balance.BALANCED, slope=True))
    (finding,) = by_rule(judge(build_mode(E1), policy=policy), "SLOPE")
    assert (finding.value, finding.segment) == (4000, 1)
    (finding,) = by_rule(judge(build_mode(E3), policy=policy), "SLOPE")
    assert (finding.value, finding.is_violation) == (40, False)
    assert by_rule(judge(build_mode(E1)), "SLOPE") == []


def test_compliance_is_of_the_load_for_current_and_of_the_source_for_voltage():
    (current,) = by_rule(judge(build_mode(E1)), "VC")
    assert (current.value, current.limit) == (4.0, 11.4)
    voltage = build_mode(E1, regulation=Regulation.VOLTAGE)
    findings = judge(voltage)
    (finding,) = by_rule(findings, "VC")
    assert finding.value == pytest.approx(400e-6 * 1500)
    assert broken(findings) == {"MODE"}


def test_an_absolute_ceiling_stands_above_every_claim():
    parts = ((500, 650, 650), (500, -650, -650), (9000, 0, 0))
    policy = change_policy(
        flare_policy(), modes=name_mode("TRIAL", Balance.BALANCED, claim_ua="700")
    )
    findings = judge(build_mode(parts), policy=policy)
    assert broken(findings) == {"PEAK"}
    assert [f.limit for f in by_rule(findings, "PEAK")] == [770, 600]


def test_a_table_of_another_policy_is_not_judged():
    with pytest.raises(PolicyError, match="another policy"):
        judge_table(flare_table(), change_policy(flare_policy(), version=2))


def test_a_table_may_not_state_a_wider_clamp_than_the_policy():
    table = replace(flare_table(), clamp_na=700_000, contact_area_mm2=100)
    findings = judge_table(table, flare_policy())
    assert broken(findings) == {"HEADER"}
    with pytest.raises(LimitError, match="differs from the policy") as caught:
        refuse_violations(findings, where="x.table")
    assert "clamp 700000, policy 600000" in (caught.value.got or "")
    assert caught.value.where == "x.table, the whole table"


def test_findings_say_where_and_how_much():
    findings = judge_table(flare_table(), flare_policy())
    for finding in find_worst(findings):
        document = finding.to_json()
        assert document["margin"] == pytest.approx(finding.limit - finding.value)
        assert finding.source
    rules = [(finding.rule, finding.what) for finding in find_worst(findings)]
    assert len(rules) == len(set(rules))
    peak = next(finding for finding in find_worst(findings) if finding.rule == "PEAK")
    assert peak.place == "mode LIFT, level 5 (400 µA), segment 1, at 10 ms"
