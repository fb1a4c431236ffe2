"""The limits policy: the file, its canonical bytes, and everything it must not leave out."""

from __future__ import annotations

import hashlib
import tomllib
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.errors import PolicyError
from firmware_images.limits import (
    load_limits,
    parse_limits_toml,
    parse_policy,
    serialize_policy,
)
from firmware_images.limits_policy import FACT_UNITS, LIMIT_UNITS, POLICY_BYTES_MAX

from .waveform_builders import FLARE, GOLDEN, change_policy, flare_policy

TOML = (FLARE / "limits.toml").read_text()
CANONICAL = (GOLDEN / "policy.cbor").read_bytes()


def parse(text):
    return parse_limits_toml(text.encode(), where="limits.toml")


def test_the_golden_policy_is_written_and_read():
    policy = load_limits(GOLDEN / "policy.toml")
    assert serialize_policy(policy) == CANONICAL
    assert parse_policy(CANONICAL) == policy
    assert policy.digest == hashlib.sha256(CANONICAL).digest()


def test_the_golden_policy_is_what_another_library_makes_of_the_specification():
    document = tomllib.loads((GOLDEN / "policy.toml").read_text(), parse_float=Decimal)

    def plain(figure):
        return {**figure, "value": format(Decimal(figure["value"]).normalize(), "f")}

    expected = {
        **document,
        "facts": {key: plain(figure) for key, figure in document["facts"].items()},
        "limits": {key: plain(figure) for key, figure in document["limits"].items()},
        "modes": {
            name: {**mode, "claim": plain(mode["claim"])}
            for name, mode in document["modes"].items()
        },
    }
    assert cbor2.loads(CANONICAL) == expected
    assert cbor2.dumps(expected, canonical=True) == CANONICAL


def test_every_figure_of_the_example_states_source_and_who_checked_it():
    policy = flare_policy()
    figures = [*policy.facts.values(), *policy.limits.values()]
    figures += [mode.claim for mode in policy.modes.values()]
    assert all(figure.source and figure.checked_by for figure in figures)
    assert (policy.facts.keys(), policy.limits.keys()) == (FACT_UNITS.keys(), LIMIT_UNITS.keys())


def test_the_digest_changes_with_any_figure_source_or_version_and_not_with_the_text():
    policy = flare_policy()
    assert change_policy(policy, JDC="0.6").digest != policy.digest
    assert change_policy(policy, version=2).digest != policy.digest
    assert parse(TOML.replace("custom of iontophoresis", "custom")).digest != policy.digest
    assert parse("# a comment\n" + TOML.replace("value = 0.5\n", "value = 0.500\n")) == policy


@pytest.mark.parametrize(
    ("before", "after", "telling"),
    [
        ("[limits.JRMS]", "[limits.JRMZ]", "every limit"),
        ("[facts.CONTACT_AREA]", "[facts.AREA]", "every fact"),
        ('unit = "mA/cm2"', 'unit = "uA/cm2"', "wrong unit"),
        ('value = 400, unit = "uA"', 'value = 400, unit = "mA"', "wrong unit"),
        ('checked_by = "nobody yet"', 'checked_by = " "', "state its checked_by"),
        ('checked_by = "nobody yet"\n', "", "checked_by is missing"),
        ("value = 600", "value = -1", "out of range"),
        ("value = 600", "value = 1e99", "out of range"),
        ("value = 600", "value = 0.0000001", "out of range"),
        ("value = 600", "value = nan", "finite"),
        ("value = 600", "value = true", "must be a number"),
        ("value = 600", 'value = "600"', "must be a number"),
        ("version = 1", "version = 0", "version is out of range"),
        ("version = 1", "version = 4294967296", "version is out of range"),
        ('name = "flare-limits"', 'name = ""', "have a name"),
        ("format = 1", "format = 2", "format"),
        ('balance = "balanced"', 'balance = "roughly"', "balance"),
        ("slope_limited = true", "slope_limited = 1", "slope_limited"),
        ("# What flare", "[[\n# What flare", "not TOML"),
        ("value = 600", f"value = {'9' * 5000}", "out of range"),
        ("# What flare", f"text = '{'x' * 300_000}'\n#", "is not a key"),
    ],
)
def test_a_policy_that_says_less_is_refused(before, after, telling):
    changed = TOML.replace(before, after, 1)
    assert changed != TOML
    with pytest.raises(PolicyError, match=telling) as caught:
        parse(changed)
    assert "limits.toml" in (caught.value.where or "")


def test_a_policy_without_modes_and_one_too_long_are_refused():
    with pytest.raises(PolicyError, match="at least one mode"):
        replace(flare_policy(), modes={})
    long = "".join(
        f"\n[modes.M{i}]\nbalance = 'balanced'\nregulation = 'current'\nslope_limited = true\n"
        f"claim = {{value = 1, unit = 'uA', source = '{'s' * 290}', checked_by = 'c'}}\n"
        for i in range(200)
    )
    with pytest.raises(PolicyError, match="too long"):
        parse(TOML + long)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(PolicyError, match="cannot be read"):
        load_limits(tmp_path / "limits.toml")


def test_figures_that_a_table_cannot_hold_are_refused():
    policy = flare_policy()
    with pytest.raises(PolicyError, match="CONTACT_AREA"):
        _ = change_policy(policy, CONTACT_AREA="0.555").contact_area_mm2
    with pytest.raises(PolicyError, match="PEAK"):
        _ = change_policy(policy, PEAK="0").clamp_na
    assert change_policy(policy, SESSION="0.5").hard_stop_us == 500_000


@given(content=st.binary(max_size=100))
@settings(max_examples=80, deadline=None)
def test_arbitrary_bytes_raise_only_our_error(content):
    with pytest.raises(PolicyError):
        parse_policy(content)


@given(index=st.integers(0, len(CANONICAL) - 1), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_changed_canonical_bytes_are_refused_or_another_policy(index, value):
    changed = CANONICAL[:index] + bytes([value]) + CANONICAL[index + 1 :]
    with suppress(PolicyError):
        assert serialize_policy(parse_policy(changed)) == changed


@pytest.mark.parametrize("text", ["0.50", "1e1", "+1", "05", "abc", "NaN", "sNaN", "Infinity"])
def test_a_figure_has_one_spelling(text):
    document = cbor2.loads(CANONICAL)
    document["limits"]["JDC"]["value"] = text
    with pytest.raises(PolicyError):
        parse_policy(cbor2.dumps(document, canonical=True))


def test_canonical_bytes_are_bounded():
    with pytest.raises(PolicyError, match="not canonical"):
        parse_policy(bytes(POLICY_BYTES_MAX + 1))
