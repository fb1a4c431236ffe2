"""Results of earlier formats are judged as they were then, and written as they were."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from provisioning.calibration import recompute_calibration
from provisioning.calibration_judgement import judge_calibration
from provisioning.calibration_result import (
    FindingName,
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

GOLDEN = Path(__file__).parents[1] / "golden"
FIRST, SECOND = "first-results/", "second-results/"


def load(name):
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def text_of(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize(
    "name",
    [
        "first-results/calibration-1.json", "first-results/calibration-1-refused.json",
        "second-results/calibration-2.json", "second-results/calibration-2-refused.json",
    ],
)  # fmt: skip
def test_a_calibration_of_an_earlier_format_is_judged_again_to_the_last_digit(name):
    stored = load(name)
    result = recompute_calibration(parse_calibration_result(stored))
    assert text_of(serialize_calibration_result(result)) == text_of(stored)
    assert calibration_digest(result) == hashlib.sha256(text_of(stored).encode()).digest()


@pytest.mark.parametrize(
    "name", ["first-results/verification-1.json", "second-results/verification-2.json"]
)
def test_a_verification_of_an_earlier_format_is_judged_again_to_the_last_digit(name):
    stored = load(name)
    result = recompute_verification(parse_verification_result(stored))
    assert text_of(serialize_verification_result(result)) == text_of(stored)


def test_the_first_format_is_read_with_the_rules_of_its_time():
    settings = parse_calibration_result(load(FIRST + "calibration-1.json")).settings
    assert settings.coverage is CoverageRule.TWO
    assert settings.sweep is SweepPlan.OUTWARD
    assert (settings.loading_ohm, settings.temperature_span_c) == (0, 0)


def test_another_digit_in_a_reading_of_the_first_format_shows():
    stored = load(FIRST + "verification-1.json")
    stored["points"][7]["measured_na"] += 0.001
    result = recompute_verification(parse_verification_result(stored))
    assert text_of(serialize_verification_result(result)) != text_of(stored)


@pytest.mark.parametrize("version", ["0", "4", "", "1.0", "x"])
def test_a_version_that_nobody_wrote_is_refused(version):
    for name, parse, error in (
        (FIRST + "calibration-1.json", parse_calibration_result, CalibrationError),
        (FIRST + "verification-1.json", parse_verification_result, VerificationError),
    ):
        stored = load(name)
        stored["schema"] = stored["schema"][:-1] + version
        with pytest.raises(error, match="another schema"):
            parse(stored)


def test_the_version_stands_in_the_schema_and_nowhere_else():
    with pytest.raises(CalibrationError, match="another schema"):
        parse_calibration_result(load(FIRST + "calibration-1.json") | {"format": 2})


def test_a_result_of_the_first_format_that_calls_itself_the_second_lacks_readings():
    """Without the way back and the idle current it would be accepted for less than it says."""
    stored = load(FIRST + "calibration-1.json") | {"schema": "ampforge.calibration-result/2"}
    with pytest.raises(CalibrationError, match="lacks readings"):
        recompute_calibration(parse_calibration_result(stored))


def test_a_result_of_the_second_format_has_no_samples_and_one_of_the_third_needs_them():
    """Whoever takes them away, or calls an earlier result a later one, is told so."""
    stored = load(SECOND + "calibration-2.json")
    with pytest.raises(CalibrationError, match="samples of a reading"):
        recompute_calibration(
            parse_calibration_result(stored | {"schema": "ampforge.calibration-result/3"})
        )
    stored = load(SECOND + "verification-2.json")
    with pytest.raises(VerificationError, match="samples of a reading"):
        recompute_verification(
            parse_verification_result(stored | {"schema": "ampforge.verification-result/3"})
        )


def test_the_third_format_says_of_a_drift_what_decided():
    """The second stated the gain's figures where the offset alone had moved."""
    stored = load(SECOND + "calibration-2-refused.json")
    (before,) = parse_calibration_result(stored).findings
    assert (before.unit, abs(before.measured) < before.limit) == ("ppm", True)
    result = parse_calibration_result(stored)
    stage = judge_calibration(result.readings, result.settings, result.certificate_age_days)
    (finding,) = stage.findings
    assert (finding.name, finding.unit) == (FindingName.DRIFT, "nA")
    assert abs(finding.measured) > finding.limit
    assert "mid-code changed by +578 nA" in finding.message
