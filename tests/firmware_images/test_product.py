from __future__ import annotations

import tomllib

import pytest

from firmware_images.errors import BundleError
from firmware_images.product import ProductSettings, ReleaseSettings, gtin_check_digit
from signing.written_checks import UnfitTableError
from signing.written_table import read_table
from tests.firmware_images.release_parts import FLARE

DOCUMENT = tomllib.loads((FLARE / "ampforge.toml").read_text())


def parse_product(**changes: object) -> ProductSettings:
    return read_table(ProductSettings, DOCUMENT["product"] | changes)


def parse_release(**changes: object) -> ReleaseSettings:
    return read_table(ReleaseSettings, DOCUMENT["release"] | changes)


def test_the_example_product_is_acceptable_and_its_files_are_there():
    product, release = parse_product(), parse_release()
    assert product.hardware_class == "flare-c3"
    for path in (release.app, release.waveforms, release.limits, release.partitions):
        assert (FLARE / path).is_file()
    assert release.bundle_name(product, "1.4.0") == "build/flare-1.4.0.bundle.zip"


@pytest.mark.parametrize(
    ("digits", "check"), [("0950600013435", 2), ("0629104150021", 3), ("0000000000000", 0)]
)
def test_the_gtin_check_digit_is_the_one_of_gs1(digits, check):
    assert gtin_check_digit(digits) == check


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gtin": "09506000134353"}, "should be 2"),
        ({"gtin": "0950600013435"}, "of the form"),
        ({"hardware_revision_min": 2}, "hardware_revision_min is above"),
        ({"claim_load_min_ohm": 20_000}, "claim_load_min_ohm is above"),
        ({"flash_size_bytes": 4_194_305}, "multiple of"),
        ({"chip": "esp8266"}, "of the form"),
        ({"model": "fl-1"}, "of the form"),
        ({"colour": "white"}, "colour is not a key"),
        ({"hardware_revision_min": "1"}, "must be a whole number"),
        ({"supported_until": "2030-02-30"}, "which is no day"),
        ({"supported_until": "31.12.2030"}, "of the form"),
        ({"secure_version_bits": 33}, "secure_version_bits"),
    ],
)
def test_a_wrong_product_is_refused(changes, message):
    with pytest.raises(UnfitTableError, match=message):
        parse_product(**changes)


def test_a_release_states_the_products_support_and_its_own_step():
    product = parse_product(supported_until="2030-12-31")
    stated = parse_release(release_counter=3, minimum_current_counter=2).constraints(product)
    assert (stated.minimum_current_counter, stated.support_ends_at_s) == (2, 1_924_992_000)
    assert parse_release().constraints(parse_product()).is_empty


def test_a_step_that_does_not_come_before_the_release_is_refused():
    with pytest.raises(BundleError, match="below release_counter 3, got 3"):
        parse_release(release_counter=3, minimum_current_counter=3).constraints(parse_product())


@pytest.mark.parametrize(
    "changes", [{"release_counter": 0}, {"app": ""}, {"version": "a/b"}, {"approved": True}]
)
def test_a_wrong_release_is_refused(changes):
    with pytest.raises(UnfitTableError):
        parse_release(**changes)
