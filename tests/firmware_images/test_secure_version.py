"""The anti-rollback budget: the chips' own widths, and which releases may spend of it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from esptool.targets import CHIP_DEFS
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.errors import SecureVersionError
from firmware_images.secure_version import FIELD_BITS, SecureVersionBudget, find_budget


def espefuse_width(chip: str) -> int:
    # Found and not imported: importing it warns about another library's age.
    spec = find_spec("espefuse")
    assert spec is not None
    (folder,) = spec.submodule_search_locations or ()
    text = (Path(folder) / "efuse_defs" / f"{chip}.yaml").read_text(encoding="utf-8")
    return int(yaml.safe_load(text)["EFUSES"]["SECURE_VERSION"]["len"])


@pytest.mark.parametrize("chip", sorted(FIELD_BITS))
def test_a_field_is_as_wide_as_espefuse_knows_it(chip):
    assert espefuse_width(chip) == FIELD_BITS[chip]


def test_every_chip_that_esptool_makes_images_for_is_known():
    assert FIELD_BITS.keys() == CHIP_DEFS.keys() - {"esp8266"}
    assert set(FIELD_BITS.values()) == {4, 9, 16, 32}
    with pytest.raises(SecureVersionError, match="not known how far"):
        find_budget("esp8266")


BUDGET = SecureVersionBudget(chip="esp32c2", bits=4, highest=2)


def test_what_is_left_is_told():
    assert str(BUDGET) == "secure_version 2 of 4; 2 left"


@pytest.mark.parametrize(
    ("secure_version", "telling"),
    [
        (0, "expected 2, or 3 to revoke"),
        (1, "lower than one that was signed before"),
        (4, "would waste 1 of the 2 eFuse bits"),
        (5, "esp32c2 cannot count up to"),
    ],
)
def test_a_secure_version_that_boards_refuse_or_that_wastes_bits_is_refused(
    secure_version, telling
):
    for reason in (None, "a reason"):
        with pytest.raises(SecureVersionError, match=telling):
            BUDGET.judge_spending(secure_version, reason=reason, where="test")


def test_a_step_needs_a_reason_and_a_reason_needs_a_step():
    assert BUDGET.judge_spending(2, reason=None, where="test") == 0
    assert BUDGET.judge_spending(3, reason="1.0 leaks", where="test") == 1
    with pytest.raises(SecureVersionError, match="would spend an eFuse bit of every board"):
        BUDGET.judge_spending(3, reason=None, where="test")
    with pytest.raises(SecureVersionError, match="nothing would be spent"):
        BUDGET.judge_spending(2, reason="1.0 leaks", where="test")


def test_a_spent_budget_admits_no_step_and_proposes_none():
    spent = SecureVersionBudget(chip="esp32c2", bits=4, highest=4)
    assert spent.judge(4, where="test") == 0
    with pytest.raises(SecureVersionError, match="cannot count up to"):
        spent.judge(5, where="test")
    with pytest.raises(SecureVersionError, match="expected 4, got 3"):
        spent.judge(3, where="test")


@given(highest=st.integers(0, 16), secure_version=st.integers(0, 0xFFFFFFFF))
def test_no_release_costs_more_than_one_bit_or_more_than_there_are(highest, secure_version):
    budget = SecureVersionBudget(chip="esp32c3", bits=16, highest=highest)
    try:
        cost = budget.judge(secure_version, where="test")
    except SecureVersionError:
        assert secure_version not in {highest, highest + 1} or secure_version > 16
        return
    assert (cost, highest + cost) == (secure_version - highest, secure_version)
    assert 0 <= cost <= min(1, budget.left)
