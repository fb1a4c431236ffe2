"""Results of earlier formats are judged as they were then, and written as they were."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from provisioning.calibration import recompute_calibration
from provisioning.calibration_result import (
    calibration_digest,
    parse_calibration_result,
    serialize_calibration_result,
)
from provisioning.errors import CalibrationError, VerificationError
from provisioning.measurement_choices import CoverageRule, SweepPlan
from provisioning.verification import recompute_verification
from provisioning.verification_result import (
    parse_verification_result,
    serialize_verification_result,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "first-results"


def load(name):
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def text_of(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("name", ["calibration-1.json", "calibration-1-refused.json"])
def test_a_calibration_of_the_first_format_is_judged_again_to_the_last_digit(name):
    stored = load(name)
    result = recompute_calibration(parse_calibration_result(stored))
    assert text_of(serialize_calibration_result(result)) == text_of(stored)
    assert calibration_digest(result) == hashlib.sha256(text_of(stored).encode()).digest()


def test_a_verification_of_the_first_format_is_judged_again_to_the_last_digit():
    stored = load("verification-1.json")
    result = recompute_verification(parse_verification_result(stored))
    assert text_of(serialize_verification_result(result)) == text_of(stored)


def test_the_first_format_is_read_with_the_rules_of_its_time():
    settings = parse_calibration_result(load("calibration-1.json")).settings
    assert settings.coverage is CoverageRule.TWO
    assert settings.sweep is SweepPlan.OUTWARD
    assert (settings.loading_ohm, settings.temperature_span_c) == (0, 0)


def test_another_digit_in_a_reading_of_the_first_format_shows():
    stored = load("verification-1.json")
    stored["points"][7]["measured_na"] += 0.001
    result = recompute_verification(parse_verification_result(stored))
    assert text_of(serialize_verification_result(result)) != text_of(stored)


@pytest.mark.parametrize("version", ["0", "3", "", "1.0", "x"])
def test_a_version_that_nobody_wrote_is_refused(version):
    for name, parse, error in (
        ("calibration-1.json", parse_calibration_result, CalibrationError),
        ("verification-1.json", parse_verification_result, VerificationError),
    ):
        stored = load(name)
        stored["schema"] = stored["schema"][:-1] + version
        with pytest.raises(error, match="another schema"):
            parse(stored)


def test_the_version_stands_in_the_schema_and_nowhere_else():
    with pytest.raises(CalibrationError, match="another schema"):
        parse_calibration_result(load("calibration-1.json") | {"format": 2})


def test_a_result_of_the_first_format_that_calls_itself_the_second_lacks_readings():
    """Without the way back and the idle current it would be accepted for less than it says."""
    stored = load("calibration-1.json") | {"schema": "ampforge.calibration-result/2"}
    with pytest.raises(CalibrationError, match="lacks readings"):
        recompute_calibration(parse_calibration_result(stored))
