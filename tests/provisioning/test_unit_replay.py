"""A unit is judged again from its readings, and a number that they do not give is named."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_images.calibration_record import parse_signed_record, serialize_calibration_record
from provisioning.errors import CalibrationError, ExportError, ProvisioningError
from provisioning.ledger_queries import list_units
from provisioning.recipe import RECIPE_KEY
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.unit_replay import replay_document, replay_events
from tests.provisioning.station_bench import SEED, make_bench, open_bench, slot_configs

GOLDEN = Path(__file__).parents[1] / "golden" / "results"


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """The events of one simulated unit that passed."""
    folder = tmp_path_factory.mktemp("bench")
    make_bench(folder)
    station = open_bench(folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        results = run_slots(station, slot_configs(line))
    assert all(result.report.is_passed for result in results)
    serial = list_units(station.ledger.database)[0].serial
    yield tuple(chained.event for chained in station.ledger.events(serial=serial))
    station.close()


def changed(events, step, change):
    """The same events with the stored result of one step changed."""
    told = []
    for event in events:
        data = copy.deepcopy(dict(event.data))
        if event.step == step and "result" in data:
            change(data["result"])
        told.append(replace(event, data=data))
    return tuple(told)


def differences(events):
    return [found for result in replay_events(events, where="unit") for found in result.differences]


def test_a_unit_agrees_with_its_readings_to_the_last_digit(events):
    document = replay_document("unit", replay_events(events, where="unit"))
    assert document["agrees"] is True
    results = {result["step"]: result for result in document["results"]}
    assert list(results) == ["calibrate", "record", "verify", "final"]
    for step in ("calibrate", "verify"):
        assert results[step]["reading_count"] > 10
        assert results[step]["value_count"] > 100


def test_a_changed_gain_is_named_with_both_numbers(events):
    def change(result):
        result["fit"]["gain_ppm"] += 1

    found, digest = differences(changed(events, "calibrate", change))
    assert found.path == "fit.gain_ppm"
    assert found.stored == found.recomputed + 1
    assert digest.path == "fit_digest", "the board's record carries the digest of the true one"


def test_a_record_on_the_board_that_the_fit_does_not_yield_is_named(events):
    told = []
    for event in events:
        data = dict(event.data)
        if event.step == "record" and "stored" in data:
            stored = bytes.fromhex(data["stored"])
            record = parse_signed_record(stored)
            other = replace(record, gain_ppm=record.gain_ppm + 1)
            data["stored"] = stored.replace(
                serialize_calibration_record(record), serialize_calibration_record(other)
            ).hex()
        told.append(replace(event, data=data))
    (found,) = differences(tuple(told))
    assert (found.path, found.stored - found.recomputed) == ("gain_ppm", 1)


def test_a_verdict_that_the_measurements_do_not_give_is_named(events):
    told = tuple(
        replace(event, data=dict(event.data) | {"outcome": "fail"})
        if event.step == "final"
        else event
        for event in events
    )
    (found,) = differences(told)
    assert (found.path, found.stored, found.recomputed) == ("outcome", "fail", "pass")


def test_a_changed_recipe_is_named(events):
    def change(result):
        result["recipe"]["content"]["certificate"] = "of another instrument"

    paths = [found.path for found in differences(changed(events, "verify", change))]
    assert paths == ["recipe.content.certificate"]


def test_changed_settings_no_longer_have_the_recipe_s_digest(events):
    def change(result):
        result["settings"]["accuracy_source"] = "somebody said so"

    found = {each.path for each in differences(changed(events, "verify", change))}
    assert found == {"recipe.content.settings_sha256", "recipe.sha256", "recipe_sha256"}


def test_results_of_before_there_were_recipes_agree_too(events):
    def strip(result):
        result.pop("recipe")
        result.pop("temperature_centi_c")
        for reading in (*result.get("readings", ()), *result.get("points", ())):
            reading.pop("at")

    old = tuple(
        replace(event, data={key: event.data[key] for key in event.data if key != "recipe_sha256"})
        for event in changed(changed(events, "calibrate", strip), "verify", strip)
    )
    # The board's record carries the digest of the calibration as it is now.
    assert [found.path for found in differences(old)] == ["fit_digest"]


def test_readings_carry_time_and_temperature(events):
    for event in events:
        result = event.data.get("result")
        if result is not None:
            readings = result.get("readings") or result["points"]
            assert result["temperature_centi_c"] == 2_300
            assert result["started_at"] < readings[0]["at"] < readings[-1]["at"]
            assert readings[-1]["at"] <= result["finished_at"]


def test_calibration_and_verification_of_a_unit_share_their_recipe(events):
    digests = {event.data["recipe_sha256"] for event in events if "recipe_sha256" in event.data}
    assert len(digests) == 1


def test_a_changed_uncertainty_is_named(events):
    def change(result):
        result["points"][3]["expanded_uncertainty_na"] *= 1 + 1e-15

    paths = [found.path for found in differences(changed(events, "verify", change))]
    assert paths == ["points[3].expanded_uncertainty_na"]


def test_a_changed_reading_moves_what_was_computed_from_it(events):
    def change(result):
        swept = [reading for reading in result["readings"] if reading["step"] == "sweep"]
        swept[-1]["samples_na"][0] += 50.0

    paths = [found.path for found in differences(changed(events, "calibrate", change))]
    assert "fit.chi2" in paths
    assert sum(path.endswith((".mean_na", ".sd_na")) for path in paths) == 2


@pytest.mark.parametrize(
    ("step", "readings", "name"),
    [("calibrate", "readings", "mean_na"), ("verify", "points", "measured_na"),
     ("verify", "idle", "sd_na")],
)  # fmt: skip
def test_a_mean_or_scatter_that_its_samples_do_not_give_is_named(events, step, readings, name):
    def change(result):
        result[readings][-1][name] += 0.001

    found = differences(changed(events, step, change))
    assert found[0].path.startswith(f"{readings}[")
    assert found[0].path.endswith(f".{name}")


def test_a_changed_verdict_is_named(events):
    def change(result):
        result["outcome"] = "FAIL"

    (found,) = differences(changed(events, "verify", change))
    assert (found.path, found.stored, found.recomputed) == ("outcome", "FAIL", "PASS")


@pytest.mark.parametrize("step", ["calibrate", "verify"])
def test_a_result_of_an_earlier_version_agrees_with_its_readings_too(events, step):
    """What later versions added is filled in when it is read, and is no difference."""
    names = {"calibrate": "calibration-1.json", "verify": "verification-1.json"}
    stored = {key: json.loads((GOLDEN / name).read_bytes()) for key, name in names.items()}
    measured = tuple(
        replace(event, data={key: event.data[key] for key in event.data if key != RECIPE_KEY})
        for event in events
        if event.step in names
    )

    def replaced(told, key, forge=None):
        def older(result):
            result.clear()
            result.update(copy.deepcopy(stored[key]))
            if forge:
                forge(result)

        return changed(told, key, older)

    both = replaced(replaced(measured, "calibrate"), "verify")
    assert differences(both) == []

    def forge(result):
        (result["points"][3] if step == "verify" else result["fit"])[
            {"calibrate": "chi2", "verify": "error_na"}[step]
        ] += 1.0

    (found,) = differences(replaced(both, step, forge))
    assert found.path in {"fit.chi2", "points[3].error_na"}


def test_a_unit_without_results_is_refused(events):
    with pytest.raises(ExportError, match="never measured"):
        replay_events(events[:1], where="unit")


@pytest.mark.parametrize("step", ["calibrate", "verify"])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("settings", "leakage_na"), 1e300),
        (("settings", "temperature_span_c"), 1e160),
        (("settings", "output_impedance_min_ohm"), 10**400),
        (("schema",), []),
    ],
)
def test_absurd_numbers_in_a_stored_result_are_our_error(events, step, path, value):
    def change(result):
        for key in path[:-1]:
            result = result[key]
        result[path[-1]] = value

    with pytest.raises(ProvisioningError, match=r"damaged|another schema"):
        replay_events(changed(events, step, change), where="unit")


@pytest.mark.parametrize(
    ("name", "value"), [("repeatability_share_max", 5e-324), ("working_span_na", 1)]
)
def test_settings_that_lead_to_no_number_are_our_error(events, name, value):
    def change(result):
        result["settings"][name] = value

    with pytest.raises(ExportError, match="nothing can be computed"):
        replay_events(changed(events, "calibrate", change), where="unit")


@pytest.mark.parametrize(
    ("step", "readings"), [("calibrate", "readings"), ("verify", "points"), ("verify", "idle")]
)
@pytest.mark.parametrize(
    ("key", "value"), [("sd_na", 1e300), ("load_ohm", 10**400), ("count", 10**30)]
)
def test_absurd_readings_in_a_stored_result_are_our_error(events, step, readings, key, value):
    def change(result):
        result[readings][0][key] = value

    with pytest.raises(ProvisioningError, match="damaged"):
        replay_events(changed(events, step, change), where="unit")


@pytest.mark.parametrize("step", ["calibrate", "verify"])
def test_the_age_of_the_instrument_follows_from_its_certificate(events, step):
    def change(result):
        result["certificate_age_days"] = 3

    found, *_ = differences(changed(events, step, change))
    assert (found.path, found.stored, found.recomputed) == ("certificate_age_days", 3, None)


def test_a_damaged_result_is_refused(events):
    with pytest.raises(CalibrationError, match="damaged"):
        replay_events(changed(events, "calibrate", lambda result: result.pop("fit")), where="unit")
